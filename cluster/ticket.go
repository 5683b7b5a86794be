package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Settings of tickets.
const (
	// ticketWindow is how old the heartbeat that a ticket names may be: the ticket's life, measured by
	// the target's own clock.
	ticketWindow = 60 * time.Second
	// maxUsedSessions bounds the session ids remembered for that long.
	maxUsedSessions = 8192
)

// Codes of refused tickets.
const (
	TicketInvalid   = "invalid"   // does not verify
	TicketCity      = "city"      // of another city or shard
	TicketTarget    = "target"    // names another target
	TicketInitiator = "initiator" // was issued to somebody else
	TicketTool      = "tool"      // is for another tool
	TicketExpired   = "expired"   // names no heartbeat of the last 60 s of this boot
	TicketStale     = "stale"     // its issuer's term is below High
	TicketUsed      = "used"      // the session id was used before
	TicketBusy      = "busy"      // too many sessions were begun in the last 60 s
)

// RefusedTicket is CheckTicket's refusal. High is the target's own High where the issuer is behind it.
type RefusedTicket struct {
	Code string
	Text string
	High Signed
}

func (e *RefusedTicket) Error() string { return "ticket refused: " + e.Text }

// Pick chooses up to n living members for a session, ranked by reachability, load, and least recent use;
// the head itself only when nobody else lives. Only a head picks (ErrNotLeading), and one that is sure (ErrUnsure).
func (m *Machine) Pick(now Instant, n int, exclude ID) ([]Picked, error) {
	m.look(now)
	if err := m.mayPermit(); err != nil || n <= 0 {
		return nil, err
	}
	var found []*member
	for _, id := range m.table.ids() {
		e := m.table.rows[id]
		late := m.interval(id) * lateTenths / 10
		if id != m.self.ID && id != exclude && e.alive && e.heard && !e.transient && m.clock.now.Sub(e.last) <= late {
			found = append(found, e)
		}
	}
	slices.SortStableFunc(found, func(a, b *member) int {
		return cmp.Or(
			cmp.Compare(number(b.row.Priority.Reachable), number(a.row.Priority.Reachable)),
			cmp.Compare(a.row.Load, b.row.Load),
			cmp.Compare(a.row.Priority.Load, b.row.Priority.Load),
			cmp.Compare(a.used, b.used),
		)
	})
	out := make([]Picked, 0, n)
	for _, e := range found[:min(n, len(found))] {
		out = append(out, Picked{Row: e.row, Boot: e.boot, Seq: e.seq})
	}
	if len(out) > 0 { // the first is to be measured; the others stand by, and are not worn by that
		m.table.uses++
		m.table.rows[out[0].Row.ID].used = m.table.uses
	}
	if len(out) == 0 && exclude != m.self.ID {
		out = append(out, Picked{Row: m.self, Boot: m.self.Boot, Seq: m.nextBeat()})
	}
	return out, nil
}

// mayPermit says whether this node may permit a session at the moment.
func (m *Machine) mayPermit() error {
	switch {
	case !m.leading():
		return ErrNotLeading
	case m.unsure():
		return ErrUnsure
	}
	return nil
}

// IssueTicket signs a permission for one session with a picked member: ErrNotLeading, ErrUnsure as Pick.
func (m *Machine) IssueTicket(p Picked, initiator ID, tool string, session [16]byte, limits TicketLimits) (Signed, error) {
	if err := m.mayPermit(); err != nil {
		return Signed{}, fmt.Errorf("ticket for %s: %w", p.Row.ID.Short(), err)
	}
	return Sign(DomainTicket, Ticket{
		Version: Version, Network: m.env.trust.Network(), Lead: m.high.raw, Session: session, Initiator: initiator, Target: p.Row.ID,
		Tool: tool, MaxRate: limits.MaxRate, Packets: limits.Packets, Bytes: limits.Bytes, Seconds: limits.Seconds, Boot: p.Boot, Seq: p.Seq,
	}, m.env.sign), nil
}

