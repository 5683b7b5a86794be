package cluster

import "slices"

// ledgerOffice begins a headship: what this node holds, its own results included, is the head's now, and on no backup
// as far as it knows.
func (m *Machine) ledgerOffice() {
	l := &m.ledger
	l.office, l.flights = office{}, flights{}
	var all []*entry
	l.order.all(func(e *entry) {
		e.fly, e.on, e.told = nil, 0, 0
		l.dequeue(e)
		l.setLevel(e, 0)
		all = append(all, e)
	})
	m.keep(all)
	m.tell(slices.DeleteFunc(all, func(e *entry) bool { return !e.own }), false) // the others ask
}

// keep makes entries the head's: at level 1, and to be copied.
func (m *Machine) keep(entries []*entry) {
	l := &m.ledger
	backup := l.bit(l.to)
	for _, e := range entries {
		if e.level == 0 {
			l.setLevel(e, levelHead)
		}
		if skips(ruleCopyFirst) {
			l.setLevel(e, levelBackup)
		}
		if e.in == nil && e.fly == nil && e.on&backup == 0 {
			l.enqueue(&l.copy, e)
		}
	}
}

// tell acknowledges entries to their owners at the level that they have reached; again also those who know.
func (m *Machine) tell(entries []*entry, again bool) {
	l := &m.ledger
	if m.unsure() {
		l.withheld = true
		return
	}
	var at [levelRegistry]grouped
	var own [levelRegistry][]*entry
	for _, e := range entries {
		switch {
		case e.key.Node == m.self.ID:
			own[e.level] = append(own[e.level], e)
		case again || e.told < e.level:
			at[e.level].add(e.key.Node, e.key)
		}
		e.told = max(e.told, e.level)
	}
	for level := uint8(levelHead); level < levelRegistry; level++ {
		m.raise(own[level], level)
		at[level].each(func(id ID, keys []ResultKey) { m.sendAck(id, level, keys) })
	}
}

// tellWithheld makes up for what an unsure head did not say.
func (m *Machine) tellWithheld() {
	m.ledger.withheld = false
	var all []*entry
	m.ledger.order.all(func(e *entry) { all = append(all, e) })
	m.tell(all, false)
}

// ackStored answers who sent results that this head now has.
func (m *Machine) ackStored(from ID, entries []*entry) {
	var offered []ResultKey
	for _, e := range entries {
		if e.key.Node != from {
			m.alsoOn(from, e)
			offered = append(offered, e.key)
		}
	}
	m.tell(entries, true)
	if !m.unsure() {
		m.sendKeys(from, offered, func(t Term, keys []ResultKey) *Message { return &Message{ReplAck: &ReplAck{Term: t, Results: keys}} })
	}
}

// bit is a holder's in entry.on; 0: it has none.
func (l *ledger) bit(id ID) uint64 {
	if i := slices.Index(l.holders, id); i >= 0 {
		return 1 << i
	}
	return 0
}

// holder gives a candidate a bit.
func (m *Machine) holder(id ID) uint64 {
	l := &m.ledger
	if b := l.bit(id); b != 0 || !m.candidate(id) {
		return b
	}
	if len(l.holders) >= maxHolders { // lists changed very often: copies are made again
		l.holders = nil
		l.order.all(func(e *entry) { e.on = 0 })
	}
	l.holders = append(l.holders, id)
	return l.bit(id)
}

// alsoOn notes that a candidate has a result on its disk. On the backup's that is level 2.
func (m *Machine) alsoOn(id ID, e *entry) {
	l := &m.ledger
	e.on |= m.holder(id)
	if id == l.to {
		l.land(e)
		l.dequeue(e)
		l.setLevel(e, levelBackup)
	}
}

// onHeld takes in that results are durable at the sender: copies at the backup, or at the head what was offered.
func (m *Machine) onHeld(from ID, a *ReplAck) {
	if !m.judge(from, a.Term) {
		return
	}
	l := &m.ledger
	var entries []*entry
	var gone []ResultKey
	for _, k := range a.Results {
		switch e := l.rows[k]; {
		case e != nil:
			entries = append(entries, e)
		case l.recent.has(k):
			gone = append(gone, k)
		}
	}
	switch {
	case m.leading():
		for _, e := range entries {
			m.alsoOn(from, e)
		}
		if from == l.to {
			l.tries = 0
		}
		m.tell(entries, false)
		if !m.unsure() {
			m.sendTrim(from, gone)
		}
	case from == m.high.head():
		for _, e := range entries {
			m.known(e)
		}
	}
}

// onOffer says which of the results that somebody holds this head lacks.
func (m *Machine) onOffer(from ID, o *Offer) {
	if !m.judge(from, o.Term) || !m.leading() || m.unsure() {
		return
	}
	l := &m.ledger
	var want, trim, done []ResultKey
	var mine, others []*entry
	for _, k := range o.Keys {
		switch e := l.rows[k]; {
		case e != nil && k.Node == from:
			mine = append(mine, e)
		case e != nil:
			m.alsoOn(from, e)
			others = append(others, e)
		case l.recent.has(k) && k.Node == from:
			done = append(done, k)
		case l.recent.has(k):
			trim = append(trim, k)
		case len(want) < m.free():
			want = append(want, k)
		default:
			l.refused++
		}
	}
	m.tell(mine, true)
	m.tell(others, false)
	m.sendAck(from, levelRegistry, done)
	m.sendTrim(from, trim)
	m.send(from, &Message{Want: &Want{Term: m.high.term, Keys: want}})
}

// retarget sends copies to another backup.
func (m *Machine) retarget(to ID) {
	l := &m.ledger
	l.to, l.tries, l.copying = to, 0, nil
	backup := m.holder(to)
	var there []*entry
	l.order.all(func(e *entry) {
		e.fly = nil
		if e.on&backup != 0 {
			l.dequeue(e)
			l.setLevel(e, levelBackup)
			there = append(there, e)
		} else {
			l.enqueue(&l.copy, e)
		}
	})
	m.tell(there, false)
}

// rebooted forgets what a candidate had: it may have come back with another disk.
func (m *Machine) rebooted(id ID) {
	l := &m.ledger
	b := l.bit(id)
	if b == 0 {
		return
	}
	l.order.all(func(e *entry) { e.on &^= b })
	if id == l.to {
		l.to = "" // the next round starts anew
	}
}

// copyAgain puts back what the backup has not acknowledged: it was lost, or belongs to a term that has passed.
func (m *Machine) copyAgain() {
	l := &m.ledger
	if l.copying == nil {
		return
	}
	for _, e := range slices.Backward(l.copying.entries) {
		if e.fly == l.copying {
			e.fly = nil
			l.copy.pushFront(e)
			e.in = &l.copy
		}
	}
	l.copying = nil
}

// runLedgerHead copies to the backup: one transfer at a time, and all that came meanwhile in the next.
func (m *Machine) runLedgerHead() {
	l, now := &m.ledger, m.clock.now
	if to := m.backup(); to != l.to {
		m.retarget(to)
	}
	if l.withheld && !m.unsure() {
		m.tellWithheld()
	}
	if !l.copying.done(now) {
		return
	}
	if l.copying != nil && l.copying.left > 0 {
		l.tries++
		m.copyAgain()
	}
	l.copying = nil
	if l.to == "" || l.copy.first == nil {
		return
	}
	l.copying = l.launch(&l.copy, now.Add(min(copyWait<<min(l.tries, 8), copyMax)))
	m.transfer(l.to, TransferCopy, l.copying.keys())
}
