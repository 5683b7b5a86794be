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
