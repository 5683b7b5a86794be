package cluster

import (
	"maps"
	"slices"
	"time"
)

// Settings of suspicion (R2, R3).
const (
	witnesses       = 3  // peers asked beside the head
	maxSuppressions = 3  // in a row, then a claim is not put off any more
	maxProbers      = 64 // peers that may get a correction
	freshTenths     = 25 // a witness is fresh when it heard the head within 2.5 of its beacon intervals
)

// watch is how a follower sees its head.
//
// States: quiet (heard within Suspect) -> probing (a probe runs) -> claimed, or suppressed -> quiet. After a
// hint (the connection closed) probing starts at once, and between two rounds the probe stays open for
// corrections.
type watch struct {
	heard      Instant // last sign that came directly from the head; a pause moves it (R6)
	heardAt    Instant // the same, as it was: what a witness says
	base       Instant // not before this does a suspicion's wait begin
	seq        uint64  // of its last beacon
	direct     bool    // the head itself was heard in this term and boot
	met        bool    // some head was heard itself in this boot, or this node led
	certAt     Instant // when the highest certificate came
	down       bool    // the connection closed: a hint
	downAt     Instant
	resigned   bool // the head said that it does not lead any more
	suppressed int  // claims put off in a row
	doubled    bool // the next Suspect is doubled
	doubledAt  Instant
	probe      *probe
	reqs       uint64
	shown      map[ID]uint64 // the seq that a witness named when it last suppressed a claim: the same again says nothing
	probers    map[ID]uint64 // who got a fresh answer, and to which question: they get a correction
}

// probe is one suspicion being checked.
type probe struct {
	req     uint64
	until   Instant // the end of the round
	paused  bool    // suppressed after a hint: the next round starts at until
	seq     uint64  // of the last beacon heard before it
	asked   []ID    // witnesses
	answers map[ID]*ProbeRes
}

// inLine is the take-over number that this node would claim next, and its distance d from the front of
// the line. ok is false where it may not claim.
func (m *Machine) inLine() (k uint64, d int, ok bool) {
	if m.leading() || m.note.stopping {
		return 0, 0, false
	}
	list := m.list()
	i := slices.Index(list, m.self.ID)
	if i < 0 {
		return 0, 0, false
	}
	if m.freshEpoch() {
		return uint64(i), i + 1, true
	}
	d = m.lineOf(i)
	k = m.high.term.K + uint64(d)
	return k, d, k < MaxK
}

// lineOf is the distance of the i-th name of the list from the front of the line: 1 is next. The head of High, which
// is the last to be its own successor, has the length of the list.
func (m *Machine) lineOf(i int) int {
	if m.freshEpoch() {
		return i + 1
	}
	n := uint64(len(m.list()))
	return 1 + int((uint64(i)+n-(m.high.term.K+1)%n)%n)
}

// freshEpoch says that no Lead of the highest certificate's epoch is known.
func (m *Machine) freshEpoch() bool { return m.high.lead == nil || m.high.cert.hash != m.cert.hash }

// suspectAt is when a candidate at distance d suspects (R2, R4).
func (m *Machine) suspectAt(d int) Instant {
	t, w := m.timers(), &m.watch
	alone := len(m.list()) == 1
	switch headless := m.high.lead == nil || m.high.head() == m.self.ID; {
	case alone && (headless || !m.freshEpoch()):
		return m.clock.began // nobody else may lead
	case m.high.lead == nil && d == 1:
		return w.certAt // appointed: only the probe's wait
	case d == 1 && m.resharded():
		return w.certAt // nobody has led this shard
	case d == 1 && w.down:
		return w.downAt
	}
	silence, base := t.Suspect, max(w.heard, w.base)
	if m.freshEpoch() {
		base = max(base, w.certAt)
		if d > 1 {
			silence *= 2
		}
	}
	if w.doubled {
		silence *= 2
	}
	return base.Add(silence + time.Duration(d-1)*t.Stagger)
}

func (m *Machine) watchDeadline() (Instant, bool) {
	_, d, ok := m.inLine()
	if !ok {
		return 0, false
	}
	if m.watch.probe != nil {
		return m.watch.probe.until, true
	}
	return m.suspectAt(d), true
}

