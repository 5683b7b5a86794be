package node

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// fakeDisk takes as long for an fsync, and has as much room, as it is told.
type fakeDisk struct {
	mu    sync.Mutex
	took  time.Duration
	slow  int           // so many of the next syncs take slowTook
	hang  chan struct{} // a sync waits for it
	err   error
	room  uint64
	syncs int
}

const slowTook = 700 * time.Millisecond

func (d *fakeDisk) set(f func(*fakeDisk)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f(d)
}

func (d *fakeDisk) sync() error {
	d.mu.Lock()
	took, hang, err := d.took, d.hang, d.err
	if d.slow > 0 {
		d.slow--
		took = slowTook
	}
	d.syncs++
	d.mu.Unlock()
	if hang != nil {
		<-hang
	}
	time.Sleep(took)
	return err
}

func (d *fakeDisk) free() (uint64, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.room, d.room > 0
}

// ward is a node's vitals on a fake disk under virtual time, with what it told the machine.
type ward struct {
	*vitals
	disk  *fakeDisk
	began time.Time
	mu    sync.Mutex
	told  []toldHealth
	end   func()
}

type toldHealth struct {
	at     time.Duration
	reason string
}

func newWard() *ward {
	w := &ward{disk: &fakeDisk{took: 2 * time.Millisecond, room: 1 << 30}, began: time.Now()}
	w.vitals = newVitals(w.disk, slog.New(slog.DiscardHandler))
	w.tell = func(_ context.Context, h cluster.Health) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.told = append(w.told, toldHealth{time.Since(w.began), h.Reason})
	}
	w.first()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { w.run(ctx) })
	wg.Go(func() { w.probe(ctx) })
	w.end = func() { cancel(); wg.Wait() }
	return w
}

func (w *ward) reasons() (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, t := range w.told {
		out = append(out, t.reason)
	}
	return out
}

// expect waits for what is told next, and says when it was told.
func (w *ward) expect(t *testing.T, n int, reason string, within time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for len(w.reasons()) < n {
		if time.Since(began) > within {
			t.Fatalf("%q was not told within %v: told %v", reason, within, w.reasons())
		}
		time.Sleep(100 * time.Millisecond)
	}
	if got := w.reasons(); len(got) != n || got[n-1] != reason {
		t.Fatalf("told %q, want %q as number %d", got, reason, n)
	}
	return time.Since(began)
}

func inWard(t *testing.T, f func(t *testing.T, w *ward)) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard()
		defer w.end()
		f(t, w)
	})
}

// A disk that is slow for good is found within the minute, one that was slow once is not; it stays found for a
// minute after it is well again.
func TestSlowDisk(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		w.disk.set(func(d *fakeDisk) { d.slow = 1 })
		time.Sleep(5 * time.Minute)
		if got := w.reasons(); len(got) != 0 {
			t.Fatalf("one slow fsync made it %q", got)
		}
		w.disk.set(func(d *fakeDisk) { d.took = slowTook })
		w.expect(t, 1, unfitDisk, time.Minute)
		time.Sleep(10 * time.Minute)
		w.disk.set(func(d *fakeDisk) { d.took = time.Millisecond })
		took := w.expect(t, 2, "", 5*time.Minute)
		if took < fitnessHold {
			t.Errorf("fit again after %v, want %v at least", took, fitnessHold)
		}
	})
}

// Between the two limits nothing changes: what is found fit stays fit, and what is found unfit stays unfit.
func TestHysteresis(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		between := cluster.DefaultTimers().Suspect / 6
		w.disk.set(func(d *fakeDisk) { d.took = between })
		time.Sleep(10 * time.Minute)
		if got := w.reasons(); len(got) != 0 {
			t.Fatalf("%v made it %q", between, got)
		}
		w.disk.set(func(d *fakeDisk) { d.took = slowTook })
		w.expect(t, 1, unfitDisk, time.Minute)
		w.disk.set(func(d *fakeDisk) { d.took = between })
		time.Sleep(10 * time.Minute)
		if got := w.reasons(); len(got) != 1 {
			t.Fatalf("%v made it %q", between, got)
		}
	})
}

// A disk that hangs is found although no fsync returns.
func TestHangingDisk(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		back := make(chan struct{})
		w.disk.set(func(d *fakeDisk) { d.hang = back })
		w.expect(t, 1, unfitDisk, syncEvery+syncHangs+2*fitnessEvery)
		close(back)
	})
}

// A full disk is found by its room, or where nobody says how much there is, by what a write came to.
func TestFullDisk(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		w.disk.set(func(d *fakeDisk) { d.room = freeLeast - 1 })
		w.expect(t, 1, unfitFull, 3*fitnessEvery)
		w.disk.set(func(d *fakeDisk) { d.room = freeEnough - 1 })
		time.Sleep(5 * time.Minute)
		if got := w.reasons(); len(got) != 1 {
			t.Fatalf("a little room made it %q", got)
		}
		w.disk.set(func(d *fakeDisk) { d.room = freeEnough })
		w.expect(t, 2, "", fitnessHold+3*fitnessEvery)
	})
	inWard(t, func(t *testing.T, w *ward) {
		w.disk.set(func(d *fakeDisk) { d.room = 0 }) // not known here
		w.wrote(errors.New("something else"))
		w.wrote(nil)
		time.Sleep(3 * fitnessEvery)
		if got := w.reasons(); len(got) != 0 {
			t.Fatalf("told %q", got)
		}
		w.wrote(&os.PathError{Op: "write", Path: "node.db", Err: syscall.ENOSPC})
		w.expect(t, 1, unfitFull, 3*fitnessEvery)
		w.expect(t, 2, "", syncEvery+fitnessHold+3*fitnessEvery)
	})
}

