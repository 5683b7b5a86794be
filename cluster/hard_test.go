package cluster

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// events of a kind that a host's machine gave.
func eventsOf[E Event](h *host) []E {
	var out []E
	for _, e := range h.events {
		if e, ok := e.(E); ok {
			out = append(out, e)
		}
	}
	return out
}

// TestRegistryAwayForHours: K counts on, take-over after take-over, back to the first.
func TestRegistryAwayForHours(t *testing.T) {
	n := newNetwork(t, 50)
	all := n.city("wuhan", 3)
	n.away = true
	epoch := n.leader(all...).m.high.term.Epoch
	for i := range uint64(5) {
		h := n.leader(all...)
		n.kill(h, true)
		n.run(20 * time.Minute)
		n.boot(h)
		next, _ := n.settled(30*time.Second, all...)
		if next == h || next.m.high.term.Epoch != epoch || next.m.high.term.K != i+1 {
			t.Fatalf("take-over %d: %s", i, n.describe())
		}
	}
}

// TestRegistryAwayFromHeadOnly changes nothing.
func TestRegistryAwayFromHeadOnly(t *testing.T) {
	n := newNetwork(t, 51)
	all := n.city("wuhan", 4)
	term := n.leader(all...).m.high.term
	n.away = true
	n.run(10 * time.Minute)
	if n.leader(all...).m.high.term != term {
		t.Error("the head changed")
	}
}

// TestTwoCities: heads of other cities are known from the registry, by asking, and by being asked; a
// successor knows them from its copy, and tells the others that it leads.
func TestTwoCities(t *testing.T) {
	n := newNetwork(t, 52)
	a, b := n.city("changsha", 4), n.city("wuhan", 4)
	ha, hb := n.leader(a...), n.leader(b...)
	n.until(15*time.Second, func() bool {
		_, x := ha.m.Head("wuhan")
		_, y := hb.m.Head("changsha")
		return x && y
	})
	second := n.inOrder(hb)[1]
	n.run(time.Second)
	if k, ok := second.m.Head("changsha"); !ok || k.Lead.Head != ha.id {
		t.Error("the copy lacks the other city's head")
	}
	n.away = true
	n.kill(hb, true)
	took := n.until(5*time.Second, func() bool { k, ok := ha.m.Head("wuhan"); return ok && k.Lead.Head == second.id })
	if took > time.Second {
		t.Errorf("the other city learned of the take-over after %v", took)
	}
	if k, _ := ha.m.Head("wuhan"); len(k.Lead.Addrs) < 2 || len(k.Lead.Addrs[1].Addrs) == 0 {
		t.Errorf("its Lead has no candidates' addresses: %+v", k.Lead.Addrs)
	}
	if len(eventsOf[HeadLearned](ha)) == 0 || len(ha.m.Heads()) != 1 {
		t.Error("no event")
	}
	// A Lead of a lower term, from the DHT, does not bring the old head back.
	old := eventsOf[LeadChanged](hb)
	n.step(ha, Learned{Lead: old[len(old)-1].Raw})
	if k, _ := ha.m.Head("wuhan"); k.Lead.Head != second.id {
		t.Error("a lower term replaced the head of another city")
	}
}

// TestHeadsSpread: what one head knows, all know, with the registry away.
func TestHeadsSpread(t *testing.T) {
	n := newNetwork(t, 53)
	var all []*host
	for i := range 12 {
		all = append(all, n.join(fmt.Sprint("h", i), City(fmt.Sprint("city-", i))))
		n.run(10 * time.Millisecond)
	}
	n.away = true
	took := n.until(10*time.Minute, func() bool {
		for _, h := range all {
			if len(h.m.Heads()) != 11 {
				return false
			}
		}
		return true
	})
	if took > 3*time.Minute {
		t.Errorf("not spread after %v", took)
	}
}

// TestFlappingNode goes to the tail of the list.
func TestFlappingNode(t *testing.T) {
	n := newNetwork(t, 54)
	all := n.city("wuhan", 4)
	head := n.leader(all...)
	bad := n.inOrder(head)[1]
	for range flapBoots + 1 {
		n.kill(bad, false)
		n.run(time.Second)
		n.boot(bad)
		n.run(time.Second)
	}
	n.run(time.Minute)
	list := head.m.list()
	if !head.m.leading() || list[len(list)-1] != bad.id {
		t.Errorf("a flapping node is next in line: %s", n.describe())
	}
}