// runWatch suspects, probes and claims when it is time.
func (m *Machine) runWatch() {
	k, d, ok := m.inLine()
	if !ok {
		m.watch.probe = nil
		return
	}
	w := &m.watch
	switch p := w.probe; {
	case p == nil && m.clock.now >= m.suspectAt(d) && skips(ruleProbe):
		m.claim(k, m.reason())
	case p == nil && m.clock.now >= m.suspectAt(d):
		m.startProbe(k)
	case p != nil && p.paused && m.clock.now >= p.until:
		m.startProbe(k)
	case p != nil && m.clock.now >= p.until:
		m.decide(k)
	}
}

// hinted says that the closed connection still counts.
func (m *Machine) hinted() bool {
	_, d, ok := m.inLine()
	return ok && d == 1 && m.watch.down
}

// startProbe asks the head and up to three witnesses. With nobody to ask it claims.
func (m *Machine) startProbe(k uint64) {
	w := &m.watch
	head := m.high.head()
	askHead := head != "" && head != m.self.ID && !w.resigned
	asked := m.pickWitnesses(head)
	if !askHead && len(asked) == 0 {
		m.claim(k, m.reason())
		return
	}
	w.reqs++
	w.probe = &probe{req: w.reqs, until: m.clock.now.Add(m.timers().ProbeWait), seq: w.seq, asked: asked, answers: make(map[ID]*ProbeRes)}
	msg := &Message{Probe: &Probe{Term: m.high.term, Req: w.reqs}}
	if askHead {
		m.send(head, msg)
	}
	for _, id := range asked {
		m.send(id, msg)
	}
}

