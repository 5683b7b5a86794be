package cluster

import (
	"testing"
	"time"
)

func TestCitySettles(t *testing.T) {
	n := newNetwork(t, 1)
	all := n.city("changsha", 10)
	head := n.leader(all...)
	if head != all[0] {
		t.Errorf("head is %s, want the first that registered", head.name)
	}
	if got := len(head.m.Members()); got != 10 {
		t.Errorf("%d members", got)
	}
	for _, m := range head.m.Members() {
		if len(m.Row.Addrs) == 0 {
			t.Errorf("%s has no address", n.hosts[m.Row.ID].name)
		}
	}
}

func TestHeadDiesSilently(t *testing.T) {
	n := newNetwork(t, 2)
	all := n.city("changsha", 10)
	head := n.leader(all...)
	n.run(3 * time.Second)
	second := n.inOrder(head)[1]
	n.away = true
	n.kill(head, false)
	took := n.until(5*time.Second, func() bool { return n.leader(all...) != nil })
	tm := DefaultTimers()
	if limit := tm.Suspect + tm.ProbeWait + tm.Beacon; took > limit {
		t.Errorf("take-over after %v, want at most %v", took, limit)
	}
	if n.leader(all...) != second {
		t.Errorf("%s leads, want %s", n.leader(all...).name, second.name)
	}
	t.Logf("take-over after %v", took)
	// The successor knows every member's addresses at once; all point to it within a heartbeat.
	if took := n.until(time.Second, func() bool { return n.agree(second, all...) }); took > 10*time.Millisecond {
		t.Errorf("members follow after %v", took)
	}
	head2, took := n.settled(15*time.Second, all...)
	t.Logf("settled after %v, %v", took, head2.m.Status().Term)
}

// TestR2ClosedConnection is kill -9 over TCP: the connections close one by one, and the next in line
// leads within milliseconds.
func TestR2ClosedConnection(t *testing.T) {
	for seed := range uint64(20) {
		n := newNetwork(t, 100+seed)
		all := n.city("changsha", 10)
		n.run(time.Duration(n.rng.Int64N(int64(2 * time.Second))))
		head := n.leader(all...)
		second := n.inOrder(head)[1]
		n.away = true
		n.kill(head, true)
		took := n.until(5*time.Second, func() bool { return n.leader(all...) != nil })
		if took > 50*time.Millisecond || n.leader(all...) != second {
			t.Errorf("seed %d: take-over after %v: %s", seed, took, n.describe())
		}
		n.settled(15*time.Second, all...)
	}
}

// TestR2OnlyMyConnectionClosed: the hint is no verdict. Witnesses say fresh, and the head stays.
func TestR2OnlyMyConnectionClosed(t *testing.T) {
	n := newNetwork(t, 3)
	all := n.city("changsha", 5)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	term := head.m.high.term
	n.step(second, Disconnected{Peer: head.id})
	n.run(10 * time.Second)
	if head.m.high.term != term || !head.m.leading() {
		t.Errorf("a closed connection deposed a living head: %s", n.describe())
	}
	if second.m.watch.down {
		t.Error("the head's answers did not clear the hint")
	}
}

// TestR3HintWithoutHead: the connection is down, and the head cannot be asked; fresh witnesses put the
// claim off, but at most three times.
func TestR3HintWithoutHead(t *testing.T) {
	n := newNetwork(t, 4)
	all := n.city("changsha", 5)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	n.cut = func(from, to ID) bool {
		return from == head.id && to == second.id || from == second.id && to == head.id
	}
	n.step(second, Disconnected{Peer: head.id})
	took := n.until(30*time.Second, func() bool { return second.m.leading() })
	if took < 1500*time.Millisecond || took > 4*time.Second {
		t.Errorf("claimed after %v, want after three suppressions", took)
	}
	n.cut = func(_, _ ID) bool { return false }
	n.settled(20*time.Second, all...)
}

