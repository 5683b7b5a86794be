package cluster

import (
	"fmt"
	"time"
)

// Settings of a head's members.
const (
	callEvery      = 4 * time.Second // the evicted are called in rounds
	callsPerRound  = 16
	callFor        = 24 * time.Hour   // so long the evicted are called and keep their place in the list
	callFewFor     = 10 * time.Minute // so long where there are goneFactor times more rows than members may be
	goneFactor     = 2
	flapBoots      = 3 // more boots than this within flapWindow: to the tail of the living
	flapWindow     = 10 * time.Minute
	cloneIntervals = 2 // heartbeat intervals for which an old boot goes on, before it is an alarm
)

// onHeartbeat notes that a member lives; the arrival is stamped by this node's own clock.
func (m *Machine) onHeartbeat(from ID, hb *Heartbeat) error {
	if !m.judge(from, hb.Term) || !m.leading() {
		return nil
	}
	if hb.Row != nil {
		if err := m.checkRow(from, hb.Row); err != nil {
			return err
		}
	}
	e := m.table.rows[from]
	switch {
	case (e == nil || !e.alive) && m.table.alive >= m.env.cfg.MaxMembers:
		return fmt.Errorf("%w: %s would be member %d, this head takes %d", ErrForeign, from.Short(), m.table.alive+1, m.env.cfg.MaxMembers)
	case hb.Row == nil && (e == nil || e.row.Admission.Empty()):
		m.tellLead(from, Signed{}) // it shows its row with the next one
		return nil
	}
	if e != nil && hb.Boot < e.boot && e.alive { // of one that was dropped nothing else is heard: its clock or its disk is another
		m.watchClone(from, e, hb)
		return nil
	}
	if e != nil && hb.Boot == e.boot && hb.Seq <= e.seq {
		return nil // a repetition
	}
	if hb.Leaving {
		if e != nil && e.alive {
			e.boot, e.seq = hb.Boot, hb.Seq
			m.drop(e, 0, true)
		}
		return nil
	}
	m.take(from, e, hb)
	return nil
}

// take stores what a heartbeat says.
func (m *Machine) take(from ID, e *member, hb *Heartbeat) {
	changed := false
	if e == nil || hb.Row != nil || e.row.Priority != hb.Priority || e.row.Boot != hb.Boot {
		e, changed = m.takeRow(e, hb)
	}
	e.row.Load = hb.Load
	if hb.Boot != e.boot {
		if m.head.copies[from] != nil {
			m.head.copies[from] = &copyState{} // its copy went with its memory
			m.rebooted(from)
		}
		e.boots = append(e.boots, m.clock.now)
		e.boots = e.boots[max(0, len(e.boots)-flapBoots-1):]
	}
	joined := !e.alive
	e.boot, e.seq = hb.Boot, hb.Seq
	changed = changed || e.unwell != hb.Unwell
	e.unwell = hb.Unwell
	m.table.setAlive(e, true)
	m.table.hear(e, m.clock.now)
	if joined {
		e.told = m.clock.now
		m.event(MemberJoined{Row: e.row})
	}
	if joined || changed {
		m.head.list.dirty = true
	}
}

// takeRow stores the row that a member shows, or what its heartbeat says of it. What was measured of it stays.
func (m *Machine) takeRow(e *member, hb *Heartbeat) (*member, bool) {
	var attested Attestation
	row := Row{}
	if e != nil {
		row, attested = e.row, e.row.Attested
	}
	if hb.Row != nil {
		row = *hb.Row
	}
	row.Priority, row.Boot, row.Attested = hb.Priority, hb.Boot, attested
	e, changed := m.table.put(row)
	m.admitted(e)
	return e, changed
}

// attested stores what this head measured of a member. It is replicated, so that it outlives the head.
func (m *Machine) attested(in Attested) error {
	e := m.table.rows[in.ID]
	if !m.leading() || e == nil || !e.alive {
		return nil // it left, or the measurement outlasted the headship
	}
	if err := in.Attestation.check(); err != nil {
		return err
	}
	row := e.row
	row.Attested = in.Attestation
	if _, changed := m.table.put(row); changed {
		m.head.list.dirty = true
	}
	return nil
}

