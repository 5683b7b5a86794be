package node_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
)

// threeShards is a Wuhan with three heads and three nodes in each shard, by shard, and a Changsha of two.
func threeShards(t *testing.T, m *mesh) (wuhan [][]*node.Node, changsha []*node.Node) {
	t.Helper()
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	m.cfg.Timers, m.cfg.Heads = cluster.LANTimers(), map[string]uint{"wuhan": 3}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	changsha = []*node.Node{m.join(t, "changsha", "c1"), m.join(t, "changsha", "c2")}
	wuhan = make([][]*node.Node, 3)
	for i := range 9 {
		name, shard := fmt.Sprint("w", i), i%3
		if err := node.MakeKeyIn(filepath.Join(m.dir, name), uint(shard), 3); err != nil {
			t.Fatal(err)
		}
		wuhan[shard] = append(wuhan[shard], m.join(t, "wuhan", name))
	}
	for shard := range wuhan {
		m.settle(t, shard, 3, wuhan[shard])
	}
	return wuhan, changsha
}

// settle waits until the nodes of one shard follow one head out of their midst, which counts them all, with a backup.
func (m *mesh) settle(t *testing.T, shard, shards int, nodes []*node.Node) (head *node.Node) {
	t.Helper()
	for _, n := range nodes {
		eventually(t, n, fmt.Sprintf("one head in shard %d", shard), func(s node.Status) bool {
			_, lead := n.Lead()
			i := slices.IndexFunc(nodes, func(o *node.Node) bool { return status(t, o).Node == s.Head })
			if lead == nil || lead.Shard != uint(shard) || i < 0 {
				return false
			}
			head = nodes[i]
			h := status(t, head)
			return h.Role == "head" && h.Term == s.Term && h.Members == len(nodes) && (len(nodes) == 1 || h.Backup != "")
		})
	}
	return head
}

// shardOfID is the shard of a node of three, by the text of its id.
func shardOfID(t *testing.T, text string) int {
	t.Helper()
	id, err := p2p.ParseID(text)
	if err != nil {
		t.Fatal(err)
	}
	return int(cluster.ShardOf(id, 3))
}

// Three heads in one city: look-ups from another one go to all of them; everything is listed; results arrive from every
// shard; a shard that loses its head, and then everybody, stops nobody from being found; and a node that is alone in its
// shard finds the others of its city.
func TestShards(t *testing.T) {
	m := testMesh(t)
	wuhan, changsha := threeShards(t, m)
	dht := quick("wuhan")
	dht.PreferDHT = true
	for ctx := testContext(t); status(t, changsha[0]).Heads < 3; { // each look-up leads to another shard
		if got := mustMeasure(t, changsha[1], dht); !slices.ContainsFunc(got.Steps, func(s node.Step) bool { return s.Stage == "dht" && s.Found }) {
			t.Fatalf("the DHT did not answer: %+v", got.Steps)
		} else if ctx.Err() != nil {
			t.Fatal("the DHT does not lead to all shards")
		}
	}
	if reached := six(t, changsha[1]); len(reached) != 3 {
		t.Errorf("six look-ups went to shards %v", reached)
	}
	m.checkLists(t, changsha[1], 11)
	m.checkLists(t, wuhan[2][1], 11)
	for shard := range wuhan {
		mustMeasure(t, wuhan[shard][1], quick("changsha"))
	}
	for _, n := range slices.Concat(wuhan[0], wuhan[1], wuhan[2], changsha) {
		eventually(t, n, "results at the registry", func(s node.Status) bool { return s.Spool.Depth == 0 })
	}
	for _, shard := range wuhan {
		from := status(t, shard[1]).Node
		if !slices.ContainsFunc(registryResults(t, m), func(r probe.Result) bool { return r.Initiator.Node == from }) {
			t.Errorf("what %s measured is not at the registry", from)
		}
	}

	// The registry goes, then the head of a shard, then the whole shard, one after the other.
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	head := m.settle(t, 1, 3, wuhan[1])
	before := status(t, head)
	head.Kill()
	m.gone(head)
	wuhan[1] = slices.DeleteFunc(wuhan[1], func(n *node.Node) bool { return n == head })
	eventually(t, wuhan[1][0], "another head of the shard", func(s node.Status) bool { return s.Head != before.Node && s.Head != "" && s.Term != before.Term })
	for range 3 {
		mustMeasure(t, changsha[1], quick("wuhan"))
	}
	for _, n := range wuhan[1] {
		n.Kill()
		m.gone(n)
	}
	if reached := six(t, changsha[1]); reached[1] > 0 || len(reached) != 2 {
		t.Errorf("six look-ups went to shards %v, and shard 1 is dead", reached)
	}
	for range 3 { // whichever of the three the DHT is asked for first
		mustMeasure(t, changsha[1], dht)
	}

	// Of shard 2 one node stays: nobody else of its shard can be measured, but others of its city can.
	last := wuhan[2][0]
	for _, n := range wuhan[2][1:] {
		n.Kill()
		m.gone(n)
	}
	eventually(t, last, "to lead alone", func(s node.Status) bool { return s.Role == "head" })
	for ctx := testContext(t); ; { // the dead are offered until their head has missed them
		got, err := last.Measure(ctx, quick("wuhan"))
		if err == nil && shardOfID(t, got.Results[0].Target.Node) == 0 {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("nobody of the other shards is found: %v", err)
		}
	}
}

// mustMeasure measures; with PreferDHT it waits for the records to be in the DHT.
func mustMeasure(t *testing.T, from *node.Node, req node.Request) *node.Measurement {
	t.Helper()
	for ctx := testContext(t); ; {
		got, err := from.Measure(ctx, req)
		if errors.Is(err, node.ErrNoSuchPlace) && req.PreferDHT && ctx.Err() == nil {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
}

// six measures Wuhan six times, and counts the shards that it was led to.
func six(t *testing.T, from *node.Node) map[int]int {
	t.Helper()
	reached := make(map[int]int)
	for range 6 {
		reached[shardOfID(t, mustMeasure(t, from, quick("wuhan")).Results[0].Target.Node)]++
	}
	return reached
}

// checkLists: `clusters` and `nodes` show all shards.
func (m *mesh) checkLists(t *testing.T, n *node.Node, nodes int) {
	t.Helper()
	var shards []string
	for ctx := testContext(t); ; {
		clusters, err := n.Clusters(ctx)
		if err != nil {
			t.Fatal(err)
		}
		shards = shards[:0]
		for _, c := range clusters {
			shards = append(shards, fmt.Sprintf("%s/%d of %d: %d", c.City, c.Shard, c.Shards, c.Members))
		}
		slices.Sort(shards)
		want := "changsha/0 of 1: 2, wuhan/0 of 3: 3, wuhan/1 of 3: 3, wuhan/2 of 3: 3"
		if got := strings.Join(shards, ", "); got == want {
			break
		} else if ctx.Err() != nil {
			t.Fatalf("clusters %s, want %s", got, want)
		}
	}
	all, err := n.Nodes(context.Background())
	if err != nil || len(all) != nodes {
		t.Errorf("%d nodes, %v", len(all), err)
	}
	heads := 0
	for _, info := range all {
		if info.Role == "head" {
			heads++
		}
	}
	if heads != 4 {
		t.Errorf("%d heads", heads)
	}
}
