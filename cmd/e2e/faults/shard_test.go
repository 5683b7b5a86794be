//go:build linux

package faults

import (
	"crypto/ed25519"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
	"github.com/peerprobe/peerprobe/node/keyfile"
)

// A city with two heads: one is killed, its shard follows another, and the other shard notices nothing.
func TestTwoHeads(t *testing.T) {
	t.Parallel()
	m := meshOf(t, &raced, wan, "--heads", home+"=2")
	for i := range 8 {
		giveKey(t, m.Add(t, home), uint(i)%2)
	}
	m.Join(t, m.Nodes[0])
	m.Join(t, m.Nodes[1:]...)
	before := twoHeads(t, m)
	load := m.Measure(t, home, without(m.Nodes, before[0].Head, before[1].Head)...)
	before = twoHeads(t, m)
	before[0].Head.Kill(t)
	after := twoHeads(t, m)
	check(t, after[0].Term.Compare(before[0].Term) > 0, "shard 0 went from %s to %s", before[0].Term, after[0].Term)
	check(t, after[1].Head == before[1].Head, "the head of shard 1 was %s and is %s", before[1].Head.Addr, after[1].Head.Addr)
	m.Join(t, before[0].Head)
	twoHeads(t, m)
	finish(t, m, load)
}

// giveKey makes a node's key ahead of its first start, one that puts it into this shard of two: left to chance, one city
// of eight in fourteen has a shard with fewer than two nodes, and then it has one head.
func giveKey(t *testing.T, n *lab.Node, shard uint) {
	t.Helper()
	check(t, os.MkdirAll(n.Data, 0o700) == nil, "cannot make %s", n.Data)
	path := filepath.Join(n.Data, "node.key")
	for {
		key, err := keyfile.Load(path, "node key", "")
		check(t, err == nil, "%v", err)
		if cluster.ShardOf(cluster.IDOf(key.Public().(ed25519.PublicKey)), 2) == shard {
			return
		}
		check(t, os.Remove(path) == nil, "cannot remove %s", path)
	}
}

// twoHeads waits until each living node at home follows one of two heads of one epoch.
func twoHeads(t *testing.T, m *lab.Mesh) (heads [2]lab.Agreement) {
	t.Helper()
	m.Wait(t, "two heads", func(events []trail.Event) (err error) {
		shards := lab.ByShard(events, m.Living(home))
		if len(shards) != 2 {
			return fmt.Errorf("%d shards", len(shards))
		}
		for i := range heads {
			if heads[i], err = lab.Agree(events, shards[uint(i)]); err != nil {
				return err
			}
		}
		if heads[0].Term.Epoch != heads[1].Term.Epoch {
			return fmt.Errorf("%s and %s", heads[0].Term, heads[1].Term)
		}
		return nil
	})
	return heads
}
