package cluster

import "slices"

// The two lists that an entry may be in: all entries in order, and one queue.
const (
	linkQueue = iota
	linkOrder
)

type link struct{ prev, next *entry }

// chain is a list through entries: adding and removing costs the same however long it is, and allocates nothing.
type chain struct {
	first, last *entry
	by          int // which of the entries' links
}

func (c *chain) push(e *entry) {
	e.links[c.by] = link{prev: c.last}
	if c.last == nil {
		c.first = e
	} else {
		c.last.links[c.by].next = e
	}
	c.last = e
}

func (c *chain) pushFront(e *entry) {
	e.links[c.by] = link{next: c.first}
	if c.first == nil {
		c.last = e
	} else {
		c.first.links[c.by].prev = e
	}
	c.first = e
}

func (c *chain) remove(e *entry) {
	at := e.links[c.by]
	if at.prev == nil {
		c.first = at.next
	} else {
		at.prev.links[c.by].next = at.next
	}
	if at.next == nil {
		c.last = at.prev
	} else {
		at.next.links[c.by].prev = at.prev
	}
	e.links[c.by] = link{}
}

// all calls f with each entry; f may move entries to other queues, but not remove them from this list.
func (c *chain) all(f func(*entry)) {
	for e := c.first; e != nil; e = e.links[c.by].next {
		f(e)
	}
}

// grouped sorts keys by the node that is to hear of them, in order of appearance.
type grouped struct {
	ids  []ID
	keys map[ID][]ResultKey
}

func (g *grouped) add(id ID, k ResultKey) {
	if id == "" {
		return
	}
	if g.keys == nil {
		g.keys = make(map[ID][]ResultKey)
	}
	if len(g.keys[id]) == 0 {
		g.ids = append(g.ids, id)
	}
	g.keys[id] = append(g.keys[id], k)
}

func (g *grouped) each(f func(ID, []ResultKey)) {
	for _, id := range g.ids {
		f(id, g.keys[id])
	}
}

func keysOf(entries []*entry) []ResultKey {
	keys := make([]ResultKey, len(entries))
	for i, e := range entries {
		keys[i] = e.key
	}
	return keys
}

// recent remembers the last keys that it was given.
type recent struct {
	at   map[ResultKey]int
	ring []ResultKey
	next int
	most int
}

func newRecent(most int) recent { return recent{at: make(map[ResultKey]int), most: most} }

func (r *recent) has(k ResultKey) bool {
	_, ok := r.at[k]
	return ok
}

func (r *recent) add(k ResultKey) {
	if r.has(k) {
		return
	}
	if len(r.ring) < r.most {
		r.ring = append(r.ring, ResultKey{})
	}
	if old := r.ring[r.next]; r.at[old] == r.next {
		delete(r.at, old)
	}
	r.ring[r.next], r.at[k] = k, r.next
	r.next = (r.next + 1) % r.most
}

func (r *recent) forget(k ResultKey) { delete(r.at, k) }

// sendKeys sends as many messages as the keys need.
func (m *Machine) sendKeys(to ID, keys []ResultKey, message func(Term, []ResultKey) *Message) {
	for part := range slices.Chunk(keys, maxKeys) {
		m.send(to, message(m.high.term, part))
	}
}

func (m *Machine) sendAck(to ID, level uint8, keys []ResultKey) {
	m.sendKeys(to, keys, func(t Term, keys []ResultKey) *Message {
		return &Message{ResAck: &ResAck{Term: t, Level: uint(level), Keys: keys}}
	})
}

func (m *Machine) sendTrim(to ID, keys []ResultKey) {
	m.sendKeys(to, keys, func(t Term, keys []ResultKey) *Message { return &Message{Trim: &Trim{Term: t, Keys: keys}} })
}

// transfer asks the caller to send results.
func (m *Machine) transfer(to ID, kind TransferKind, keys []ResultKey) {
	m.note.out.Moves = append(m.note.out.Moves, Transfer{To: to, Addrs: m.addrsOf(to), Kind: kind, Term: m.high.term, Keys: keys})
}
