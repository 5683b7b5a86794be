package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
	"github.com/peerprobe/peerprobe/store/storetest"
)

// The test binary runs itself as a child that writes until it is killed, and says on stdout what was
// acknowledged.
const (
	childVar    = "PEERPROBE_STORE_TEST_CHILD"
	childDirVar = "PEERPROBE_STORE_TEST_DIR"
)

func childMain() {
	kind, dir := os.Getenv(childVar), os.Getenv(childDirVar)
	if kind == "" {
		return
	}
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	ack := make(chan string)
	go func() {
		for line := range ack {
			os.Stdout.WriteString(line + "\n") // one write a line: whole or not at all
		}
	}()
	switch kind {
	case "node":
		db, err := store.Open(filepath.Join(dir, "node.db"))
		if err != nil {
			fail(err)
		}
		for worker := range 8 {
			go func() {
				for n := worker; ; n += 8 {
					if err := db.AddResult(storetest.Record(n), true); err != nil {
						fail(err)
					}
					ack <- fmt.Sprint(n)
				}
			}()
		}
	case "held":
		db, err := store.Open(filepath.Join(dir, "node.db"))
		if err != nil {
			fail(err)
		}
		for worker := range 4 {
			go func() {
				for n := worker * 25; ; n += 100 {
					if _, err := db.Hold("wuhan", heldRecords(n)); err != nil {
						fail(err)
					}
					if n%200 < 100 { // every second batch is released
						if err := db.ReleaseHeld(storetest.Start, heldKeys(n)); err != nil {
							fail(err)
						}
					}
					ack <- fmt.Sprint(n)
				}
			}()
		}
	case "registry":
		r, err := store.OpenRegistry(dir)
		if err != nil {
			fail(err)
		}
		for worker := range 4 {
			go func() {
				for n := worker * 25; ; n += 100 {
					if _, _, err := r.Ingest(storetest.ID(1), storetest.Results(n, n+25)); err != nil {
						fail(err)
					}
					ack <- fmt.Sprint(n)
				}
			}()
		}
	case "hard":
		h, err := store.OpenHard(filepath.Join(dir, "hard.db"))
		if err != nil {
			fail(err)
		}
		for n := 1; ; n++ {
			if err := h.Save(cluster.HardState{Boot: uint64(n), High: storetest.Signed(n)}); err != nil {
				fail(err)
			}
			ack <- fmt.Sprint(n)
		}
	}
	select {}
}

// killed runs a child and kills it (SIGKILL) after so many acknowledgements. It returns all that came.
func killed(t *testing.T, kind, dir string, after int) []int {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childVar+"="+kind, childDirVar+"="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []int
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var n int
		if _, err := fmt.Sscan(lines.Text(), &n); err != nil {
			t.Errorf("line %q: %v", lines.Text(), err)
		}
		if acked = append(acked, n); len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	cmd.Wait() // killed: its error says only that
	if len(acked) < after {
		t.Fatalf("the child ended by itself after %d: %s", len(acked), stderr.String())
	}
	return acked
}

func TestKilledNodeLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []int{1, 17, 150} {
		acked := killed(t, "node", dir, after)
		db, err := store.Open(filepath.Join(dir, "node.db"))
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range acked {
			if _, err := db.Result(storetest.Record(n).Result.Key); err != nil {
				t.Errorf("acknowledged and lost: %v", err)
			}
		}
		if err := db.Check(context.Background()); err != nil {
			t.Error(err)
		}
		if s := db.SpoolStats(); s.Depth < len(acked) {
			t.Errorf("spool %+v after %d", s, len(acked))
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

// heldRecords are the 25 from n on.
func heldRecords(n int) (recs []store.ResultRecord) {
	for i := range 25 {
		recs = append(recs, storetest.Record(n+i))
	}
	return recs
}

func heldKeys(n int) (keys []probe.Key) {
	for i := range 25 {
		keys = append(keys, storetest.Record(n+i).Result.Key)
	}
	return keys
}

func TestKilledHolderLosesNothingAcknowledged(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []int{1, 9, 40} {
		acked := killed(t, "held", dir, after)
		db, err := store.Open(filepath.Join(dir, "node.db"))
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Check(context.Background()); err != nil {
			t.Error(err)
		}
		waits := map[probe.Key]bool{}
		keys, _, err := db.HeldKeys("wuhan", 0, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range keys {
			waits[k] = true
		}
		for _, n := range acked {
			recs, _, err := db.HeldRecords(heldKeys(n), 1<<20)
			if err != nil || len(recs) != 25 {
				t.Errorf("acknowledged and lost: %d of 25 from %d, %v", len(recs), n, err)
			}
			if k := heldKeys(n)[0]; waits[k] != (n%200 >= 100) {
				t.Errorf("%s waits: %v", k, waits[k])
			}
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestKilledRegistryCountsOnce(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []int{1, 12, 60} {
		acked := killed(t, "registry", dir, after)
		r, err := store.OpenRegistry(dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Check(context.Background()); err != nil {
			t.Error(err)
		}
		for _, n := range acked {
			rs := storetest.Results(n, n+25)
			if added, dup, err := r.Ingest(storetest.ID(1), rs); err != nil || added != 0 || dup != 25 {
				t.Errorf("acknowledged, and new again: %d, %d, %v", added, dup, err)
			}
		}
		// All of it again, as heads do after a crash: each is there once.
		last := 0
		for _, n := range acked {
			last = max(last, n)
		}
		for n := 0; n <= last+100; n += 25 {
			if _, _, err := r.Ingest(storetest.ID(1), storetest.Results(n, n+25)); err != nil {
				t.Error(err)
			}
		}
		times := timesFound(t, r)
		for n := range last + 125 {
			if got := times[storetest.Result(n).Key]; got != 1 {
				t.Errorf("result %d is there %d times", n, got)
			}
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	}
}

func timesFound(t *testing.T, r *store.Registry) map[probe.Key]int {
	t.Helper()
	times := map[probe.Key]int{}
	q := store.Query{Limit: store.MaxLimit}
	for {
		page, err := r.Results(q)
		if err != nil {
			t.Fatal(err)
		}
		for i := range page.Results {
			times[page.Results[i].Key]++
		}
		if q.After = page.Next; q.After == "" {
			return times
		}
	}
}

func TestKilledHardState(t *testing.T) {
	dir := t.TempDir()
	for _, after := range []int{1, 40} {
		acked := killed(t, "hard", dir, after)
		h, err := store.OpenHard(filepath.Join(dir, "hard.db"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := h.Load()
		if err != nil || s.Boot < uint64(acked[len(acked)-1]) {
			t.Errorf("boot %d after %d was acknowledged, %v", s.Boot, acked[len(acked)-1], err)
		}
		if string(s.High.Payload) != fmt.Sprint("payload ", s.Boot) {
			t.Errorf("half of a state: %d, %s", s.Boot, s.High.Payload)
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestCopiedBetweenCommits opens copies that were taken while the file was open, between two commits:
// nothing that was acknowledged waits in memory.
func TestCopiedBetweenCommits(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	for n := range 30 {
		if err := db.AddResult(storetest.Record(n), true); err != nil {
			t.Fatal(err)
		}
		if n%10 != 9 {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(dir, "node.db"))
		if err != nil {
			t.Fatal(err)
		}
		copied := t.TempDir()
		if err := os.WriteFile(filepath.Join(copied, "node.db"), raw, 0o600); err != nil {
			t.Fatal(err)
		}
		again := openDB(t, copied)
		if err := again.Check(context.Background()); err != nil {
			t.Error(err)
		}
		if got := again.SpoolStats().Depth; got != n+1 {
			t.Errorf("the copy has %d, want %d", got, n+1)
		}
		again.Close()
	}
}
