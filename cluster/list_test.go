package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// assembly is a head, alone in its list, whose members are only what they say in heartbeats.
type assembly struct {
	*network
	head *host
	seq  uint64
}

func newAssembly(t *testing.T, seed uint64) *assembly {
	n := newNetwork(t, seed)
	a := &assembly{network: n, head: n.city("wuhan", 1)[0]}
	n.away = true
	n.run(time.Hour) // everybody has a first-seen time in its past
	return a
}

// member makes somebody heard with a priority, first seen so long ago.
func (a *assembly) member(name string, p Priority, age time.Duration, change func(*Heartbeat)) ID {
	a.t.Helper()
	id := testID(name)
	if a.head.m.table.rows[id] == nil {
		register(a.t, a.registry, a.ms(), name, "wuhan")
	}
	row := Row{ID: id, Boot: 1, Priority: p, FirstSeen: a.ms() - age.Milliseconds(), Admission: register(a.t, a.registry, a.ms(), name, "wuhan").Admission}
	a.seq++
	hb := &Heartbeat{Term: a.head.m.high.term, Boot: 1, Seq: a.seq, Priority: p, Row: &row}
	if change != nil {
		change(hb)
	}
	if err := a.step(a.head, Received{From: id, Message: &Message{Heartbeat: hb}}); err != nil {
		a.t.Fatal(err)
	}
	return id
}

func (a *assembly) attest(name string, at Attestation) {
	a.t.Helper()
	at.At = a.ms()
	if err := a.step(a.head, Attested{ID: testID(name), Attestation: at}); err != nil {
		a.t.Fatal(err)
	}
}

// wants compares the list as it should be, without the head.
func (a *assembly) wants(what string, names ...string) {
	a.t.Helper()
	var got []string
	for _, id := range a.head.m.wanted()[1:] {
		for name := range 10_000 {
			if testID(fmt.Sprint(name)) == id {
				got = append(got, fmt.Sprint(name))
				break
			}
		}
	}
	if !slices.Equal(got, names) {
		a.t.Errorf("%s: the list is %v, want %v", what, got, names)
	}
}

var old = Priority{Reachable: true, Stability: StabilityBucket(24 * time.Hour)}

// TestListOrder: reachable before not, then stability, then attested capacity; claims count as far as they are
// attested or shown.
func TestListOrder(t *testing.T) {
	a := newAssembly(t, 400)
	day := 24 * time.Hour
	young := Priority{Reachable: true, Stability: StabilityBucket(time.Hour)}
	a.member("1", young, time.Hour, nil)
	a.member("2", old, day, nil)
	a.member("3", Priority{Stability: 12}, 100*day, nil)
	a.wants("reachable, then stability", "2", "1", "3")
	a.member("4", Priority{Reachable: true, Stability: 200, Capacity: 10}, time.Hour, nil) // sky-high, says it
	a.attest("1", Attestation{Reachable: true, Capacity: 2})
	a.member("1", Priority{Reachable: true, Stability: StabilityBucket(time.Hour), Capacity: 9}, time.Hour, nil)
	a.wants("claims of stability are capped by the age, capacity that nobody measured is none", "2", "1", "4", "3")
	a.attest("4", Attestation{Reachable: true, Capacity: 3})
	a.wants("attested, it is the smaller of both", "2", "4", "1", "3")
	a.attest("2", Attestation{Reachable: false, Capacity: 9})
	a.wants("not reachable, as was tried out", "4", "1", "3", "2")
	a.member("3", Priority{Stability: 12, Load: 200}, 100*day, func(h *Heartbeat) { h.Load = 50 })
	a.wants("load does not order the list", "4", "1", "3", "2")
	a.member("5", Priority{Stability: 12}, 100*day, nil)
	before := a.head.m.wanted()
	a.member("5", Priority{Stability: 12, Load: 255}, 100*day, nil)
	a.member("3", Priority{Stability: 12}, 100*day, nil)
	between := a.head.m.wanted()
	a.member("5", Priority{Stability: 12}, 100*day, nil)
	a.member("3", Priority{Stability: 12, Load: 255}, 100*day, nil)
	if !slices.Equal(before, between) || !slices.Equal(before, a.head.m.wanted()) {
		t.Error("load orders nodes that are equal else")
	}
}

// TestListTail: the unwell, then those that flap, come last; nobody is left out for it.
func TestListTail(t *testing.T) {
	a := newAssembly(t, 401)
	day := 24 * time.Hour
	for i := range 5 {
		a.member(fmt.Sprint(i), old, day+time.Duration(i)*40*day, nil)
	}
	first := fmt.Sprint(slices.Index([]ID{testID("0"), testID("1"), testID("2"), testID("3"), testID("4")}, a.head.m.wanted()[1]))
	a.member(first, old, 400*day, func(h *Heartbeat) { h.Unwell = "slow disk" })
	second := a.head.m.wanted()[1]
	name := fmt.Sprint(slices.Index([]ID{testID("0"), testID("1"), testID("2"), testID("3"), testID("4")}, second))
	for boot := range uint64(flapBoots) {
		a.run(time.Second)
		a.member(name, old, 400*day, func(h *Heartbeat) { h.Boot, h.Row.Boot = 2+boot, 2+boot })
	}
	want := a.head.m.wanted()
	if len(want) != 6 || want[5] != testID(first) || want[4] != second {
		t.Errorf("tail %v, want the flapping before the unwell", want[4:])
	}
	a.run(flapWindow)
	for i := range 5 {
		a.member(fmt.Sprint(i), old, 400*day, func(h *Heartbeat) { h.Boot, h.Row.Boot = 10, 10 })
	}
	if want := a.head.m.wanted(); want[5] == second {
		t.Error("it flaps for ever")
	}
}

