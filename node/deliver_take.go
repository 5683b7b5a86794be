package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// leadWait is how long a transfer of a term that this node does not know yet waits for it: the claim comes with it.
const leadWait = time.Second

// serve takes batches of others: as head from members and former heads, as backup from the head. It answers when a
// batch is on disk.
func (d *delivery) serve(ctx context.Context, r p2p.Remote, s *p2p.Stream) error {
	for {
		var msg p2p.ResultsMsg
		if err := s.ReadMsg(&msg); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return fmt.Errorf("results: %w", err)
		}
		ack := &p2p.ResultsAck{Version: p2p.ResultsVersion}
		if err := d.take(ctx, r, &msg); err != nil {
			ack.Error = resultsRefusal(err)
			if ack.Error.Code == p2p.CodeStale {
				ack.Lead = d.core.status.Load().HighRaw
			}
			d.log.Debug("results refused", "from", short(r.ID), "kind", msg.Kind, "why", err)
		}
		if err := s.WriteMsg(ack); err != nil {
			return fmt.Errorf("results: %w", err)
		}
	}
}

// resultsRefusal is a refusal as it travels.
func resultsRefusal(err error) *cluster.WireError {
	no := new(cluster.WireError)
	switch {
	case errors.As(err, &no):
		return no
	case errors.Is(err, store.ErrFull), errors.Is(err, syscall.ENOSPC):
		return &cluster.WireError{Code: p2p.CodeFull, Message: err.Error()}
	}
	return &cluster.WireError{Code: codeRefused, Message: err.Error()}
}

func refuseResults(code, format string, args ...any) error {
	return &cluster.WireError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// take checks a batch, result by result, makes it durable, and tells the machine, which acknowledges it.
func (d *delivery) take(ctx context.Context, r p2p.Remote, msg *p2p.ResultsMsg) error {
	if msg.Version != p2p.ResultsVersion {
		return refuseResults(cluster.CodeVersion, "results protocol version %d is not spoken here (%d is)", msg.Version, p2p.ResultsVersion)
	}
	if err := d.admit(ctx, r, msg); err != nil {
		return err
	}
	recs, err := d.check(r.ID, msg)
	if err != nil {
		return refuseResults(p2p.CodeInvalid, "%s", err)
	}
	st := d.core.status.Load()
	known, err := d.db.Hold(string(st.City), recs)
	if err != nil {
		d.vitals.wrote(err)
		return fmt.Errorf("%d results not taken: %w", len(recs), err)
	}
	keys := make([]probe.Key, len(recs))
	for i := range recs {
		keys[i] = recs[i].Result.Key
	}
	d.stored(ctx, r.ID, msg.Term, keys)
	if len(known) > 0 { // the registry has had them for a while, and somebody did not hear of it
		d.core.put(ctx, cluster.Released{Keys: resultKeys(known)})
	}
	if st.Leading {
		nudge(d.up.kick)
	}
	return d.heardStores(ctx, msg)
}

// admit says whether this node takes results from a peer, in the term that the batch is of: one that has passed is
// refused, of one that is new to this node the claim has to come with it.
func (d *delivery) admit(ctx context.Context, r p2p.Remote, msg *p2p.ResultsMsg) error {
	st := d.core.status.Load()
	if msg.Term.Compare(st.Term) > 0 && !msg.Lead.Empty() {
		d.core.put(ctx, cluster.Learned{Lead: msg.Lead})
		st = d.waitTerm(ctx, msg.Term)
	}
	switch c := msg.Term.Compare(st.Term); {
	case r.Admission.City != st.City:
		return refuseResults(codeRefused, "this node takes no results of %s", r.Admission.City)
	case c < 0:
		return refuseResults(p2p.CodeStale, "term %s has passed, %s is the present one", msg.Term, st.Term)
	case c > 0:
		return refuseResults(codeRefused, "term %s is not known here", msg.Term)
	}
	switch msg.Kind {
	case cluster.TransferSubmit, cluster.TransferOffer:
		if !st.Leading {
			return refuseResults(codeRefused, "this node does not lead %s", st.City)
		}
	case cluster.TransferCopy:
		if st.Leading || st.High == nil || st.High.Head != r.ID {
			return refuseResults(codeRefused, "copies come from the head, %s is not", short(r.ID))
		}
	default:
		return refuseResults(codeRefused, "results for the reason %q are not taken", string(msg.Kind))
	}
	return nil
}

// waitTerm waits until this node knows a term, at most for leadWait.
func (d *delivery) waitTerm(ctx context.Context, term cluster.Term) *cluster.Status {
	ctx, cancel := context.WithTimeout(ctx, leadWait)
	defer cancel()
	for {
		changed := d.core.turn.wait()
		st := d.core.status.Load()
		if st.Term.Compare(term) >= 0 {
			return st
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return st
		}
	}
}

// check verifies each result's transcript: of the sender where it submits its own, else of whoever measured it.
func (d *delivery) check(from cluster.ID, msg *p2p.ResultsMsg) ([]store.ResultRecord, error) {
	results, err := store.DecodeBatch(msg.Batch)
	if err != nil {
		return nil, err
	}
	if len(results) == 0 || len(msg.Transcripts) != len(results) {
		return nil, fmt.Errorf("%d results came with %d signatures", len(results), len(msg.Transcripts))
	}
	recs := make([]store.ResultRecord, len(results))
	for i := range results {
		owner := from
		if msg.Kind != cluster.TransferSubmit {
			if owner, err = p2p.ParseID(results[i].Key.Node); err != nil {
				return nil, err
			}
		}
		if err := checkTranscript(owner, &results[i], msg.Transcripts[i]); err != nil {
			return nil, err
		}
		recs[i] = store.ResultRecord{Result: results[i], Transcript: msg.Transcripts[i]}
	}
	return recs, nil
}
