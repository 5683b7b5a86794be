package cluster

import (
	"errors"
	"testing"
	"time"
)

// ticketCity is a city of four and the ticket that its head issues for one of them.
func ticketCity(t *testing.T) (n *network, head, target *host, issue func(change func(*Ticket)) Signed) {
	t.Helper()
	n = newNetwork(t, 30)
	all := n.city("wuhan", 4)
	head = n.leader(all...)
	n.run(time.Second)
	picked, err := head.m.Pick(n.now, 1, testID("initiator"))
	if err != nil || len(picked) != 1 {
		t.Fatalf("picked %d, %v", len(picked), err)
	}
	target = n.hosts[picked[0].Row.ID]
	session := byte(0)
	issue = func(change func(*Ticket)) Signed {
		session++
		p, _ := head.m.Pick(n.now, 3, "")
		i := 0
		for p[i].Row.ID != target.id {
			i++
		}
		raw, err := head.m.IssueTicket(p[i], testID("initiator"), "latency", [16]byte{session}, TicketLimits{Packets: 100})
		if err != nil {
			t.Fatal(err)
		}
		if change == nil {
			return raw
		}
		var k Ticket
		if err := Unmarshal(raw.Payload, &k); err != nil {
			t.Fatal(err)
		}
		change(&k)
		return Sign(DomainTicket, k, SignerOf(head.key))
	}
	return n, head, target, issue
}

func TestTicket(t *testing.T) {
	n, head, target, issue := ticketCity(t)
	if k, err := target.m.CheckTicket(n.now, testID("initiator"), issue(nil), "latency"); err != nil || k.Packets != 100 {
		t.Fatalf("%+v %v", k, err)
	}
	other := leadOf(t, testCert(t, func(c *Certificate) { c.City = "changsha" }, "x"), 0, 1, "x")
	forged := issue(nil)
	forged.Sig = SignerOf(testKey("mallory"))(append([]byte(DomainTicket), forged.Payload...))
	fromOther := Sign(DomainTicket, Ticket{Version: Version, Network: n.trust.Network(), Lead: other, Initiator: testID("initiator"), Target: target.id, Tool: "latency"}, SignerOf(testKey("x")))
	for name, c := range map[string]struct {
		raw  Signed
		from string
		tool string
		code string
	}{
		"forged":          {forged, "initiator", "latency", TicketInvalid},
		"version":         {issue(func(k *Ticket) { k.Version = 2 }), "initiator", "latency", TicketInvalid},
		"network":         {issue(func(k *Ticket) { k.Network = "x" }), "initiator", "latency", TicketInvalid},
		"no Lead":         {issue(func(k *Ticket) { k.Lead = Signed{} }), "initiator", "latency", TicketInvalid},
		"other city":      {fromOther, "initiator", "latency", TicketCity},
		"other target":    {issue(func(k *Ticket) { k.Target = head.id }), "initiator", "latency", TicketTarget},
		"other initiator": {issue(nil), "mallory", "latency", TicketInitiator},
		"other tool":      {issue(nil), "initiator", "capacity", TicketTool},
		"other boot":      {issue(func(k *Ticket) { k.Boot-- }), "initiator", "latency", TicketExpired},
		"future seq":      {issue(func(k *Ticket) { k.Seq += 1000 }), "initiator", "latency", TicketExpired},
	} {
		t.Run(name, func(t *testing.T) {
			var no *RefusedTicket
			if _, err := target.m.CheckTicket(n.now, testID(c.from), c.raw, c.tool); !errors.As(err, &no) || no.Code != c.code {
				t.Errorf("%v, want %s", err, c.code)
			}
		})
	}
}

func TestTicketOnceAndNotForLong(t *testing.T) {
	n, _, target, issue := ticketCity(t)
	check := func(raw Signed) string {
		var no *RefusedTicket
		if _, err := target.m.CheckTicket(n.now, testID("initiator"), raw, "latency"); errors.As(err, &no) {
			return no.Code
		}
		return ""
	}
	first, second := issue(nil), issue(nil)
	if got := check(first); got != "" {
		t.Error(got)
	}
	if got := check(first); got != TicketUsed {
		t.Errorf("shown again: %q", got)
	}
	n.run(59 * time.Second)
	if got := check(second); got != "" {
		t.Errorf("after 59 s: %q", got)
	}
	third := issue(nil)
	n.run(62 * time.Second)
	if got := check(third); got != TicketExpired {
		t.Errorf("after 62 s: %q", got)
	}
}

// TestTicketOfADeposedHead is refused with the higher Lead, and the issuer learns from it.
func TestTicketOfADeposedHead(t *testing.T) {
	n, head, target, issue := ticketCity(t)
	old := issue(nil)
	n.away = true
	n.kill(head, false)
	n.until(20*time.Second, func() bool { return target.m.high.term.K > 0 })
	var no *RefusedTicket
	if _, err := target.m.CheckTicket(n.now, testID("initiator"), old, "latency"); !errors.As(err, &no) || no.Code != TicketStale || no.High.Empty() {
		t.Errorf("%v", err)
	}
}