// CheckTicket decides at the target whether a ticket that from shows permits a session, and marks its
// session id as used. The caller's own budgets come on top. Refusals are *RefusedTicket. It cannot follow a higher
// Lead that it finds in the ticket: the caller steps Learned with Ticket.Lead.
func (m *Machine) CheckTicket(now Instant, from ID, s Signed, tool string) (*Ticket, error) {
	m.look(now)
	k, lead, err := m.env.trust.Ticket(s)
	if err != nil {
		return nil, &RefusedTicket{Code: TicketInvalid, Text: err.Error()}
	}
	issuer, err := newLeadView(m.env.trust, k.Lead)
	if err != nil {
		return nil, &RefusedTicket{Code: TicketInvalid, Text: err.Error()}
	}
	refuse := func(code, format string, args ...any) (*Ticket, error) {
		return nil, &RefusedTicket{Code: code, Text: fmt.Sprintf(format, args...)}
	}
	switch {
	case !m.mine(issuer):
		return refuse(TicketCity, "its issuer leads shard %d of %s, this node is in shard %d of %s", lead.Shard, lead.City, m.shard(), m.env.cfg.City)
	case k.Target != m.self.ID:
		return refuse(TicketTarget, "it is for %s, this is %s", k.Target.Short(), m.self.ID.Short())
	case k.Initiator != from:
		return refuse(TicketInitiator, "it was issued to %s, not to %s", k.Initiator.Short(), from.Short())
	case k.Tool != tool:
		return refuse(TicketTool, "it is for %q, not for %q", k.Tool, tool)
	case issuer.term.Compare(m.high.term) < 0 && !skips(ruleFencing):
		return nil, &RefusedTicket{Code: TicketStale, High: m.high.raw,
			Text: fmt.Sprintf("its issuer leads term %s, this node follows %s; ask the new head", issuer.term, m.high.term)}
	case k.Boot != m.self.Boot || !m.sentLately(k.Seq):
		return refuse(TicketExpired, "it names heartbeat %d of boot %d, which is not of the last %v; ask for another", k.Seq, k.Boot, ticketWindow)
	}
	if err := m.useSession(k.Session); err != nil {
		return nil, err
	}
	return k, nil
}

func (m *Machine) sentLately(seq uint64) bool {
	return slices.ContainsFunc(m.beat.log, func(b sentBeat) bool {
		return b.seq == seq && m.clock.now.Sub(b.at) <= ticketWindow
	})
}

// useSession marks a session id. Ids are remembered until no ticket with them can be valid any more.
func (m *Machine) useSession(id [16]byte) error {
	b := &m.beat
	if b.used == nil {
		b.used = make(map[[16]byte]Instant)
	}
	if _, ok := b.used[id]; ok {
		return &RefusedTicket{Code: TicketUsed, Text: fmt.Sprintf("session %x was begun before", id)}
	}
	if len(b.used) >= maxUsedSessions {
		for old, at := range b.used {
			if m.clock.now.Sub(at) > ticketWindow {
				delete(b.used, old)
			}
		}
		if len(b.used) >= maxUsedSessions {
			return &RefusedTicket{Code: TicketBusy, Text: fmt.Sprintf("%d sessions were begun in the last %v", len(b.used), ticketWindow)}
		}
	}
	b.used[id] = m.clock.now
	return nil
}

// JudgeRequester decides at a remote head whether an initiator may be served: its admission verifies and is
// for the city of the asking head, whose Lead verifies. A transient node may come without a head: it is
// never listed, and may be the only node of its city.
func (m *Machine) JudgeRequester(lead Signed, admission Signed) error {
	a, err := m.env.trust.Admission(admission)
	if err != nil {
		return fmt.Errorf("admission of the initiator: %w", err)
	}
	if m.barred.ids[a.ID] {
		return fmt.Errorf("%w: initiator %s is barred", ErrForeign, a.ID.Short())
	}
	if lead.Empty() && a.Transient {
		return nil
	}
	l, _, err := m.env.trust.Lead(lead)
	if err != nil {
		return fmt.Errorf("Lead of the asking head: %w", err)
	}
	if l.City != a.City {
		return fmt.Errorf("%w: the head of %s asks for %s, which is of %s", ErrForeign, l.City, a.ID.Short(), a.City)
	}
	return nil
}