// TestListProbation: in its first ten minutes a node stands behind all older ones that are as reachable.
func TestListProbation(t *testing.T) {
	a := newAssembly(t, 402)
	a.member("1", Priority{Reachable: true, Stability: 9, Capacity: 9}, 9*time.Minute, nil)
	a.attest("1", Attestation{Reachable: true, Capacity: 9})
	a.member("2", Priority{Reachable: true, Stability: 1}, 11*time.Minute, nil)
	a.wants("new", "2", "1")
	a.run(11 * time.Minute)
	a.member("1", Priority{Reachable: true, Stability: 9, Capacity: 9}, 20*time.Minute, nil)
	a.member("2", Priority{Reachable: true, Stability: 1}, 22*time.Minute, nil)
	a.wants("older", "1", "2")
}

// TestListPrefixes: of one network two stand first, the others behind nodes of other networks; all eight places are
// taken all the same.
func TestListPrefixes(t *testing.T) {
	a := newAssembly(t, 403)
	day := 24 * time.Hour
	for i := range 6 { // six of one network, the older the better
		a.member(fmt.Sprint(i), Priority{Reachable: true, Stability: 20}, day<<i, nil)
		a.attest(fmt.Sprint(i), Attestation{Reachable: true, Prefix: "10.0.0.0/24"})
	}
	a.wants("alone", "5", "4", "3", "2", "1", "0")
	a.member("6", Priority{Reachable: true, Stability: 1}, time.Hour, nil)
	a.attest("6", Attestation{Reachable: true, Prefix: "10.0.1.0/24"})
	a.wants("two, then the other network", "5", "4", "6", "3", "2", "1", "0")
	a.member("7", Priority{Stability: 20}, day, nil)
	a.attest("7", Attestation{Prefix: "10.0.2.0/24"})
	a.wants("what cannot be reached does not come first for that", "5", "4", "6", "3", "2", "1", "0")
	a.attest(a.head.name, Attestation{Reachable: true, Prefix: "10.0.0.0/24"})
	e, _ := a.head.m.table.put(a.head.m.self)
	e.row.Attested.Prefix = "10.0.0.0/24"
	a.wants("the head counts too", "5", "6", "4", "3", "2", "1", "0")
}

// TestListSilent: who was silent for less than a day keeps a place behind the living, and loses it after that.
func TestListSilent(t *testing.T) {
	n := newNetwork(t, 404)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	gone := n.inOrder(head)[1]
	n.kill(gone, false)
	n.run(time.Hour)
	if list := head.m.list(); len(list) != 3 || list[2] != gone.id {
		t.Errorf("after an hour: %s", n.describe())
	}
	n.run(callFor + time.Minute)
	if list := head.m.list(); len(list) != 2 || slices.Contains(list, gone.id) {
		t.Errorf("after a day: %s", n.describe())
	}
}

// TestAttestationOutlivesTheHead: what a head measured is replicated; what a member says of itself is not believed.
func TestAttestationOutlivesTheHead(t *testing.T) {
	n := newNetwork(t, 405)
	all := n.city("wuhan", 4)
	head := n.leader(all...)
	second, third := n.inOrder(head)[1], n.inOrder(head)[2]
	row := third.row
	row.Attested = Attestation{At: n.ms(), Capacity: 10, Reachable: true}
	n.step(third, SelfChanged{Row: row})
	n.run(3 * time.Second)
	if got := head.m.table.rows[third.id].row.Attested; got != (Attestation{}) {
		t.Errorf("it attested itself: %+v", got)
	}
	want := Attestation{At: n.ms(), Capacity: 5, Reachable: true, Prefix: "10.1.0.0/16"}
	for _, id := range []ID{third.id, second.id} {
		if err := n.step(head, Attested{ID: id, Attestation: want}); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.step(head, Attested{ID: third.id, Attestation: Attestation{Capacity: 11}}); err == nil {
		t.Error("a capacity above all buckets was taken")
	}
	n.run(30 * time.Second)
	n.away = true
	n.kill(n.leader(all...), true)
	n.run(15 * time.Second)
	next := n.leader(all...)
	for _, id := range []ID{third.id, second.id} {
		if got := next.m.table.rows[id].row.Attested; got != want {
			t.Errorf("the next head knows of %s: %+v", n.hosts[id].name, got)
		}
	}
}

// TestNeverPreempted: a better node that joins re-sorts the backups, and does not depose the head.
func TestNeverPreempted(t *testing.T) {
	n := newNetwork(t, 406)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	best := n.join("best", "wuhan")
	row := best.row
	row.Priority, row.FirstSeen = Priority{Reachable: true, Stability: 12, Capacity: 10}, startMs-int64(1000*24*time.Hour/time.Millisecond)
	n.step(best, SelfChanged{Row: row})
	n.run(5 * time.Minute)
	if n.leader(append(all, best)...) != head || head.m.list()[1] != best.id {
		t.Errorf("%s", n.describe())
	}
}
