package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// city is so many nodes of Changsha, the first of them the head, with a backup.
func (m *mesh) city(t *testing.T, names ...string) []*node.Node {
	t.Helper()
	var all []*node.Node
	for _, name := range names {
		all = append(all, m.join(t, "changsha", name))
	}
	for _, n := range all {
		eventually(t, n, "a place in the succession and a backup", func(s node.Status) bool {
			return (s.Role == "head" || s.Role == "backup" || s.Role == "candidate") && (len(all) == 1 || s.Backup != "") && s.Members == len(all)
		})
	}
	return all
}

// byID are the nodes by what they call themselves.
func byID(t *testing.T, all []*node.Node) map[string]*node.Node {
	t.Helper()
	out := map[string]*node.Node{}
	for _, n := range all {
		out[status(t, n).Node] = n
	}
	return out
}

func (m *mesh) kill(n *node.Node) {
	n.Kill()
	m.gone(n)
}

// keysIn are the keys in the registry, in order.
func keysIn(t *testing.T, m *mesh) (keys []probe.Key) {
	t.Helper()
	for _, r := range registryResults(t, m) {
		keys = append(keys, r.Key)
	}
	slices.SortFunc(keys, probe.Key.Compare)
	return keys
}

func resultKeys(n *node.Node, seqs ...uint64) (keys []probe.Key) {
	for _, seq := range seqs {
		keys = append(keys, n.Result(seq).Key)
	}
	return keys
}

// The registry is away, a member's results are on head and backup, and then both the member and the head are killed: the
// backup delivers them when the registry is back.
func TestKilledHeadLosesNothingOnItsBackup(t *testing.T) {
	m := testMesh(t)
	all := m.city(t, "c1", "c2", "c3")
	nodes := byID(t, all)
	head := all[0]
	backup := nodes[status(t, head).Backup]
	owner := all[slices.IndexFunc(all, func(n *node.Node) bool { return n != head && n != backup })]
	name := filepath.Base(status(t, owner).Data)
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	want := resultKeys(owner, 1, 2, 3)
	if err := owner.Spool(1, 2, 3); err != nil {
		t.Fatal(err)
	}
	eventually(t, owner, "level 2", func(s node.Status) bool { return s.Spool.Level2 == 3 })
	m.kill(head)
	m.kill(owner)
	eventually(t, backup, "the backup leads and holds them", func(s node.Status) bool { return s.Role == "head" && s.Held.Held == 3 })
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	s := eventually(t, backup, "the registry has them", func(s node.Status) bool { return s.Held.Held == 0 && s.Held.Kept == 3 })
	if got := keysIn(t, m); !slices.Equal(got, want) {
		t.Errorf("the registry has %v, want %v; %+v", got, want, s.Held)
	}
	again := m.join(t, "changsha", name) // it comes back with its spool, and hears that they are there
	eventually(t, again, "its spool is let go", func(s node.Status) bool { return s.Spool.Depth == 0 })
	if got := keysIn(t, m); !slices.Equal(got, want) {
		t.Errorf("counted again: %v", got)
	}
}

