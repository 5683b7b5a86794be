package cluster

import (
	"fmt"
	"slices"
)

// adopt takes in a Lead, by any path (R1). from is who sent it, "" where nobody did. A Lead of another
// city or shard goes to the table of other heads.
func (m *Machine) adopt(raw Signed, from ID) error {
	v, err := newLeadView(m.env.trust, raw)
	if err != nil {
		return fmt.Errorf("Lead from %s: %w", from.Short(), err)
	}
	if !m.mine(v) {
		m.learnHead(v)
		m.offerCert(v.cert) // of another shard of this city: the epoch is everybody's
		return nil
	}
	switch c := v.term.Compare(m.high.term); {
	case c > 0:
		m.follow(v)
		m.watch.direct, m.watch.heardAt = from == v.lead.Head, m.clock.now
		m.watch.met = m.watch.met || m.watch.direct
	case c < 0:
		m.tellStale(from)
		return nil
	default:
		if v.lead.Seq > m.high.lead.Seq {
			m.high.raw, m.high.lead = v.raw, v.lead
		}
		if from == v.lead.Head && !m.leading() {
			m.beat.rows = max(m.beat.rows, 1) // it does not know this node
			m.heardHead(v.lead.Seq)
		}
	}
	m.offerCert(v.cert)
	return nil
}

// tellStale answers a lower term with the higher one.
func (m *Machine) tellStale(to ID) {
	if raw := m.leadFor(to); to != "" && !raw.Empty() && m.limit.allow(m.clock.now, to) {
		m.send(to, &Message{Stale: &raw})
	}
}

// tellLead says who leads, in the shard of the one that is told and knows one Lead already.
func (m *Machine) tellLead(to ID, knows Signed) {
	raw := m.leadFor(to)
	if !knows.Empty() && raw.Hash() == knows.Hash() {
		raw = m.high.raw // of another shard: it brings the certificate
	}
	if !raw.Empty() && m.limit.allow(m.clock.now, to) {
		m.send(to, &Message{Lead: &raw})
	}
}

// ask asks a peer that spoke of a higher term for its Lead.
func (m *Machine) ask(to ID) {
	if m.limit.allow(m.clock.now, to) {
		m.send(to, &Message{WhoIs: m.whoIs()})
	}
}

// judge compares the term of a control message with High and answers what does not match: a lower one
// with Stale, a higher one with WhoIs. Only an equal one may have an effect; one of another shard has none.
func (m *Machine) judge(from ID, t Term) bool {
	switch c := t.Compare(m.high.term); {
	case m.elsewhere(t):
		return false
	case c < 0 && skips(ruleFencing):
	case c < 0:
		m.tellStale(from)
		return false
	case c > 0:
		m.ask(from)
		return false
	}
	return true
}

// follow makes a higher Lead of the own city High. A head steps down, and tells the members that it had.
func (m *Machine) follow(v leadView) {
	old := m.high.lead
	if m.leading() {
		told := m.audience()
		m.stepDown("a higher term: " + v.term.String())
		for _, id := range told {
			if id != v.lead.Head {
				m.send(id, &Message{Lead: &v.raw})
			}
		}
	}
	m.setHigh(v)
	m.event(LeadChanged{Old: old, New: v.lead, Raw: v.raw, Term: v.term, Reason: v.lead.Reason})
	if v.cert.compare(m.cert) > 0 {
		m.setCert(v.cert)
	}
	m.beat.rows = rowsToNewHead
	m.beat.next = m.clock.now.Add(m.jitter())
	m.ledgerFollow(m.beat.next)
}

// setHigh records the highest Lead and starts to watch its head.
func (m *Machine) setHigh(v leadView) {
	m.high, m.note.dirty, m.note.lastChange = v, true, v.lead.Reason
	m.note.changed = m.clock.now
	m.watch = watch{heard: m.clock.now, met: m.watch.met, certAt: m.watch.certAt, seq: v.lead.Seq, reqs: m.watch.reqs, probers: make(map[ID]uint64)}
	m.beat.backup = ""
	m.beat.asked, m.beat.nextAsk = 0, m.clock.now.Add(m.jitter())
}

// setCert records the highest certificate.
func (m *Machine) setCert(v certView) {
	if old := m.cert; old.cert != nil && old.cert.Epoch == v.cert.Epoch && old.hash != v.hash {
		m.alarm("two certificates of %s have epoch %d: is the network key in use twice?", v.cert.City, v.cert.Epoch)
	}
	v.shard = v.cert.shardIn(m.self.ID)
	divided := m.cert.cert != nil && m.shards() != len(v.cert.Successions)
	if m.shards() == 1 || divided || !slices.Equal(m.list(), v.cert.Successions[v.shard]) {
		m.watch.certAt = m.clock.now // where only another shard's list changed, nobody waits again
	}
	m.cert, m.note.dirty = v, true
	if divided {
		m.moveShard()
	}
}

// offerCert takes in a certificate that may be higher. A head carries over into it (R7): it claims at once
// under its own rank, and steps down only when it is not listed. It says whether the certificate was new.
func (m *Machine) offerCert(v certView) bool {
	if v.cert.City != m.env.cfg.City || v.compare(m.cert) <= 0 {
		return false
	}
	m.setCert(v)
	if !m.leading() || v.compare(m.high.cert) <= 0 {
		return true
	}
	if i := slices.Index(m.list(), m.self.ID); i >= 0 {
		m.claim(uint64(i), "a new certificate")
		return true
	}
	msg := &Message{Resign: &Resign{Term: m.high.term, To: m.list()[0]}}
	m.stepDown("a new certificate does not list this node")
	m.tellCert()
	for _, id := range m.list() {
		m.send(id, msg)
	}
	return true
}

// tellCert forwards the certificate to its list, to the head, and to the heads of the other shards.
func (m *Machine) tellCert() {
	msg := &Message{Cert: &CertMessage{Certificate: m.cert.raw, Barred: m.barred.raw}}
	for _, id := range m.list() {
		m.send(id, msg)
	}
	if !m.candidate(m.high.head()) {
		m.send(m.high.head(), msg)
	}
	m.tellSiblings(msg)
}

func (m *Machine) onCert(c *CertMessage) error {
	m.offerBarred(c.Barred)
	if c.Certificate.Empty() {
		return nil
	}
	v, err := newCertView(m.env.trust, c.Certificate)
	if err != nil {
		return err
	}
	m.offerCert(v)
	return nil
}

func (m *Machine) offerBarred(raw Signed) {
	if raw.Empty() {
		return
	}
	b, err := m.barred.offer(m.env.trust, raw)
	if err != nil || b == nil {
		return
	}
	m.note.dirty = true
	m.event(BarredChanged{Raw: raw, Barred: b})
	if !m.leading() {
		return
	}
	for _, id := range b.IDs {
		if e := m.table.rows[id]; e != nil && id != m.self.ID {
			m.drop(e, m.clock.now.Sub(e.last), true)
		}
	}
	msg := &Message{Cert: &CertMessage{Certificate: m.cert.raw, Barred: raw}}
	for _, id := range m.audience() {
		m.send(id, msg)
	}
}
