package cluster

import (
	"errors"
	"testing"
	"time"
)

// freeze stops a process; what is sent to it is lost (a cut cable) or waits in its sockets.
func (n *network) freeze(h *host, lost bool) {
	h.frozen = true
	n.cut = func(_, to ID) bool { return lost && to == h.id }
}

// thaw lets it go on: it ticks, as its timer is over, before it reads its sockets.
func (n *network) thaw(h *host) {
	h.frozen = false
	n.cut = func(_, _ ID) bool { return false }
	n.carry(h, h.m.Tick(n.now))
}

func messages[T any](out Output, of func(*Message) *T) (found []*T) {
	for _, e := range out.Out {
		if v := of(e.Message); v != nil {
			found = append(found, v)
		}
	}
	return found
}

func beaconOf(m *Message) *Beacon { return m.Beacon }

// TestR6PausedHead: a head that slept asks with its beacon whether it still leads, and permits, evicts and tells the
// DHT nothing for two ProbeWaits; then it is sure again.
func TestR6PausedHead(t *testing.T) {
	n := newNetwork(t, 200)
	all := n.city("wuhan", 10)
	head := n.leader(all...)
	n.run(time.Second)
	term, before := head.m.high.term, len(eventsOf[MemberEvicted](head))
	pause := 1500 * time.Millisecond // nobody has claimed by then
	n.freeze(head, true)
	n.run(pause)
	head.frozen, n.cut = false, func(_, _ ID) bool { return false }
	due, _ := head.m.Deadline()
	late := n.now.Sub(due)
	if _, err := head.m.Pick(n.now, 1, ""); !errors.Is(err, ErrUnsure) {
		t.Errorf("it picks before it has looked around: %v", err)
	}
	if at, ok := head.m.Deadline(); !ok || at > n.now {
		t.Errorf("its next step is due at %v, now is %v", at, n.now)
	}
	out := head.m.Tick(n.now)
	if got := len(messages(out, beaconOf)); got != 7 {
		t.Errorf("it asked %d candidates at once, want 7", got)
	}
	n.carry(head, out)
	tm := DefaultTimers()
	for end := n.now.Add(2*tm.ProbeWait - 1); n.now < end; n.run(tm.ProbeWait / 4) {
		if !head.m.Status().Unsure {
			t.Fatalf("sure %v too early", end.Sub(n.now))
		}
		if _, err := head.m.IssueTicket(Picked{}, "", "", [16]byte{}, TicketLimits{}); !errors.Is(err, ErrUnsure) {
			t.Errorf("it permits: %v", err)
		}
	}
	n.run(time.Millisecond)
	if head.m.Status().Unsure || head.m.high.term != term {
		t.Errorf("still unsure, or another term: %s", n.describe())
	}
	if _, err := head.m.Pick(n.now, 1, ""); err != nil {
		t.Error(err)
	}
	got := eventsOf[Unsure](head)
	if len(got) != 2 || !got[0].On || got[0].Pause != late || got[1].On || len(eventsOf[MemberEvicted](head)) != before {
		t.Errorf("events %+v, pause %v", got, late)
	}
}

// TestR6Deposed: a head that slept for a minute is answered by Stale; nothing that it said in between is accepted.
func TestR6Deposed(t *testing.T) {
	for _, lost := range []bool{false, true} {
		n := newNetwork(t, 201)
		all := n.city("wuhan", 10)
		head := n.leader(all...)
		n.run(time.Second)
		old := head.m.high.term
		n.freeze(head, lost)
		n.run(time.Minute)
		next := n.leader(all...)
		if next == nil || next.m.high.term.Compare(old) <= 0 {
			t.Fatalf("no successor: %s", n.describe())
		}
		n.thaw(head)
		if head.m.leading() && !head.m.unsure() {
			t.Error("it is sure that it leads")
		}
		took := n.until(10*time.Second, func() bool { return !head.m.leading() })
		if took > 10*time.Millisecond || n.leader(all...) != next || len(eventsOf[MemberEvicted](head)) != 0 {
			t.Errorf("lost %v: stepped down after %v: %s", lost, took, n.describe())
		}
		n.settled(15*time.Second, all...)
	}
}

