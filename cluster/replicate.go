package cluster

import (
	"time"
)

// Settings of the copies that candidates keep of the head's tables.
const (
	copyPace   = 100 * time.Millisecond // changes are batched
	copyAgain  = time.Second            // a frame that is not acknowledged is sent again
	copyLate   = 2 * time.Second        // a copy whose acknowledgement is older is not current
	copyBudget = 48 << 10               // bytes of rows and Leads in one frame, below MaxMessage
)

// copyState is how far one candidate's copy is. One frame is in flight at a time.
type copyState struct {
	acked  uint64
	sent   uint64  // upper end of the frame in flight; 0: none
	sentAt Instant // of the frame in flight
	since  Instant // first sending of what is in flight
	final  bool    // the frame in flight is the last of what there was
	whole  bool    // it once had everything
	slow   int     // acknowledgements in a row that were slow
}

// current says that the copy has everything, or that the rest was sent less than copyLate ago.
func (c *copyState) current(now Instant) bool {
	return c != nil && c.whole && (c.sent == 0 || now.Sub(c.since) <= copyLate)
}

// copiesAt is when the next frame is due, at the latest at a given time.
func (m *Machine) copiesAt(at Instant) Instant {
	for id, c := range m.head.copies {
		switch {
		case c.sent != 0:
			at = min(at, c.sentAt.Add(copyAgain))
		case m.copyDue(id, c):
			at = min(at, max(m.head.nextCopy, m.clock.now))
		}
	}
	return at
}

func (m *Machine) copyDue(id ID, c *copyState) bool {
	e := m.table.rows[id]
	return e != nil && e.alive && e.heard && c.sent == 0 && (c.acked < m.table.version || !c.whole)
}

// runCopies sends each living candidate what its copy lacks.
func (m *Machine) runCopies() {
	h, now := m.head, m.clock.now
	for _, id := range m.list() {
		if c := h.copies[id]; c != nil && c.sent != 0 && now.Sub(c.sentAt) >= copyAgain {
			m.replicateTo(id, true)
		}
	}
	if now < h.nextCopy {
		return
	}
	any := false
	for _, id := range m.list() {
		if c := h.copies[id]; c != nil && m.copyDue(id, c) {
			m.replicateTo(id, false)
			any = true
		}
	}
	if any {
		h.nextCopy = now.Add(copyPace)
	}
}

// replicateTo sends one frame; again sends even while one is in flight.
func (m *Machine) replicateTo(id ID, again bool) {
	c := m.head.copies[id]
	if c == nil || c.sent != 0 && !again || c.whole && c.sent == 0 && c.acked >= m.table.version {
		return
	}
	r := m.frameFrom(c.acked)
	if c.sent == 0 {
		c.since = m.clock.now
	}
	c.sent, c.sentAt, c.final = max(r.Upto, 1), m.clock.now, !r.More
	m.send(id, &Message{Replicate: r})
}

// frameFrom is the next frame for a copy that has everything up to a version.
func (m *Machine) frameFrom(from uint64) *Replicate {
	r := &Replicate{Term: m.high.term, From: from, Upto: m.table.version}
	changed, heads, size := &m.table.order[chainChanged], m.others.since(from), 0
	e := changed.last
	for e != nil && e.version > from && e.links[chainChanged].prev != nil {
		e = e.links[chainChanged].prev
	}
	for e != nil && e.version <= from {
		e = changed.after(e)
	}
	for e != nil || len(heads) > 0 {
		if size > copyBudget || len(r.Rows) >= maxRows || len(r.Gone) >= maxRefs || len(r.Heads) >= maxLeads {
			r.More = true
			return r
		}
		if e == nil || len(heads) > 0 && heads[0].version < e.version {
			r.Upto, r.Heads = heads[0].version, append(r.Heads, heads[0].raw)
			size += len(heads[0].raw.Payload) + len(heads[0].raw.Sig)
			heads = heads[1:]
			continue
		}
		r.Upto = e.version
		switch {
		case e.alive:
			r.Rows = append(r.Rows, e.row)
			size += e.row.size()
		case from > 0:
			r.Gone = append(r.Gone, e.row.ID)
			size += idLen + 2
		}
		e = changed.after(e)
	}
	r.Upto = m.table.version
	return r
}

func (m *Machine) onReplAck(from ID, a *ReplAck) {
	if len(a.Results) > 0 {
		m.onHeld(from, a)
		return
	}
	if !m.judge(from, a.Term) || !m.leading() {
		return
	}
	c := m.head.copies[from]
	if c == nil || a.Upto > m.table.version {
		return
	}
	switch {
	case c.sent == 0: // of a frame that was sent twice
	case m.clock.now.Sub(c.since) > slowBeacons*m.timers().Beacon:
		c.slow++
	default:
		c.slow = 0
	}
	// A copy that is behind (it lost its memory) says so, and goes on from there.
	c.whole = a.Upto > 0 && (c.whole || c.final && c.sent > 0 && a.Upto >= c.sent)
	c.acked, c.sent = a.Upto, 0
}

// onReplicate brings this node's copy up to date.
func (m *Machine) onReplicate(from ID, r *Replicate) {
	if !m.judge(from, r.Term) || m.leading() || from != m.high.head() {
		return
	}
	c := &m.others.copy
	if c.term != r.Term {
		*c = copied{term: r.Term}
	}
	if r.From > c.upto { // something between is missing
		m.send(from, &Message{ReplAck: &ReplAck{Term: r.Term, Upto: c.upto}})
		return
	}
	for i := range r.Rows {
		if m.table.rows[r.Rows[i].ID] == nil && len(m.table.rows) >= m.env.cfg.MaxMembers {
			continue
		}
		e, _ := m.table.put(r.Rows[i])
		m.table.setAlive(e, true)
		e.stamp = r.Term
		if b := r.Rows[i].Boot; b > e.boot {
			e.boot, e.seq = b, 0 // what was counted was another boot's
		}
	}
	for _, id := range r.Gone {
		m.table.remove(id)
	}
	for _, raw := range r.Heads {
		if v, err := newLeadView(m.env.trust, raw); err == nil && !m.mine(v) {
			m.learnHead(v)
		}
	}
	c.upto = max(c.upto, r.Upto)
	if !r.More {
		m.table.sweep(r.Term, m.self.ID)
	}
	m.send(from, &Message{ReplAck: &ReplAck{Term: r.Term, Upto: c.upto}})
}