func TestPick(t *testing.T) {
	n, head, _, _ := ticketCity(t)
	if got, err := head.m.Pick(n.now, 10, ""); err != nil || len(got) != 3 {
		t.Errorf("%d picked, want the three others: %v", len(got), err)
	}
	// Least recently used: three sessions go to three members, although each answer names (and has tickets
	// for) all of them.
	head.m.Pick(n.now, 1, "") // the Pick above counted once: on to the next round
	head.m.Pick(n.now, 1, "")
	seen := make(map[ID]bool)
	for i := range 3 {
		picked, _ := head.m.Pick(n.now, 4, "")
		if first := picked[0].Row.ID; first == head.id || seen[first] {
			t.Errorf("picked %s again", n.hosts[first].name)
		}
		seen[picked[0].Row.ID] = true
		for _, p := range picked {
			if _, err := head.m.IssueTicket(p, testID("i"), "latency", [16]byte{byte(i)}, TicketLimits{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	follower := n.inOrder(head)[1]
	if got, err := follower.m.Pick(n.now, 1, ""); got != nil || !errors.Is(err, ErrNotLeading) {
		t.Errorf("a follower picked %v: %v", got, err)
	}
	if _, err := follower.m.IssueTicket(Picked{}, "", "", [16]byte{}, TicketLimits{}); !errors.Is(err, ErrNotLeading) {
		t.Error(err)
	}
	// A loaded or unreachable member comes last.
	busy := n.inOrder(head)[1]
	row := busy.row
	row.Load = 3
	n.step(busy, SelfChanged{Row: row})
	n.run(2 * time.Second)
	if p, _ := head.m.Pick(n.now, 3, ""); p[2].Row.ID != busy.id || p[2].Row.Load != 3 {
		t.Errorf("the busy member is not last: %v", p)
	}
	for _, h := range n.hosts {
		if h != head {
			n.kill(h, false)
		}
	}
	n.run(4 * time.Second)
	p, _ := head.m.Pick(n.now, 3, "")
	if len(p) != 1 || p[0].Row.ID != head.id {
		t.Fatalf("alone it picked %v", p)
	}
	raw, err := head.m.IssueTicket(p[0], testID("i"), "latency", [16]byte{99}, TicketLimits{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := head.m.CheckTicket(n.now, testID("i"), raw, "latency"); err != nil {
		t.Errorf("the head refuses its own ticket: %v", err)
	}
	if p, _ := head.m.Pick(n.now, 3, head.id); len(p) != 0 {
		t.Errorf("excluded, it picked itself: %v", p)
	}
}

func TestJudgeRequester(t *testing.T) {
	n, head, target, _ := ticketCity(t)
	table := newTable(t, TableState{})
	x := register(t, table, startMs, "x", "changsha")
	lead := leadOf(t, x.Cert, 0, 1, "x")
	adm := register(t, table, startMs, "y", "changsha").Admission
	id := testID("one-shot")
	shot, _, _ := table.Register(startMs, id, &Request{Version: Version, Self: Peer{id, nil}, Transient: true}, "beijing", "", ClassOwn)
	for name, c := range map[string]struct {
		lead, admission Signed
		ok              bool
	}{
		"fine":                    {lead, adm, true},
		"one-shot without a head": {Signed{}, shot.Admission, true},
		"lasting without a head":  {Signed{}, adm, false},
		"head of another city":    {head.m.Status().HighRaw, adm, false},
		"no admission":            {lead, Signed{}, false},
		"a Lead in its place":     {lead, lead, false},
		"an admission as Lead":    {adm, adm, false},
		"own city, own head":      {head.m.Status().HighRaw, target.row.Admission, true},
	} {
		if err := head.m.JudgeRequester(c.lead, c.admission); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	bar := table.Bar([]ID{testID("y")}).Barred
	n.step(head, Answered{Kind: CallReport, Answer: &Answer{Version: Version, Barred: bar}})
	if head.m.JudgeRequester(lead, adm) == nil {
		t.Error("a barred initiator is served")
	}
}

// TestTicketOfAHigherTerm: the target takes the ticket of a head that it has not heard of yet, and learns of it.
func TestTicketOfAHigherTerm(t *testing.T) {
	n, head, target, _ := ticketCity(t)
	n.away = true
	n.cut = func(from, to ID) bool { return (from == target.id) != (to == target.id) }
	heard := head.m.table.rows[target.id]
	boot, seq := heard.boot, heard.seq
	n.kill(head, false)
	var next *host
	n.until(20*time.Second, func() bool {
		for _, h := range n.hosts {
			if h.m != nil && h != target && h.m.leading() {
				next = h
			}
		}
		return next != nil
	})
	if next == nil || next.m.high.term.Compare(target.m.high.term) <= 0 {
		t.Fatalf("%s", n.describe())
	}
	raw, err := next.m.IssueTicket(Picked{Row: target.row, Boot: boot, Seq: seq}, testID("i"), "latency", [16]byte{1}, TicketLimits{})
	if err != nil {
		t.Fatal(err)
	}
	k, err := target.m.CheckTicket(n.now, testID("i"), raw, "latency")
	if err != nil {
		t.Fatal(err)
	}
	if err := n.step(target, Learned{Lead: k.Lead}); err != nil || target.m.high.term != next.m.high.term {
		t.Errorf("%v: it follows %s, the ticket is of %s", err, target.m.high.term, next.m.high.term)
	}
}
