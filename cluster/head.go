package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Settings of a head.
const (
	reportEvery   = 10 * time.Second // to the registry
	headsEvery    = 30 * time.Second // tables of heads are compared with one other head
	refreshEvery  = 5 * time.Second  // at most so often a Lead is signed anew because its addresses changed
	callEvery     = 4 * time.Second  // the evicted are called in rounds
	callsPerRound = 16
	callFor       = 24 * time.Hour // so long the evicted are called and keep their place in the list
	flapBoots     = 3              // more boots than this within flapWindow: to the tail of the living
	flapWindow    = 10 * time.Minute
	cloneGrowth   = 2 // heartbeats of an old boot, growing, before it is an alarm
)

// headship is what a node has while it leads.
type headship struct {
	seq         uint64 // of beacons and Leads
	nextBeacon  Instant
	nextAll     Instant
	nextReport  Instant
	nextHeads   Instant
	nextCall    Instant
	nextCopy    Instant // earliest next round of Replicate
	signed      Instant // when the Lead was last signed
	candidateAt Instant // when any candidate was last heard
	copies      map[ID]*copyState
	list        listState
	cursor      int     // of the rows and living shown to the registry in turn
	since       Instant // when it began
	unsure      Instant // until then it doubts that it still leads (R6); 0: it does not
	over        handover
}

// takeOffice begins a headship: replicated members get Evict to show up.
func (m *Machine) takeOffice() {
	m.head = &headship{since: m.clock.now}
	m.watch.met = true
	m.putSelf()
	for _, id := range m.table.ids() {
		e := m.table.rows[id]
		e.heard, e.last = false, m.clock.now
	}
	m.ledgerOffice()
}

// enter starts a term: copies start from nothing, and everybody hears of it.
func (h *headship) enter(m *Machine) {
	now, t := m.clock.now, m.timers()
	h.seq = m.high.lead.Seq
	h.nextBeacon, h.nextAll = now.Add(t.Beacon), now.Add(t.BeaconAll)
	h.nextReport, h.nextHeads, h.nextCall, h.nextCopy = now.Add(reportEvery), now, now.Add(callEvery), now
	h.signed, h.candidateAt = now, now
	h.copies = make(map[ID]*copyState)
	for _, id := range m.list() {
		if id == m.self.ID {
			continue
		}
		h.copies[id] = &copyState{}
		if m.table.rows[id] == nil { // never heard: not alive, but called
			m.table.rows[id] = &member{row: Row{ID: id, Addrs: m.addrsOf(id)}, last: now}
		}
	}
	h.list = listState{dirty: true, last: now, after: h.list.after, asked: h.list.asked, waiting: h.list.waiting}
	m.copyAgain()
}

// putSelf keeps this node's own row in the table.
func (m *Machine) putSelf() {
	e, changed := m.table.put(m.self)
	m.table.setAlive(e, true)
	if a, err := m.env.trust.Admission(m.self.Admission); err == nil {
		e.transient = a.Transient
	}
	e.boot = m.self.Boot
	if changed {
		m.head.list.dirty = true
	}
}

func (m *Machine) headDeadline() Instant {
	h := m.head
	at := min(h.nextBeacon, h.nextAll, h.nextReport, h.nextHeads, h.nextCall)
	if h.unsure != 0 {
		at = min(at, h.unsure)
	}
	if h.over.to != "" {
		at = min(at, h.over.until)
	}
	at = min(at, m.copiesAt(at))
	if h.list.due && !h.list.waiting && !m.note.stopping && !m.unsure() {
		at = min(at, h.list.dueAt)
	}
	return at
}

// runHead does what is due for a head.
func (m *Machine) runHead() {
	h, now, t := m.head, m.clock.now, m.timers()
	m.runUnsure()
	if now >= h.nextBeacon {
		h.nextBeacon = now.Add(t.Beacon)
		if !m.unsure() {
			m.evictSilent()
			m.refreshLead()
		}
		m.beacon()
		if h.over.resigned {
			m.resign()
		}
	}
	if now >= h.nextAll {
		h.nextAll = now.Add(t.BeaconAll)
		m.beaconAll()
	}
	if now >= h.nextCall {
		h.nextCall = now.Add(callEvery)
		m.callEvicted()
	}
	if now >= h.nextReport {
		h.nextReport = now.Add(reportEvery)
		m.call(CallReport)
	}
	if now >= h.nextHeads {
		h.nextHeads = now.Add(headsEvery)
		m.compareHeads()
	}
	m.runList()
	m.runCopies()
	m.runHandover()
}

func (m *Machine) beaconMessage() *Message {
	return &Message{Beacon: &Beacon{Term: m.high.term, Boot: m.self.Boot, Seq: m.head.seq, Load: m.self.Load,
		Members: uint32(m.table.alive), Backup: m.backup()}}
}

// beacon tells the candidates that the head lives. One that has heard no candidate for Evict stops: most
// likely it is alone, and who comes back calls (R10).
func (m *Machine) beacon() {
	m.head.seq++
	if m.clock.now.Sub(m.head.candidateAt) > m.timers().Evict {
		return
	}
	msg := m.beaconMessage()
	for _, id := range m.list() {
		m.send(id, msg)
	}
}

// beaconAll tells the other members.
func (m *Machine) beaconAll() {
	m.head.seq++
	msg := m.beaconMessage()
	for _, id := range m.table.ids() {
		if m.table.rows[id].alive && !m.candidate(id) {
			m.send(id, msg)
		}
	}
}

