package cluster

import (
	"slices"
	"time"
)

// Settings of heartbeats.
const (
	rowToHeadEvery = 10               // every so many heartbeats carry the full row
	rowsToNewHead  = 2                // so do the first ones to a new head: one may be lost
	lateTenths     = 35               // a member is heard lately when its last heartbeat is younger than 3.5 intervals
	stormSpread    = time.Millisecond // per member: a handshake's work for a head; spreads calls and heartbeats to a new one
	stormFrom      = 50               // members; fewer call at once
	stormAsked     = 2                // candidates that a member of a large city asks at a time: a connection to each costs them all
	siblingsAsked  = 3                // heads of other shards that an orphan asks: each knows the heads of all
)

// beat is what a node says on its own: heartbeats, and questions while it has no head.
type beat struct {
	next    Instant // heartbeat
	nextAsk Instant // WhoIs
	rows    int     // so many of the next heartbeats carry the row
	sent    uint64  // heartbeats since the start
	seq     uint64
	asked   int    // candidates asked since the head was lost or changed
	members uint32 // of the city, as the head says
	backup  ID     // as the head says
	health  string // why this node should not lead, as its caller says
	log     []sentBeat
	used    map[[16]byte]Instant // session ids that tickets named
}

// sentBeat is one heartbeat that this node sent: tickets name one.
type sentBeat struct {
	seq uint64
	at  Instant
}

// interval of a member's heartbeats.
func (m *Machine) interval(id ID) time.Duration {
	if m.candidate(id) {
		return m.timers().Heartbeat
	}
	return m.timers().HeartbeatAll
}

// crowded says that this node is one of very many who lose their head at the same moment. A candidate never waits.
func (m *Machine) crowded() bool {
	return m.beat.members >= stormFrom && !m.candidate(m.self.ID) && !m.restarted()
}

// jitter spreads what all members of a large city would do at once: ask who leads, and beat at a new head. It ends
// in time for the new head's patience, see storm.
func (m *Machine) jitter() time.Duration {
	if !m.crowded() {
		return 0
	}
	spread := min(time.Duration(m.beat.members)*stormSpread, m.timers().Evict/2)
	return time.Duration(m.env.rng.Int64N(int64(spread)))
}

// storm is how much longer than Evict a new head waits for the members that it took over: each has to connect.
func (m *Machine) storm() time.Duration {
	if m.table.alive < stormFrom {
		return 0
	}
	return 2 * time.Duration(m.table.alive) * stormSpread
}

// orphan says that this node knows no head, or none that lives, as far as it has seen since its boot.
func (m *Machine) orphan() bool {
	switch {
	case m.leading():
		return false
	case m.high.lead == nil || m.restarted() || !m.watch.met:
		return true
	case m.watch.down && !m.candidate(m.self.ID):
		return true
	}
	return m.clock.now.Sub(m.watch.heard) > m.timers().Orphan
}

// cutOff is for how long an orphan has heard no head: since the last sign of one, or since somebody else was
// named and got a chance.
func (m *Machine) cutOff() time.Duration {
	if !m.orphan() {
		return 0
	}
	w := &m.watch
	since := max(w.heard, w.certAt)
	if w.down {
		since = max(since, w.downAt)
	}
	return m.clock.now.Sub(since)
}

// asking says that this node asks around: it is an orphan, or has not heard the head of High itself yet,
// as after a boot.
func (m *Machine) asking() bool {
	return m.orphan() || !m.leading() && (!m.watch.direct || m.resharded())
}

// orphanAt is when silence will make this node an orphan.
func (m *Machine) orphanAt() Instant { return m.watch.heard.Add(m.timers().Orphan + 1) }

func (m *Machine) beatDeadline() (Instant, bool) {
	if m.note.stopping {
		return 0, false
	}
	at := m.beat.nextAsk
	if !m.asking() {
		at = max(at, m.orphanAt())
	}
	if m.high.lead != nil && !m.restarted() {
		at = min(at, m.beat.next)
	}
	return at, true
}

// runBeat sends what is due: a heartbeat to the head of High, a question while there is none.
func (m *Machine) runBeat() {
	if m.note.stopping {
		return
	}
	if m.high.lead != nil && !m.restarted() && m.clock.now >= m.beat.next {
		m.heartbeat(false)
		m.beat.next = m.clock.now.Add(m.interval(m.self.ID))
	}
	if m.asking() && m.clock.now >= m.beat.nextAsk {
		m.askAround()
		m.beat.nextAsk = m.clock.now.Add(m.timers().Heartbeat)
	}
}

