package cluster

import (
	"testing"
	"time"
)

// In a large city all members lose their head at the same moment: they call the candidates one after the other, two at
// a time and spread, or each of them would hold a connection to all; and a new head waits longer for them than Evict.
func TestStorm(t *testing.T) {
	n := newNetwork(t, 1)
	for i := range MaxSuccession + 1 {
		n.join(string(rune('a'+i)), "wuhan")
	}
	n.run(time.Minute)
	var member *host
	for id, h := range n.hosts {
		if !h.m.candidate(id) {
			member = h
		}
	}
	if member == nil {
		t.Fatal("everybody is a candidate")
	}
	m := member.m
	asks := func() (asked []ID) {
		m.note.out = Output{}
		m.askAround()
		for _, e := range m.note.out.Out {
			if e.Message.WhoIs != nil {
				asked = append(asked, e.To)
			}
		}
		m.note.out = Output{}
		return asked
	}
	if got := asks(); len(got) < MaxSuccession {
		t.Errorf("a member of a small city asks %d, want all candidates", len(got))
	}
	m.beat.members = 10_000
	latest := Instant(0)
	for range 100 {
		m.hint()
		if wait := m.beat.nextAsk.Sub(m.clock.now); wait < 0 || wait > m.timers().Evict/2 {
			t.Fatalf("it calls after %v", wait)
		}
		latest = max(latest, m.beat.nextAsk)
	}
	if latest.Sub(m.clock.now) < m.timers().Evict/4 {
		t.Errorf("a hundred members call within %v", latest.Sub(m.clock.now))
	}
	met := map[ID]bool{}
	for i := range MaxSuccession {
		got := asks()
		if len(got) != stormAsked {
			t.Fatalf("it asks %d at a time, want %d", len(got), stormAsked)
		}
		if next := m.list()[(m.high.term.K+1)%uint64(len(m.list()))]; i == 0 && got[0] != next {
			t.Errorf("it asks %s first, want the next in line %s", got[0].Short(), next.Short())
		}
		for _, id := range got {
			met[id] = true
		}
	}
	for _, id := range m.list() {
		if !met[id] {
			t.Errorf("%s is never asked", id.Short())
		}
	}

	head := n.hosts[m.high.head()].m
	for i := range stormFrom {
		e := head.table.find(ID(string(rune(1000 + i))))
		head.table.setAlive(e, true)
	}
	head.takeOffice()
	for _, e := range head.table.rows {
		if got, want := e.last.Sub(head.clock.now), 2*time.Duration(head.table.alive)*stormSpread; got != want && e.row.ID != head.self.ID {
			t.Fatalf("a member that was taken over is waited for %v longer than others, want %v", got, want)
		}
	}
}
