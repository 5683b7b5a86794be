package sim

import (
	"bytes"
	"fmt"

	"github.com/peerprobe/peerprobe/cluster"
)

// auditEvery is how often a High is verified anew from its bytes, without the cache that machines share (S3).
const auditEvery = 64

// invariants is what S1 to S6 compare with.
type invariants struct {
	acted  map[cluster.Term]actor // S1
	leads  map[place]cluster.ID   // who led last
	audits uint64
	live   liveness
}

// actor is who acted as head of a term.
type actor struct {
	id     cluster.ID
	boot   uint64
	host   int
	losses int // of its disk, until then
}

// place is what has one head.
type place struct {
	city  cluster.City
	shard uint
}

// seen is what a host has shown of itself.
type seen struct {
	high   cluster.Term // S2
	raw    *cluster.Lead
	asleep cluster.Instant // since when it is frozen
	naps   []nap
}

// nap is a time during which a process was frozen.
type nap struct{ from, to cluster.Instant }

func (s *seen) forget() { s.high, s.raw = cluster.Term{}, nil }

const maxNaps = 16

func (s *seen) slept(now cluster.Instant) {
	s.naps = append(s.naps, nap{s.asleep, now})
	s.naps = s.naps[max(0, len(s.naps)-maxNaps):]
}

func newInvariants() invariants {
	return invariants{acted: make(map[cluster.Term]actor), leads: make(map[place]cluster.ID)}
}

// check looks after S1 to S3 at one process: the others are as they were.
func (v *invariants) check(w *world, p *proc, out *cluster.Output) {
	p.status = p.m.Status()
	st, h := &p.status, p.h
	if c := st.Term.Compare(h.seen.high); c < 0 {
		w.violate("S2", "High of %s fell from %s to %s", h.name, h.seen.high, st.Term)
	} else if c > 0 {
		h.seen.high = st.Term
		w.note(uint64(h.n), st.Term.Epoch, st.Term.K)
	}
	if st.High != nil && st.High != h.seen.raw {
		h.seen.raw = st.High
		v.verify(w, p, st)
	}
	if st.Leading {
		v.leading(w, p, st)
	}
	for i := range out.Out {
		v.sent(w, p, st, &out.Out[i])
	}
}

// verify looks after S3: owner rule and signatures.
func (v *invariants) verify(w *world, p *proc, st *cluster.Status) {
	trust := w.trust()
	if v.audits++; v.audits%auditEvery == 0 {
		if trust = NewMemory().quick; w.cfg.real {
			trust = NewMemory().real
		}
	}
	l, c, err := trust.Lead(st.HighRaw)
	switch {
	case err != nil:
		w.violate("S3", "High of %s does not verify: %v", p.h.name, err)
	case cluster.TermOf(l, c) != st.Term || l.Head != st.High.Head || l.City != p.h.city:
		w.violate("S3", "High of %s says %s of %s, and is taken for %s", p.h.name, cluster.TermOf(l, c), w.nameOf(l.Head), st.Term)
	default:
		list := c.Successions[l.Shard]
		if list[l.K%uint64(len(list))] != l.Head {
			w.violate("S3", "%s follows %s in %s, which belongs to another", p.h.name, w.nameOf(l.Head), st.Term)
		}
	}
	if !w.cfg.carrier.LatePersist && !bytes.Equal(p.h.disk.hard.High.Payload, st.HighRaw.Payload) {
		if l, c, err := trust.Lead(p.h.disk.hard.High); err != nil || cluster.TermOf(l, c) != st.Term {
			w.violate("S2", "%s acts on %s, which is not durable", p.h.name, st.Term)
		}
	}
}

// leading looks after S1. A key that two hosts hold is one node; who lost its disk cannot know what it led.
func (v *invariants) leading(w *world, p *proc, st *cluster.Status) {
	h := p.h
	if st.High == nil || st.High.Head != h.who.id {
		w.violate("S2", "%s acts as the head of %s, which is another's term", h.name, st.Term)
		return
	}
	me := actor{h.who.id, st.Boot, h.n, h.disk.losses}
	was, ok := v.acted[st.Term]
	if ok && (was.id != me.id || was.host == me.host && was.losses == me.losses && was.boot != me.boot) {
		w.violate("S1", "%s in boot %d and %s in boot %d both acted as head of %s", w.nameOf(was.id), was.boot, h.name, me.boot, st.Term)
	}
	if !ok {
		v.acted[st.Term] = me
	}
}

// sent looks after S2 in what leaves: heartbeats go to the owner of High, beacons come from it.
func (v *invariants) sent(w *world, p *proc, st *cluster.Status, e *cluster.Envelope) {
	switch m := e.Message; {
	case m.Heartbeat != nil:
		if st.High == nil || e.To != st.High.Head || m.Heartbeat.Term != st.Term {
			w.violate("S2", "%s sends a heartbeat of %s to %s, but follows %s", p.h.name, m.Heartbeat.Term, w.nameOf(e.To), st.Term)
		}
	case m.Beacon != nil:
		if !st.Leading || m.Beacon.Term != st.Term {
			w.violate("S2", "%s sends a beacon of %s, and is in %s", p.h.name, m.Beacon.Term, st.Term)
		}
	}
}

