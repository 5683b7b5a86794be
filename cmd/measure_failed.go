package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// nothingMeasured prints what there is to print where there is no result: the way with --explain, and with
// --json the one document that a script reads all the same.
func (e *env) nothingMeasured(ctx context.Context, p plan, m *node.Measurement, err error, count counter) error {
	said := e.measureError(ctx, p.req.To, err, count)
	switch {
	case p.f == formatJSON && !errors.Is(err, node.ErrBadRequest):
		if perr := writeJSON(e.out, newFailedJSON(ctx, p, m, err, said)); perr != nil {
			return fmt.Errorf("printing that nothing was measured: %w (%w)", perr, said)
		}
	case p.f == formatTable && p.explain && m != nil:
		writeSteps(e.err, m.Steps)
	}
	return said
}

// newFailedJSON is the envelope of a measurement without a result. m is nil where the node refused before it began.
func newFailedJSON(ctx context.Context, p plan, m *node.Measurement, err, said error) measureJSON {
	if m == nil {
		now := time.Now()
		m = &node.Measurement{To: p.req.To, Tool: p.req.Tool, Created: now, Updated: now}
	}
	m.Status = probe.StatusFailed
	out := newMeasureJSON(m, p.explain)
	out.Error = &probe.Error{Stage: failedStage(m), Code: failedCode(ctx, err), Message: oneLine(said.Error())}
	return out
}

// failedStage is how far it came: a candidate that was tried leaves a step.
func failedStage(m *node.Measurement) string {
	if slices.ContainsFunc(m.Steps, func(s node.Step) bool { return s.Stage == probe.StageSession }) {
		return probe.StageSession
	}
	return probe.StageLookup
}

// failedCodes are the codes of what a node returns when it has no result; the first that fits counts.
var failedCodes = []struct {
	is   error
	code string
}{
	{node.ErrNoSuchPlace, probe.CodeNoSuchPlace},
	{node.ErrNoCandidate, probe.CodeNoCandidate},
	{node.ErrNoHead, probe.CodeUnreachable},
	{node.ErrBusy, probe.CodeBusy},
	{node.ErrNotRunning, probe.CodeCancelled},
	{context.Canceled, probe.CodeCancelled},
	{context.DeadlineExceeded, probe.CodeTimeout},
}

func failedCode(ctx context.Context, err error) string {
	if ctx.Err() != nil {
		return probe.CodeCancelled
	}
	for _, c := range failedCodes {
		if errors.Is(err, c.is) {
			return c.code
		}
	}
	return probe.CodeInternal
}
