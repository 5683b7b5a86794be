package cluster

import (
	"cmp"
	"slices"
	"time"
)

// Settings of the list's upkeep (R11) and of calls to the registry.
const (
	proposeEvery = 30 * time.Second // while the list is full
	proposeAgain = 10 * time.Second // after a call that failed or got no answer
	maxLiving    = 500              // ids shown in one report: 40 bytes each
	maxShownRows = 24               // rows shown in one report: about 500 bytes each
	maxDigest    = 256              // heads named in one report
	listPace     = time.Second      // a full list of a large city is looked at no more often
	prefixShare  = 2                // so many of one network before others are preferred
	maxAge       = 100 * 365 * 24 * time.Hour
)

// listState is the upkeep of the succession.
type listState struct {
	dirty   bool     // who lives, or their priorities, changed
	due     bool     // the list should be another one
	waiting bool     // a Propose is under way
	asked   Instant  // when it was sent
	last    Instant  // when the present list came
	names   []ID     // the present list
	under   [32]byte // the certificate under which it was asked for another
	dueAt   Instant  // when to propose, if due
	after   Instant  // not before: the registry did not answer
	looked  Instant  // when the list was last compared with what it should be
}

// contender is a living member that may stand in the list.
type contender struct {
	id       ID
	unwell   bool
	flapping bool
	crowded  bool // enough others of its network stand before it
	prefix   string
	p        Priority
}

// order is below 0 where c comes first. What is wrong with a node at the moment, its flapping and its neighbours only
// move it back: no place stays empty for their sake.
func (c contender) order(d contender) int {
	return cmp.Or(
		cmp.Compare(number(c.unwell), number(d.unwell)), cmp.Compare(number(c.flapping), number(d.flapping)),
		cmp.Compare(number(d.p.Reachable), number(c.p.Reachable)), cmp.Compare(number(c.crowded), number(d.crowded)),
		d.p.Compare(c.p), cmp.Compare(c.id, d.id),
	)
}

// living are the members that may stand in the list, the best first.
func (m *Machine) living() []contender {
	var out []contender
	crowd := make(map[string]int)
	m.table.each(chainHeard, func(e *member) bool {
		id := e.row.ID
		switch {
		case id == m.self.ID:
			crowd[e.row.Attested.Prefix]++
		case e.heard && !e.transient && !m.barred.ids[id]:
			out = append(out, contender{id: id, unwell: e.unwell != "", flapping: m.flapping(e), prefix: e.row.Attested.Prefix, p: m.standing(e)})
		}
		return true
	})
	slices.SortFunc(out, contender.order)
	for i := range out {
		if p := out[i].prefix; p != "" {
			crowd[p]++
			out[i].crowded = crowd[p] > prefixShare
		}
	}
	slices.SortFunc(out, contender.order)
	return out
}

// flapping says that a member booted too often of late.
func (m *Machine) flapping(e *member) bool {
	return len(e.boots) > flapBoots && m.clock.now.Sub(e.boots[0]) < flapWindow
}

// standing is a member's priority as this head takes it: claims count as far as they are attested. Load does not
// count here: it changes with every session.
func (m *Machine) standing(e *member) Priority {
	p, a := e.row.Priority, e.row.Attested
	p.Load, p.Stability = 0, min(p.Stability, StabilityBucket(m.age(e.row.FirstSeen)))
	if a.At == 0 {
		p.Capacity = 0
		return p
	}
	p.Capacity, p.Reachable = min(p.Capacity, a.Capacity), a.Reachable
	return p
}

// age is how long ago the registry first saw a node. The wall clock is that of this node's boot number, which went on
// with the caller's clock since: good enough for buckets that double.
func (m *Machine) age(firstSeen int64) time.Duration {
	if firstSeen <= 0 {
		return 0
	}
	wall := int64(m.self.Boot) + m.clock.now.Sub(m.clock.began).Milliseconds()
	return time.Duration(min(max(wall-firstSeen, 0), maxAge.Milliseconds())) * time.Millisecond
}

// wanted is the succession as it should be: this node, the living by priority (those that flap or are not well
// last), the silent of the present list.
func (m *Machine) wanted() []ID {
	living := m.living()
	out := []ID{m.self.ID}
	for _, l := range living[:min(len(living), m.slots()-1)] {
		out = append(out, l.id)
	}
	for _, id := range m.list() {
		e := m.table.rows[id]
		if len(out) < m.slots() && !slices.Contains(out, id) && !m.barred.ids[id] && e != nil && m.clock.now.Sub(e.last) < callFor {
			out = append(out, id)
		}
	}
	return out
}