// pickWitnesses prefers candidates that are known to live, then other candidates, then other members.
func (m *Machine) pickWitnesses(head ID) []ID {
	var out []ID
	take := func(id ID, ok bool) {
		if ok && len(out) < witnesses && id != m.self.ID && id != head && !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	lives := func(id ID) bool { e := m.table.rows[id]; return e != nil && e.alive }
	for _, id := range m.list() {
		take(id, lives(id))
	}
	for _, id := range m.list() {
		take(id, true)
	}
	if len(out) < witnesses {
		m.table.each(chainHeard, func(e *member) bool {
			take(e.row.ID, true)
			return len(out) < witnesses
		})
	}
	return out
}

// decide ends a round: claim, unless at least half of the answers are fresh and the seq has moved on.
func (m *Machine) decide(k uint64) {
	w, t := &m.watch, m.timers()
	p := w.probe
	fresh, moved := 0, false
	for id, r := range p.answers {
		fresh += number(r.Fresh)
		moved = moved || r.Fresh && r.Seq > max(p.seq, w.shown[id])
	}
	hinted := m.hinted()
	if hinted && m.clock.now.Sub(w.downAt) < 2*t.Beacon {
		moved = true // no beacon was due yet that could have moved it
	}
	if fresh == 0 || 2*fresh < len(p.answers) || !moved || w.suppressed >= maxSuppressions {
		m.claim(k, m.reason())
		return
	}
	w.suppressed++
	if hinted {
		p.paused, p.until = true, m.clock.now.Add(t.ProbeWait/2)
		return
	}
	w.probe, w.base, w.doubled, w.doubledAt = nil, m.clock.now, true, m.clock.now
	if w.shown == nil {
		w.shown = make(map[ID]uint64)
	}
	for id, r := range p.answers {
		w.shown[id] = max(w.shown[id], r.Seq)
	}
}

// reason says in a Lead why its head claims.
func (m *Machine) reason() string {
	switch head := m.high.head(); {
	case m.resharded():
		return "head of a new shard"
	case m.reborn():
		return "rebirth: nobody of the list before answered"
	case head == "":
		return "appointed"
	case head == m.self.ID:
		return "restarted"
	case m.watch.resigned:
		return "the head resigned"
	case m.watch.down:
		return "the connection to the head closed"
	}
	return "the head is silent"
}

// reborn says that the registry named this node in place of a list of which nobody answered: it stands first
// in a new certificate, and neither led nor stood in the list before.
func (m *Machine) reborn() bool {
	list := m.list()
	if m.leading() || !m.freshEpoch() || m.resharded() || len(list) == 0 || list[0] != m.self.ID {
		return false
	}
	if m.high.lead == nil {
		return len(list) > 1 && m.shards() == 1
	}
	return !slices.Contains(m.high.cert.cert.listOf(m.self.ID), m.self.ID)
}

// heardHead notes a direct sign of life. Right after its connection closed, what still comes out of that
// connection says nothing.
func (m *Machine) heardHead(seq uint64) {
	w := &m.watch
	w.seq = max(w.seq, seq)
	if w.down {
		if m.clock.now.Sub(w.downAt) < m.timers().Beacon {
			return
		}
		w.down = false
	}
	w.heard, w.direct, w.met, w.probe, w.suppressed, w.resigned = m.clock.now, true, true, nil, 0, false
	w.heardAt, w.shown = m.clock.now, nil
	if w.doubled && m.clock.now.Sub(w.doubledAt) > m.timers().Suspect {
		w.doubled = false
	}
}

// hint notes that the connection to the head closed, and corrects what this node said as a witness.
func (m *Machine) hint() {
	w := &m.watch
	w.down, w.downAt = true, m.clock.now
	for _, id := range slices.Sorted(maps.Keys(w.probers)) {
		m.send(id, &Message{ProbeRes: m.testify(w.probers[id])})
	}
	clear(w.probers)
	m.beat.asked, m.beat.nextAsk = 0, m.clock.now.Add(m.jitter())
	if _, d, ok := m.inLine(); ok && d == 1 && w.probe != nil {
		m.countNoes()
	}
}

// reconnected forgets the hint.
func (m *Machine) reconnected() {
	w := &m.watch
	if w.down {
		w.down, w.probe = false, nil
	}
}

// testify is what this node knows about the head, as a witness.
func (m *Machine) testify(req uint64) *ProbeRes {
	w, t := &m.watch, m.timers()
	age := m.clock.now.Sub(w.heardAt)
	interval := t.BeaconAll
	if m.candidate(m.self.ID) {
		interval = t.Beacon
	}
	stands := w.direct && !w.down && !w.resigned
	return &ProbeRes{Term: m.high.term, Req: req, Stands: stands, Fresh: stands && age <= interval*freshTenths/10,
		Seq: w.seq, AgeMs: uint64(age / time.Millisecond)}
}

func (m *Machine) onProbe(from ID, p *Probe) {
	if c := p.Term.Compare(m.high.term); c != 0 {
		r := &ProbeRes{Term: p.Term, Req: p.Req}
		if c < 0 {
			r.High = m.leadFor(from)
		} else {
			m.ask(from)
		}
		m.send(from, &Message{ProbeRes: r})
		return
	}
	if m.leading() {
		m.send(from, &Message{ProbeRes: &ProbeRes{Term: p.Term, Req: p.Req, Fresh: true, Stands: true, Seq: m.head.seq}})
		return
	}
	r := m.testify(p.Req)
	if _, known := m.watch.probers[from]; r.Fresh && (known || len(m.watch.probers) < maxProbers) {
		m.watch.probers[from] = p.Req
	}
	m.send(from, &Message{ProbeRes: r})
}

func (m *Machine) onProbeRes(from ID, r *ProbeRes) error {
	if !r.High.Empty() {
		if err := m.adopt(r.High, from); err != nil {
			return err
		}
	}
	p := m.watch.probe
	if p == nil || r.Req != p.req || r.Term != m.high.term {
		return nil
	}
	if from == m.high.head() {
		if r.Fresh {
			m.watch.down = false // it answered a question asked after the connection closed
			m.heardHead(r.Seq)
		} else if k, _, ok := m.inLine(); ok {
			m.claim(k, m.reason())
		}
		return nil
	}
	if slices.Contains(p.asked, from) {
		p.answers[from] = r
		m.countNoes()
	}
	return nil
}

// countNoes claims after a hint as soon as all witnesses say no.
func (m *Machine) countNoes() {
	p := m.watch.probe
	if p == nil || !m.hinted() || len(p.answers) < len(p.asked) || len(p.asked) == 0 {
		return
	}
	for _, r := range p.answers {
		if r.Fresh {
			return
		}
	}
	if k, _, ok := m.inLine(); ok {
		m.claim(k, m.reason())
	}
}
