package cluster

// ledgerFollow begins to follow a head, or none: everything that is not in the registry goes to it again, what was
// under way to another one included. What some head may have is offered first, from the given moment on.
func (m *Machine) ledgerFollow(at Instant) {
	l := &m.ledger
	l.office, l.flights = office{}, flights{}
	l.order.all(func(e *entry) {
		e.fly, e.on, e.told = nil, 0, 0
		l.setLevel(e, 0)
		if e.own && !e.sent {
			l.enqueue(&l.submit, e)
			return
		}
		l.enqueue(&l.ask[0], e)
		e.class, e.due = 0, at
	})
}

// target is the head that gets what this node has; empty: none.
func (m *Machine) target() ID {
	if head := m.high.head(); head != m.self.ID {
		return head
	}
	return ""
}

// runLedgerNode sends the head what is new, what it wants, and the names of what it may lack.
func (m *Machine) runLedgerNode() {
	l, now, to := &m.ledger, m.clock.now, m.target()
	if to == "" {
		return
	}
	if l.submit.first != nil && l.submitting.done(now) {
		l.abort(&l.submitting)
		l.submitting = l.launch(&l.submit, now.Add(moveWait))
		for _, e := range l.submitting.entries {
			e.sent = true
			l.askIn(e, 0, now)
		}
		m.transfer(to, TransferSubmit, l.submitting.keys())
	}
	if l.hand.first != nil && l.handing.done(now) {
		l.abort(&l.handing)
		l.handing = l.launch(&l.hand, now.Add(moveWait))
		for _, e := range l.handing.entries {
			l.askIn(e, 1, now)
		}
		m.transfer(to, TransferOffer, l.handing.keys())
	}
	if l.offering.done(now) {
		m.offer(to)
	}
}

// offer names what is due, the most urgent first.
func (m *Machine) offer(to ID) {
	l, now := &m.ledger, m.clock.now
	f := &flight{until: now.Add(offerWait)}
	for class := range l.ask {
		for c := &l.ask[class]; c.first != nil && c.first.due <= now && len(f.entries) < maxKeys; {
			e := c.first
			last := askLost
			if e.level > 0 {
				last = askClasses - 1
			}
			l.askIn(e, min(class+1, last), now)
			f.entries = append(f.entries, e)
		}
	}
	l.offering = nil
	if len(f.entries) == 0 {
		return
	}
	l.offering, f.left = f, len(f.entries)
	next, any := l.askDue()
	m.send(to, &Message{Offer: &Offer{Term: m.high.term, Keys: f.keys(), More: any && next <= now}})
}

// known notes that the head has a result which this node holds: it is offered again only to hear of its release.
func (m *Machine) known(e *entry) {
	l := &m.ledger
	l.land(e)
	if e.level == 0 {
		l.setLevel(e, levelHead)
	}
	l.askSlowly(e, m.clock.now)
}

// onWant sends the head what it lacks of an Offer. The rest it has, or cannot take now.
func (m *Machine) onWant(from ID, w *Want) {
	if !m.judge(from, w.Term) || m.leading() || from != m.high.head() {
		return
	}
	l := &m.ledger
	for _, k := range w.Keys {
		e := l.rows[k]
		if e == nil {
			continue
		}
		l.land(e)
		if e.own {
			l.enqueue(&l.submit, e)
		} else {
			l.enqueue(&l.hand, e)
		}
	}
	if l.offering == nil {
		return
	}
	for _, e := range l.offering.entries {
		if e.held && !e.own && e.in != nil && e.in != &l.hand {
			m.known(e)
		}
	}
	l.offering = nil
}

// onResAck takes in what the head says of own results.
func (m *Machine) onResAck(from ID, a *ResAck) {
	if !m.judge(from, a.Term) || m.leading() || from != m.high.head() {
		return
	}
	l := &m.ledger
	if a.Level == levelRegistry {
		var own []ResultKey
		for _, k := range a.Keys {
			if e := l.rows[k]; e != nil && e.own {
				own = append(own, k)
			}
		}
		m.trimmed(own)
		return
	}
	level := uint8(a.Level)
	var mine []*entry
	for _, k := range a.Keys {
		e := l.rows[k]
		if e == nil || !e.own {
			continue
		}
		mine = append(mine, e)
		l.land(e)
		l.setLevel(e, max(e.level, level))
		switch {
		case level == levelBackup:
			l.askSlowly(e, m.clock.now)
		case e.in == &l.submit:
			l.askIn(e, 0, m.clock.now)
		}
	}
	m.raise(mine, level)
}

// onTrim lets copies go.
func (m *Machine) onTrim(from ID, t *Trim) {
	if m.judge(from, t.Term) && !m.leading() && from == m.high.head() {
		m.trimmed(t.Keys)
	}
}

func (m *Machine) trimmed(keys []ResultKey) {
	if held := m.forget(keys); len(held) > 0 {
		m.event(Trimmed{Keys: held})
	}
}

// askDue is when the first key is to be offered.
func (l *ledger) askDue() (at Instant, any bool) {
	for i := range l.ask {
		if e := l.ask[i].first; e != nil && (!any || e.due < at) {
			at, any = e.due, true
		}
	}
	return at, any
}

// runLedger does what is due for results.
func (m *Machine) runLedger() {
	if m.leading() {
		m.runLedgerHead()
	} else {
		m.runLedgerNode()
	}
}

// ledgerDeadline is when runLedger has something to do.
func (m *Machine) ledgerDeadline() (at Instant, any bool) {
	l := &m.ledger
	take := func(t Instant) {
		if !any || t < at {
			at, any = t, true
		}
	}
	if m.leading() {
		if l.copying != nil && l.copying.left > 0 {
			take(l.copying.until)
		}
		return at, any
	}
	if m.target() == "" {
		return 0, false
	}
	for _, q := range []struct {
		waiting bool
		f       *flight
	}{{l.submit.first != nil, l.submitting}, {l.hand.first != nil, l.handing}} {
		if q.waiting && q.f != nil {
			take(q.f.until)
		}
	}
	if t, due := l.askDue(); due {
		if l.offering != nil {
			t = max(t, l.offering.until)
		}
		take(t)
	}
	return at, any
}
