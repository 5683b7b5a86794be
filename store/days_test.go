package store

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/probe"
)

func openTestRegistry(t *testing.T) *Registry {
	t.Helper()
	r, err := OpenRegistry(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

// TestFewDaysAreOpen uses many more days than may be open, from several goroutines, and removes some
// at the same time.
func TestFewDaysAreOpen(t *testing.T) {
	r := openTestRegistry(t)
	start := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	const count = 3 * maxOpenDays
	var wg sync.WaitGroup
	for worker := range 3 {
		wg.Go(func() {
			for n := range count {
				day := (n*7 + worker*11) % count
				one := probe.Result{Key: probe.Key{Node: "n", Boot: 1, Seq: uint64(day)}, Started: start.AddDate(0, 0, day)}
				if _, _, err := r.Ingest("head", []probe.Result{one}); err != nil {
					t.Error(err)
				}
				if n%10 == 0 {
					if _, err := r.Results(Query{From: one.Started, Limit: 3}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if n := len(r.days.open); n > maxOpenDays {
		t.Errorf("%d days are open, at most %d", n, maxOpenDays)
	}
	if page, err := r.Results(Query{}); err != nil || len(page.Results) != count {
		t.Errorf("%d results, %v", len(page.Results), err)
	}
	wg.Go(func() {
		for day := range 20 {
			if _, err := r.Retain(start.AddDate(0, 0, day)); err != nil {
				t.Error(err)
			}
		}
	})
	for range 20 {
		if _, err := r.Results(Query{}); err != nil {
			t.Error(err)
		}
	}
	wg.Wait()
	if _, err := r.Retain(start.AddDate(0, 0, 20)); err != nil {
		t.Error(err)
	}
	if n := len(r.days.names()); n != count-20 {
		t.Errorf("%d days are left, want %d", n, count-20)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestFutureIsFiledOnce: a crash between the two commits of Ingest, and when the results come again, the
// present has come near to what was the future.
func TestFutureIsFiledOnce(t *testing.T) {
	r := openTestRegistry(t)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	one := probe.Result{Key: probe.Key{Node: "n", Boot: 1, Seq: 1}, Started: now.Add(maxClockAhead + time.Hour)}
	two := one
	two.Key.Seq = 2
	if err := r.days.store([]*probe.Result{&one}, now); err != nil {
		t.Fatal(err)
	}
	if err := r.days.store([]*probe.Result{&one, &two}, now.Add(2*time.Hour)); err != nil {
		t.Fatal(err)
	}
	if got := r.days.names(); !slices.Equal(got, []string{"results-2100-01-01.db", "results-2026-01-03.db"}) {
		t.Errorf("files %v", got)
	}
	page, err := r.Results(Query{})
	if err != nil || len(page.Results) != 2 || page.Results[0].Key.Seq != 1 || page.Results[1].Key.Seq != 2 {
		t.Errorf("%+v, %v", page, err)
	}
	if n, err := r.Retain(time.Now().Add(time.Hour)); err != nil || n != 2 {
		t.Errorf("both are older than the time given: %d, %v", n, err)
	}
}

// TestDamagedDay: a day that cannot be read says so, and the others are still written.
func TestDamagedDay(t *testing.T) {
	r := openTestRegistry(t)
	day := func(n int) probe.Result {
		return probe.Result{Key: probe.Key{Node: "n", Boot: 1, Seq: uint64(n)}, Started: time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC)}
	}
	if _, _, err := r.Ingest("head", []probe.Result{day(1), day(2)}); err != nil {
		t.Fatal(err)
	}
	dir := r.days.dir
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	whole := damage(t, dir+"/results-2026-01-01.db")
	r, err := OpenRegistry(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		if _, err := r.Results(Query{}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("query over all days: %v", err)
		}
		if _, _, err := r.Ingest("head", []probe.Result{{Key: probe.Key{Node: "m"}, Started: day(1).Started}}); !errors.Is(err, ErrCorrupt) {
			t.Errorf("into the damaged day: %v", err)
		}
	}
	if page, err := r.Results(Query{From: day(2).Started}); err != nil || len(page.Results) != 1 {
		t.Errorf("query over the other: %d, %v", len(page.Results), err)
	}
	if added, _, err := r.Ingest("head", []probe.Result{day(2), day(3)}); err != nil || added != 1 {
		t.Errorf("into others: %d, %v", added, err)
	}
	if err := os.WriteFile(dir+"/results-2026-01-01.db", whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if page, err := r.Results(Query{}); err != nil || len(page.Results) != 3 {
		t.Errorf("restored from a copy: %d, %v", len(page.Results), err)
	}
	damage(t, dir+"/results-2026-01-01.db")
	if n, err := r.Retain(day(2).Started); err != nil || n != 1 {
		t.Errorf("retention removes it in its time: %d, %v", n, err)
	}
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClosedRegistryClosesDays(t *testing.T) {
	r := openTestRegistry(t)
	if _, _, err := r.Ingest("head", []probe.Result{{Key: probe.Key{Node: "n"}}}); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.days.with(r.days.names()[0], false, func(*file) error { return fmt.Errorf("it is open") }); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// damage overwrites a file and returns what was in it.
func damage(t *testing.T, path string) []byte {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("not what it was"), 0o600); err != nil {
		t.Fatal(err)
	}
	return whole
}

// TestCutWhileOpen: somebody truncates the file under the process; the mapped memory behind its new end
// faults.
func TestCutWhileOpen(t *testing.T) {
	db := openTest(t)
	for _, r := range sampleResults(50) {
		if err := db.AddResult(ResultRecord{Result: r}, true); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Truncate(db.file.path, 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Results(Query{}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("query: %v", err)
	}
	if err := db.AddResult(ResultRecord{Result: probe.Result{Key: probe.Key{Node: "n"}}}, true); !errors.Is(err, ErrCorrupt) {
		t.Errorf("write: %v", err)
	}
	if err := db.Check(t.Context()); !errors.Is(err, ErrCorrupt) {
		t.Errorf("check: %v", err)
	}
}
