package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
	"golang.org/x/sync/errgroup"
)

// Bounds of leaving, step by step.
const (
	leaveMeasure  = finishTimeout + 500*time.Millisecond // running measurements fetch their targets' statements
	leaveDeliver  = 2 * time.Second                      // what is spooled goes to the registry, if it is there
	leaveHandOver = 1500 * time.Millisecond              // as election.md: without a successor by then, there is none
	leaveFlush    = 500 * time.Millisecond               // the last control messages
)

const (
	keepOriginals = 30 * 24 * time.Hour // signed originals stay at both ends for so long
	retainPeriod  = time.Hour           // how often older ones are looked for
)

// eventQueue is how many events wait to be logged and audited; a take-over in a city of ten thousand
// evicts nobody at once, so a burst is one page of joins.
const eventQueue = 4096

// movedError ends a run whose node belongs to another city now: the machine is built for one.
type movedError struct{ from, to cluster.City }

func (e *movedError) Error() string {
	return fmt.Sprintf("the registry moved this node from %s to %s", e.from, e.to)
}

// run starts everything, waits, and joins everything. ctx asks it to leave; run is cut by Kill.
func (p *peer) run(ctx, run context.Context, ready func()) (err error) {
	ctl, closeControl, err := p.openControl()
	if err != nil {
		return err
	}
	defer closeControl()
	live, stop := context.WithCancel(run)
	defer stop()
	defer p.logLife(run)(&err)
	g, live := errgroup.WithContext(live)
	p.peers.start(live)
	g.Go(func() error { return p.core.run(live) })
	for _, f := range []func(context.Context){p.reg.run, p.roles.dht.run, p.roles.deliver.run, p.roles.deliver.runUplink, p.roles.deliver.runBooks, p.runEvents, p.keepRow, p.roles.vitals.run, p.roles.vitals.probe, p.roles.attest.run} {
		g.Go(func() error { f(live); return nil })
	}
	if ctl != nil {
		g.Go(func() error { return p.serveControl(live, ctl) })
	}
	p.handle(live)
	if p.answer != nil {
		p.core.put(live, cluster.Answered{Kind: cluster.CallRegister, Answer: p.answer})
	}
	g.Go(func() error { p.announceReady(live, ready); return p.remember(live) })

	var moved error
	select {
	case <-ctx.Done():
		p.leave(live)
	case to := <-p.moved:
		moved = &movedError{from: p.core.status.Load().City, to: to}
		p.leave(live)
	case <-live.Done(): // killed, or something failed
	}
	stop()
	p.roles.measure.life.cancel(errStopping) // a kill does not wait for them
	err = g.Wait()
	p.peers.wg.Wait()
	p.roles.deliver.send.wg.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	return errors.Join(err, moved)
}

// logLife tells the event log of this life's begin, and when the returned function is called of its end. A killed
// node says nothing more.
func (p *peer) logLife(kill context.Context) (end func(*error)) {
	l := p.files.events
	st := p.core.status.Load()
	closeLog := l.start(eventSelf{node: p2p.IDText(p.host.ID()), city: string(st.City), boot: st.Boot, trust: p.id.trust,
		shard: func() uint { return p.core.status.Load().Shard }})
	line := eventLine{Event: "boot", Term: termEvent(st.Term), Text: Version()}
	if st.High != nil {
		line.Head, line.Self = p2p.IDText(st.High.Head), st.High.Head == st.Self
	}
	l.put(line)
	return func(err *error) {
		if kill.Err() == nil {
			line := eventLine{Event: "stop", Term: termEvent(p.core.status.Load().Term), Reason: "asked to"}
			if *err != nil {
				line.Reason = (*err).Error()
			}
			l.put(line)
		}
		closeLog()
	}
}

