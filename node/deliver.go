package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

const (
	batchResults  = 512              // results a batch: about 60 kB before compression
	batchBytes    = 512 << 10        // bytes of spooled records read for one batch
	deliverRetry  = 5 * time.Second  // the head or the registry is away; what was measured waits in the spool
	deliverMax    = time.Minute      // the wait doubles up to this while nobody takes anything
	deliverUplink = 12 * time.Second // the registry syncs its disk
	deliverAnswer = 15 * time.Second // a head passes the batch on to the registry, and says how that went

	// asideTime is how long a result that nobody takes is passed over, so that it does not hold up those
	// behind it. It stays in the spool.
	asideTime = time.Hour

	// codeInvalid refuses a batch because of what is in it: the same batch will not do again. The registry
	// says the same.
	codeInvalid = "invalid"
)

// delivery moves results from the spool towards the registry: a member through its head, a head directly.
// A result leaves the spool when the registry has acknowledged it, and not before.
type delivery struct {
	core     *core
	host     *p2p.Host
	db       *store.DB
	registry []cluster.Peer
	uplink   chan shipment // at a head: batches that wait for the registry
	kick     chan struct{} // something was spooled, or the head changed
	turn     broadcast     // a delivery has ended, well or not
	sign     func(domain string, v any) cluster.Signed
	log      *slog.Logger

	// Of the goroutine of run.
	size  int                     // results in the next batch: halved while one is refused for its content
	aside map[probe.Key]time.Time // results that were refused on their own, until when
}

// shipment is a batch on its way to the registry, and who waits for it.
type shipment struct {
	results []probe.Result
	done    chan error // buffered: the uplink never waits for a member
}

func (d *delivery) wake() {
	select {
	case d.kick <- struct{}{}:
	default:
	}
}

// run empties the spool until ctx ends.
func (d *delivery) run(ctx context.Context) {
	wait := deliverRetry
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
			wait = deliverRetry
		case <-timer.C:
		}
		more, err := d.once(ctx)
		d.turn.wake()
		switch {
		case err != nil:
			d.log.Debug("results wait in the spool", "err", err)
			timer.Reset(wait)
			wait = min(2*wait, deliverMax)
		case more:
			wait = deliverRetry
			timer.Reset(0)
		default:
			wait = deliverRetry
			timer.Reset(deliverMax)
		}
	}
}

// empty delivers until nothing is spooled, a delivery fails, or ctx ends.
func (d *delivery) empty(ctx context.Context) {
	for d.db.SpoolStats().Depth > 0 {
		before, ended := d.db.SpoolStats().Depth, d.turn.wait()
		d.wake()
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
		if d.db.SpoolStats().Depth >= before {
			return
		}
	}
}

// once delivers one batch and releases it. More: the spool may hold another.
func (d *delivery) once(ctx context.Context) (more bool, err error) {
	records, err := d.next()
	if err != nil || len(records) == 0 {
		return false, err
	}
	results := make([]probe.Result, len(records))
	keys := make([]probe.Key, len(records))
	for i, r := range records {
		results[i], keys[i] = r.Result, r.Result.Key
	}
	if d.core.status.Load().Leading {
		err = d.ship(ctx, results)
	} else {
		err = d.toHead(ctx, results, records)
	}
	switch {
	case err == nil:
		d.size = min(2*d.size, batchResults)
		return true, d.db.Release(keys...)
	case !isInvalid(err):
		return false, err
	case len(records) > 1:
		d.size = len(records) / 2
		return true, nil
	}
	d.log.Warn("a result is refused, and stays in the spool", "result", keys[0].String(), "why", err)
	d.aside[keys[0]] = time.Now().Add(asideTime)
	return true, nil
}

// next is the oldest results of the spool that are not set aside, as many as fit into a batch.
func (d *delivery) next() ([]store.ResultRecord, error) {
	maps.DeleteFunc(d.aside, func(_ probe.Key, until time.Time) bool { return time.Now().After(until) })
	if d.size == 0 {
		d.size = batchResults
	}
	most := batchBytes * (1 + len(d.aside))
	records, err := d.db.Spool(d.size+len(d.aside), most)
	if err != nil {
		return nil, err
	}
	records = slices.DeleteFunc(records, func(r store.ResultRecord) bool {
		_, aside := d.aside[r.Result.Key]
		return aside
	})
	return records[:min(len(records), d.size)], nil
}

// isInvalid says that a batch was refused, or could not be made, for what is in it.
func isInvalid(err error) bool {
	no := new(cluster.WireError)
	return errors.As(err, &no) && no.Code == codeInvalid ||
		errors.Is(err, store.ErrTooLarge) || errors.Is(err, store.ErrInvalid) || errors.Is(err, p2p.ErrFrameTooLarge)
}