// TestR6EvictsNobody: members whose heartbeats were lost with a pause longer than Evict get all their time anew.
func TestR6EvictsNobody(t *testing.T) {
	n := newNetwork(t, 202)
	all := n.city("wuhan", 4)
	head := n.leader(all...)
	n.run(time.Second)
	n.away = true
	for _, h := range all { // the whole city sleeps: one host that was suspended
		h.frozen = true
	}
	n.cut = func(_, _ ID) bool { return true }
	n.run(time.Minute)
	for _, h := range all {
		h.frozen = false
		n.carry(h, h.m.Tick(n.now))
	}
	n.cut = func(_, _ ID) bool { return false }
	term := head.m.high.term
	n.run(20 * time.Second)
	if !head.m.leading() || head.m.high.term != term || len(eventsOf[MemberEvicted](head)) != 0 {
		t.Errorf("evicted %v: %s", eventsOf[MemberEvicted](head), n.describe())
	}
}

// TestR6PausedCandidate: its own sleep is not the head's silence.
func TestR6PausedCandidate(t *testing.T) {
	n := newNetwork(t, 203)
	all := n.city("wuhan", 4)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	n.run(time.Second)
	term := head.m.high.term
	n.away = true
	n.freeze(second, true)
	n.run(time.Minute)
	n.count["probe"] = 0
	n.thaw(second)
	n.run(20 * time.Second)
	if n.count["probe"] != 0 || head.m.high.term != term {
		t.Errorf("%d probes: %s", n.count["probe"], n.describe())
	}
}

// TestR6PausedProbe: what witnesses said before a pause counts no more after it; they are asked anew.
func TestR6PausedProbe(t *testing.T) {
	n, _, second := deaf(t, 207, 6)
	n.probing(second, 10*time.Second)
	req := second.m.watch.probe.req
	for i := range 3 {
		n.testify(second, i, false, 0)
	}
	n.freeze(second, true)
	n.run(time.Minute)
	n.thaw(second)
	if p := second.m.watch.probe; second.m.leading() || p == nil || p.req == req || len(p.answers) != 0 {
		t.Errorf("leads %v, probe %+v", second.m.leading(), p)
	}
}

// TestR6QueuedBeacons: beacons that lay in the sockets during a pause do not push the suspicion further than Suspect
// from now.
func TestR6QueuedBeacons(t *testing.T) {
	n := newNetwork(t, 204)
	all := n.city("wuhan", 2)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	n.run(time.Second)
	n.freeze(second, false)
	n.run(2 * time.Second)
	n.kill(head, false)
	n.run(time.Minute)
	second.frozen = false
	tm := DefaultTimers()
	took := n.until(time.Minute, second.m.leading)
	if limit := tm.Suspect + tm.ProbeWait + 100*time.Millisecond; took > limit {
		t.Errorf("it leads after %v, want at most %v", took, limit)
	}
	if took < tm.Suspect {
		t.Errorf("it leads after %v: before it could hear that the head lives", took)
	}
}

// TestR6ResignInThePause: what a node hears right after a pause may be older than what it is about to hear.
func TestR6ResignInThePause(t *testing.T) {
	n := newNetwork(t, 205)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	n.run(time.Second)
	n.away = true
	n.freeze(second, true)
	n.run(time.Minute)
	n.thaw(second)
	resign := Received{From: head.id, Message: &Message{Resign: &Resign{Term: head.m.high.term, To: second.id}}}
	if n.step(second, resign); second.m.leading() {
		t.Error("claimed on a Resign that waited for a minute")
	}
	n.run(DefaultTimers().ProbeWait)
	if n.step(second, resign); !second.m.leading() {
		t.Error("did not claim on a Resign later")
	}
}

// TestR6SlowIsNoPause: a step that comes a little late is none.
func TestR6SlowIsNoPause(t *testing.T) {
	n := newNetwork(t, 206)
	head := n.city("wuhan", 1)[0]
	n.run(time.Second)
	for range 20 {
		due, _ := head.m.Deadline()
		n.now = due.Add(DefaultTimers().Suspect / 2)
		n.carry(head, head.m.Tick(n.now))
	}
	if got := eventsOf[Unsure](head); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	due, _ := head.m.Deadline()
	n.now = due.Add(DefaultTimers().Suspect/2 + 1)
	n.carry(head, head.m.Tick(n.now))
	if !head.m.Status().Unsure {
		t.Error("one more nanosecond is a pause")
	}
}