// runList proposes a new succession when it should be another: at once while it has room and somebody
// new lives, else at most every proposeEvery.
func (m *Machine) runList() {
	l, now := &m.head.list, m.clock.now
	if l.waiting && now.Sub(l.asked) > proposeAgain {
		l.waiting, l.dirty = false, true
	}
	if l.waiting || m.freshEpoch() || m.note.stopping || m.unsure() {
		return
	}
	have := m.list()
	look := now.Sub(l.looked)
	switch {
	case l.due && now >= l.dueAt:
	case look >= proposeEvery: // a node ceases to flap without a word
	case !l.dirty, len(have) >= m.slots() && look < listPace:
		return
	}
	l.dirty, l.due, l.looked = false, false, now
	want := m.wanted()
	if slices.Equal(want, have) {
		return
	}
	news := slices.ContainsFunc(want, func(id ID) bool { return !slices.Contains(have, id) })
	at := l.last.Add(proposeEvery)
	if len(have) < m.slots() && news {
		at = now
	}
	if at = max(at, l.after); now < at {
		l.due, l.dueAt = true, at
		return
	}
	l.waiting, l.asked, l.under = true, now, m.cert.hash
	m.call(CallPropose)
}

// call asks the caller to call the registry.
func (m *Machine) call(kind RegistryCall) {
	req := &Request{Version: Version, Kind: kind, Self: Peer{m.self.ID, m.self.Addrs}, City: m.env.cfg.City,
		Admission: m.self.Admission, Cert: m.cert.raw, Lead: m.high.raw}
	switch kind {
	case CallPropose:
		req.Living = m.wanted()
		for _, id := range req.Living {
			if e := m.table.rows[id]; e != nil && !e.row.Admission.Empty() {
				req.Rows = append(req.Rows, e.row)
			}
		}
		req.Living = slices.DeleteFunc(req.Living, func(id ID) bool { return id != m.self.ID && !m.table.rows[id].alive })
	default:
		m.showMembers(req)
	}
	req.HeadsDigest = m.digest(maxDigest)
	m.note.out.Calls = append(m.note.out.Calls, Call{Kind: kind, Request: req})
}

// showMembers adds some of the living and of their rows, in turn: so a registry that lost its disk learns
// its nodes again.
func (m *Machine) showMembers(req *Request) {
	var living []ID
	for _, id := range m.table.ids() {
		if e := m.table.rows[id]; e.alive && (e.heard || id == m.self.ID) {
			living = append(living, id)
		}
	}
	n := len(living)
	start := m.head.cursor % max(n, 1)
	for i := range min(n, maxLiving) {
		id := living[(start+i)%n]
		req.Living = append(req.Living, id)
		if len(req.Rows) < maxShownRows {
			req.Rows = append(req.Rows, m.table.rows[id].row)
		}
	}
	m.head.cursor = start + min(n, maxShownRows)
}

// answered takes in what the registry said, refusals included: they may carry a higher Lead.
func (m *Machine) answered(in Answered) {
	if in.Kind == CallPropose && m.leading() {
		l := &m.head.list
		l.waiting, l.dirty = false, true
		if in.Err != nil || in.Answer == nil || in.Answer.Error != nil {
			l.after = m.clock.now.Add(proposeAgain)
		}
	}
	a := in.Answer
	if in.Err != nil || a == nil {
		return
	}
	if adm, err := m.env.trust.Admission(a.Admission); err == nil && adm.ID == m.self.ID && adm.City == m.env.cfg.City {
		m.self.Admission = a.Admission
	}
	if a.FirstSeen > 0 {
		m.self.FirstSeen = a.FirstSeen
	}
	m.offerBarred(a.Barred)
	for _, raw := range slices.Concat(a.Leads, a.Heads) {
		_ = m.adopt(raw, "") // one that does not verify says nothing
	}
	if v, err := newCertView(m.env.trust, a.Cert); err == nil && m.offerCert(v) && !m.leading() && m.high.lead != nil && m.freshEpoch() {
		m.tellCert()
	}
	if in.Kind == CallPropose && m.leading() && m.cert.hash != m.head.list.under {
		m.head.list.after = 0 // refused only because another shard was first: this one leads in the new epoch too by now
	}
}
