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