// TestClonedKey: a second process with the same key is an alarm.
func TestClonedKey(t *testing.T) {
	n := newNetwork(t, 55)
	all := n.city("wuhan", 3)
	head, victim := n.leader(all...), all[2]
	for i := range uint64(4) {
		hb := &Heartbeat{Term: head.m.high.term, Boot: victim.row.Boot - 5, Seq: 100 + i}
		n.step(head, Received{From: victim.id, Message: &Message{Heartbeat: hb}})
		n.run(time.Second)
	}
	if a := eventsOf[Alarm](head); len(a) != 1 || !strings.Contains(a[0].Text, victim.id.String()) {
		t.Errorf("alarms: %v", a)
	}
}

// TestTwoCertificatesWithOneEpoch is an alarm, and all decide alike.
func TestTwoCertificatesWithOneEpoch(t *testing.T) {
	n := newNetwork(t, 56)
	h := n.city("wuhan", 1)[0]
	twin := *h.m.cert.cert
	twin.Issued++
	raw := Sign(DomainCert, twin, SignerOf(networkKey()))
	for raw.Hash()[0] < h.m.cert.hash[0] {
		twin.Issued++
		raw = Sign(DomainCert, twin, SignerOf(networkKey()))
	}
	out, err := h.m.Step(n.now, Received{From: testID("x"), Message: &Message{Cert: &CertMessage{Certificate: raw}}})
	h.events = append(h.events, out.Events...)
	if err != nil || len(eventsOf[Alarm](h)) != 1 {
		t.Errorf("%v, events %v", err, h.events)
	}
}

// TestForeignInput: what does not belong here has no effect, and is counted.
func TestForeignInput(t *testing.T) {
	n := newNetwork(t, 57)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	x := register(t, newTable(t, TableState{}), startMs, "x", "changsha")
	before := head.m.Status()
	row := Row{ID: testID("x"), Admission: x.Admission}
	other := all[1].row
	bad := []Input{
		Received{From: head.id, Message: &Message{Probe: &Probe{}}},
		Received{From: testID("x"), Message: &Message{}},
		Received{From: testID("x")},
		Received{From: testID("x"), Message: &Message{Lead: &Signed{[]byte("x"), make([]byte, 64)}}},
		Received{From: testID("x"), Message: &Message{Heartbeat: &Heartbeat{Term: before.Term, Boot: 1, Seq: 1, Row: &row}}},
		Received{From: testID("x"), Message: &Message{Heartbeat: &Heartbeat{Term: before.Term, Boot: 1, Seq: 1, Row: &other}}},
		SelfChanged{Row: other},
		nil,
	}
	for i, in := range bad {
		if _, err := head.m.Step(n.now, in); err == nil {
			t.Errorf("input %d was taken", i)
		}
	}
	after := head.m.Status()
	if after.Refused != before.Refused+uint64(len(bad)) || after.Members != before.Members || after.Term != before.Term {
		t.Errorf("before %+v, after %+v", before, after)
	}
}

// TestBarredNode is dropped, refused, and not listed again.
func TestBarredNode(t *testing.T) {
	n := newNetwork(t, 58)
	all := n.city("wuhan", 4)
	head := n.leader(all...)
	bad := n.inOrder(head)[1]
	n.kill(bad, false)
	n.registry.Bar([]ID{bad.id})
	n.until(15*time.Second, func() bool { return len(eventsOf[BarredChanged](head)) == 1 })
	if len(eventsOf[BarredChanged](head)) != 1 {
		t.Fatal("the head did not learn of it")
	}
	n.run(40 * time.Second)
	if head.m.candidate(bad.id) || head.m.Status().Members != 3 {
		t.Errorf("barred, but still there: %s", n.describe())
	}
	for _, h := range n.inOrder(head)[1:] {
		if _, err := h.m.Step(n.now, Received{From: bad.id, Message: &Message{Probe: &Probe{}}}); err == nil {
			t.Errorf("%s listens to a barred node", h.name)
		}
	}
}

// TestStaleIsBounded: two machines that disagree do not answer one another without end.
func TestStaleIsBounded(t *testing.T) {
	n := newNetwork(t, 59)
	head := n.leader(n.city("wuhan", 2)...)
	low := &Message{Beacon: &Beacon{Term: Term{Epoch: 1}}}
	sent := 0
	for range 100 {
		out, err := head.m.Step(n.now, Received{From: testID("x"), Message: low})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range out.Out {
			sent += number(e.Message.Stale != nil)
		}
	}
	if sent != answersPerPeer {
		t.Errorf("%d Stale in one instant", sent)
	}
}