// The registry is away while all measure, the head changes twice, and it comes back: all is there, once.
func TestRegistryAwayAndBack(t *testing.T) {
	m := testMesh(t)
	all := m.city(t, "c1", "c2", "c3", "c4")
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	var want []probe.Key
	seqs := make([]uint64, 0, 40)
	for seq := uint64(1); seq <= 40; seq++ {
		seqs = append(seqs, seq)
	}
	for i, n := range all {
		want = append(want, resultKeys(n, seqs...)...)
		if err := n.Spool(seqs[:20]...); err != nil {
			t.Fatal(err)
		}
		if i == 1 { // the head leaves with all that it has, and comes back as a member
			first := all[0]
			m.gone(first)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			eventually(t, all[1], "another head", func(s node.Status) bool { return s.Head != "" && s.Head != want[0].Node })
			all[0] = m.join(t, "changsha", "c1")
		}
	}
	for _, n := range all {
		if err := n.Spool(seqs[20:]...); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range all {
		eventually(t, n, "level 2", func(s node.Status) bool { return s.Spool.Level2 == 40 })
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	for _, n := range all {
		eventually(t, n, "delivered", func(s node.Status) bool { return s.Spool.Depth == 0 && s.Held.Held == 0 })
	}
	slices.SortFunc(want, probe.Key.Compare)
	var got []probe.Key
	q := store.Query{Limit: store.MaxLimit}
	for {
		page, err := m.reg.Results(q)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Results {
			got = append(got, r.Key)
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	slices.SortFunc(got, probe.Key.Compare)
	if !slices.Equal(got, want) {
		t.Errorf("the registry has %d results, want each of %d once", len(got), len(want))
	}
}

// loseTables removes what a registry has on disk, but for its keys.
func (m *mesh) loseTables(t *testing.T) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(m.cfg.Data, "*.db"))
	if err != nil || len(found) < 2 {
		t.Fatalf("found %v, %v", found, err)
	}
	for _, path := range found {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// The registry loses its disk after it had acknowledged results: the head sends again what it has kept, the results of
// members that are gone included; and after a take-over the backup does.
func TestRegistryLostItsDisk(t *testing.T) {
	m := testMesh(t)
	all := m.city(t, "c1", "c2", "c3")
	nodes := byID(t, all)
	head, backup := all[0], nodes[status(t, all[0]).Backup]
	var want []probe.Key
	for _, n := range all {
		want = append(want, resultKeys(n, 1, 2)...)
		if err := n.Spool(1, 2); err != nil {
			t.Fatal(err)
		}
	}
	slices.SortFunc(want, probe.Key.Compare)
	eventually(t, head, "all are in the registry", func(s node.Status) bool { return s.Held.Kept == 6 })
	eventually(t, backup, "the backup keeps copies", func(s node.Status) bool { return s.Held.Kept == 6 && s.Held.Copies == 0 })
	lose := func() {
		if err := m.stopRegistry(); err != nil {
			t.Fatal(err)
		}
		m.loseTables(t)
		if err := m.startRegistry(); err != nil {
			t.Fatal(err)
		}
		if got := keysIn(t, m); len(got) != 0 {
			t.Fatalf("nothing was lost: %v", got)
		}
	}
	lose()
	if err := head.Spool(9); err != nil { // the next batch shows it; without one it takes until the next
		t.Fatal(err)
	}
	want = append(want, resultKeys(head, 9)...)
	slices.SortFunc(want, probe.Key.Compare)
	eventually(t, head, "all are there again", func(s node.Status) bool { return slices.Equal(keysIn(t, m), want) })
	eventually(t, backup, "the backup keeps them all", func(s node.Status) bool { return s.Held.Kept == 7 && s.Held.Copies == 0 })
	for _, n := range all {
		if n != backup {
			m.kill(n)
		}
	}
	eventually(t, backup, "the backup leads", func(s node.Status) bool { return s.Role == "head" })
	lose()
	if err := backup.Spool(9); err != nil {
		t.Fatal(err)
	}
	want = append(want, resultKeys(backup, 9)...)
	slices.SortFunc(want, probe.Key.Compare)
	eventually(t, backup, "all are there a third time", func(s node.Status) bool { return slices.Equal(keysIn(t, m), want) })
}

// A head that can take no more says so, and acknowledges nothing; the member's spool keeps everything.
func TestFullHeadAcknowledgesNothing(t *testing.T) {
	m := testMesh(t)
	head, err := node.Join(testContext(t), node.WithHeld(m.config("changsha", "c1"), 3))
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, head)
	member := m.join(t, "changsha", "c2")
	eventually(t, head, "a backup", func(s node.Status) bool { return s.Backup != "" })
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	if err := member.Spool(1, 2, 3); err != nil {
		t.Fatal(err)
	}
	eventually(t, member, "level 2", func(s node.Status) bool { return s.Spool.Level2 == 3 })
	if err := member.Spool(4, 5); err != nil {
		t.Fatal(err)
	}
	no := new(cluster.WireError)
	if err := head.TakeOwn(testContext(t), member, 4, 5); !errors.As(err, &no) || no.Code != "full" {
		t.Errorf("a full head: %v", err)
	}
	s := eventually(t, member, "the spool keeps them", func(s node.Status) bool { return s.Spool.Depth == 5 })
	if s.Spool.Level2 != 3 || s.Spool.Level1 != 0 {
		t.Errorf("acknowledged: %+v", s.Spool)
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	eventually(t, member, "all are delivered once there is room", func(s node.Status) bool { return s.Spool.Depth == 0 })
}