// termIn is the term of a control message; nil: it has none.
func termIn(m *cluster.Message) *cluster.Term {
	switch {
	case m.Beacon != nil:
		return &m.Beacon.Term
	case m.Heartbeat != nil:
		return &m.Heartbeat.Term
	case m.Probe != nil:
		return &m.Probe.Term
	case m.ProbeRes != nil:
		return &m.ProbeRes.Term
	case m.Resign != nil:
		return &m.Resign.Term
	case m.Replicate != nil:
		return &m.Replicate.Term
	case m.ReplAck != nil:
		return &m.ReplAck.Term
	case m.ResAck != nil:
		return &m.ResAck.Term
	case m.Offer != nil:
		return &m.Offer.Term
	case m.Want != nil:
		return &m.Want.Term
	case m.Trim != nil:
		return &m.Trim.Term
	}
	return nil
}

// receive hands a message to the machine. One of a lower term must have no effect (S4): whatever is due by time is
// done before, so that what is left is the message's.
func (w *world) receive(p *proc, r cluster.Received) {
	now := p.h.clock.local(w.now)
	term := termIn(r.Message)
	before := p.status
	stale := term != nil && (r.Message.ProbeRes == nil || r.Message.ProbeRes.High.Empty()) && term.Compare(before.Term) < 0 && !elsewhere(*term, before.Term)
	if stale {
		w.carry(p, p.m.Tick(now))
		if p.h.proc != p || w.broken != nil {
			return
		}
		before = p.status
	}
	due, _ := p.m.Deadline()
	w.heartbeatHeard(p, r)
	out, err := p.m.Step(now, r)
	w.note(3, uint64(w.now), uint64(p.h.n), uint64(len(r.Message.Kind())), uint64(len(out.Out)))
	if w.cfg.messages && w.cfg.trace != nil {
		w.log("  %s -> %s %s", w.nameOf(r.From), p.h.name, r.Message.Kind())
	}
	if err != nil && !w.suspicious(r.From) {
		w.violate("S7", "%s refuses a %s of %s: %v", p.h.name, r.Message.Kind(), w.nameOf(r.From), err)
		return
	}
	if stale && err == nil {
		if text := w.effect(p, &before, due, r, &out); text != "" {
			w.violate("S4", "%s took a %s of %s from %s, though it follows %s: %s", p.h.name, r.Message.Kind(), *term, w.nameOf(r.From), before.Term, text)
			return
		}
	}
	w.carry(p, out)
}

// elsewhere says that a term is of another shard of the same epoch: neither is above the other.
func elsewhere(t, high cluster.Term) bool {
	return t.Shard != high.Shard && t.Epoch == high.Epoch && t.CertHash == high.CertHash
}

// effect says what a message of a lower term has done that it must not; "": nothing.
func (w *world) effect(p *proc, before *cluster.Status, due cluster.Instant, r cluster.Received, out *cluster.Output) string {
	after := p.m.Status()
	if after.Term != before.Term {
		return "" // a ProbeRes carried something higher
	}
	for _, e := range out.Out {
		if e.To != r.From || e.Message.Stale == nil && e.Message.ProbeRes == nil {
			return fmt.Sprintf("it sent a %s to %s", e.Message.Kind(), w.nameOf(e.To))
		}
	}
	switch at, _ := p.m.Deadline(); {
	case len(out.Events) > 0:
		return fmt.Sprintf("it told of %T", out.Events[0])
	case len(out.Calls) > 0 || len(out.Moves) > 0:
		return "it called somebody"
	case after.Members != before.Members || after.Backup != before.Backup || after.Leading != before.Leading:
		return fmt.Sprintf("members %d -> %d, backup %s -> %s", before.Members, after.Members, w.nameOf(before.Backup), w.nameOf(after.Backup))
	case at != due:
		return fmt.Sprintf("its next deadline moved by %v", at.Sub(due))
	}
	return ""
}

// codec puts every so many messages through their encoding: what comes out is what went in.
func (w *world) codec(p *proc, m *cluster.Message) {
	if w.cfg.codec == 0 {
		return
	}
	if w.tally.codec++; w.tally.codec%w.cfg.codec != 0 {
		return
	}
	raw := m.Encode()
	if len(raw) > cluster.MaxMessage {
		w.violate("S7", "%s sends a %s of %d bytes", p.h.name, m.Kind(), len(raw))
		return
	}
	d, err := cluster.DecodeMessage(raw)
	if err != nil {
		if !p.h.trait.lied {
			w.violate("S7", "a %s of %s does not decode: %v", m.Kind(), p.h.name, err)
		}
		return
	}
	if !bytes.Equal(d.Encode(), raw) {
		w.violate("S7", "a %s of %s changes when it is decoded and encoded again", m.Kind(), p.h.name)
	}
}