// TestCopyOfALargeCity goes in frames below the limit, one in flight, and the successor has every address.
func TestCopyOfALargeCity(t *testing.T) {
	n := newNetwork(t, 60)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	for i := range 600 {
		name := fmt.Sprint("m", i)
		a := register(t, n.registry, n.ms(), name, "wuhan")
		row := Row{ID: testID(name), Addrs: [][]byte{[]byte("address of " + name), make([]byte, 40)}, Boot: 1, Admission: a.Admission}
		n.step(head, Received{From: row.ID, Message: &Message{Heartbeat: &Heartbeat{Term: head.m.high.term, Boot: 1, Seq: 1, Row: &row}}})
	}
	n.run(3 * time.Second)
	if got := len(second.m.Members()); got != 603 {
		t.Fatalf("the copy has %d members", got)
	}
	n.run(12 * time.Second) // the 600 are silent, and evicted
	if got := len(second.m.Members()); got != 3 {
		t.Errorf("the copy keeps %d members", got)
	}
}

// TestOrphanFindsHead: a node that slept through changes finds the head again through any candidate.
func TestOrphanFindsHead(t *testing.T) {
	n := newNetwork(t, 61)
	all := n.city("wuhan", 10)
	head := n.leader(all...)
	lost := all[9]
	n.kill(lost, false)
	n.away = true
	n.run(20 * time.Second)
	n.kill(head, true)
	n.run(20 * time.Second)
	n.boot(lost)
	if _, took := n.settled(5*time.Second, all...); took > time.Second {
		t.Errorf("found after %v", took)
	}
}

// TestChaos drives cities through crashes, cuts, loss and reordering; the network checks S1-S4 and S6 after
// every step, and after the last fault there must be one head that knows everybody.
func TestChaos(t *testing.T) {
	for seed := range uint64(25) {
		n := newNetwork(t, 1000+seed)
		all := n.city("wuhan", 3+int(seed)%8)
		for range 25 {
			h := all[n.rng.IntN(len(all))]
			switch n.rng.IntN(7) {
			case 0, 1:
				if h.m != nil {
					n.kill(h, n.rng.IntN(2) == 0)
				}
			case 2:
				if h.m == nil {
					n.boot(h)
				}
			case 3:
				k := 1 + n.rng.IntN(len(all)-1)
				side := make(map[ID]bool)
				for _, other := range all[:k] {
					side[other.id] = true
				}
				oneWay := n.rng.IntN(3) == 0
				n.cut = func(from, to ID) bool { return side[from] && !side[to] || !oneWay && side[to] && !side[from] }
			case 4:
				n.cut = func(_, _ ID) bool { return false }
				n.away = !n.away
			case 5:
				h.frozen = !h.frozen
			case 6:
				n.drop, n.double, n.jitter = n.rng.Float64()*0.3, n.rng.Float64()*0.2, time.Duration(1+n.rng.IntN(200))*time.Millisecond
			}
			n.run(time.Duration(n.rng.Int64N(int64(8 * time.Second))))
		}
		n.drop, n.double, n.jitter, n.away = 0, 0, 0, false
		n.cut = func(_, _ ID) bool { return false }
		for _, h := range all {
			h.frozen = false
			if h.m == nil {
				n.boot(h)
			}
		}
		if _, took := n.settled(time.Minute, all...); took > 45*time.Second {
			t.Errorf("seed %d: settled after %v", seed, took)
		}
	}
}

// TestCopyFollowsTheHead: a copy gets heads of other cities as they are learned, and loses rows that a new
// head does not have.
func TestCopyFollowsTheHead(t *testing.T) {
	n := newNetwork(t, 62)
	all := n.city("wuhan", 4)
	order := n.inOrder(n.leader(all...))
	n.run(5 * time.Second)
	cert := register(t, newTable(t, TableState{}), startMs, "x", "changsha").Cert
	n.step(order[0], Learned{Lead: leadOf(t, cert, 0, 1, "x")})
	n.run(time.Second)
	for _, h := range order {
		if _, ok := h.m.Head("changsha"); !ok {
			t.Errorf("%s does not know the head that its head learned", h.name)
		}
	}
	ghost := Row{ID: testID("ghost")}
	e, _ := order[2].m.table.put(ghost)
	order[2].m.table.setAlive(e, true)
	e.stamp = order[2].m.high.term
	n.away = true
	n.kill(order[0], true)
	n.run(2 * time.Second)
	if order[2].m.table.rows[ghost.ID] != nil {
		t.Error("a row that the new head does not have stayed in the copy")
	}
}

// TestBootIsDurableFirst: a boot number above the stored one goes into the first output.
func TestBootIsDurableFirst(t *testing.T) {
	a := register(t, newTable(t, TableState{}), startMs, "a", "wuhan")
	m, err := New(Config{Network: networkPublic(), City: "wuhan"}, Row{ID: testID("a"), Boot: 9, Admission: a.Admission}, HardState{Boot: 4}, SignerOf(testKey("a")), nil)
	if err != nil {
		t.Fatal(err)
	}
	if out := m.Tick(0); out.Hard == nil || out.Hard.Boot != 9 {
		t.Errorf("first output %+v", out)
	}
}