// TestR3OneWayLoss: who does not hear the head asks witnesses first.
func TestR3OneWayLoss(t *testing.T) {
	n := newNetwork(t, 5)
	all := n.city("changsha", 5)
	head := n.leader(all...)
	third := n.inOrder(head)[2]
	term := head.m.high.term
	n.cut = func(from, to ID) bool { return from == head.id && to == third.id }
	n.run(4 * time.Second)
	if head.m.high.term != term {
		t.Errorf("deposed at once: %s", n.describe())
	}
	if third.m.watch.suppressed == 0 {
		t.Error("nothing was suppressed")
	}
	took := n.until(time.Minute, func() bool { return third.m.leading() })
	if third.m.high.term == term || took > 40*time.Second {
		t.Errorf("suppressed for ever: %v", took)
	}
}

// TestR3Loss: at 20 % loss a living head stays.
func TestR3Loss(t *testing.T) {
	n := newNetwork(t, 6)
	all := n.city("changsha", 10)
	term := n.leader(all...).m.high.term
	n.drop = 0.2
	n.away = true
	n.run(20 * time.Minute)
	n.drop = 0
	n.settled(time.Minute, all...)
	if k := n.leader(all...).m.high.term.K - term.K; k > 1 {
		t.Errorf("%d depositions in 20 minutes at 20 %% loss", k)
	}
}

// TestR4HeadAndSecondDie: the third leads one Stagger later.
func TestR4HeadAndSecondDie(t *testing.T) {
	for _, tcp := range []bool{false, true} {
		n := newNetwork(t, 7)
		all := n.city("changsha", 10)
		order := n.inOrder(n.leader(all...))
		n.run(time.Second)
		n.away = true
		n.kill(order[0], tcp)
		n.kill(order[1], tcp)
		took := n.until(10*time.Second, func() bool { return n.leader(all...) != nil })
		tm := DefaultTimers()
		if limit := tm.Suspect + tm.Stagger + tm.ProbeWait + tm.Beacon; took > limit || n.leader(all...) != order[2] {
			t.Errorf("tcp %v: after %v, want %v: %s", tcp, took, limit, n.describe())
		}
		n.settled(20*time.Second, all...)
	}
}

// TestR5HeadRestarts: a head that comes back never resumes its term; the next in line leads at once.
func TestR5HeadRestarts(t *testing.T) {
	n := newNetwork(t, 8)
	all := n.city("changsha", 6)
	head := n.leader(all...)
	term := head.m.high.term
	second := n.inOrder(head)[1]
	n.kill(head, false)
	n.run(200 * time.Millisecond)
	n.boot(head)
	took := n.until(5*time.Second, func() bool { return n.leader(all...) != nil })
	if took > 100*time.Millisecond || n.leader(all...) != second {
		t.Errorf("after %v: %s", took, n.describe())
	}
	if second.m.high.term.Compare(term) <= 0 {
		t.Error("the term did not rise")
	}
	n.settled(20*time.Second, all...)
}

// TestR5CityOfOneReboots: alone in its list it claims (E, K+1) itself, without the registry.
func TestR5CityOfOneReboots(t *testing.T) {
	n := newNetwork(t, 9)
	h := n.city("changsha", 1)[0]
	term := h.m.high.term
	n.away = true
	for i := range uint64(3) {
		n.kill(h, false)
		n.run(time.Second)
		n.boot(h)
		took := n.until(5*time.Second, func() bool { return h.m.leading() })
		if took > 500*time.Millisecond || h.m.high.term.K != term.K+i+1 || h.m.high.term.Epoch != term.Epoch {
			t.Errorf("boot %d: term %s after %v, was %s", i, h.m.high.term, took, term)
		}
	}
}

// TestR5AllReboot: every node restarts at once, the registry is away.
func TestR5AllReboot(t *testing.T) {
	n := newNetwork(t, 10)
	all := n.city("changsha", 4)
	n.away = true
	for _, h := range all {
		n.kill(h, false)
	}
	n.run(time.Second)
	for _, h := range all {
		n.boot(h)
	}
	_, took := n.settled(30*time.Second, all...)
	t.Logf("settled after %v", took)
}

// TestR5BootedBackupDoesNotClaimOnHearsay: a Resign heard in the first ProbeWait has no effect.
func TestR5BootedBackupDoesNotClaimOnHearsay(t *testing.T) {
	n := newNetwork(t, 11)
	all := n.city("changsha", 3)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	n.kill(second, false)
	n.boot(second)
	resign := Received{From: head.id, Message: &Message{Resign: &Resign{Term: head.m.high.term}}}
	n.run(10 * time.Millisecond)
	if n.step(second, resign); second.m.leading() {
		t.Error("claimed on hearsay right after its boot")
	}
	n.run(time.Second)
	if n.step(second, resign); !second.m.leading() {
		t.Error("did not claim on a Resign later")
	}
}

