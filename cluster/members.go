package cluster

import (
	"bytes"
	"maps"
	"slices"
)

// member is one node of the own city. Rows of the evicted stay for callFor, so that they can be called.
type member struct {
	row       Row
	encoded   []byte  // row as it was last replicated
	alive     bool    // not evicted
	heard     bool    // a heartbeat came during this headship
	left      bool    // it said good-bye: not called
	last      Instant // its last heartbeat; before one came: since when it is waited for
	called    Instant
	boot, seq uint64 // of its last heartbeat
	used      uint64 // when it was last picked first, as a count
	version   uint64 // of the table when row or alive last changed
	stamp     Term   // the term whose head replicated this row
	transient bool
	unwell    string    // why it should not lead, as it says
	boots     []Instant // the last changes of boot
	clone     clone
}

// clone watches for a second process with the same key: an old boot whose heartbeats go on.
type clone struct {
	boot, seq uint64
	grown     int
}

// memberTable is the head's table of members, and a candidate's copy of it.
type memberTable struct {
	rows    map[ID]*member
	alive   int
	version uint64 // grows with each change that is replicated
	uses    uint64
}

func newMemberTable() memberTable { return memberTable{rows: make(map[ID]*member)} }

func (t *memberTable) ids() []ID { return slices.Sorted(maps.Keys(t.rows)) }

// touch marks a row as changed for the copies.
func (t *memberTable) touch(e *member) {
	t.version++
	e.version = t.version
}

func (t *memberTable) setAlive(e *member, alive bool) {
	if e.alive != alive {
		e.alive = alive
		t.alive += 2*number(alive) - 1
		t.touch(e)
	}
}

// put sets a row and says whether it is another than before.
func (t *memberTable) put(row Row) (e *member, changed bool) {
	encoded := Marshal(&row)
	e = t.rows[row.ID]
	if e == nil {
		e = &member{}
		t.rows[row.ID] = e
	}
	if bytes.Equal(e.encoded, encoded) {
		return e, false
	}
	e.row, e.encoded = row, encoded
	t.touch(e)
	return e, true
}

func (t *memberTable) remove(id ID) {
	if e := t.rows[id]; e != nil {
		t.setAlive(e, false)
		delete(t.rows, id)
	}
}

// forget ends a headship: nobody has been heard by the next one.
func (t *memberTable) forget() {
	for _, e := range t.rows {
		e.heard = false
	}
}

// sweep removes rows that the head of term did not replicate.
func (t *memberTable) sweep(term Term, self ID) {
	for _, id := range t.ids() {
		if id != self && t.rows[id].stamp != term {
			t.remove(id)
		}
	}
}
