package node_test

import (
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
