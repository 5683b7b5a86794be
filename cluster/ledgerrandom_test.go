package cluster

import (
	"testing"
	"time"
)

// randomResults lives through a random schedule: crashes, restarts, partitions, pauses, lost transfers, at most one lost
// disk, a registry that comes and goes; it ends in peace. It says what is wrong at the end.
func randomResults(t *testing.T, seed uint64) (n *network, keys []ResultKey, all []*host) {
	t.Helper()
	n = newNetwork(t, seed)
	all = n.city("changsha", 2+n.rng.IntN(5))
	moves := 0.1 * n.rng.Float64()
	n.dropMove = func(ID, *Transfer) bool { return n.rng.Float64() < moves }
	lostDisk := false
	for range 25 {
		h := all[n.rng.IntN(len(all))]
		switch n.rng.IntN(9) {
		case 0:
			if h.m != nil {
				n.kill(h, n.rng.IntN(2) == 0)
			}
		case 1:
			if h.m == nil {
				n.boot(h)
			}
		case 2:
			side := map[ID]bool{}
			for _, o := range all {
				side[o.id] = n.rng.IntN(2) == 0
			}
			n.cut = func(a, b ID) bool { return side[a] != side[b] }
		case 3:
			n.cut = func(_, _ ID) bool { return false }
		case 4:
			h.frozen = !h.frozen
		case 5:
			n.away = !n.away
		case 6:
			if !lostDisk && n.rng.IntN(3) == 0 {
				lostDisk = true
				n.loseDisk(h)
				h.frozen = false
			}
		default:
			if h.m != nil && !h.frozen {
				keys = append(keys, n.measure(h, 1+n.rng.IntN(4))...)
			}
		}
		n.live(time.Duration(n.rng.Int64N(int64(4 * time.Second))))
	}
	n.cut, n.away, n.dropMove = func(_, _ ID) bool { return false }, false, func(ID, *Transfer) bool { return false }
	for _, h := range all {
		if h.frozen = false; h.m == nil {
			n.boot(h)
		}
	}
	n.settled(3*time.Minute, all...)
	return n, keys, all
}

// TestR9RandomSchedules: S5 holds after every step, and in the end the registry has everything but what was on nobody
// else's disk than the lost one, and nobody holds anything any more.
func TestR9RandomSchedules(t *testing.T) {
	acked, moved := 0, 0
	for seed := range uint64(60) {
		n, keys, all := randomResults(t, 20_000+seed)
		n.sound()
		n.live(10 * time.Minute)
		n.sound()
		for _, k := range keys {
			onDisk := n.results.registry[k] > 0 || n.acked[k] < levelBackup && n.results.lost > 0
			if !onDisk {
				t.Errorf("seed %d: %s (level %d) never got to the registry", 20_000+seed, describeKey(n, k), n.acked[k])
			}
		}
		for _, h := range all {
			if len(h.disk.spool)+len(h.disk.held)+len(h.m.ledger.rows) != 0 {
				t.Errorf("seed %d: %s spools %d, holds %d, rows %d", 20_000+seed, h.name, len(h.disk.spool), len(h.disk.held), len(h.m.ledger.rows))
			}
		}
		at := n.levels(keys)
		acked += at[levelBackup] + at[levelRegistry]
		moved += n.count["move offer"]
	}
	if acked < 400 || moved < 20 {
		t.Errorf("the schedules say little: %d acknowledged, %d offered", acked, moved)
	}
}

// TestR9CopyFirst: without the rule S5 is violated, and noticed.
func TestR9CopyFirst(t *testing.T) {
	restore := SkipRule("copy-first")
	defer restore()
	caught := -1
	for seed := range uint64(20) {
		if n, _, _ := randomResults(t, 30_000+seed); n.wrong != nil {
			t.Logf("seed %d: %v", 30_000+seed, n.wrong)
			caught = int(seed)
			break
		}
	}
	if caught < 0 {
		t.Error("acknowledging before copying went unnoticed")
	}
}

