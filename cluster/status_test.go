package cluster

import (
	"crypto/ed25519"
	"strings"
	"testing"
	"time"
)

// TestSuccessionShown: head and candidates agree who follows whom; the head knows who lives and whose copy is current.
func TestSuccessionShown(t *testing.T) {
	n := newNetwork(t, 440)
	all := n.city("wuhan", 10)
	head := n.leader(all...)
	order := n.inOrder(head)
	n.away = true
	n.kill(order[3], false)
	n.step(order[2], Health{Reason: "slow disk"})
	n.run(15 * time.Second)
	got := head.m.Succession()
	for i, c := range got {
		alive := i != 3
		if c.ID != order[i].id || c.Line != i || c.Head != (i == 0) || c.Self != (i == 0) || c.Alive != alive || c.Current != (alive && i > 0) || c.Heard != (alive && i > 0) {
			t.Errorf("place %d: %+v", i, c)
		}
		if (c.Unwell == "slow disk") != (i == 2) {
			t.Errorf("place %d is unwell: %q", i, c.Unwell)
		}
	}
	for i, c := range order[1].m.Succession() {
		if c.ID != order[i].id || c.Line != i || c.Alive != (i != 3) || c.Heard != (i == 0) {
			t.Errorf("as the second sees it, place %d: %+v", i, c)
		}
	}
	for i, h := range order {
		if h.m == nil {
			continue
		}
		st := h.m.Status()
		if watches := st.Watches != ""; st.InLine != i || watches != (i > 0) || watches && st.Watches != head.id || st.WhyNot != "" {
			t.Errorf("%s is %d in line, watches %q, %q", h.name, st.InLine, st.Watches.Short(), st.WhyNot)
		}
	}
	n.kill(head, true)
	n.run(time.Second)
	n.run(time.Minute)
	st := order[1].m.Status()
	if st.LastChange == "" || st.ChangedAgo < time.Minute || st.ChangedAgo > 62*time.Second {
		t.Errorf("last change %q %v ago", st.LastChange, st.ChangedAgo)
	}
}

// TestWhyNot: every node that is no candidate says why.
func TestWhyNot(t *testing.T) {
	n := newNetwork(t, 441)
	all := n.city("wuhan", 10)
	n.away = true
	var outside []*host
	for _, h := range all {
		if !h.m.candidate(h.id) {
			outside = append(outside, h)
		}
	}
	h := outside[0]
	says := func(want string) {
		t.Helper()
		n.run(3 * time.Second)
		if st := h.m.Status(); !strings.Contains(st.WhyNot, want) || st.InLine != 0 || st.Watches != "" {
			t.Errorf("%q, want %q", st.WhyNot, want)
		}
	}
	says("it is new")
	n.run(20 * time.Minute)
	says("come first by priority")
	row := h.row
	row.Priority.Reachable = false
	n.step(h, SelfChanged{Row: row})
	says("cannot be reached")
	n.step(h, Health{Reason: "draining"})
	says("draining")
	n.cut = func(from, to ID) bool { return from == h.id || to == h.id }
	n.run(time.Minute)
	says("hears no head")
	id := testID("once")
	a, _, err := n.registry.Register(n.ms(), id, &Request{Version: Version, Self: Peer{id, nil}, Transient: true}, "wuhan", "", ClassOwn)
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(Config{Network: networkPublic(), City: "wuhan"}, Row{ID: id, Boot: 1, Admission: a.Admission}, HardState{}, SignerOf(testKey("once")), nil)
	if err != nil || !strings.Contains(m.Status().WhyNot, "one measurement") {
		t.Errorf("%v, %q", err, m.Status().WhyNot)
	}
	m, err = New(Config{Network: networkPublic(), City: "wuhan"}, h.row, HardState{}, SignerOf(h.key), nil)
	if err != nil || !strings.Contains(m.Status().WhyNot, "has not seen a list") {
		t.Errorf("%v, %q", err, m.Status().WhyNot)
	}
}

// TestSharedTrust: machines of one network may share it; one of another network is refused.
func TestSharedTrust(t *testing.T) {
	a := register(t, newTable(t, TableState{}), startMs, "a", "wuhan")
	row := Row{ID: testID("a"), Boot: 1, Admission: a.Admission}
	cfg := Config{Network: networkPublic(), City: "wuhan", Trust: NewTrust(networkPublic())}
	if m, err := New(cfg, row, HardState{}, SignerOf(testKey("a")), nil); err != nil || m.env.trust != cfg.Trust {
		t.Error(err)
	}
	other := testKey("another network")
	cfg.Trust = NewTrust(other.Public().(ed25519.PublicKey))
	if _, err := New(cfg, row, HardState{}, SignerOf(testKey("a")), nil); err == nil {
		t.Error("the trust of another network was taken")
	}
}
