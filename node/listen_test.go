package node_test

import (
	"context"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
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

// A head writes its members and the other heads down for its next run.
func TestMembersAreKept(t *testing.T) {
	m := testMesh(t)
	_, wuhan := twoCities(t, m)
	head := wuhan[0]
	want := map[string]bool{status(t, wuhan[1]).Node: true, status(t, wuhan[2]).Node: true}
	eventually(t, head, "Changsha is known", func(s node.Status) bool { return s.Heads == 1 })
	m.gone(head)
	if err := head.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(filepath.Join(m.config("", "w1").Data, "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Rows()
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		delete(want, p2p.IDText(r.ID))
	}
	if len(want) > 0 {
		t.Errorf("not kept: %v", want)
	}
	if heads, err := db.Heads(); err != nil || len(heads) != 1 || heads[0].City != "changsha" {
		t.Errorf("heads %v, %v", heads, err)
	}
}
