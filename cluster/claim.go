package cluster

import (
	"slices"
)

// Addresses in a Lead: it must fit a DHT record of MaxLead bytes.
const (
	leadCandidates = 3 // live candidates beside the head
	leadAddrs      = 4 // addresses of each
)

// claim makes this node the head of take-over k in the highest certificate's epoch (R4): it is durable
// before it is announced, and the registry is told but not waited for.
func (m *Machine) claim(k uint64, reason string) {
	v, ok := m.signLead(k, 1, reason)
	if !ok {
		m.watch.probe, m.watch.base, m.watch.down = nil, m.clock.now, false
		return
	}
	old, oldHead, reborn := m.high.lead, m.high.head(), m.reborn()
	m.setHigh(v)
	led := m.leading()
	if !led {
		m.takeOffice()
		if reborn {
			m.head.over.old = m.list()[1:]
		}
	}
	leavers := m.leavers()
	m.head.enter(m)
	for _, id := range m.audience() {
		m.send(id, &Message{Lead: m.highRaw()})
	}
	if led {
		for _, p := range leavers {
			m.sendAt(p.ID, p.Addrs, &Message{Lead: m.highRaw()})
		}
	}
	m.tellSiblings(&Message{Lead: m.highRaw()})
	if oldHead != m.self.ID && !m.candidate(oldHead) && (m.table.rows[oldHead] == nil || !m.table.rows[oldHead].alive) {
		m.send(oldHead, &Message{Lead: m.highRaw()})
	}
	m.call(CallTakeover)
	m.event(LeadChanged{Old: old, New: v.lead, Raw: v.raw, Term: v.term, Self: true, Reason: reason})
}

// signLead signs a Lead of the highest certificate's epoch, and verifies it as everybody else will.
func (m *Machine) signLead(k, seq uint64, reason string) (leadView, bool) {
	l := Lead{Certificate: m.cert.raw, Network: m.env.trust.Network(), City: m.env.cfg.City, Shard: m.shard(), K: k, Head: m.self.ID,
		Boot: m.self.Boot, Seq: seq, Addrs: m.leadPeers(), Reason: reason}
	raw := Sign(DomainLead, &l, m.env.sign)
	for len(raw.Payload)+len(raw.Sig) > MaxLead && len(l.Addrs) > 1 {
		l.Addrs = l.Addrs[:len(l.Addrs)-1]
		raw = Sign(DomainLead, &l, m.env.sign)
	}
	v, err := newLeadView(m.env.trust, raw)
	if err != nil {
		m.alarm("this node's own claim of take-over %d does not verify: %v", k, err)
		return v, false
	}
	return v, true
}

// leadPeers are this node and the first live candidates, with their addresses.
func (m *Machine) leadPeers() []Peer {
	short := func(addrs [][]byte) [][]byte { return addrs[:min(len(addrs), leadAddrs)] }
	out := []Peer{{m.self.ID, short(m.self.Addrs)}}
	for _, id := range m.list() {
		if e := m.table.rows[id]; e != nil && e.alive && id != m.self.ID && len(out) <= leadCandidates && len(e.row.Addrs) > 0 {
			out = append(out, Peer{id, short(e.row.Addrs)})
		}
	}
	return out
}

// audience is everybody whom a head tells: candidates in list order, then the other living members.
func (m *Machine) audience() []ID {
	out := make([]ID, 0, m.table.alive+MaxSuccession)
	for _, id := range m.list() {
		if id != m.self.ID {
			out = append(out, id)
		}
	}
	n := len(out)
	m.table.each(chainHeard, func(e *member) bool {
		if id := e.row.ID; id != m.self.ID && !slices.Contains(out[:n], id) {
			out = append(out, id)
		}
		return true
	})
	return out
}

// stepDown ends a headship. The rows stay, until the new head's full copy replaces them.
func (m *Machine) stepDown(reason string) {
	if !m.leading() {
		return
	}
	m.head = nil
	m.table.forget()
	m.watch.heard, m.watch.base = m.clock.now, m.clock.now
	m.beat.next, m.beat.nextAsk = m.clock.now, m.clock.now
	m.event(SteppedDown{Term: m.high.term, Reason: reason})
}

// why is the reason of a claim after a hand-over.
func (r *Resign) why() string {
	if r.Reason == "" {
		return handedOver
	}
	return handedOver + ": " + r.Reason
}

// hearsay says that this node has just booted or was paused: what it hears may be older than what it is about to hear.
func (m *Machine) hearsay() bool { return m.clock.now.Sub(m.clock.resumed) < m.timers().ProbeWait }

// restarted says that this node booted while High says that it leads. It never resumes that term (R5).
func (m *Machine) restarted() bool { return !m.leading() && m.high.head() == m.self.ID }

// onResign lets whom the head named claim at once; where it named nobody, the next in line (R5, hand-over).
func (m *Machine) onResign(from ID, r *Resign) {
	if !m.judge(from, r.Term) || from != m.high.head() || m.hearsay() {
		return
	}
	k, d, ok := m.inLine()
	if !ok {
		return
	}
	w := &m.watch
	first := !w.resigned
	w.resigned = true
	switch {
	case r.To == m.self.ID:
		m.claim(k, r.why())
	case r.To != "":
		if first {
			w.heard, w.base = m.clock.now, m.clock.now
		}
	case d == 1:
		m.claim(k, "the head restarted")
	case first:
		w.heard, w.base = m.clock.now.Add(-m.timers().Suspect), 0
	}
}

// stop prepares the end of the process: a head brings its best live candidate up to date and resigns to
// it, serving on until it sees the higher Lead; others say good-bye.
func (m *Machine) stop() {
	if m.note.stopping {
		return
	}
	m.note.stopping = true
	if !m.leading() {
		m.heartbeat(true)
		return
	}
	if !m.head.over.resigned {
		m.leave("")
	}
}

// afterMe are the candidates in the order in which they would follow the present head.
func (m *Machine) afterMe() []ID {
	out := make([]ID, 0, MaxSuccession)
	for i := range m.list() {
		if id := m.nth(i); id != m.self.ID {
			out = append(out, id)
		}
	}
	return out
}

// nth is the i-th name in the order of succession to the head of High.
func (m *Machine) nth(i int) ID {
	list := m.list()
	start := uint64(0)
	if !m.freshEpoch() {
		start = m.high.term.K + 1
	}
	return list[(start+uint64(i))%uint64(len(list))]
}

// lately says that a candidate's heartbeat is younger than 3.5 intervals.
func (m *Machine) lately(id ID) bool {
	e := m.table.rows[id]
	return e != nil && e.alive && e.heard && m.clock.now.Sub(e.last) <= m.interval(id)*lateTenths/10
}

// backup is the next candidate that was heard lately and whose copy is up to date.
func (m *Machine) backup() ID {
	for i := range m.list() {
		if id := m.nth(i); id != m.self.ID && m.lately(id) && m.head.copies[id].current(m.clock.now) {
			return id
		}
	}
	return ""
}