// remember feeds the machine the heads of other cities and the addresses of members that an earlier run
// knew, and lets old results go.
func (p *peer) remember(ctx context.Context) error {
	heads, err := p.files.db.Heads()
	if err != nil {
		return err
	}
	for _, h := range heads {
		p.core.put(ctx, cluster.Learned{Lead: h.Lead})
	}
	rows, err := p.files.db.Rows()
	if err != nil {
		return err
	}
	known := make([]cluster.Peer, 0, len(rows))
	for _, r := range rows {
		known = append(known, cluster.Peer{ID: r.ID, Addrs: r.Addrs})
	}
	p.core.put(ctx, cluster.Learned{Peers: known})
	tick := time.NewTicker(retainPeriod)
	defer tick.Stop()
	for {
		if _, err := p.files.db.Retain(time.Now().Add(-keepOriginals)); err != nil {
			p.cfg.Log.Warn("old results not removed", "err", err)
		}
		p.roles.deliver.expire()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// handle installs the protocols that every node serves.
func (p *peer) handle(ctx context.Context) {
	p.host.Notify(
		func(id cluster.ID) { p.core.put(ctx, cluster.Connected{Peer: id}) },
		func(id cluster.ID) { p.core.put(ctx, cluster.Disconnected{Peer: id}) })
	p.host.Handle(p2p.ProtoMember, p2p.HandleOptions{Idle: p2p.NoIdle, MaxFrame: cluster.MaxMessage,
		Rate: p2p.ControlRate, Burst: p2p.ControlBurst}, p.member)
	p.host.Handle(p2p.ProtoTask, p2p.HandleOptions{MaxFrame: maxTaskFrame}, p.roles.find.serve)
	p.host.Handle(p2p.ProtoSession, p2p.HandleOptions{MaxFrame: maxSessionFrame}, p.roles.respond.serve)
	p.host.Handle(p2p.ProtoAttest, p2p.HandleOptions{MaxFrame: attestFrame, PerPeer: attestStreams}, p.roles.attest.serve)
	p.host.Handle(p2p.ProtoRecall, p2p.HandleOptions{MaxFrame: p2p.RecallFrame}, p.reg.recalled)
	p.host.Handle(p2p.ProtoResults, p2p.HandleOptions{MaxFrame: p2p.MaxResults}, p.roles.deliver.serve)
}

// member reads control messages of one peer into the loop.
func (p *peer) member(ctx context.Context, r p2p.Remote, s *p2p.Stream) error {
	for {
		frame, err := s.ReadFrame()
		if err != nil {
			return err
		}
		msg, err := cluster.DecodeMessage(frame)
		if err != nil {
			p.loss.add("malformed control message")
			return fmt.Errorf("from %s: %w", p2p.IDText(r.ID), err)
		}
		p.core.put(ctx, cluster.Received{From: r.ID, Message: msg})
	}
}

// transientPatience is how long a node that joins for one measurement looks for the head of its city,
// where the registry knows of one; then it asks the heads of other cities itself.
const transientPatience = 3 * time.Second

// announceReady calls ready once this node leads or follows somebody, or, for a transient node of a city
// without a head, once it knows a head of another city.
func (p *peer) announceReady(ctx context.Context, ready func()) {
	patience := time.NewTimer(transientPatience)
	defer patience.Stop()
	alone := p.id.transient && p.answer != nil && len(p.answer.Leads) == 0
	for {
		changed := p.core.turn.wait()
		st := p.core.status.Load()
		if st.Role != cluster.RoleOrphan && st.High != nil || alone && st.Heads > 0 {
			ready()
			return
		}
		select {
		case <-changed:
		case <-patience.C:
			alone = p.id.transient
		case <-ctx.Done():
			return
		}
	}
}

// leave goes in good order: end what is measured, deliver, hand over, say goodbye. Each step is bounded.
func (p *peer) leave(ctx context.Context) {
	p.host.Unhandle(p2p.ProtoSession)
	p.host.Unhandle(p2p.ProtoTask)
	measure, cancel := context.WithTimeout(ctx, leaveMeasure)
	p.roles.measure.stop(measure)
	cancel()
	deliver, cancel := context.WithTimeout(ctx, leaveDeliver)
	p.roles.deliver.empty(deliver) // what stays is in the spool
	cancel()
	st := p.core.status.Load()
	p.core.put(ctx, cluster.Stopping{})
	if st.Leading && st.Members > 1 {
		handOver, cancel := context.WithTimeout(ctx, leaveHandOver)
		p.waitStatus(handOver, func(st *cluster.Status) bool { return !st.Leading })
		cancel()
	}
	p.core.ask(ctx, func(*cluster.Machine, cluster.Instant) {}) // the farewell has been stepped
	flush, cancel := context.WithTimeout(ctx, leaveFlush)
	defer cancel()
	p.peers.flush(flush)
}

// waitStatus waits until the status is as wanted; false when ctx ended first.
func (p *peer) waitStatus(ctx context.Context, want func(*cluster.Status) bool) bool {
	for {
		changed := p.core.turn.wait()
		if want(p.core.status.Load()) {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// event hands a machine's event on. It runs on the loop and does not block: what changes roles is done at
// once, the rest is queued.
func (p *peer) event(e cluster.Event) {
	switch e := e.(type) {
	case cluster.LeadChanged:
		if e.Old == nil || e.Old.Head != e.New.Head { // else the same head in a later term
			p.roles.change.Store(headChange(e))
		}
		lead := cluster.Signed{}
		if e.Self {
			lead = e.Raw
		}
		p.roles.dht.set(lead)
		p.roles.deliver.headChanged()
	case cluster.LeadRefreshed:
		p.roles.dht.set(e.Raw)
	case cluster.SteppedDown:
		p.roles.dht.hold.Store(false)
		p.roles.dht.set(cluster.Signed{})
	case cluster.Unsure:
		p.roles.dht.hold.Store(e.On)
	case cluster.Acked, cluster.Trimmed:
		p.roles.deliver.event(e)
		return
	}
	select {
	case p.events <- e:
	default:
		p.loss.add("event not logged: too many at once")
	}
}

// runEvents logs and audits.
func (p *peer) runEvents(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-p.events:
			if joined, ok := e.(cluster.MemberJoined); ok {
				e = p.joined(joined)
			}
			p.report(e)
		}
	}
}

// joinBatch is how many members that join together are written down together: each write waits for the disk, and a
// city that changes its head may bring thousands.
const joinBatch = 256

// joined keeps the rows of members that joined one after the other. It returns the event after them; nil: none came.
func (p *peer) joined(first cluster.MemberJoined) (next cluster.Event) {
	rows := []cluster.Row{first.Row}
	for len(rows) < joinBatch && next == nil {
		select {
		case next = <-p.events:
			if e, ok := next.(cluster.MemberJoined); ok {
				rows, next = append(rows, e.Row), nil
			}
			continue
		default:
		}
		break
	}
	for _, r := range rows {
		p.cfg.Log.Info("member joined", "node", p2p.IDText(r.ID))
	}
	p.kept("members", p.files.db.PutRows(rows...))
	return next
}

func (p *peer) report(e cluster.Event) {
	log := p.cfg.Log
	switch e := e.(type) {
	case cluster.LeadChanged:
		c, what := headChange(e), "head changed"
		if c.From == c.To {
			what = "term changed" // and not who leads
		}
		log.Info(what, "old", c.From, "new", c.To, "term", c.Term, "self", e.Self, "reason", c.Reason)
		p.audit("head", c.To, c.Term+" "+c.Reason)
	case cluster.SteppedDown:
		log.Info("stepped down", "term", e.Term.String(), "reason", e.Reason)
		p.audit("stepped-down", "", e.Term.String()+" "+e.Reason)
	case cluster.HandOver:
		log.Info("hands over", "to", p2p.IDText(e.To), "reason", e.Reason)
		p.audit("handover", p2p.IDText(e.To), e.Reason)
	case cluster.Unsure:
		log.Warn("in doubt whether this node still leads", "on", e.On, "pause", e.Pause)
	case cluster.MemberEvicted:
		log.Info("member evicted", "node", p2p.IDText(e.ID), "silent", e.Silence)
		p.host.ClosePeer(e.ID) // a dead connection would be handed out again otherwise
		p.kept("member's end", p.files.db.DropRows(e.ID))
	case cluster.HeadLearned:
		log.Debug("head learned", "city", e.City)
		p.roles.dht.met(e.Lead)
		p.kept("head", p.files.db.PutHead(e.City, e.Shard, e.Lead))
	case cluster.BarredChanged:
		p.host.SetBarred(e.Barred.IDs)
	case cluster.Alarm:
		log.Error("alarm", "text", e.Text)
		p.audit("alarm", "", e.Text)
	}
}

// headChange is a change of head as people see it.
func headChange(e cluster.LeadChanged) *HeadChange {
	c := &HeadChange{At: time.Now(), To: p2p.IDText(e.New.Head), Term: e.Term.String(), Reason: e.Reason}
	if e.Old != nil {
		c.From = p2p.IDText(e.Old.Head)
	}
	return c
}

// kept says when something could not be written down: it is known for this run only then.
func (p *peer) kept(what string, err error) {
	p.roles.vitals.wrote(err)
	if err != nil {
		p.cfg.Log.Warn("not kept for the next run", "what", what, "err", err)
	}
}

// audit keeps what happened; losing it is said, and stops nothing.
func (p *peer) audit(action, object, answer string) {
	err := p.files.db.Audit(store.AuditEntry{At: time.Now(), Actor: p2p.IDText(p.host.ID()), Action: action, Object: object, Answer: answer})
	p.roles.vitals.wrote(err)
	if err != nil {
		p.cfg.Log.Warn("not audited", "action", action, "err", err)
	}
}

// rowPeriod is how often a node looks whether its addresses, load or stability changed.
const rowPeriod = 10 * time.Second

// keepRow tells the machine when this node's row has changed.
func (p *peer) keepRow(ctx context.Context) {
	var told []byte
	tick := time.NewTicker(rowPeriod)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		row, _, err := p.row(p.core.status.Load().Boot)
		if err != nil {
			p.cfg.Log.Error("own row", "err", err)
			continue
		}
		serving := p.roles.respond.serving.Load()
		row.Load, row.Priority.Load = uint32(serving), loadBucket(serving)
		if raw := cluster.Marshal(&row); !bytes.Equal(raw, told) {
			told = raw
			p.core.put(ctx, cluster.SelfChanged{Row: row})
		}
	}
}
