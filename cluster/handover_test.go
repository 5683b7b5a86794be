package cluster

import (
	"strings"
	"testing"
	"time"
)

// tenured is a city whose head has led for longer than tenure.
func tenured(t *testing.T, seed uint64, size int) (n *network, all, order []*host) {
	t.Helper()
	n = newNetwork(t, seed)
	all = n.city("wuhan", size)
	n.run(tenure + time.Second)
	order = n.inOrder(n.leader(all...))
	if order[0] != n.leader(all...) {
		t.Fatalf("the head is not first: %s", n.describe())
	}
	return n, all, order
}

// TestR8Degraded: a head that is not well hands over to its backup, and goes to the tail of the next list.
func TestR8Degraded(t *testing.T) {
	n, all, order := tenured(t, 210, 5)
	head, second := order[0], order[1]
	n.step(head, Health{Reason: "slow disk"})
	took := n.until(10*time.Second, func() bool { return n.leader(all...) == second })
	if took > 100*time.Millisecond {
		t.Errorf("handed over after %v: %s", took, n.describe())
	}
	if st := second.m.Status(); !strings.HasPrefix(st.LastChange, handedOver) || !strings.Contains(st.LastChange, "slow disk") {
		t.Errorf("reason %q", st.LastChange)
	}
	if e := eventsOf[HandOver](head); len(e) != 1 || e[0].To != second.id || e[0].Reason != "slow disk" {
		t.Errorf("events %+v", e)
	}
	n.run(10 * time.Minute)
	list := second.m.list()
	if n.leader(all...) != second || list[len(list)-1] != head.id || head.m.Status().Health != "slow disk" {
		t.Errorf("later: %s", n.describe())
	}
	n.step(head, Health{}) // well again: that is no reason to take anything back
	n.run(2 * time.Minute)
	if n.leader(all...) != second || head.m.Status().Health != "" {
		t.Errorf("well again: %s", n.describe())
	}
}

// TestR8Tenure: a head that is not well leads for a minute first; at shutdown it does not wait.
func TestR8Tenure(t *testing.T) {
	n := newNetwork(t, 211)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	since := head.m.head.since
	n.step(head, Health{Reason: "slow loop"})
	n.run(tenure - n.now.Sub(since) - time.Millisecond)
	if n.leader(all...) != head {
		t.Fatalf("handed over too early: %s", n.describe())
	}
	if took := n.until(time.Minute, func() bool { return !head.m.leading() }); took > time.Second {
		t.Errorf("handed over %v after its tenure", took)
	}
}

// TestR8NoHeir: without a live, well and fully replicated backup a head goes on leading.
func TestR8NoHeir(t *testing.T) {
	n, all, order := tenured(t, 212, 3)
	head, second, third := order[0], order[1], order[2]
	n.kill(second, true)
	n.run(5 * time.Second)
	n.step(third, Health{Reason: "draining"})
	n.run(2 * time.Second)
	n.step(head, Health{Reason: "slow disk"})
	n.run(2 * time.Minute)
	if n.leader(all...) != head || len(eventsOf[HandOver](head)) != 0 {
		t.Errorf("it handed over to the dead or the unwell: %s", n.describe())
	}
	n.step(third, Health{})
	if took := n.until(time.Minute, third.m.leading); took > 2*time.Second {
		t.Errorf("handed over after %v", took)
	}
}

// TestR8CopyFirst: the Resign waits for the acknowledgement of the final Replicate; at shutdown for one beacon
// interval at the most.
func TestR8CopyFirst(t *testing.T) {
	for _, stop := range []bool{false, true} {
		n, _, order := tenured(t, 213, 4)
		head, second := order[0], order[1]
		n.cut = func(from, to ID) bool { return from == second.id && to == head.id }
		row := head.row
		row.Addrs = [][]byte{[]byte("moved")}
		n.step(head, SelfChanged{Row: row})
		n.count["resign"] = 0
		if stop {
			n.step(head, Stopping{})
		} else {
			n.step(head, Health{Reason: "slow disk"})
		}
		n.run(400 * time.Millisecond)
		if n.count["resign"] != 0 || !head.m.leading() {
			t.Errorf("stop %v: it resigned before the copy was acknowledged", stop)
		}
		if stop {
			n.run(200 * time.Millisecond)
			if n.count["resign"] == 0 || !second.m.leading() {
				t.Errorf("it stops without a successor: %s", n.describe())
			}
			continue
		}
		n.cut = func(_, _ ID) bool { return false }
		if took := n.until(2*time.Second, second.m.leading); took > 700*time.Millisecond { // the frame is sent again a second after the first
			t.Errorf("handed over after %v: %s", took, n.describe())
		}
		if got := string(second.m.table.rows[head.id].row.Addrs[0]); got != "moved" {
			t.Errorf("the successor knows the head at %q", got)
		}
	}
}

// TestR8CarriesOn: without a successor in three beacon intervals the head simply carries on, and does not try again
// for a minute.
func TestR8CarriesOn(t *testing.T) {
	n, all, order := tenured(t, 214, 3)
	head, second := order[0], order[1]
	term := head.m.high.term
	n.cut = func(from, to ID) bool { return from == head.id && to == second.id }
	n.count["resign"] = 0
	n.step(head, Health{Reason: "slow disk"})
	n.run(1400 * time.Millisecond)
	if !head.m.leading() || head.m.head.over.to != second.id || len(eventsOf[HandOver](head)) != 1 {
		t.Errorf("it does not serve on: %s", n.describe())
	}
	n.run(100 * time.Millisecond)
	n.cut = func(_, _ ID) bool { return false }
	n.run(tenure - 10*time.Millisecond)
	if head.m.high.term != term || n.leader(all...) != head || len(eventsOf[HandOver](head)) != 1 {
		t.Errorf("it does not carry on: %d attempts, %s", len(eventsOf[HandOver](head)), n.describe())
	}
	if took := n.until(time.Minute, second.m.leading); took > time.Second {
		t.Errorf("the second attempt came %v later", took)
	}
}

// TestR8SlowAcknowledgements: a head sees itself that it is slow, by the acknowledgements of all its candidates.
func TestR8SlowAcknowledgements(t *testing.T) {
	for _, slow := range []bool{false, true} {
		n, all, order := tenured(t, 215, 4)
		head := order[0]
		if slow {
			n.delay = 800 * time.Millisecond
		}
		for i := range byte(20) {
			row := head.row
			row.Addrs = [][]byte{{i}}
			n.step(head, SelfChanged{Row: row})
			n.run(3 * time.Second)
			if !head.m.leading() {
				break
			}
		}
		if head.m.leading() == slow {
			t.Errorf("slow %v: %s", slow, n.describe())
		}
		if slow && !strings.Contains(n.leader(all...).m.Status().LastChange, slowAcks) {
			t.Errorf("reason %q", n.leader(all...).m.Status().LastChange)
		}
	}
}

// TestR8StopTriesTheNext: a head that stops resigns to the next candidate where the first does not answer.
func TestR8StopTriesTheNext(t *testing.T) {
	n, _, order := tenured(t, 216, 3)
	n.kill(order[1], false)
	n.step(order[0], Stopping{})
	if took := n.until(5*time.Second, order[2].m.leading); took > time.Second {
		t.Errorf("after %v: %s", took, n.describe())
	}
}