// refreshLead signs the Lead anew when the addresses in it changed.
func (m *Machine) refreshLead() {
	h := m.head
	if m.clock.now.Sub(h.signed) < refreshEvery {
		return
	}
	if slices.EqualFunc(m.leadPeers(), m.high.lead.Addrs, samePeer) {
		return
	}
	h.signed = m.clock.now
	v, ok := m.signLead(m.high.term.K, h.seq+1, m.high.lead.Reason)
	if !ok || slices.EqualFunc(v.lead.Addrs, m.high.lead.Addrs, samePeer) {
		return
	}
	h.seq++
	m.high = v
	m.event(LeadRefreshed{Raw: v.raw, Term: v.term})
}

func samePeer(a, b Peer) bool {
	return a.ID == b.ID && slices.EqualFunc(a.Addrs, b.Addrs, slices.Equal[[]byte])
}

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
	case e == nil && m.table.alive >= m.env.cfg.MaxMembers:
		return fmt.Errorf("%w: %s would be member %d, this head takes %d", ErrForeign, from.Short(), m.table.alive+1, m.env.cfg.MaxMembers)
	case hb.Row == nil && (e == nil || e.row.Admission.Empty()):
		m.tellLead(from, Signed{}) // it shows its row with the next one
		return nil
	}
	if e != nil && hb.Boot < e.boot {
		m.watchClone(from, e, hb)
		return nil
	}
	if e != nil && hb.Boot == e.boot && hb.Seq <= e.seq {
		return nil // a repetition
	}
	if hb.Leaving {
		if e != nil && e.alive {
			e.boot, e.seq = hb.Boot, hb.Seq
			m.drop(from, e, 0, true)
		}
		return nil
	}
	m.take(from, e, hb)
	return nil
}

// take stores what a heartbeat says.
func (m *Machine) take(from ID, e *member, hb *Heartbeat) {
	var row Row
	if hb.Row != nil {
		row = *hb.Row
	} else {
		row = e.row
	}
	row.Priority, row.Boot = hb.Priority, hb.Boot
	row.Load = 0 // changes with every session: kept beside the row, not replicated
	e, changed := m.table.put(row)
	e.row.Load = hb.Load
	if hb.Boot != e.boot {
		if m.head.copies[from] != nil {
			m.head.copies[from] = &copyState{} // its copy went with its memory
			m.rebooted(from)
		}
		e.boots = append(e.boots, m.clock.now)
		e.boots = e.boots[max(0, len(e.boots)-flapBoots-1):]
	}
	if a, err := m.env.trust.Admission(row.Admission); err == nil {
		e.transient = a.Transient
	}
	joined := !e.alive
	e.heard, e.left, e.last, e.boot, e.seq = true, false, m.clock.now, hb.Boot, hb.Seq
	if e.unwell != hb.Unwell {
		e.unwell, m.head.list.dirty = hb.Unwell, true
	}
	m.table.setAlive(e, true)
	if m.candidate(from) {
		m.head.candidateAt = m.clock.now
	}
	if joined {
		m.event(MemberJoined{Row: e.row})
	}
	if joined || changed {
		m.head.list.dirty = true
	}
}

// checkRow refuses a row that is not the sender's, or whose admission is not for this city.
func (m *Machine) checkRow(from ID, row *Row) error {
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

// watchClone raises an alarm when an old boot goes on counting: two processes share one key.
func (m *Machine) watchClone(from ID, e *member, hb *Heartbeat) {
	if hb.Boot != e.clone.boot {
		e.clone = clone{boot: hb.Boot, seq: hb.Seq}
		return
	}
	if hb.Seq <= e.clone.seq {
		return
	}
	e.clone.seq = hb.Seq
	if e.clone.grown++; e.clone.grown == cloneGrowth {
		m.alarm("two processes run with the key of %s: boot %d goes on beside boot %d", from, hb.Boot, e.boot)
	}
}

// evictSilent drops who was silent for Evict, and forgets who was for callFor.
func (m *Machine) evictSilent() {
	now, limit := m.clock.now, m.timers().Evict
	for _, id := range m.table.ids() {
		e := m.table.rows[id]
		silence := now.Sub(e.last)
		switch {
		case id == m.self.ID:
		case e.alive && silence > limit:
			m.drop(id, e, silence, false)
		case !e.alive && silence > callFor && !m.candidate(id):
			delete(m.table.rows, id)
		}
	}
}

// drop takes a member off the table of the living.
func (m *Machine) drop(id ID, e *member, silence time.Duration, left bool) {
	if !e.alive {
		return
	}
	m.table.setAlive(e, false)
	e.left, e.heard, e.called = left, false, m.clock.now
	m.head.list.dirty = true
	m.event(MemberEvicted{ID: id, Silence: silence})
}

// callEvicted keeps calling the evicted with the Lead, candidates first, those called longest ago before
// others: that heals partitions while registry and DHT are away (R10).
func (m *Machine) callEvicted() {
	type entry struct {
		id ID
		e  *member
	}
	var gone []entry
	for _, id := range m.table.ids() {
		if e := m.table.rows[id]; !e.alive && !e.left && m.clock.now.Sub(e.last) <= callFor {
			gone = append(gone, entry{id, e})
		}
	}
	slices.SortStableFunc(gone, func(a, b entry) int {
		return cmp.Or(cmp.Compare(number(m.candidate(b.id)), number(m.candidate(a.id))), cmp.Compare(a.e.called, b.e.called))
	})
	for _, g := range gone[:min(len(gone), callsPerRound)] {
		g.e.called = m.clock.now
		m.send(g.id, &Message{Lead: m.highRaw()})
	}
}
