package node_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/registry"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// waitCity waits until a node is in a city and follows somebody there, or leads.
func waitCity(t *testing.T, n *node.Node, city string) node.Status {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := n.Status(ctx) // not running between its two lives
		if err == nil && s.City == city && s.Role != "orphan" && s.Head != "" {
			return s
		}
		select {
		case <-tick.C:
		case <-n.Done():
			t.Fatalf("the node ended: %v", n.Err())
		case <-ctx.Done():
			t.Fatalf("not in %s: %+v, %v", city, s, err)
		}
	}
}

// An override moves a running node to its new cluster with all that it holds, and survives a restart of the registry.
func TestOverrideMovesRunningNode(t *testing.T) {
	t.Parallel()
	m := testMesh(t)
	m.join(t, "changsha", "c1")
	n := m.join(t, "changsha", "c2")
	far := m.join(t, "beijing", "b1")
	before := status(t, n)
	if _, err := n.Measure(testContext(t), quick("beijing")); err != nil {
		t.Fatal(err)
	}
	// Nothing may be delivered before the move: the registry is away.
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	held, err := n.Measure(testContext(t), quick("beijing"))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	if _, err := registry.SetOverride(m.cfg.Data, before.Node, "武汉", false); err != nil {
		t.Fatal(err)
	}
	after := waitCity(t, n, "wuhan")
	if after.Node != before.Node {
		t.Errorf("%s became %s", before.Node, after.Node)
	}
	if after.Place != "wuhan (operator, declared changsha)" {
		t.Errorf("its place is %q", after.Place)
	}
	page, err := n.Results(testContext(t), node.ResultQuery{Limit: 10})
	if err != nil || len(page.Results) != 2 {
		t.Errorf("after the move it holds %d results, %v", len(page.Results), err)
	}
	waitDelivered(t, m, held.Results[0].Key)
	list, err := m.reg.Nodes(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(r registry.Node) bool { return r.ID == before.Node })
	if i < 0 || list[i].City != "wuhan" || list[i].Where.Source != "operator" || list[i].Where.Declared != "changsha" || !list[i].Where.Conflict {
		t.Errorf("the registry says %+v", list)
	}
	// It holds over a restart of both.
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	m.gone(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if again := m.join(t, "changsha", "c2"); status(t, again).City != "wuhan" {
		t.Errorf("after a restart it is in %s", status(t, again).City)
	}
	// The mesh finds it in its new place.
	if _, err := far.Measure(testContext(t), quick("武汉")); err != nil {
		t.Errorf("nobody is found in wuhan: %v", err)
	}
}

// waitDelivered waits until the registry has a result.
func waitDelivered(t *testing.T, m *mesh, key probe.Key) {
	t.Helper()
	ctx, cancel := context.WithTimeout(testContext(t), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		page, err := m.reg.Results(store.Query{Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(page.Results, func(r probe.Result) bool { return r.Key == key }) {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("the registry never gets result %s: it has %d", key, len(page.Results))
		}
	}
}