// TestR7CarryOver: a new certificate without a Lead: the head claims in it under its own rank.
func TestR7CarryOver(t *testing.T) {
	n := newNetwork(t, 12)
	all := n.city("changsha", 3)
	head := n.leader(all...)
	old := head.m.high.term
	issue := func(list ...ID) Signed {
		return Sign(DomainCert, Certificate{Version: Version, Network: n.trust.Network(), City: "changsha",
			Epoch: NextEpoch(head.m.high.term.Epoch, n.ms(), 1), Successions: [][]ID{list}, Timers: DefaultTimers()}, SignerOf(networkKey()))
	}
	n.away = true
	n.run(time.Second) // a node that has just booted does not trust a Resign
	second := n.inOrder(head)[1]
	// It comes to a follower first, which passes it on, and does not step in itself although it is first.
	n.step(second, Answered{Kind: CallRegister, Answer: &Answer{Version: Version, Cert: issue(second.id, head.id)}})
	n.run(100 * time.Millisecond)
	if !head.m.leading() || head.m.high.term.Epoch <= old.Epoch || head.m.high.term.K != 1 {
		t.Fatalf("the head did not carry over under its rank: %s", n.describe())
	}
	// Not listed: it steps down, and the first of the list leads.
	n.step(head, Received{From: second.id, Message: &Message{Cert: &CertMessage{Certificate: issue(second.id)}}})
	took := n.until(5*time.Second, func() bool { return second.m.leading() })
	if head.m.leading() || took > 100*time.Millisecond {
		t.Errorf("after %v: %s", took, n.describe())
	}
}

// TestR1Frozen: a head that was frozen and resumes is answered by Stale, and steps down.
func TestR1Frozen(t *testing.T) {
	n := newNetwork(t, 13)
	all := n.city("changsha", 10)
	head := n.leader(all...)
	n.run(2 * time.Second)
	n.away = true
	head.frozen = true
	n.cut = func(_, to ID) bool { return to == head.id }
	n.until(5*time.Second, func() bool { return n.leader(all...) != nil })
	n.run(3 * time.Second)
	head.frozen = false
	n.cut = func(_, _ ID) bool { return false }
	n.count["stale"] = 0
	if !head.m.leading() {
		t.Fatal("it heard of its deposition while frozen")
	}
	_, took := n.settled(30*time.Second, all...)
	if head.m.leading() || n.count["stale"] == 0 {
		t.Errorf("stale %d, %s", n.count["stale"], n.describe())
	}
	if took > 4*time.Second {
		t.Errorf("one head after %v", took)
	}
}

// TestPartition: both sides lead in terms of their own; the higher wins on the heal, for cuts short and long.
func TestPartition(t *testing.T) {
	for _, cut := range []time.Duration{5 * time.Second, 30 * time.Second, 10 * time.Minute} {
		n := newNetwork(t, 14)
		all := n.city("changsha", 8)
		head := n.leader(all...)
		side := make(map[ID]bool)
		for i, h := range n.inOrder(head) {
			side[h.id] = i%2 == 0
		}
		n.away = true
		n.cut = func(from, to ID) bool { return side[from] != side[to] }
		n.run(cut)
		heads := 0
		for _, h := range all {
			heads += number(h.m.leading())
		}
		if heads != 2 {
			t.Errorf("%d heads during the partition: %s", heads, n.describe())
		}
		n.cut = func(_, _ ID) bool { return false }
		begin := n.now
		n.until(time.Minute, func() bool { h := n.leader(all...); return h != nil && n.agree(h, all...) })
		if took := n.now.Sub(begin); took > 4*time.Second+50*time.Millisecond {
			t.Errorf("cut of %v: one head after %v", cut, took)
		}
		n.settled(20*time.Second, all...)
	}
}

