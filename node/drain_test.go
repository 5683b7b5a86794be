package node_test

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
)

// jumpingClock is the system's clock, and ahead of it as the test says: to the nodes it is as if the machine had slept.
type jumpingClock struct{ ahead atomic.Int64 }

func (c *jumpingClock) now() cluster.Instant {
	return node.SystemClock() + cluster.Instant(c.ahead.Load())
}

func (m *mesh) joinAt(t *testing.T, city, name string, c *jumpingClock) *node.Node {
	t.Helper()
	n, err := node.Join(testContext(t), node.WithClock(m.config(city, name), c.now))
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, n)
	return n
}

// A head that is drained hands over to its backup once it has led for a minute, and stays behind it in the line.
func TestDrainHandsOver(t *testing.T) {
	m := testMesh(t)
	clock := &jumpingClock{}
	cfg := node.WithClock(m.config("wuhan", "a"), clock.now)
	cfg.EventLog = filepath.Join(m.dir, "a.jsonl")
	a, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, a)
	b := m.joinAt(t, "wuhan", "b", clock)
	c := m.joinAt(t, "wuhan", "c", clock)
	head := status(t, a)
	eventually(t, a, "a backup", func(s node.Status) bool { return s.Backup != "" && s.Members == 3 })
	for _, n := range []*node.Node{b, c} {
		eventually(t, n, "a place in the list", func(s node.Status) bool { return s.Role == "backup" || s.Role == "candidate" })
	}

	if err := a.Drain(testContext(t), true); err != nil {
		t.Fatal(err)
	}
	if s := status(t, a); s.Health != "draining" || !s.Vitals.Draining || s.Role != "head" {
		t.Errorf("%+v", s)
	}
	clock.ahead.Store(int64(61 * time.Second)) // its tenure is over
	began := time.Now()
	after := eventually(t, a, "hand-over", func(s node.Status) bool { return s.Role != "head" && s.Head != "" && s.Head != head.Node })
	t.Logf("handed over %v after the end of the tenure", time.Since(began))
	if after.Change == nil || after.Change.From != head.Node || after.Change.To != after.Head || after.Change.Term != after.Term ||
		after.Change.Reason == "" || time.Since(after.Change.At) > patience {
		t.Errorf("the last change is %+v", after.Change)
	}
	for _, n := range []*node.Node{b, c} {
		eventually(t, n, "the new head", func(s node.Status) bool { return s.Head == after.Head && s.Term == after.Term })
	}

	var story []string
	for _, e := range readEvents(t, cfg.EventLog) {
		switch e.Event {
		case "unsure", "sure", "handover", "stepdown":
			story = append(story, e.Event)
		}
	}
	if want := []string{"unsure", "sure", "handover", "stepdown"}; !slices.Equal(story, want) {
		t.Errorf("the log says %q, want %q", story, want)
	}

	if err := a.Drain(testContext(t), false); err != nil {
		t.Fatal(err)
	}
	if s := status(t, a); s.Health != "" || s.Vitals.Draining || s.Head != after.Head {
		t.Errorf("taken back: %+v", s)
	}
}

// Where nobody else can lead, a drained head leads on, and measures.
func TestDrainAlone(t *testing.T) {
	m := testMesh(t)
	clock := &jumpingClock{}
	a := m.joinAt(t, "wuhan", "a", clock)
	m.join(t, "changsha", "c")
	if err := a.Drain(testContext(t), true); err != nil {
		t.Fatal(err)
	}
	clock.ahead.Store(int64(61 * time.Second))
	if _, err := a.Measure(testContext(t), quick("changsha")); err != nil {
		t.Error(err)
	}
	if s := status(t, a); s.Role != "head" || s.Health != "draining" {
		t.Errorf("%+v", s)
	}
}

// The local API drains and undrains, and says why it does not.
func TestDrainOverAPI(t *testing.T) {
	m := testMesh(t)
	a := m.join(t, "wuhan", "a")
	client, err := node.Dial(status(t, a).Control)
	if err != nil {
		t.Fatal(err)
	}
	for _, on := range []bool{true, false} {
		if err := client.Drain(testContext(t), on); err != nil {
			t.Fatal(err)
		}
		if s := status(t, a); s.Vitals.Draining != on {
			t.Errorf("drain %v: %+v", on, s.Vitals)
		}
	}
	n, err := node.New(m.config("wuhan", "b"))
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Drain(context.Background(), true); !errors.Is(err, node.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
}

// Status and clusters say who is in which place, who watches whom, and who lives.
func TestStatusShowsTheSuccession(t *testing.T) {
	m := testMesh(t)
	a, b := m.join(t, "wuhan", "a"), m.join(t, "wuhan", "b")
	m.join(t, "wuhan", "c")
	head := eventually(t, a, "three names and a backup", func(s node.Status) bool { return len(s.Succession) == 3 && s.Backup != "" })
	for i, c := range head.Succession {
		if c.Place != i || c.Self != (i == 0) || (c.State == "head") != (i == 0) || (c.State == "backup") != (c.Node == head.Backup) {
			t.Errorf("place %d of the head is %+v, the backup is %s", i, c, head.Backup)
		}
		if i > 0 && (c.SilentMs == nil || *c.SilentMs < 0 || *c.SilentMs > 5000) {
			t.Errorf("place %d: silent for %v", i, c.SilentMs)
		}
	}
	if head.InLine != 0 || head.Watches != "" || head.WhyNot != "" || head.Shards != 1 || head.ClaimsAfterMs != 0 {
		t.Errorf("the head: %+v", head)
	}
	s := eventually(t, b, "in line", func(s node.Status) bool { return s.InLine > 0 && len(s.Succession) == 3 })
	if s.Watches != head.Node || s.Succession[0].Node != head.Node || s.Succession[0].State != "head" || s.Succession[0].SilentMs == nil ||
		!s.Succession[s.InLine].Self || s.ClaimsAfterMs != float64(1750+1000*(s.InLine-1)) {
		t.Errorf("a candidate: %+v", s)
	}
	eventually(t, b, "what its loop and its disk measured", func(s node.Status) bool { return s.Vitals.LateMs != nil && s.Vitals.SyncMs != nil })
	for _, n := range []*node.Node{a, b} {
		list, err := n.Clusters(testContext(t))
		if err != nil || len(list) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		c := list[0]
		if c.Backup != head.Backup || len(c.Line) != 3 || c.Line[0].Node != head.Node || c.Shards != 1 || c.Members != 3 {
			t.Errorf("%+v", c)
		}
	}
}
