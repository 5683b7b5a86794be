package cluster

// Status is the machine at a glance.
func (m *Machine) Status() Status {
	s := Status{Ledger: m.ledgerStatus(),
		Self: m.self.ID, City: m.env.cfg.City, Role: m.role(), Term: m.high.term, High: m.high.lead, HighRaw: m.high.raw,
		Cert: m.cert.cert, CertRaw: m.cert.raw, CutOff: m.cutOff(), Members: m.table.alive, Heads: len(m.others.rows), Leading: m.leading(), Backup: m.beat.backup,
		Unsure: m.unsure(), Health: m.health(), LastChange: m.note.lastChange, Seq: m.beat.seq, Boot: m.self.Boot, Refused: m.note.refused,
		Shard: m.shard(), Shards: uint(m.shards()), WhyNot: m.whyNot(),
	}
	if m.note.changed != 0 {
		s.ChangedAgo = m.clock.now.Sub(m.note.changed)
	}
	if _, d, ok := m.inLine(); ok {
		s.InLine, s.Watches = d, m.high.head()
	}
	if !m.leading() && m.beat.members > 0 {
		s.Members = int(m.beat.members)
	}
	if m.head != nil {
		s.Backup, s.Seq = m.backup(), m.head.seq
	}
	return s
}

func (m *Machine) role() string {
	switch {
	case m.leading():
		return RoleHead
	case m.orphan():
		return RoleOrphan
	case m.beat.backup == m.self.ID:
		return RoleBackup
	case m.candidate(m.self.ID):
		return RoleCandidate
	}
	return RoleEndpoint
}

// whyNot is why this node is not a candidate, as far as it can tell itself.
func (m *Machine) whyNot() string {
	switch {
	case m.leading() || m.candidate(m.self.ID):
		return ""
	case m.env.transient:
		return "it was admitted for one measurement only"
	case m.cert.cert == nil:
		return "it has not seen a list of its city yet"
	case m.orphan():
		return "it hears no head: only those who live are listed"
	case m.beat.health != "":
		return "it is not well: " + m.beat.health
	case len(m.list()) < m.slots():
		return "the head has not proposed it yet"
	case m.age(m.self.FirstSeen) < stabilityUnit:
		return "the list is full, and it is new: for ten minutes others come first"
	case !m.self.Priority.Reachable:
		return "the list is full, and it cannot be reached from outside"
	}
	return "the list is full of nodes that come first by priority"
}

// Succession is this node's succession in the highest certificate, in the order of the list.
func (m *Machine) Succession() []CandidateInfo {
	list := m.list()
	out := make([]CandidateInfo, 0, len(list))
	for i, id := range list {
		c := CandidateInfo{ID: id, Self: id == m.self.ID, Head: !m.freshEpoch() && id == m.high.head(), Line: m.lineOf(i)}
		if c.Head {
			c.Line = 0
		}
		if e := m.table.rows[id]; e != nil {
			c.Alive, c.Unwell = e.alive, e.unwell
			if m.leading() && e.heard {
				c.Heard, c.Silence, c.Flapping = true, m.clock.now.Sub(e.last), m.flapping(e)
			}
		}
		if m.leading() {
			c.Current = m.lately(id) && m.head.copies[id].current(m.clock.now)
		} else if c.Head {
			c.Alive, c.Heard, c.Silence = !m.orphan(), m.watch.direct, m.clock.now.Sub(m.watch.heard)
		}
		if c.Self {
			c.Alive, c.Unwell = true, m.health()
		}
		out = append(out, c)
	}
	return out
}

// Members are the living members: on a head all of them with itself, on a candidate the rows that the
// head replicated.
func (m *Machine) Members() []MemberInfo {
	out := make([]MemberInfo, 0, m.table.alive)
	for _, id := range m.table.ids() {
		e := m.table.rows[id]
		if !e.alive {
			continue
		}
		info := MemberInfo{Row: e.row, Heard: e.heard, LastHeard: e.last, Seq: e.seq}
		if e.heard {
			info.Silence = m.clock.now.Sub(e.last)
		}
		if id == m.self.ID {
			info.Heard, info.LastHeard, info.Silence = true, m.clock.now, 0
		}
		out = append(out, info)
	}
	return out
}

// Heads are the known heads of other cities, and of the other shards of this one, by city and shard.
func (m *Machine) Heads() []KnownHead {
	out := make([]KnownHead, 0, len(m.others.rows))
	for _, key := range m.others.keys() {
		out = append(out, m.others.rows[key].known())
	}
	return out
}

// Head is the first of the known heads of a city: see HeadsOf.
func (m *Machine) Head(city City) (KnownHead, bool) {
	all := m.headsOf(city)
	if len(all) == 0 {
		return KnownHead{}, false
	}
	return all[0].known(), true
}
