package cluster

import (
	"slices"
	"time"
)

// Settings of a head.
const (
	reportEvery  = 10 * time.Second // to the registry
	headsEvery   = 30 * time.Second // tables of heads are compared with one other head
	refreshEvery = 5 * time.Second  // at most so often a Lead is signed anew because its addresses changed
)

// headship is what a node has while it leads.
type headship struct {
	seq         uint64 // of beacons and Leads
	nextBeacon  Instant
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
	m.table.begin(m.clock.now, m.timers().BeaconAll, m.storm())
	m.ledgerOffice()
}

// enter starts a term: copies start from nothing, and everybody hears of it.
func (h *headship) enter(m *Machine) {
	now, t := m.clock.now, m.timers()
	h.seq = m.high.lead.Seq
	h.nextBeacon = now.Add(t.Beacon)
	h.nextReport, h.nextHeads, h.nextCall, h.nextCopy = now.Add(reportEvery), now, now.Add(callEvery), now
	h.signed, h.candidateAt = now, now
	h.copies = make(map[ID]*copyState)
	for _, id := range m.list() {
		if id == m.self.ID {
			continue
		}
		h.copies[id] = &copyState{}
		if m.table.rows[id] == nil { // never heard: not alive, but called
			e := m.table.find(id)
			e.row.Addrs, e.last = m.addrsOf(id), now
			m.table.await(e)
		}
	}
	last := now
	if m.shards() > 1 && slices.Equal(h.list.names, m.list()) {
		last = h.list.last // another shard's list has changed: this one is as old as before
	}
	h.list = listState{dirty: true, last: last, names: m.list(), under: h.list.under, after: h.list.after, asked: h.list.asked, waiting: h.list.waiting, looked: h.list.looked}
	m.copyAgain()
}

// putSelf keeps this node's own row in the table.
func (m *Machine) putSelf() {
	row := m.self
	if e := m.table.rows[row.ID]; e != nil {
		row.Attested = e.row.Attested // by a head before
	} else {
		row.Attested = Attestation{}
	}
	e, changed := m.table.put(row)
	m.table.setAlive(e, true)
	m.admitted(e)
	e.boot = m.self.Boot
	if changed {
		m.head.list.dirty = true
	}
}

func (m *Machine) headDeadline() Instant {
	h := m.head
	at := min(h.nextBeacon, h.nextReport, h.nextHeads, h.nextCall)
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
		m.beaconAll()
		if h.over.resigned {
			m.resign()
		}
	}
	if now >= h.nextCall {
		h.nextCall = now.Add(callEvery)
		m.callEvicted()
	}
	if now >= h.nextReport {
		h.nextReport = now.Add(reportEvery)
		m.forgetGone()
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

// beaconAll tells the other members, each of them every BeaconAll: at every beacon it is the turn of some.
func (m *Machine) beaconAll() {
	var msg *Message
	m.table.each(chainTold, func(e *member) bool {
		if m.clock.now.Sub(e.told) < m.timers().BeaconAll {
			return false
		}
		e.told = m.clock.now
		m.table.order[chainTold].push(e)
		if e.row.ID == m.self.ID || m.candidate(e.row.ID) {
			return true
		}
		if msg == nil { // the seq of this beacon: else a witness would seem to have heard more than a candidate
			msg = m.beaconMessage()
		}
		m.send(e.row.ID, msg)
		return true
	})
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
