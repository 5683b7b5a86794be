package cluster

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestR10Calls: of many that were evicted at most 16 are called in four seconds, candidates in each round, all others
// in turn; after a day nobody is.
func TestR10Calls(t *testing.T) {
	n := newNetwork(t, 420)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	n.run(time.Second)
	n.away = true
	for i := range 40 {
		name := fmt.Sprint("m", i)
		row := Row{ID: testID(name), Boot: 1, Admission: register(t, n.registry, n.ms(), name, "wuhan").Admission}
		n.step(head, Received{From: row.ID, Message: &Message{Heartbeat: &Heartbeat{Term: head.m.high.term, Boot: 1, Seq: 1, Row: &row}}})
	}
	candidates := n.inOrder(head)[1:]
	for _, h := range candidates {
		n.kill(h, false)
	}
	n.run(11 * time.Second)
	if got := head.m.Status().Members; got != 1 {
		t.Fatalf("%d members", got)
	}
	calls := make(map[ID]int)
	rounds := 0
	for until := n.now.Add(40 * time.Second); n.now < until; {
		at, _ := head.m.Deadline()
		n.now = at
		out := head.m.Tick(at)
		n.carry(head, out)
		round := 0
		for _, e := range out.Out {
			if e.Message.Lead != nil {
				calls[e.To]++
				round++
			}
		}
		if round > 0 {
			rounds++
		}
		if round > callsPerRound {
			t.Errorf("%d calls at once", round)
		}
	}
	if rounds != 10 || calls[candidates[0].id] != rounds || calls[candidates[1].id] != rounds {
		t.Errorf("%d rounds, candidates called %d and %d times", rounds, calls[candidates[0].id], calls[candidates[1].id])
	}
	for i := range 40 { // 14 a round in ten rounds: everybody three times, some four times
		if c := calls[testID(fmt.Sprint("m", i))]; c < 3 || c > 4 {
			t.Errorf("m%d was called %d times", i, c)
		}
	}
	for until := n.now.Add(callFor); n.now < until; { // not at one go: that would be a pause
		n.now, _ = head.m.Deadline()
		head.m.Tick(n.now)
	}
	if rows := len(head.m.table.rows); rows != 3 || head.m.table.order[chainGone].n != 2 {
		t.Errorf("%d rows after a day, want those of the list", rows)
	}
}

// TestR10LonelyHeadResumes: one word of a candidate, whatever it is, and the head beacons again.
func TestR10LonelyHeadResumes(t *testing.T) {
	n := newNetwork(t, 421)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	n.run(time.Second)
	n.away = true
	for _, h := range all {
		h.frozen = h != head
	}
	n.cut = func(from, to ID) bool { return to != head.id }
	n.run(12 * time.Second)
	n.count["beacon"] = 0
	beacons := func() (sent int) {
		for range 4 {
			at, _ := head.m.Deadline()
			n.now = max(n.now, at)
			out := head.m.Tick(n.now)
			sent += len(messages(out, beaconOf))
			n.carry(head, out)
		}
		return sent
	}
	if got := beacons(); got != 0 {
		t.Errorf("a lonely head sent %d beacons", got)
	}
	candidate := n.inOrder(head)[2]
	n.step(head, Received{From: testID("stranger"), Message: &Message{WhoIs: &WhoIs{}}})
	if got := beacons(); got != 0 {
		t.Errorf("a stranger called, and it sent %d beacons", got)
	}
	n.step(head, Received{From: candidate.id, Message: &Message{WhoIs: &WhoIs{}}})
	if got := beacons(); got == 0 {
		t.Error("a candidate called, and it stays silent")
	}
}

// TestR10NotWhileUnsure is TestR6PausedHead's other half: a member that is silent for Evict while its head is unsure
// stays until the head is sure.
func TestR10NotWhileUnsure(t *testing.T) {
	n := newNetwork(t, 422)
	all := n.city("wuhan", 10)
	head := n.leader(all...)
	n.away = true
	silent := all[9]
	if head.m.candidate(silent.id) {
		t.Fatal("the last that joined is a candidate")
	}
	n.kill(silent, false)
	last := head.m.table.rows[silent.id].last
	tm := DefaultTimers()
	n.run(last.Add(tm.Evict).Sub(n.now) - 100*time.Millisecond)
	n.freeze(head, true)
	n.run(1500 * time.Millisecond)
	n.thaw(head)
	n.run(2*tm.ProbeWait - time.Millisecond)
	if len(eventsOf[MemberEvicted](head)) != 0 || !head.m.unsure() {
		t.Errorf("evicted while unsure: %v", eventsOf[MemberEvicted](head))
	}
	n.run(2 * time.Second)
	if e := eventsOf[MemberEvicted](head); len(e) != 1 || e[0].ID != silent.id {
		t.Errorf("evicted %v", e)
	}
}