// admitted reads the admission in a row, once.
func (m *Machine) admitted(e *member) {
	if e.admitted {
		return
	}
	if a, err := m.env.trust.Admission(e.row.Admission); err == nil {
		e.transient, e.admitted = a.Transient, true
	}
}

// checkRow refuses a row that is not the sender's, or whose admission is not for this city.
func (m *Machine) checkRow(from ID, row *Row) error {
	if e := m.table.rows[from]; e != nil && e.admitted && row.ID == from && sameSigned(e.row.Admission, row.Admission) {
		return row.check()
	}
	a, err := m.env.trust.Admission(row.Admission)
	if err != nil {
		return fmt.Errorf("admission of %s: %w", from.Short(), err)
	}
	if m.cert.cert.shardIn(from) != m.shard() {
		return fmt.Errorf("%w: %s belongs to another shard of %s", ErrForeign, from.Short(), a.City)
	}
	if row.ID != from || a.ID != from || a.City != m.env.cfg.City || a.Class == ClassRegistry {
		return fmt.Errorf("%w: %s shows the row of %s with an admission of %s for %s", ErrForeign, from.Short(), row.ID.Short(), a.ID.Short(), a.City)
	}
	return row.check()
}

// watchClone raises an alarm when an old boot goes on counting for two intervals: two processes share one key. What
// an old boot sent before it ended comes all at once, or not much later.
func (m *Machine) watchClone(from ID, e *member, hb *Heartbeat) {
	c := &e.clone
	switch {
	case hb.Boot != c.boot:
		*c = clone{boot: hb.Boot, seq: hb.Seq, since: m.clock.now}
	case hb.Seq > c.seq:
		c.seq = hb.Seq
		if !c.told && m.clock.now.Sub(c.since) >= cloneIntervals*m.interval(from) {
			c.told = true
			m.alarm("two processes run with the key of %s: boot %d goes on beside boot %d", from, hb.Boot, e.boot)
		}
	}
}

// evictSilent drops who was silent for Evict.
func (m *Machine) evictSilent() {
	m.table.each(chainHeard, func(e *member) bool {
		if e.row.ID == m.self.ID {
			return true
		}
		silence := m.clock.now.Sub(e.last)
		if silence > m.timers().Evict {
			m.drop(e, silence, false)
			return true
		}
		return false
	})
}

// drop takes a member off the table of the living.
func (m *Machine) drop(e *member, silence time.Duration, left bool) {
	if !e.alive {
		return
	}
	m.table.setAlive(e, false)
	e.left, e.heard = left, false
	if !left {
		m.table.await(e)
	}
	if m.head.copies[e.row.ID] != nil {
		m.head.copies[e.row.ID] = &copyState{} // nothing is sent to it until it is back
	}
	m.head.list.dirty = true
	m.event(MemberEvicted{ID: e.row.ID, Silence: silence})
}

// callEvicted keeps calling the evicted with the Lead, candidates first, those called longest ago before
// others: that heals partitions while registry and DHT are away (R10).
func (m *Machine) callEvicted() {
	calls := 0
	call := func(e *member) {
		m.table.await(e)
		m.send(e.row.ID, &Message{Lead: m.highRaw()})
		calls++
	}
	for _, id := range m.list() {
		if e := m.table.rows[id]; e != nil && e.links[chainGone].in {
			call(e)
		}
	}
	left := m.table.order[chainGone].n - calls
	m.table.each(chainGone, func(e *member) bool {
		if calls >= callsPerRound || left <= 0 {
			return false
		}
		left--
		if !m.candidate(e.row.ID) {
			call(e)
		}
		return true
	})
}

// forgetGone forgets who was silent for callFor, and of very many gone ones all that did not lately.
func (m *Machine) forgetGone() {
	tooMany := len(m.table.rows) > goneFactor*m.env.cfg.MaxMembers
	for id, e := range m.table.rows {
		silence := m.clock.now.Sub(e.last)
		if !e.alive && !m.candidate(id) && (silence > callFor || tooMany && silence > callFewFor) {
			m.table.remove(id)
		}
	}
}
