package node_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
)

// The only node of a city is gone for good, and another one joins there: it does not say that it has joined
// until it leads, and the old one follows it should it come back after all. The registry's waits are short;
// the node's own pace of asking is the real one.
func TestRebornCity(t *testing.T) {
	m := testMesh(t)
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	m.cfg.Timers = cluster.LANTimers()
	m.cfg.Rebirth = cluster.RebirthTimes{CutOff: time.Second, Up: time.Second, Silent: time.Second}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	old := m.join(t, "wuhan", "w1")
	first := status(t, old)
	old.Kill()
	m.gone(old)
	heir := m.join(t, "wuhan", "w2")
	s := status(t, heir)
	if s.Role != "head" || s.Head != s.Node || !strings.HasPrefix(s.LastChange, "rebirth") {
		t.Fatalf("joined as %+v", s)
	}
	back := m.join(t, "wuhan", "w1")
	if got := status(t, back); got.Node != first.Node {
		t.Fatalf("%s came back as %s", first.Node, got.Node)
	}
	eventually(t, back, "to follow", func(b node.Status) bool {
		return b.Head == s.Node && (b.Role == "backup" || b.Role == "candidate")
	})
}

// The registry has lost its disk, but for its keys. A living city comes back as it was, over the head that shows it; a node
// that would be the first of another city says that it waits, and leads it after the quiet window.
func TestQuietWindow(t *testing.T) {
	m := testMesh(t)
	old := []*node.Node{m.join(t, "wuhan", "w1"), m.join(t, "wuhan", "w2")}
	head := eventually(t, old[1], "a place in the succession", func(s node.Status) bool { return s.Role == "backup" })
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	lost := t.TempDir()
	for _, name := range []string{"network.key", "host.key"} {
		raw, err := os.ReadFile(filepath.Join(m.cfg.Data, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lost, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.cfg.Data, m.cfg.Quiet = lost, 4*time.Second
	began := time.Now()
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	if m.reg.Info().Quiet == 0 {
		t.Fatal("no quiet window")
	}
	n, err := node.New(m.config("changsha", "c1"))
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, n)
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	said := false
	for ready := false; !ready; {
		select {
		case <-n.Ready():
			ready = true
		case err := <-ended:
			t.Fatal(err)
		case <-time.After(20 * time.Millisecond):
			s, err := n.Status(context.Background())
			said = said || err == nil && s.Registry.Quiet && s.Role == "orphan"
		}
	}
	took := time.Since(began)
	if !said || took < m.cfg.Quiet {
		t.Errorf("appointed after %v, said that it waits: %v", took, said)
	}
	if s := status(t, n); s.Role != "head" || s.City != "changsha" || s.Registry.Quiet {
		t.Errorf("%+v", s)
	}
	i := slices.IndexFunc(old, func(o *node.Node) bool { return status(t, o).Node == head.Head })
	eventually(t, old[i], "to report to the registry, as the head that it was", func(s node.Status) bool {
		return s.Role == "head" && s.Registry.Up && s.Registry.Last.After(began)
	})
	third := m.join(t, "wuhan", "w3")
	if s := status(t, third); s.Head != head.Head {
		t.Errorf("a newcomer follows %s, the city's head is %s", s.Head, head.Head)
	}
}
