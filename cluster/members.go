package cluster

import (
	"bytes"
	"maps"
	"slices"
	"time"
)

// member is one node of the own city. Rows of the evicted stay for callFor, so that they can be called.
type member struct {
	row       Row
	admitted  bool // this node verified the admission in row
	alive     bool // not evicted
	heard     bool // a heartbeat came during this headship
	left      bool // it said good-bye: not called
	transient bool
	unwell    string  // why it should not lead, as it says
	last      Instant // its last heartbeat; before one came: since when it is waited for
	told      Instant // the last beacon to all members
	boot, seq uint64  // of its last heartbeat
	used      uint64  // when it was last picked first, as a count
	version   uint64  // of the table when row or alive last changed
	stamp     Term    // the term whose head replicated this row
	boots     []Instant
	clone     clone
	links     [chains]links
}

// clone watches for a second process with the same key: an old boot whose heartbeats go on.
type clone struct {
	boot, seq uint64
	since     Instant
	told      bool
}

// The chains of a table keep its members in the order in which something is due, so that nothing is sorted and nobody
// is looked at in vain.
const (
	chainHeard   = iota // the living, by their last heartbeat
	chainTold           // the living, by the last beacon to all
	chainGone           // the evicted that are called, by the last call
	chainChanged        // all, by version
	chains
)

type links struct {
	prev, next *member
	in         bool
}

// order is a list through one of the links of its members.
type order struct {
	which       int
	first, last *member
	n           int
}

// push puts a member at the end, wherever it was.
func (c *order) push(e *member) {
	c.remove(e)
	l := &e.links[c.which]
	l.prev, l.in = c.last, true
	if c.last == nil {
		c.first = e
	} else {
		c.last.links[c.which].next = e
	}
	c.last = e
	c.n++
}

func (c *order) remove(e *member) {
	l := &e.links[c.which]
	if !l.in {
		return
	}
	if l.prev == nil {
		c.first = l.next
	} else {
		l.prev.links[c.which].next = l.next
	}
	if l.next == nil {
		c.last = l.prev
	} else {
		l.next.links[c.which].prev = l.prev
	}
	*l = links{}
	c.n--
}

// after is the next member of a chain; nil: none.
func (c *order) after(e *member) *member { return e.links[c.which].next }

// memberTable is the head's table of members, and a candidate's copy of it.
type memberTable struct {
	rows    map[ID]*member
	order   [chains]order
	alive   int
	version uint64 // grows with each change that is replicated
	uses    uint64
}

func newMemberTable() memberTable {
	t := memberTable{rows: make(map[ID]*member)}
	for i := range t.order {
		t.order[i].which = i
	}
	return t
}

// ids are all members, sorted: for what is shown, not for what is done in every step.
func (t *memberTable) ids() []ID { return slices.Sorted(maps.Keys(t.rows)) }

// each visits the members of a chain in its order; visit may take the present one out of it.
func (t *memberTable) each(which int, visit func(*member) bool) {
	c := &t.order[which]
	for e := c.first; e != nil; {
		next := c.after(e)
		if !visit(e) {
			return
		}
		e = next
	}
}

// touch marks a row as changed for the copies.
func (t *memberTable) touch(e *member) {
	t.version++
	e.version = t.version
	t.order[chainChanged].push(e)
}

func (t *memberTable) setAlive(e *member, alive bool) {
	if e.alive == alive {
		return
	}
	e.alive = alive
	t.alive += 2*number(alive) - 1
	t.touch(e)
	if alive {
		t.order[chainHeard].push(e)
		t.order[chainTold].push(e)
		t.order[chainGone].remove(e)
		return
	}
	t.order[chainHeard].remove(e)
	t.order[chainTold].remove(e)
}

// hear notes a sign of life.
func (t *memberTable) hear(e *member, now Instant) {
	e.heard, e.left, e.last = true, false, now
	t.order[chainHeard].push(e)
}

// await puts a row that is not alive among those that are called.
func (t *memberTable) await(e *member) { t.order[chainGone].push(e) }

// find is the row of a member, made where there is none.
func (t *memberTable) find(id ID) *member {
	e := t.rows[id]
	if e == nil {
		e = &member{row: Row{ID: id}}
		t.rows[id] = e
	}
	return e
}

// put sets a row and says whether it is another than before. Load changes with every session: it is not replicated,
// and no difference.
func (t *memberTable) put(row Row) (e *member, changed bool) {
	e, known := t.rows[row.ID], true
	if e == nil {
		e, known = t.find(row.ID), false
	}
	if known && e.row.same(&row) {
		e.row.Load = row.Load
		return e, false
	}
	e.admitted = e.admitted && sameSigned(e.row.Admission, row.Admission)
	e.row = row
	t.touch(e)
	return e, true
}

// same says that two rows differ at most in their load.
func (r *Row) same(s *Row) bool {
	return r.ID == s.ID && r.Priority == s.Priority && r.FirstSeen == s.FirstSeen && r.Boot == s.Boot && r.Attested == s.Attested &&
		slices.EqualFunc(r.Addrs, s.Addrs, bytes.Equal) && sameSigned(r.Admission, s.Admission)
}

// rowOverhead is what a row takes in a frame beside its addresses, its admission and its network's name, in bytes.
const rowOverhead = 128

// size is how many bytes a row takes in a frame, at most.
func (r *Row) size() int {
	n := rowOverhead + len(r.Admission.Payload) + len(r.Admission.Sig) + len(r.Attested.Prefix)
	for _, a := range r.Addrs {
		n += len(a) + 3
	}
	return n
}

func sameSigned(a, b Signed) bool {
	return bytes.Equal(a.Payload, b.Payload) && bytes.Equal(a.Sig, b.Sig)
}

// remove forgets a member.
func (t *memberTable) remove(id ID) {
	if e := t.rows[id]; e != nil {
		t.setAlive(e, false)
		for i := range t.order {
			t.order[i].remove(e)
		}
		delete(t.rows, id)
	}
}

// begin starts a headship: everybody has to be heard anew, and is waited for so much longer than later. Beacons to all
// are spread over the time between two.
func (t *memberTable) begin(now Instant, beaconAll, longer time.Duration) {
	for _, e := range t.rows {
		e.heard, e.last = false, now.Add(longer)
	}
	i, n := 0, time.Duration(max(t.alive, 1))
	t.each(chainTold, func(e *member) bool {
		e.told = now.Add(-beaconAll + beaconAll*time.Duration(i)/n)
		i++
		return true
	})
}

// forget ends a headship: nobody has been heard by the next one.
func (t *memberTable) forget() {
	for _, e := range t.rows {
		e.heard = false
	}
}

// sweep removes rows that the head of term did not replicate.
func (t *memberTable) sweep(term Term, self ID) {
	for id, e := range t.rows {
		if id != self && e.stamp != term {
			t.remove(id)
		}
	}
}
