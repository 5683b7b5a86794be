package cluster

import (
	"slices"
	"time"
)

// Settings of hand-over (R8).
const (
	tenure      = time.Minute // a head that is not well leads for so long before it hands over, and between two attempts
	overBeacons = 3           // a Resign without a successor after so many beacon intervals: the head carries on
	slowBeacons = 3           // an acknowledgement of a copy is slow after so many beacon intervals
	slowInRow   = 5           // so many of every candidate in a row, and the head itself is slow
	slowLeast   = 2           // of one candidate alone nobody knows whose fault it is
	maxHealth   = 120         // bytes of a reason
	slowAcks    = "slow acknowledgements"
	handedOver  = "the head handed over"
)

// handover is how a head gives its office away.
//
// States: none (to is "") -> copying (the heir's copy lacks something) -> resigned (until a higher Lead comes, or
// until is over) -> none. A head that stops has nothing to carry on: it resigns to the next one.
type handover struct {
	to       ID
	reason   string
	goal     uint64 // version that the heir's copy must have
	resigned bool
	until    Instant
	tried    Instant // when the last attempt failed
	old      []ID    // of a head by rebirth: the list before
}

// setHealth notes what the caller says of this node.
func (m *Machine) setHealth(reason string) {
	reason = reason[:min(len(reason), maxHealth)]
	if reason != m.beat.health {
		m.beat.health = reason
		m.beat.next = min(m.beat.next, m.clock.now) // the head puts the unwell last
	}
}

// health is why this node should not lead; "": nothing speaks against it.
func (m *Machine) health() string {
	if m.beat.health == "" && m.leading() && m.slow() {
		return slowAcks
	}
	return m.beat.health
}

// slow says that every candidate that lives acknowledges slowly, time after time.
func (m *Machine) slow() bool {
	n := 0
	for _, id := range m.list() {
		if c := m.head.copies[id]; c != nil && m.lately(id) {
			if n++; c.slow < slowInRow {
				return false
			}
		}
	}
	return n >= slowLeast
}

// overWait is for how long a head waits for its successor. One that stops has little time.
func (m *Machine) overWait() time.Duration {
	if m.note.stopping {
		return m.timers().Beacon
	}
	return overBeacons * m.timers().Beacon
}

// runHandover goes on with a hand-over, or begins one.
func (m *Machine) runHandover() {
	h, now := m.head, m.clock.now
	o := &h.over
	switch {
	case o.to == "":
		m.considerHandover()
	case o.resigned && now >= o.until:
		m.carryOn()
	case o.resigned:
	case m.copied(o.to, o.goal), m.note.stopping && now >= o.until:
		m.resign()
	case now >= o.until:
		m.carryOn()
	default:
		m.replicateTo(o.to, false)
	}
}

// copied says that a candidate's copy has everything up to a version.
func (m *Machine) copied(id ID, goal uint64) bool {
	c := m.head.copies[id]
	return c != nil && c.whole && c.acked >= goal
}

// considerHandover begins where this head is not well, or leads in place of others that are back.
func (m *Machine) considerHandover() {
	h := m.head
	if m.note.stopping || m.unsure() || m.freshEpoch() || h.over.tried != 0 && m.clock.now.Sub(h.over.tried) < tenure {
		return
	}
	if to := m.heirAmong(h.over.old); to != "" {
		m.handOverTo(to, "this head stood in for the list before")
		return
	}
	if reason := m.health(); reason != "" && m.clock.now.Sub(h.since) > tenure {
		if to := m.heirAmong(m.afterMe()); to != "" {
			m.handOverTo(to, reason)
		}
	}
}

// heirAmong is the first of some nodes that may take over at once: a candidate that was heard lately, is well, and has
// an up-to-date copy.
func (m *Machine) heirAmong(ids []ID) ID {
	for _, id := range ids {
		if m.candidate(id) && m.lately(id) && m.table.rows[id].unwell == "" && m.head.copies[id].current(m.clock.now) {
			return id
		}
	}
	return ""
}

// handOverTo brings the heir's copy up to date, then resigns to it.
func (m *Machine) handOverTo(to ID, reason string) {
	o := &m.head.over
	*o = handover{to: to, reason: reason, goal: m.table.version, until: m.clock.now.Add(m.overWait()), tried: o.tried, old: o.old}
	m.runHandover()
}

// resign tells the heir. It is said again with each beacon, because one may be lost.
func (m *Machine) resign() {
	o := &m.head.over
	if !o.resigned {
		o.resigned, o.until = true, m.clock.now.Add(m.overWait())
		m.event(HandOver{To: o.to, Reason: o.reason})
	}
	m.send(o.to, &Message{Resign: &Resign{Term: m.high.term, To: o.to, Reason: o.reason}})
}

// carryOn ends an attempt that brought no successor. A head that stops tries the next candidate.
func (m *Machine) carryOn() {
	o := &m.head.over
	failed := o.to
	*o = handover{tried: m.clock.now, old: o.old}
	if m.note.stopping {
		m.leave(failed)
	}
}

// leave resigns to the best live candidate, to one that did not answer only where there is no other.
func (m *Machine) leave(failed ID) {
	line := slices.DeleteFunc(m.afterMe(), func(id ID) bool { return !m.lately(id) })
	others := slices.DeleteFunc(slices.Clone(line), func(id ID) bool { return id == failed })
	if len(others) > 0 {
		line = others
	}
	to := m.heirAmong(line)
	if to == "" && len(line) > 0 {
		to = line[0]
	}
	if to != "" {
		m.handOverTo(to, "it stops")
	}
}