// heartbeat tells the head of High that this node lives.
func (m *Machine) heartbeat(leaving bool) {
	if m.high.lead == nil || m.restarted() {
		return
	}
	hb := &Heartbeat{Term: m.high.term, Boot: m.self.Boot, Seq: m.nextBeat(), Priority: m.self.Priority, Load: m.self.Load, Leaving: leaving, Unwell: m.beat.health}
	if m.beat.rows > 0 || m.beat.sent%rowToHeadEvery == 0 {
		row := m.self
		hb.Row = &row
		m.beat.rows = max(0, m.beat.rows-1)
	}
	m.beat.sent++
	m.send(m.high.head(), &Message{Heartbeat: hb})
}

// nextBeat numbers a heartbeat and remembers it for ticketWindow.
func (m *Machine) nextBeat() uint64 {
	b := &m.beat
	b.seq++
	b.log = append(b.log, sentBeat{b.seq, m.clock.now})
	old := 0
	for old < len(b.log) && m.clock.now.Sub(b.log[old].at) > ticketWindow {
		old++
	}
	b.log = slices.Delete(b.log, 0, old)
	return b.seq
}

func (m *Machine) whoIs() *WhoIs { return &WhoIs{High: m.high.raw, Boot: m.self.Boot} }

// askAround asks the last head, the candidates, the peers named in High and some heads of other shards who leads. A node that booted
// while High says that it leads resigns with the same breath (R5).
func (m *Machine) askAround() {
	for _, id := range m.askable() {
		if m.restarted() && m.candidate(id) {
			m.send(id, &Message{Resign: &Resign{Term: m.high.term}})
		}
		m.send(id, &Message{WhoIs: m.whoIs()})
	}
}

// askable are those who may know who leads: all of them; for a member of a large city the next in turn.
func (m *Machine) askable() []ID {
	var all []ID
	take := func(id ID) {
		if id != "" && !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	if m.high.lead != nil && !m.watch.down {
		take(m.high.head())
	}
	for i, n := uint64(1), uint64(len(m.list())); i <= n; i++ {
		take(m.list()[(m.high.term.K+i)%n]) // the next in line first
	}
	take(m.high.head())
	if m.high.lead != nil {
		for _, p := range m.high.lead.Addrs {
			take(p.ID)
		}
	}
	for _, h := range m.siblings()[:min(len(m.siblings()), siblingsAsked)] {
		take(h.lead.Head)
	}
	if !m.crowded() || len(all) <= stormAsked {
		return all
	}
	var turn []ID
	for i := range stormAsked {
		turn = append(turn, all[(m.beat.asked+i)%len(all)])
	}
	m.beat.asked += stormAsked
	return turn
}

func (m *Machine) onWhoIs(from ID, q *WhoIs) error {
	if !q.High.Empty() {
		v, err := newLeadView(m.env.trust, q.High)
		if err != nil {
			return err
		}
		switch {
		case v.lead.City != m.env.cfg.City || m.mine(v) && v.term.Compare(m.high.term) > 0:
			return m.adopt(q.High, from)
		case !m.mine(v): // it is told of its own shard's head below, if that one's Lead is higher
			_ = m.adopt(q.High, "") // verified above
			if raw := m.leadFor(from); raw.Hash() == q.High.Hash() && m.high.cert.compare(v.cert) <= 0 {
				return nil // it knows all of it
			}
		}
		if v.term == m.high.term {
			switch {
			case m.leading():
				m.tellLead(from, Signed{})
			case from == m.high.head() && q.Boot > m.high.lead.Boot:
				m.onResign(from, &Resign{Term: v.term})
			}
			return nil
		}
	}
	m.tellLead(from, q.High)
	return nil
}

func (m *Machine) onBeacon(from ID, b *Beacon) {
	if !m.judge(from, b.Term) || m.leading() || from != m.high.head() || b.Seq <= m.watch.seq {
		return
	}
	m.beat.members, m.beat.backup = b.Members, b.Backup
	m.heardHead(b.Seq)
}
