package cluster

import (
	"maps"
	"slices"
)

// Settings of the table of other heads.
const (
	maxHeads     = 4096     // cities
	headsBudget  = 48 << 10 // bytes of Leads in one message
	maxRefsShown = 1000     // entries of a digest: about 40 bytes each
)

// otherHead is the best Lead known of another city.
type otherHead struct {
	leadView
	version uint64 // of the member table's counter
}

func (h *otherHead) known() KnownHead {
	return KnownHead{City: h.lead.City, Shard: h.lead.Shard, Raw: h.raw, Lead: h.lead, Term: h.term}
}

// headTable holds the heads of other cities. They are never dropped: the term only rises.
type headTable struct {
	rows map[City]*otherHead
	copy copied
}

// copied is how far this node's copy of the head's tables is.
type copied struct {
	term Term
	upto uint64
}

func newHeadTable() headTable { return headTable{rows: make(map[City]*otherHead)} }

// learnHead keeps the highest Lead of each other city.
func (m *Machine) learnHead(v leadView) {
	h := m.others.rows[v.lead.City]
	if h == nil {
		if len(m.others.rows) >= maxHeads {
			m.note.refused++
			return
		}
		h = &otherHead{}
		m.others.rows[v.lead.City] = h
	}
	switch c := v.term.Compare(h.term); {
	case c < 0 || c == 0 && v.lead.Seq <= h.lead.Seq:
		return
	}
	m.table.version++
	h.leadView, h.version = v, m.table.version
	m.event(HeadLearned{City: v.lead.City, Shard: v.lead.Shard, Lead: v.raw})
}

// digest names up to n of the known heads; of more, some in turn.
func (m *Machine) digest(n int) []HeadRef {
	cities := slices.Sorted(maps.Keys(m.others.rows))
	start := 0
	if len(cities) > n {
		start = m.env.rng.IntN(len(cities))
	}
	out := make([]HeadRef, 0, min(n, len(cities)))
	for i := range min(n, len(cities)) {
		out = append(out, refOf(m.others.rows[cities[(start+i)%len(cities)]].leadView))
	}
	return out
}

// compareHeads shows one random known head what this head knows, itself included.
func (m *Machine) compareHeads() {
	if len(m.others.rows) == 0 {
		return
	}
	cities := slices.Sorted(maps.Keys(m.others.rows))
	h := m.others.rows[cities[m.env.rng.IntN(len(cities))]]
	m.sendHead(h, &Message{Heads: &Heads{Step: 1, Digest: m.digest(maxRefsShown), Leads: []Signed{m.high.raw}}})
}

func (m *Machine) sendHead(h *otherHead, msg *Message) {
	for _, p := range h.lead.Addrs {
		if p.ID == h.lead.Head {
			m.sendAt(p.ID, p.Addrs, msg)
			return
		}
	}
	m.send(h.lead.Head, msg)
}

// onHeads learns what is newer, and answers with what the other lacks. Whoever is asked answers, so an
// old head leads to the new one.
func (m *Machine) onHeads(from ID, q *Heads) {
	for _, raw := range q.Leads {
		_ = m.adopt(raw, "") // one that does not verify says nothing
	}
	reply := &Heads{Step: q.Step + 1}
	switch q.Step {
	case 1:
		if !m.limit.allow(m.clock.now, from) {
			return
		}
		reply.Leads, reply.Want = m.newerThan(q.Digest)
	case 2:
		for _, r := range q.Want {
			if h := m.others.rows[r.City]; h != nil {
				reply.Leads = m.addLead(reply.Leads, h.raw)
			}
		}
	}
	if len(reply.Leads)+len(reply.Want) > 0 {
		m.send(from, &Message{Heads: reply})
	}
}

// newerThan are the Leads that a digest lacks, the own city's first, and what it has that is newer.
func (m *Machine) newerThan(digest []HeadRef) (leads []Signed, want []HeadRef) {
	theirs := make(map[City]HeadRef, len(digest))
	for _, r := range digest {
		theirs[r.City] = r
	}
	if m.high.lead != nil {
		if r, ok := theirs[m.high.lead.City]; !ok || refOf(m.high).compare(r) > 0 {
			leads = m.addLead(leads, m.high.raw)
		}
	}
	for _, city := range slices.Sorted(maps.Keys(m.others.rows)) {
		h := m.others.rows[city]
		r, ok := theirs[city]
		switch c := refOf(h.leadView).compare(r); {
		case !ok || c > 0:
			leads = m.addLead(leads, h.raw)
		case c < 0:
			want = append(want, refOf(h.leadView))
		}
	}
	for _, r := range digest {
		if m.others.rows[r.City] == nil && r.City != m.env.cfg.City && len(want) < maxRefsShown {
			want = append(want, HeadRef{City: r.City})
		}
	}
	return leads, want
}

// addLead appends while the message has room; the rest goes with the next comparison.
func (m *Machine) addLead(leads []Signed, raw Signed) []Signed {
	size := len(raw.Payload) + len(raw.Sig)
	for _, l := range leads {
		size += len(l.Payload) + len(l.Sig)
	}
	if size > headsBudget {
		return leads
	}
	return append(leads, raw)
}
