package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

const (
	deliverAnswer = 15 * time.Second // the receiver checks a batch and syncs its disk
	moverKeys     = 8 * batchResults // keys that wait for one peer; the machine asks again for what is above
)

// route is one kind of transfer to one peer: one batch of it is under way at a time.
type route struct {
	to   cluster.ID
	kind cluster.TransferKind
}

// senders sends what the machine asks for: one goroutine a route while it has something.
type senders struct {
	d   *delivery
	wg  sync.WaitGroup
	mu  sync.Mutex
	ctx context.Context
	by  map[route]*mover
}

// mover sends the results of one route.
type mover struct {
	to    cluster.Peer
	kind  cluster.TransferKind
	term  cluster.Term
	keys  []cluster.ResultKey
	known map[cluster.ResultKey]bool // waiting or under way: asked for twice, sent once
}

func (s *senders) start(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ctx = ctx
}

// move takes on a transfer. It does not block.
func (s *senders) move(t cluster.Transfer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx == nil || s.ctx.Err() != nil {
		return
	}
	r := route{t.To, t.Kind}
	m := s.by[r]
	if m == nil {
		m = &mover{kind: t.Kind, known: map[cluster.ResultKey]bool{}}
		s.by[r] = m
		ctx := s.ctx
		s.wg.Go(func() { s.drain(ctx, r, m) })
	}
	m.to, m.term = cluster.Peer{ID: t.To, Addrs: t.Addrs}, t.Term
	for _, k := range t.Keys {
		if !m.known[k] && len(m.keys) < moverKeys {
			m.known[k] = true
			m.keys = append(m.keys, k)
		}
	}
}

// batch is what a mover sends next.
type batch struct {
	to   cluster.Peer
	kind cluster.TransferKind
	term cluster.Term
	keys []cluster.ResultKey
}

// next takes the next keys off a route; none: the route is gone.
func (s *senders) next(r route, m *mover) (b batch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(m.keys), batchResults)
	if n == 0 {
		delete(s.by, r)
		return b
	}
	b = batch{m.to, m.kind, m.term, m.keys[:n:n]}
	m.keys = m.keys[n:]
	return b
}

// sent forgets keys that are not under way any more; drop forgets all that wait.
func (s *senders) sent(m *mover, keys []cluster.ResultKey, drop bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		delete(m.known, k)
	}
	if drop {
		m.keys = nil
		clear(m.known)
	}
}

// drain sends until the route is empty. What fails is dropped: the machine asks again.
func (s *senders) drain(ctx context.Context, r route, m *mover) {
	for {
		b := s.next(r, m)
		if len(b.keys) == 0 {
			return
		}
		err := s.d.sendBatch(ctx, b)
		s.sent(m, b.keys, err != nil)
		if err != nil {
			s.d.failed.Add(1)
			s.d.turn.wake()
			s.d.log.Debug("results not sent", "to", short(b.to.ID), "kind", b.kind, "results", len(b.keys), "err", err)
		}
	}
}

// sendBatch sends the results under keys, in as many frames as they need.
func (d *delivery) sendBatch(ctx context.Context, b batch) error {
	if b.kind != cluster.TransferCopy { // they go to a head: while it is one
		var stop func()
		ctx, stop = d.core.whileHeadIs(ctx, b.to.ID)
		defer stop()
	}
	for keys := probeKeys(b.keys); len(keys) > 0; {
		recs, used, err := d.db.HeldRecords(keys, batchBytes)
		if err != nil {
			return err
		}
		keys = keys[used:]
		if err := d.sendRecords(ctx, b, recs); err != nil {
			return err
		}
	}
	return nil
}

// sendRecords sends results, in halves while they are refused for what is in them, so that the one that nobody takes
// does not hold up the others.
func (d *delivery) sendRecords(ctx context.Context, b batch, recs []store.ResultRecord) error {
	if len(recs) == 0 {
		return nil
	}
	err := d.sendFrame(ctx, b, recs)
	switch {
	case !isInvalid(err):
		return err
	case len(recs) > 1:
		half := len(recs) / 2
		return errors.Join(d.sendRecords(ctx, b, recs[:half]), d.sendRecords(ctx, b, recs[half:]))
	case b.kind == cluster.TransferSubmit:
		d.setAside(ctx, recs[0].Result.Key, err)
	default:
		d.log.Warn("a result is refused by its next holder", "result", recs[0].Result.Key.String(), "to", short(b.to.ID), "why", err)
	}
	return nil
}

// setAside keeps an own result that nobody takes from being asked for.
func (d *delivery) setAside(ctx context.Context, k probe.Key, why error) {
	d.log.Warn("a result is refused, and stays in the spool", "result", k.String(), "why", why)
	d.aside.put(k, time.Now().Add(asideTime))
	d.core.put(ctx, cluster.Withdrawn{Keys: resultKeys([]probe.Key{k})})
}

// isInvalid says that a batch was refused, or could not be made, for what is in it.
func isInvalid(err error) bool {
	no := new(cluster.WireError)
	return errors.As(err, &no) && no.Code == p2p.CodeInvalid ||
		errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrInvalid) || errors.Is(err, p2p.ErrFrameTooLarge)
}

// sendFrame sends one frame, and takes in the higher Lead where the receiver knows one.
func (d *delivery) sendFrame(ctx context.Context, b batch, recs []store.ResultRecord) error {
	msg := p2p.ResultsMsg{Version: p2p.ResultsVersion, Kind: b.kind, Term: b.term}
	if st := d.core.status.Load(); st.Term == b.term {
		msg.Lead = st.HighRaw
	}
	if b.kind == cluster.TransferCopy {
		msg.Stores = d.storeNames()
	}
	results := make([]probe.Result, len(recs))
	for i, r := range recs {
		results[i] = r.Result
		msg.Transcripts = append(msg.Transcripts, r.Transcript)
	}
	var err error
	if msg.Batch, err = store.EncodeBatch(results); err != nil {
		return err
	}
	ack, err := sendResults(ctx, d.host, b.to, &msg)
	if err != nil {
		return err
	}
	if ack.Error == nil {
		return nil
	}
	if !ack.Lead.Empty() {
		d.core.put(ctx, cluster.Learned{Lead: ack.Lead})
	}
	return fmt.Errorf("%s: %w", short(b.to.ID), ack.Error)
}

// sendResults sends one batch on a stream of its own and reads the acknowledgement.
func sendResults(ctx context.Context, host *p2p.Host, to cluster.Peer, msg *p2p.ResultsMsg) (*p2p.ResultsAck, error) {
	ctx, cancel := context.WithTimeout(ctx, deliverAnswer)
	defer cancel()
	stream, err := host.Open(ctx, to, p2p.ProtoResults, p2p.MaxResults)
	if err != nil {
		return nil, err
	}
	defer stream.ResetOn(ctx)()
	ack := new(p2p.ResultsAck)
	if err = stream.WriteMsg(msg); err == nil {
		err = stream.ReadMsg(ack)
	}
	if err != nil {
		stream.Reset()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	stream.Close()
	return ack, nil
}
