package cmd

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// writeMeasurement prints a measurement in the form that was asked for.
func writeMeasurement(w io.Writer, f format, m *node.Measurement, explain bool) error {
	switch f {
	case formatJSON:
		return writeJSON(w, newMeasureJSON(m, explain))
	case formatNDJSON, formatCSV:
		return resultsListing.writeRows(w, f, m.Results)
	}
	if explain {
		if err := writeSteps(w, m.Steps); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	for i, r := range m.Results {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := writeSummary(w, r); err != nil {
			return err
		}
	}
	return nil
}

// summaryWidth is the first column of the summary: its longest name.
const summaryWidth = len("jitter ms")

// measureJSON is Globalping's envelope, and what --explain adds.
type measureJSON struct {
	probe.Envelope
	Distance *distance   `json:"distance,omitempty"` // of the first result's ends; absent where it is not known
	Explain  []node.Step `json:"explain,omitempty"`
}

func newMeasureJSON(m *node.Measurement, explain bool) measureJSON {
	out := measureJSON{
		Envelope: probe.NewEnvelope(m.ID, m.Tool, m.Status, m.Created, m.Updated, m.To, m.Results),
	}
	out.Notes = m.Notes
	if len(m.Results) > 0 {
		out.Distance = between(m.Results[0])
	}
	if explain {
		out.Explain = m.Steps
	}
	return out
}

// writeSteps prints the way of a look-up.
func writeSteps(w io.Writer, steps []node.Step) error {
	cols := []column{{name: "at ms", right: true}, {name: "took ms", right: true}, {name: "step"}, {name: "found"}, {name: "what"}}
	rows := make([][]string, len(steps))
	for i, s := range steps {
		found := ""
		if s.Found {
			found = "yes"
		}
		rows[i] = []string{ms(&s.AtMs), ms(&s.TookMs), s.Stage, found, s.Text}
	}
	return writeTable(w, cols, rows)
}

// writeSummary prints one result for people: who, how, what was lost in which direction, the figures by
// their names, and whether one-way delays can be trusted.
func writeSummary(w io.Writer, r probe.Result) error {
	if len(r.Samples) > 0 {
		fmt.Fprintf(w, "%6s  %10s  %4s\n", "seq", "rtt ms", "ttl")
		for _, s := range r.Samples {
			fmt.Fprintln(w, sampleLine(s))
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "%s: %s -> %s, %s\n", printable(r.Tool), endName(w, r.Initiator), endName(w, r.Target), printable(r.Status))
	p := []pair{{"path", pathLine(r.Path)}}
	if r.Error != nil {
		p = append(p, pair{"error", fmt.Sprintf("%s (at %s, %s)", r.Error.Message, r.Error.Stage, r.Error.Code)})
	}
	if r.Latency == nil {
		return writePairs(w, summaryWidth, p)
	}
	l := r.Latency
	p = append(p, pair{"packets", packetsLine(l)}, pair{"loss", lossLine(l)})
	if err := writePairs(w, summaryWidth, p); err != nil {
		return err
	}
	if err := writeDelays(w, r); err != nil {
		return err
	}
	if d := between(r); d != nil {
		if err := writePairs(w, summaryWidth, []pair{{"distance", distanceLine(d, l.RTT.Min)}}); err != nil {
			return err
		}
	}
	return writePairs(w, summaryWidth, []pair{
		{"jitter ms", jitterLine(l.Jitter)},
		{"stamps", stampsLine(l)},
		{"clocks", clockLine(r.Clock)},
		{"id", r.Key.String()},
	})
}

func pathLine(p probe.Path) string {
	if p.Remote == "" {
		return "none was found"
	}
	return fmt.Sprintf("%s, %s over IPv%d, %s -> %s", dash(p.Mode), dash(strings.ToUpper(p.Transport)), p.IPVersion, p.Local, p.Remote)
}

func packetsLine(l *probe.Latency) string {
	s := fmt.Sprintf("%d sent, %d received, %d lost", l.Sent, l.Received, l.Lost)
	if l.Pending > 0 {
		s += fmt.Sprintf(", %d undecided", l.Pending)
	}
	for _, extra := range []struct {
		n    int
		what string
	}{{l.Late, "late"}, {l.Duplicates, "duplicates"}, {l.Reordered, "reordered"}} {
		if extra.n > 0 {
			s += fmt.Sprintf(", %d %s", extra.n, extra.what)
		}
	}
	return s
}

func lossLine(l *probe.Latency) string {
	if l.LossPct == nil {
		return "not measured"
	}
	s := trim(*l.LossPct) + " %"
	switch {
	case l.LossForward == nil || l.LossBackward == nil:
		s += "; by direction not known, the target's account is missing"
	default:
		s += fmt.Sprintf(": %d forward, %d backward", *l.LossForward, *l.LossBackward)
	}
	if l.MaxBurst > 1 {
		s += fmt.Sprintf(", up to %d in a row", l.MaxBurst)
	}
	return s
}

// writeDelays prints RTT, and one-way delays only where both clocks allow it.
func writeDelays(w io.Writer, r probe.Result) error {
	cols := []column{{name: "delay ms", width: summaryWidth}}
	for _, f := range rttFigures {
		cols = append(cols, column{name: f, right: true})
	}
	row := func(name string, s probe.Summary) []string {
		cells := []string{name}
		for _, f := range rttFigures {
			cells = append(cells, ms(rttFigure(s, f)))
		}
		return cells
	}
	rows := [][]string{row("RTT", r.Latency.RTT)}
	if r.Clock.OWDValid {
		rows = append(rows, row("forward", r.Latency.Forward), row("backward", r.Latency.Backward))
	}
	return writeTable(w, cols, rows)
}

func jitterLine(j probe.Jitter) string {
	return fmt.Sprintf("RFC 3550 %s, IPDV mean %s, IPDV p95 %s, PDV p95 %s, PDV p99 %s",
		ms(j.RFC3550), ms(j.IPDVMeanAbs), ms(j.IPDVP95), ms(j.PDVP95), ms(j.PDVP99))
}

func stampsLine(l *probe.Latency) string {
	s := "taken in user space"
	if l.Timestamps == probe.TimestampsKernel {
		s = "taken by the kernel"
	}
	if l.ServerProcUs != nil {
		s += fmt.Sprintf("; %s at the target are taken off", micro(*l.ServerProcUs))
	}
	if l.SendTimerErrUs != nil {
		s += fmt.Sprintf("; sent within %s of the slot (p99)", micro(*l.SendTimerErrUs))
	}
	if l.TTL != nil {
		s += fmt.Sprintf("; TTL %d", *l.TTL)
	}
	return s
}

// micro prints microseconds for people: a tenth is enough, and from a millisecond on they are milliseconds.
func micro(us float64) string {
	if us >= 1000 {
		return strconv.FormatFloat(us/1000, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(us, 'f', 1, 64) + " us"
}

// clockLine is the verdict on one-way delays in a sentence.
func clockLine(c probe.Clock) string {
	if c.OWDValid {
		return fmt.Sprintf("both synchronised (error %s and %s ms): one-way delays count", ms(c.Initiator.ErrorMs), ms(c.Target.ErrorMs))
	}
	var why []string
	for _, end := range []struct {
		name string
		s    probe.ClockState
	}{{"the initiator's", c.Initiator}, {"the target's", c.Target}} {
		switch {
		case end.s.Source == "" || end.s.Source == "unknown":
			why = append(why, end.name+" clock tells nothing about itself")
		case !end.s.Synchronised:
			why = append(why, end.name+" clock is not synchronised")
		}
	}
	if len(why) == 0 {
		why = []string{"the error of the clocks is too large for this path"}
	}
	s := "no one-way delays: " + strings.Join(why, ", ")
	if c.OffsetMs != nil && c.OffsetErrMs != nil {
		s += fmt.Sprintf(" (offset about %s ms, at most %s ms off)", ms(c.OffsetMs), ms(c.OffsetErrMs))
	}
	return s
}