// toHead sends a batch to the own head and waits until the registry has it.
func (d *delivery) toHead(ctx context.Context, results []probe.Result, records []store.ResultRecord) error {
	st := d.core.status.Load()
	if st.High == nil {
		return errors.New("no head to deliver to")
	}
	msg := p2p.ResultsMsg{Version: p2p.ResultsVersion}
	for _, r := range records {
		msg.Transcripts = append(msg.Transcripts, r.Transcript)
	}
	var err error
	if msg.Batch, err = store.EncodeBatch(results); err != nil {
		return err
	}
	ctx, stop := d.core.whileHeadIs(ctx, st.High.Head)
	defer stop()
	ack, err := sendResults(ctx, d.host, headOf(st.High), &msg)
	if err != nil {
		return err
	}
	if ack.Error != nil {
		return fmt.Errorf("head %s: %w", short(st.High.Head), ack.Error)
	}
	return nil
}

// ship hands results to the uplink and waits for the registry's acknowledgement.
func (d *delivery) ship(ctx context.Context, results []probe.Result) error {
	s := shipment{results: results, done: make(chan error, 1)}
	select {
	case d.uplink <- s:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-s.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// runUplink sends what waits to the registry: at once when idle, and everything that came while one batch
// was under way in the next.
func (d *delivery) runUplink(ctx context.Context) {
	for {
		var batch []shipment
		select {
		case <-ctx.Done():
			return
		case s := <-d.uplink:
			batch = d.gather(s)
		}
		d.shipAll(ctx, batch)
	}
}

// shipAll sends shipments as one batch, and each on its own where together they are too large or one of
// them is refused: nobody waits for what somebody else put in.
func (d *delivery) shipAll(ctx context.Context, batch []shipment) {
	var results []probe.Result
	for _, s := range batch {
		results = append(results, s.results...)
	}
	err := d.toRegistry(ctx, results)
	if len(batch) > 1 && isInvalid(err) {
		for _, s := range batch {
			s.done <- d.toRegistry(ctx, s.results)
		}
		return
	}
	for _, s := range batch {
		s.done <- err
	}
}

// gather takes what waits behind the first shipment, up to the size of a batch.
func (d *delivery) gather(first shipment) []shipment {
	batch, n := []shipment{first}, len(first.results)
	for n < batchResults {
		select {
		case s := <-d.uplink:
			batch = append(batch, s)
			n += len(s.results)
		default:
			return batch
		}
	}
	return batch
}

// toRegistry delivers one merged, compressed and signed batch.
func (d *delivery) toRegistry(ctx context.Context, results []probe.Result) error {
	raw, err := store.EncodeBatch(results)
	if err != nil {
		return err
	}
	msg := &p2p.ResultsMsg{Version: p2p.ResultsVersion, Batch: raw, Lead: d.core.status.Load().HighRaw}
	msg.Sig = d.sign(cluster.DomainBatch, p2p.BatchDigest(raw))
	var errs []error
	for _, peer := range d.registry {
		ack, err := d.uplinkTo(ctx, peer, msg)
		if err == nil && ack.Error != nil {
			err = ack.Error
		}
		if err == nil {
			d.log.Debug("results delivered", "added", ack.Added, "known", ack.Known, "bytes", len(raw))
			return nil
		}
		if isInvalid(err) {
			return err // the next one would say the same
		}
		errs = append(errs, fmt.Errorf("registry %s: %w", short(peer.ID), err))
	}
	return joined(errs)
}

// uplinkTo sends a batch to one registry, in less time than a member waits for this head.
func (d *delivery) uplinkTo(ctx context.Context, peer cluster.Peer, msg *p2p.ResultsMsg) (*p2p.ResultsAck, error) {
	ctx, cancel := context.WithTimeout(ctx, deliverUplink)
	defer cancel()
	return sendResults(ctx, d.host, peer, msg)
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

// serve takes batches from members while this node leads. It answers when the registry has the batch.
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
			ack.Error = &cluster.WireError{Code: codeRefused, Message: err.Error()}
			if isInvalid(err) {
				ack.Error.Code = codeInvalid
			}
		}
		if err := s.WriteMsg(ack); err != nil {
			return fmt.Errorf("results: %w", err)
		}
	}
}

// take checks a member's batch, result by result, and passes it on.
func (d *delivery) take(ctx context.Context, r p2p.Remote, msg *p2p.ResultsMsg) error {
	st := d.core.status.Load()
	if msg.Version != p2p.ResultsVersion {
		return fmt.Errorf("results protocol version %d is not spoken here (%d is)", msg.Version, p2p.ResultsVersion)
	}
	if !st.Leading || r.Admission.City != st.City {
		return fmt.Errorf("this node does not lead %s", r.Admission.City)
	}
	invalid := func(err error) error { return &cluster.WireError{Code: codeInvalid, Message: err.Error()} }
	results, err := store.DecodeBatch(msg.Batch)
	if err != nil {
		return invalid(err)
	}
	if len(results) == 0 || len(msg.Transcripts) != len(results) {
		return invalid(fmt.Errorf("%d results came with %d signatures", len(results), len(msg.Transcripts)))
	}
	for i := range results {
		if err := checkTranscript(r.ID, &results[i], msg.Transcripts[i]); err != nil {
			return invalid(err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, deliverAnswer)
	defer cancel()
	return d.ship(ctx, results)
}