// TestR9BackupChanges: under the same head another candidate becomes the backup, and one comes back that may have lost
// its disk: each is given everything that is not in the registry.
func TestR9BackupChanges(t *testing.T) {
	n := newNetwork(t, 920)
	all := n.city("changsha", 4)
	head := n.leader(all...)
	line := n.inOrder(head)
	n.away = true
	keys := n.measure(line[3], 5)
	n.untilLevel(time.Second, keys, levelBackup)
	first := n.hosts[head.m.backup()]
	n.kill(first, true)
	n.until(20*time.Second, func() bool {
		b := head.m.backup()
		return b != "" && b != first.id && head.m.Status().Ledger.Copied == 5 && len(n.hosts[b].disk.held) == 5
	})
	second := n.hosts[head.m.backup()]
	if second == nil || second == first || len(second.disk.held) != 5 {
		t.Fatalf("the new backup lacks something: %s", n.describe())
	}
	copies := n.count["move copy"]
	n.boot(first) // with its disk: what it offers need not be copied
	n.until(20*time.Second, func() bool { return head.m.backup() == first.id && head.m.Status().Ledger.Copied == 5 })
	if n.hosts[head.m.backup()] != first || head.m.Status().Ledger.Copied != 5 {
		t.Fatalf("the old backup is not the backup again: %+v %s", head.m.Status().Ledger, n.describe())
	}
	if n.count["move copy"] != copies {
		t.Errorf("%d copies were sent to who had them", n.count["move copy"]-copies)
	}
	n.loseDisk(first)
	n.until(20*time.Second, func() bool { return len(first.disk.held) == 5 })
	if len(first.disk.held) != 5 {
		t.Errorf("the backup that lost its disk has %d of 5", len(first.disk.held))
	}
	n.sound()
}

// TestR9NewHeadStartsFromNothing: what the old head's backup had counts for nothing until the new head has one.
func TestR9NewHeadStartsFromNothing(t *testing.T) {
	n := newNetwork(t, 921)
	all := n.city("changsha", 3)
	head := n.leader(all...)
	line := n.inOrder(head)
	n.away = true
	keys := append(n.measure(line[1], 2), n.measure(line[2], 2)...)
	n.untilLevel(time.Second, keys, levelBackup)
	n.dropMove = func(_ ID, t *Transfer) bool { return t.Kind == TransferCopy }
	n.kill(head, true)
	n.until(5*time.Second, func() bool { return line[1].m.leading() })
	n.run(5 * time.Second)
	if l := line[1].m.Status().Ledger; l.Copied != 0 || l.Held != 4 {
		t.Errorf("copied without a copy: %+v", l)
	}
	for _, k := range keys[2:] {
		if e := line[2].m.ledger.rows[k]; e.level != levelHead {
			t.Errorf("the new head says level %d", e.level)
		}
	}
	n.dropMove = func(ID, *Transfer) bool { return false }
	n.until(20*time.Second, func() bool { return line[1].m.Status().Ledger.Copied == 4 })
	if l := line[1].m.Status().Ledger; l.Copied != 4 {
		t.Errorf("%+v", l)
	}
}

// TestR9LateAnswers: who missed that results are in the registry asks by name, and gets an answer by name.
func TestR9LateAnswers(t *testing.T) {
	n := newNetwork(t, 922)
	all := n.city("changsha", 3)
	line := n.inOrder(n.leader(all...))
	owner, backup := line[2], line[1]
	keys := n.measure(owner, 4)
	n.untilLevel(time.Second, keys, levelBackup)
	n.cut = func(a, b ID) bool { return a == line[0].id }
	n.upload()
	n.run(5 * time.Millisecond)
	n.cut = func(_, _ ID) bool { return false }
	if len(owner.disk.spool) != 4 || len(backup.disk.held) != 4 {
		t.Fatal("the answers were not lost")
	}
	moved := n.count["move submit"] + n.count["move offer"]
	n.untilLevel(40*time.Second, keys, levelRegistry)
	n.until(40*time.Second, func() bool { return len(backup.disk.held) == 0 })
	if len(backup.disk.held) != 0 || n.count["move submit"]+n.count["move offer"] != moved {
		t.Errorf("the backup holds %d; sent %v", len(backup.disk.held), n.count)
	}
}

// TestRecent is bounded, forgets the oldest, and what it is told to forget.
func TestRecent(t *testing.T) {
	r := newRecent(10)
	key := func(i int) ResultKey { return ResultKey{"n", 1, uint64(i)} }
	for i := range 25 {
		r.add(key(i))
		r.add(key(i))
	}
	r.forget(key(20))
	r.add(key(30))
	if len(r.at) > 10 || len(r.ring) != 10 || r.has(key(14)) || !r.has(key(16)) || r.has(key(20)) || !r.has(key(30)) {
		t.Errorf("%d keys, %v", len(r.at), r.at)
	}
	r.add(key(20))
	for i := 40; i < 49; i++ {
		r.add(key(i))
	}
	if !r.has(key(20)) || r.has(key(30)) || len(r.at) != 10 {
		t.Errorf("%v", r.at)
	}
}