// TestR10EvictAndCall: a silent member is evicted, called, and comes back.
func TestR10EvictAndCall(t *testing.T) {
	n := newNetwork(t, 15)
	all := n.city("changsha", 12)
	head := n.leader(all...)
	away := make(map[ID]bool)
	for _, h := range all {
		if !head.m.candidate(h.id) {
			away[h.id] = true
		}
	}
	n.away = true
	n.cut = func(from, to ID) bool { return away[from] || away[to] }
	n.until(20*time.Second, func() bool { return head.m.Status().Members == 12-len(away) })
	if head.m.Status().Members != 8 {
		t.Fatalf("not evicted: %s", n.describe())
	}
	n.cut = func(_, _ ID) bool { return false }
	if _, took := n.settled(20*time.Second, all...); took > 5*time.Second {
		t.Errorf("back after %v", took)
	}
}

// TestR10LonelyHeadStopsBeaconing: alone for Evict, it sends calls only.
func TestR10LonelyHeadStopsBeaconing(t *testing.T) {
	n := newNetwork(t, 16)
	all := n.city("changsha", 4)
	head := n.leader(all...)
	for _, h := range all {
		if h != head {
			n.kill(h, false)
		}
	}
	n.run(11 * time.Second)
	beacons, calls := 0, 0
	for until := n.now.Add(20 * time.Second); n.now < until; {
		n.now = n.now.Add(100 * time.Millisecond)
		out := head.m.Tick(n.now)
		for _, e := range out.Out {
			beacons += number(e.Message.Beacon != nil)
			calls += number(e.Message.Lead != nil)
		}
	}
	if beacons != 0 || calls != 3*5 {
		t.Errorf("%d beacons, %d calls in 20 s; want 0 and 15", beacons, calls)
	}
}

// TestR11List: joins only re-sort the backups; the silent stay at the tail; a full list changes at most
// every 30 s.
func TestR11List(t *testing.T) {
	n := newNetwork(t, 17)
	all := n.city("changsha", 8)
	head := n.leader(all...)
	if head != all[0] || head.m.list()[0] != head.id {
		t.Error("a join deposed the head")
	}
	epoch := head.m.high.term.Epoch
	dead := n.inOrder(head)[1]
	n.kill(dead, false)
	begin := n.now
	n.until(2*time.Minute, func() bool { return head.m.high.term.Epoch != epoch })
	list := head.m.list()
	if list[len(list)-1] != dead.id || len(list) != 8 {
		t.Errorf("after %v the silent is not at the tail", n.now.Sub(begin))
	}
	late := n.join("late", "changsha")
	epoch = head.m.high.term.Epoch
	took := n.until(2*time.Minute, func() bool { return head.m.high.term.Epoch != epoch })
	if n := n.count["refused propose "+CodeTooSoon]; n > 0 {
		t.Errorf("%d proposals came too soon", n)
	}
	if !head.m.candidate(late.id) || took < 15*time.Second || took > 31*time.Second {
		t.Errorf("a newcomer changed a full list after %v (listed %v)", took, head.m.candidate(late.id))
	}
}

// TestHandOver: a head that stops resigns to its backup, which claims at once.
func TestHandOver(t *testing.T) {
	n := newNetwork(t, 18)
	all := n.city("changsha", 5)
	head := n.leader(all...)
	backup := n.hosts[head.m.Status().Backup]
	if backup == nil || backup != n.inOrder(head)[1] {
		t.Fatalf("no backup: %s", n.describe())
	}
	n.run(time.Second) // a node that has just booted does not trust a Resign
	n.step(head, Stopping{})
	took := n.until(5*time.Second, func() bool { return backup.m.leading() && !head.m.leading() })
	if took > 100*time.Millisecond {
		t.Errorf("handed over after %v", took)
	}
	n.run(5 * time.Second)
	if at, ok := head.m.Deadline(); ok {
		t.Errorf("a stopped node has something to do at %d", at)
	}
	n.kill(head, false)
	n.settled(15*time.Second, all...)
	// A member that stops says good-bye, and is not waited for.
	leaving := n.inOrder(backup)[3]
	n.step(leaving, Stopping{})
	n.kill(leaving, false)
	if _, took := n.settled(15*time.Second, all...); took > 10*time.Millisecond {
		t.Errorf("left after %v", took)
	}
}
