package registry

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// codeInvalid refuses a batch for what is in it.
const codeInvalid = p2p.CodeInvalid

// serveResults takes batches of results from heads, any number on a stream,
// and acknowledges each when it is on disk. Each answer names the tables: a
// head that remembers another name sends again what it has kept.
func (s *server) serveResults(ctx context.Context, r p2p.Remote, stream *p2p.Stream) error {
	for {
		var msg p2p.ResultsMsg
		if err := stream.ReadMsg(&msg); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		ack := &p2p.ResultsAck{Version: p2p.ResultsVersion, Store: s.tables}
		var err error
		if ack.Added, ack.Known, err = s.ingest(r, &msg); err != nil {
			no := new(cluster.WireError)
			if !errors.As(err, &no) {
				no = refusal(cluster.CodeInternal, "%s", err)
				s.log.Error("results not stored", "from", r.ID.Short(), "err", err)
			}
			ack.Error = no
			s.log.Debug("batch refused", "from", r.ID.Short(), "why", no.Message)
		}
		if err := stream.WriteMsg(ack); err != nil {
			return err
		}
	}
}

// ingest checks a batch and stores it. Only the current head of a city may
// deliver, and only what nodes of that city measured: a member's spool keeps a
// result until it is acknowledged, so nothing is lost by refusing, and no head
// can take the key of another city's result.
func (s *server) ingest(r p2p.Remote, msg *p2p.ResultsMsg) (added, known int, err error) {
	if msg.Version != p2p.ResultsVersion {
		return 0, 0, refusal(cluster.CodeVersion, "results of version %d, this registry takes %d: use the same release everywhere", msg.Version, p2p.ResultsVersion)
	}
	city, err := s.deliverer(r, msg.Lead)
	if err != nil {
		return 0, 0, err
	}
	if err := checkBatchSig(r.ID, msg); err != nil {
		return 0, 0, err
	}
	results, err := store.DecodeBatch(msg.Batch)
	if err != nil {
		return 0, 0, refusal(codeInvalid, "the batch is unreadable: %s", err)
	}
	for i := range results {
		if err := s.checkOrigin(city, results[i].Key); err != nil {
			return 0, 0, err
		}
	}
	added, known, err = s.store.Ingest(r.ID, results)
	if errors.Is(err, store.ErrInvalid) || errors.Is(err, store.ErrTooLarge) {
		return 0, 0, refusal(codeInvalid, "%s", err)
	}
	if err == nil && added > 0 {
		s.places.light.saw(results)
		s.log.Debug("results stored", "from", r.ID.Short(), "city", city, "added", added, "known", known)
	}
	return added, known, err
}

// deliverer checks that the sender leads a city and tells which: by the Lead
// that it shows, which must not be below the best that the table has. It may be
// above: a take-over whose report is still on its way.
func (s *server) deliverer(r p2p.Remote, raw cluster.Signed) (cluster.City, error) {
	if raw.Empty() {
		if s.roster.leads(r.ID, r.Admission.City) {
			return r.Admission.City, nil
		}
		return "", refusal(cluster.CodeNotHead, "only the head of a city delivers results: send them to yours")
	}
	lead, _, err := s.trust.Lead(raw)
	if err != nil {
		return "", refusal(cluster.CodeNotHead, "the claim to lead is not valid: %s", err)
	}
	if lead.Head != r.ID {
		return "", refusal(cluster.CodeNotHead, "the claim to lead is of %s, the sender is %s", lead.Head.Short(), r.ID.Short())
	}
	if best, ok := s.roster.head(lead.City, lead.Shard); ok && best.head.ID != r.ID && s.trust.CompareLeads(raw, best.raw) < 0 {
		return "", refusal(cluster.CodeNotHead, "%s leads %s now, in term %s", best.head.ID.Short(), lead.City, best.term)
	}
	return lead.City, nil
}

func checkBatchSig(from cluster.ID, msg *p2p.ResultsMsg) error {
	key, err := from.PublicKey()
	if err != nil {
		return refusal(codeInvalid, "%s", err)
	}
	var digest []byte
	if err := msg.Sig.Verify(cluster.DomainBatch, key); err != nil {
		return refusal(codeInvalid, "the batch's signature is not the sender's: %s", err)
	}
	if err := cluster.Unmarshal(msg.Sig.Payload, &digest); err != nil || !bytes.Equal(digest, p2p.BatchDigest(msg.Batch)) {
		return refusal(codeInvalid, "the batch's signature is over something else")
	}
	return nil
}

// checkOrigin refuses results of nodes that belong to another city. A node
// that the table does not know was admitted before a disk was lost: its head
// has checked its signature. One that was moved had handed results to the head
// that it followed before.
func (s *server) checkOrigin(city cluster.City, key probe.Key) error {
	id, err := p2p.ParseID(key.Node)
	if err != nil {
		return refusal(codeInvalid, "result %s: %s", key, err)
	}
	if m, ok := s.roster.node(id); ok && m.city != city && !slices.Contains(m.earlier, city) {
		return refusal(codeInvalid, "result %s is of a node of %s, the sender leads %s", key, m.city, city)
	}
	return nil
}
