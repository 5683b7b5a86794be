package cluster

import (
	"cmp"
	"maps"
	"slices"
)

// Settings of the table of other heads.
const (
	maxHeads     = 4096     // of all cities and their shards
	headsBudget  = 48 << 10 // bytes of Leads in one message
	maxRefsShown = 1000     // entries of a digest: about 40 bytes each
)

// headKey is whose head it is.
type headKey struct {
	city  City
	shard uint
}

func (k headKey) compare(l headKey) int {
	return cmp.Or(cmp.Compare(k.city, l.city), cmp.Compare(k.shard, l.shard))
}

func (v leadView) key() headKey { return headKey{v.lead.City, v.lead.Shard} }

func (r HeadRef) key() headKey { return headKey{r.City, r.Shard} }

// otherHead is the best Lead known of another city, or of another shard of this one.
type otherHead struct {
	leadView
	version uint64 // of the member table's counter
}

func (h *otherHead) known() KnownHead {
	return KnownHead{City: h.lead.City, Shard: h.lead.Shard, Raw: h.raw, Lead: h.lead, Term: h.term}
}

// headTable holds the other heads. They are dropped only where a city has fewer shards than before: the term only
// rises.
type headTable struct {
	rows    map[headKey]*otherHead
	version uint64 // of the row that changed last
	copy    copied
}

// copied is how far this node's copy of the head's tables is.
type copied struct {
	term Term
	upto uint64
}

func newHeadTable() headTable { return headTable{rows: make(map[headKey]*otherHead)} }

// since are the heads that changed after a version, in that order.
func (t *headTable) since(version uint64) []*otherHead {
	if t.version <= version {
		return nil
	}
	var out []*otherHead
	for _, h := range t.rows {
		if h.version > version {
			out = append(out, h)
		}
	}
	slices.SortFunc(out, func(a, b *otherHead) int { return cmp.Compare(a.version, b.version) })
	return out
}

// keys are those of all known heads, by city and shard.
func (t *headTable) keys() []headKey {
	return slices.SortedFunc(maps.Keys(t.rows), headKey.compare)
}

// outdated says that a Lead is of a shard that its city does not have any more, or that is this node's own by now.
func (m *Machine) outdated(v leadView) bool {
	if v.lead.City == m.env.cfg.City {
		return v.cert.compare(m.cert) < 0 && (v.lead.Shard >= uint(m.shards()) || v.lead.Shard == m.shard())
	}
	for s := range v.lead.Shard {
		h := m.others.rows[headKey{v.lead.City, s}]
		if h != nil && h.cert.compare(v.cert) > 0 && v.lead.Shard >= uint(len(h.cert.cert.Successions)) {
			return true
		}
	}
	return false
}

// learnHead keeps the highest Lead of each other city and shard.
func (m *Machine) learnHead(v leadView) {
	if m.outdated(v) {
		return
	}
	h := m.others.rows[v.key()]
	if h == nil {
		if len(m.others.rows) >= maxHeads {
			m.note.refused++
			return
		}
		h = &otherHead{}
		m.others.rows[v.key()] = h
	}
	switch c := v.term.Compare(h.term); {
	case c < 0 || c == 0 && v.lead.Seq <= h.lead.Seq:
		return
	}
	other := h.head() != v.lead.Head
	m.table.version++
	h.leadView, h.version, m.others.version = v, m.table.version, m.table.version
	for s := uint(len(v.cert.cert.Successions)); s < maxShards && v.lead.City != m.env.cfg.City; s++ {
		if k := (headKey{v.lead.City, s}); m.others.rows[k] != nil && m.others.rows[k].cert.compare(v.cert) < 0 {
			delete(m.others.rows, k)
		}
	}
	if other && m.leading() && v.lead.City == m.env.cfg.City {
		m.tellSiblings(&Message{Lead: &v.raw}) // two that are new do not know one another yet
	}
	m.event(HeadLearned{City: v.lead.City, Shard: v.lead.Shard, Lead: v.raw})
}

// digest names up to n of the known heads; of more, some in turn.
func (m *Machine) digest(n int) []HeadRef {
	keys := m.others.keys()
	start := 0
	if len(keys) > n {
		start = m.env.rng.IntN(len(keys))
	}
	out := make([]HeadRef, 0, min(n, len(keys)))
	for i := range min(n, len(keys)) {
		out = append(out, refOf(m.others.rows[keys[(start+i)%len(keys)]].leadView))
	}
	return out
}

// compareHeads shows one random known head what this head knows, itself included.
func (m *Machine) compareHeads() {
	if len(m.others.rows) == 0 {
		return
	}
	keys := m.others.keys()
	h := m.others.rows[keys[m.env.rng.IntN(len(keys))]]
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
			if h := m.others.rows[r.key()]; h != nil {
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
	theirs := make(map[headKey]HeadRef, len(digest))
	for _, r := range digest {
		theirs[r.key()] = r
	}
	if m.high.lead != nil {
		if r, ok := theirs[m.high.key()]; !ok || refOf(m.high).compare(r) > 0 {
			leads = m.addLead(leads, m.high.raw)
		}
	}
	for _, key := range m.others.keys() {
		h := m.others.rows[key]
		r, ok := theirs[key]
		switch c := refOf(h.leadView).compare(r); {
		case !ok || c > 0:
			leads = m.addLead(leads, h.raw)
		case c < 0:
			want = append(want, refOf(h.leadView))
		}
	}
	for _, r := range digest {
		own := r.City == m.env.cfg.City && r.Shard == m.shard()
		if m.others.rows[r.key()] == nil && !own && len(want) < maxRefsShown {
			want = append(want, HeadRef{City: r.City, Shard: r.Shard})
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
