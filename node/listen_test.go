package node_test

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node"
)

// Both cities restart while the registry is away, and find one another again: the ports are the same.
func TestRestartOfAllWithoutRegistry(t *testing.T) {
	m := testMesh(t)
	c, w := m.join(t, "changsha", "c1"), m.join(t, "wuhan", "w1")
	if _, err := c.Measure(testContext(t), quick("wuhan")); err != nil {
		t.Fatal(err)
	}
	before := status(t, w).Addrs
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*node.Node{c, w} {
		m.gone(n)
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
	w, c = m.join(t, "wuhan", "w1"), m.join(t, "changsha", "c1")
	if after := status(t, w).Addrs; !slices.Equal(before, after) {
		t.Errorf("listened on %v, now on %v", before, after)
	}
	if _, err := c.Measure(testContext(t), quick("wuhan")); err != nil {
		t.Error(err)
	}
}

// A port that somebody else has taken meanwhile is no reason not to start.
func TestPortTakenMeanwhile(t *testing.T) {
	m := testMesh(t)
	n := m.join(t, "changsha", "c1")
	addr := status(t, n).Addrs[0]
	m.gone(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	port := addr[strings.LastIndex(addr, "/")+1:]
	var lc net.ListenConfig
	other, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if again := status(t, m.join(t, "changsha", "c1")).Addrs[0]; again == addr {
		t.Errorf("listens on %s, which is taken", again)
	}
}
