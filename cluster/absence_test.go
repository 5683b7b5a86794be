package cluster

import (
	"slices"
	"testing"
	"time"
)

// TestRegistryAway: cities live without the registry for as long as it likes, through take-overs in each shard; when it is
// back, with its tables, with old ones or with none, it has what they have within a report, signs nothing twice, and puts
// the lists in order.
func TestRegistryAway(t *testing.T) {
	for _, disk := range []string{"kept", "old", "lost"} {
		t.Run(disk, func(t *testing.T) {
			n := newNetwork(t, 95)
			all := n.many("wuhan", 12, 3)
			old := TableState{Nodes: n.registry.Nodes(), Cities: n.registry.Cities()}
			n.divided(40*time.Second, 3, all...)
			n.run(40 * time.Second)
			kept := TableState{Nodes: n.registry.Nodes(), Cities: n.registry.Cities()}
			n.away = true
			for round := range 3 {
				heads, _ := n.divided(time.Minute, 3, all...)
				n.kill(heads[round], round%2 == 0)
				n.run(5 * time.Minute)
				n.boot(heads[round])
			}
			heads, _ := n.divided(time.Minute, 3, all...)
			n.registry = newTable(t, map[string]TableState{"kept": kept, "old": old, "lost": {}}[disk])
			if _, err := n.registry.SetHeads(n.ms(), "wuhan", 3); err != nil && disk != "lost" {
				t.Fatal(err)
			}
			n.registry.SetQuiet(true)
			n.away = false
			// A first node of the city comes before anybody has shown it.
			id := testID("early")
			req := &Request{Version: Version, Kind: CallRegister, Self: Peer{id, nil}, City: "wuhan"}
			if a, _, err := n.registry.Register(n.ms(), id, req, "wuhan", "", ClassOwn); err != nil || disk == "lost" && (!a.Quiet || !a.Cert.Empty()) {
				t.Errorf("%+v, %v", a, err)
			}
			n.run(reportEvery + time.Second)
			n.registry.SetQuiet(false)
			known := n.registry.cities["wuhan"]
			for shard, h := range heads {
				if best := known.best(uint(shard)); best.term.Compare(h.m.high.term) != 0 && !h.m.leading() {
					t.Errorf("shard %d: the registry knows %s of %s, its head leads %s", shard, best.term, best.head().Short(), h.m.high.term)
				}
			}
			after, _ := n.divided(time.Minute, 3, all...)
			if len(n.registry.Nodes()) < len(all) {
				n.run(time.Minute)
			}
			if got := len(n.registry.Nodes()); got != len(all)+1 {
				t.Errorf("the registry knows %d nodes of %d", got, len(all)+1)
			}
			n.run(40 * time.Second)
			for shard, h := range after {
				if list := h.m.list(); list[0] != h.id && n.registry.cities["wuhan"].best(uint(shard)).head() == h.id {
					t.Errorf("shard %d: its head stands %d. in its list after 40 s", shard, slices.Index(list, h.id))
				}
			}
		})
	}
}

// TestTimersChange: a registry that comes back with other timers gives them to a city, and nobody is deposed for it.
func TestTimersChange(t *testing.T) {
	n := newNetwork(t, 96)
	all := n.city("wuhan", 6)
	head := n.leader(all...)
	for i, timers := range []Timers{LANTimers(), WANTimers(), DefaultTimers()} {
		n.registry.cfg.Timers = timers
		n.run(reportEvery + 2*time.Second)
		now, _ := n.settled(30*time.Second, all...)
		if now != head {
			t.Fatalf("change %d: %s leads: %s", i, now.name, now.m.Status().LastChange)
		}
		for _, h := range all {
			if h.m.timers() != timers {
				t.Errorf("change %d: %s has %+v", i, h.name, h.m.timers())
			}
		}
	}
	n.run(time.Minute)
	for _, h := range n.registry.Cities()[0].History {
		if h.Head != head.id {
			t.Errorf("%s led: %s", h.Head.Short(), h.Reason)
		}
	}
	// With the fast ones a silent head is found out about faster.
	n.registry.cfg.Timers = LANTimers()
	n.run(reportEvery + 2*time.Second)
	n.kill(head, false)
	took := n.until(10*time.Second, func() bool { h := n.leader(all...); return h != nil && h != head })
	if limit := LANTimers().Suspect + LANTimers().ProbeWait + 100*time.Millisecond; took > limit {
		t.Errorf("taken over after %v, want %v", took, limit)
	}
}

// TestHistoryOfEveryChange: what the registry's history has are the terms that were led, in their order.
func TestHistoryOfEveryChange(t *testing.T) {
	n := newNetwork(t, 97)
	all := n.city("wuhan", 4)
	for i := range 4 {
		head, _ := n.settled(time.Minute, all...)
		n.kill(head, i%2 == 0)
		n.run(8 * time.Second)
		n.boot(head)
		n.run(20 * time.Second)
	}
	led := make(map[Term]bool)
	for _, h := range all {
		for _, e := range h.events {
			if e, ok := e.(LeadChanged); ok && e.Self {
				led[e.Term] = true
			}
		}
	}
	seen := make(map[Term]bool)
	var last HeadChange
	for _, h := range n.registry.Cities()[0].History {
		if seen[h.Term] || h.At < last.At || h.Reason == "" || h.Late {
			t.Errorf("history has %+v after %+v", h, last)
		}
		seen[h.Term], last = true, h
	}
	if len(seen) != len(led) {
		t.Errorf("%d terms were led, %d are in the history", len(led), len(seen))
	}
}