func TestFailingDisk(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		w.disk.set(func(d *fakeDisk) { d.err = syscall.EIO })
		w.expect(t, 1, unfitFailing, syncEvery+3*fitnessEvery)
		w.disk.set(func(d *fakeDisk) { d.err = nil })
		w.expect(t, 2, "", fitnessHold+5*fitnessEvery)
	})
}

// A loop that is late in nine turns of ten is slow; one long pause is the pause guard's.
func TestSlowLoop(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		for range 60 {
			w.turn(time.Millisecond)
		}
		w.turn(time.Minute)
		time.Sleep(3 * fitnessEvery)
		if got := w.reasons(); len(got) != 0 {
			t.Fatalf("one pause made it %q", got)
		}
		time.Sleep(fitnessWindow)
		for range fewestTurns {
			w.turn(time.Second)
		}
		w.expect(t, 1, unfitLoop, 3*fitnessEvery)
	})
}

// Fsyncs of the hard state count as those of the probe do.
func TestSlowHardState(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		for range fewestSyncs {
			w.saved(slowTook)
		}
		w.expect(t, 1, unfitDisk, 3*fitnessEvery)
	})
}

// Draining begins and ends at once, and hides what else there is.
func TestDraining(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		if err := w.drain(t.Context(), true); err != nil {
			t.Fatal(err)
		}
		if got := w.reasons(); len(got) != 1 || got[0] != unfitDraining || !w.status().Draining {
			t.Fatalf("told %q, %+v", got, w.status())
		}
		if err := w.drain(t.Context(), false); err != nil {
			t.Fatal(err)
		}
		if got := w.reasons(); len(got) != 2 || got[1] != "" || w.status().Draining {
			t.Fatalf("told %q, %+v", got, w.status())
		}
		w.disk.set(func(d *fakeDisk) { d.room = 1 })
		w.expect(t, 3, unfitFull, 3*fitnessEvery)
		w.drain(t.Context(), true)
		w.drain(t.Context(), false)
		if got := w.reasons(); got[len(got)-1] != unfitFull {
			t.Errorf("told %q: it is full all the same", got)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		v := newVitals(&fakeDisk{}, nil) // nobody runs it
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := v.drain(ctx, true); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
	})
}

// A well disk is asked twice a minute and no more.
func TestDiskIsLeftInPeace(t *testing.T) {
	inWard(t, func(t *testing.T, w *ward) {
		time.Sleep(time.Hour)
		var n int
		w.disk.set(func(d *fakeDisk) { n = d.syncs })
		if n > 2+int(time.Hour/syncEvery) {
			t.Errorf("%d fsyncs in an hour", n)
		}
	})
}

// The claim is coarse, and follows the disk only when the disk has changed for good.
func TestCapacityClaim(t *testing.T) {
	for took, want := range map[time.Duration]uint8{0: 10, time.Millisecond: 10, 2 * time.Millisecond: 8, 5 * time.Millisecond: 6,
		100 * time.Millisecond: 2, time.Second: 0, time.Hour: 0} {
		if got := syncBucketOf(took); got != want {
			t.Errorf("an fsync of %v is %d, want %d", took, got, want)
		}
	}
	for rate, want := range map[float64]uint8{0: 0, 249: 0, 250: 1, 2000: 4, 20000: 7, 1e9: 10} {
		if got := cpuBucketOf(rate); got != want {
			t.Errorf("%v checks a second are %d, want %d", rate, got, want)
		}
	}
	for sessions, want := range map[int64]uint8{-1: 0, 0: 0, 1: 1, 2: 2, 3: 2, 4: 3} {
		if got := loadBucket(sessions); got != want {
			t.Errorf("%d sessions are %d, want %d", sessions, got, want)
		}
	}
	inWard(t, func(t *testing.T, w *ward) {
		w.vitals.mu.Lock()
		w.claim.cpu = 10
		w.vitals.mu.Unlock()
		if got := w.capacity(); got != 8 {
			t.Fatalf("capacity %d, want 8 for fsyncs of 2 ms", got)
		}
		w.disk.set(func(d *fakeDisk) { d.took = 30 * time.Millisecond })
		for range 4 {
			time.Sleep(time.Minute)
			if got := w.capacity(); got != 8 {
				t.Fatalf("capacity %d in a slow moment, want 8", got)
			}
		}
		w.disk.set(func(d *fakeDisk) { d.took = 2 * time.Millisecond })
		for range 20 {
			time.Sleep(time.Minute)
			if got := w.capacity(); got != 8 {
				t.Fatalf("capacity %d after a slow moment, want 8", got)
			}
		}
		w.disk.set(func(d *fakeDisk) { d.took = 30 * time.Millisecond })
		time.Sleep(capacityHold + 3*time.Minute)
		if got := w.capacity(); got != 4 {
			t.Errorf("capacity %d, want 4 for fsyncs of 30 ms", got)
		}
	})
}

// The real disk: there is a file while the node runs and none after it, and room is told.
func TestDataDisk(t *testing.T) {
	d := dataDisk{t.TempDir()}
	for range 3 {
		if err := d.sync(); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(d.dir, probeFile)
	if info, err := os.Stat(path); err != nil || info.Size() != probeSize {
		t.Errorf("%v, %v", info, err)
	}
	if free, known := d.free(); known && free == 0 {
		t.Error("no room at all")
	}
	d.close()
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the file stays: %v", err)
	}
	if err := (dataDisk{filepath.Join(d.dir, "gone")}).sync(); err == nil {
		t.Error("a directory that is not there can be written to")
	}
}