// TestRowsAreBounded: very many that come and go do not fill the memory of a head.
func TestRowsAreBounded(t *testing.T) {
	n := newNetwork(t, 423)
	head := n.city("wuhan", 1)[0]
	n.away = true
	head.m.env.cfg.MaxMembers = 10
	for i := range 60 {
		name := fmt.Sprint("m", i)
		row := Row{ID: testID(name), Boot: 1, Admission: register(t, n.registry, n.ms(), name, "wuhan").Admission}
		n.step(head, Received{From: row.ID, Message: &Message{Heartbeat: &Heartbeat{Term: head.m.high.term, Boot: 1, Seq: 1, Row: &row}}})
		n.run(time.Minute)
	}
	if rows := len(head.m.table.rows); rows > 10*goneFactor+2 {
		t.Errorf("%d rows", rows)
	}
}

// TestClonedKeyNotABurst: what an old process had sent before it ended may come late, all at once.
func TestClonedKeyNotABurst(t *testing.T) {
	n := newNetwork(t, 424)
	all := n.city("wuhan", 3)
	head, victim := n.leader(all...), all[2]
	for i := range uint64(50) {
		hb := &Heartbeat{Term: head.m.high.term, Boot: victim.row.Boot - 5, Seq: 100 + i}
		n.step(head, Received{From: victim.id, Message: &Message{Heartbeat: hb}})
		n.run(30 * time.Millisecond)
	}
	if a := eventsOf[Alarm](head); len(a) != 0 {
		t.Errorf("alarms: %v", a)
	}
	for range 5 { // it stands still
		hb := &Heartbeat{Term: head.m.high.term, Boot: victim.row.Boot - 5, Seq: 149}
		n.step(head, Received{From: victim.id, Message: &Message{Heartbeat: hb}})
		n.run(time.Second)
	}
	if a := eventsOf[Alarm](head); len(a) != 0 {
		t.Errorf("alarms: %v", a)
	}
}

// TestBeaconsToAllAreSpread: each member gets its beacon every BeaconAll, and not all in one breath.
func TestBeaconsToAllAreSpread(t *testing.T) {
	n := newNetwork(t, 425)
	head := n.city("wuhan", 1)[0]
	n.away = true
	const members = 200
	rows := make([]Row, members)
	beat := func(seq uint64) {
		for i := range rows {
			if seq == 1 {
				name := fmt.Sprint("m", i)
				rows[i] = Row{ID: testID(name), Boot: 1, Admission: register(t, n.registry, n.ms(), name, "wuhan").Admission}
			}
			n.step(head, Received{From: rows[i].ID, Message: &Message{Heartbeat: &Heartbeat{Term: head.m.high.term, Boot: 1, Seq: seq, Row: &rows[i]}}})
		}
	}
	beat(1)
	n.kill(head, false)
	n.boot(head) // it starts a headship with nobody, and they come within a moment
	n.run(2 * time.Second)
	beat(2)
	head.m.table.begin(n.now, DefaultTimers().BeaconAll, 0) // as after a take-over
	told, most := make(map[ID][]Instant), 0
	for i := range 100 {
		n.now = n.now.Add(500 * time.Millisecond)
		out := head.m.Tick(n.now)
		now := 0
		for _, e := range out.Out {
			if e.Message.Beacon != nil {
				told[e.To] = append(told[e.To], n.now)
				now++
			}
		}
		most = max(most, now)
		n.carry(head, out)
		if i%8 == 0 {
			beat(uint64(3 + i))
		}
	}
	if len(told) != members || most > members/10 {
		t.Errorf("%d of %d members got beacons, at most %d at once", len(told), members, most)
	}
	for id, at := range told {
		for i := 1; i < len(at); i++ {
			if gap := at[i].Sub(at[i-1]); gap < 10*time.Second || gap > 10500*time.Millisecond {
				t.Fatalf("%s waited %v for a beacon", id.Short(), gap)
			}
		}
		if !slices.IsSorted(at) || len(at) < 4 {
			t.Fatalf("%d beacons in 50 s", len(at))
		}
	}
}

// TestClockJumps: wall clocks that are set back by years and ahead change nothing: epochs and boot numbers grow.
func TestClockJumps(t *testing.T) {
	n := newNetwork(t, 426)
	all := n.city("wuhan", 3)
	n.run(5 * time.Second)
	for i, years := range []int64{-20, 10, -40} {
		head := n.leader(all...)
		term, boot := head.m.high.term, head.hard.Boot
		n.skew = years * 365 * 24 * 3600 * 1000
		n.kill(head, false)
		n.run(100 * time.Millisecond)
		n.boot(head)
		all = append(all, n.join(fmt.Sprint("late-", i), "wuhan"))
		next, _ := n.settled(time.Minute, all...)
		n.run(time.Minute)
		if head.hard.Boot <= boot || next.m.high.term.Compare(term) <= 0 || len(next.m.list()) != len(all) {
			t.Errorf("%d years: boot %d after %d, term %s after %s: %s", years, head.hard.Boot, boot, next.m.high.term, term, n.describe())
		}
	}
}
