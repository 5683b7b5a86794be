package cluster

import (
	"testing"
	"time"
)

// What the simulator has found, each as the shortest story that shows it.

// TestFoundASeqThatStandsStill: a witness that hears the head rarely counts as fresh for long after its death. The same
// seq as before must not suppress a second time, or a dead head is waited for three times over.
func TestFoundASeqThatStandsStill(t *testing.T) {
	n, _, second := deaf(t, 321, 6)
	tm := DefaultTimers()
	n.probing(second, 10*time.Second)
	seq := second.m.watch.probe.seq
	for i := range 3 {
		n.testify(second, i, true, seq+1)
	}
	n.run(tm.ProbeWait)
	if second.m.leading() {
		t.Fatal("fresh witnesses with a later seq did not suppress the claim")
	}
	n.probing(second, time.Minute)
	for i := range 3 {
		n.testify(second, i, true, seq+1)
	}
	n.run(tm.ProbeWait)
	if !second.m.leading() {
		t.Error("the same seq suppressed the claim again")
	}
}

// TestFoundTheCountOfAnotherBoot: a head that led before knows how far a member's heartbeats counted then. When a copy
// of another head's table tells it of a later boot, the count starts anew: else all heartbeats of that boot are taken
// for repetitions, and the member is dropped though it lives.
func TestFoundTheCountOfAnotherBoot(t *testing.T) {
	n := newNetwork(t, 322)
	all := n.city("wuhan", 3)
	first := n.leader(all...)
	second, third := n.inOrder(first)[1], n.inOrder(first)[2]
	n.run(70 * time.Second) // a tenure, and long counts
	n.step(first, Health{Reason: "slow disk"})
	n.until(5*time.Second, func() bool { return n.leader(all...) == second })
	n.kill(second, true)
	n.until(20*time.Second, func() bool { return n.leader(all...) == third })
	n.boot(second)
	n.run(2 * time.Second) // the copy at the first
	n.kill(third, true)
	n.until(20*time.Second, func() bool { return n.leader(all...) == first })
	n.run(3 * time.Second)
	if e := first.m.table.rows[second.id]; !first.m.leading() || e == nil || !e.heard {
		t.Errorf("%s leads %v and does not hear %s in its new boot: %+v", first.name, first.m.leading(), second.name, e)
	}
}

// TestFoundALowerBoot: a node that lost its disk and whose clock was set back comes with a lower boot number than the
// head remembers. It is not heard beside a later one that may live, and is once that one was dropped.
func TestFoundALowerBoot(t *testing.T) {
	n := newNetwork(t, 323)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	late := n.inOrder(head)[2]
	n.kill(late, true)
	late.hard, late.row.Boot = HardState{Boot: 7}, 0
	m, err := New(Config{Network: networkPublic(), City: late.city}, late.row, late.hard, SignerOf(late.key), n.rng)
	if err != nil {
		t.Fatal(err)
	}
	late.m, late.high = m, Term{}
	n.carry(late, m.Tick(n.now))
	n.step(late, Learned{Lead: head.m.high.raw})
	evict := DefaultTimers().Evict
	n.run(evict - time.Second)
	if e := head.m.table.rows[late.id]; e.boot == 7 {
		t.Error("a lower boot took the place of a later one that was not dropped")
	}
	n.run(5 * time.Second)
	if e := head.m.table.rows[late.id]; !e.alive || e.boot != 7 {
		t.Errorf("it is not heard after the later boot was dropped: alive %v, boot %d", e.alive, e.boot)
	}
}

// TestFoundTheLastTakeOver: a candidate that claims the last numbers of an epoch leaves none for anybody else, and who
// is listed cannot be reborn either. The registry begins a new epoch with the same names as soon as it sees that.
func TestFoundTheLastTakeOver(t *testing.T) {
	n := newNetwork(t, 324)
	all := n.city("wuhan", 3)
	liar := n.leader(all...)
	second, third := n.inOrder(liar)[1], n.inOrder(liar)[2]
	l := *liar.m.high.lead
	l.K, l.Seq = MaxK-1, 1 // 65,535 belongs to the first of three
	raw := Sign(DomainLead, &l, SignerOf(liar.key))
	for _, h := range []*host{second, third} {
		n.step(h, Received{From: liar.id, Message: &Message{Lead: &raw}})
	}
	n.kill(liar, true)
	n.run(15 * time.Second)
	if n.leader(all...) != nil || second.m.high.term.K != l.K {
		t.Fatalf("somebody leads after the last take-over: %s", n.describe())
	}
	a, _, err := n.registry.Register(n.ms(), second.id, &Request{Version: Version, Kind: CallRegister, Self: Peer{second.id, second.row.Addrs},
		City: "wuhan", Admission: second.row.Admission, Cert: second.m.cert.raw, Lead: raw}, "wuhan", "wuhan", ClassOwn)
	if err != nil || a.Error != nil {
		t.Fatal(err, a)
	}
	n.step(second, Answered{Kind: CallRegister, Answer: a})
	if took := n.until(20*time.Second, func() bool { return n.leader(all...) != nil && n.agree(n.leader(all...), second, third) }); took >= 20*time.Second {
		t.Errorf("no head in a new epoch: %s", n.describe())
	}
}
