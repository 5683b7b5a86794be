package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

func testNodes(t *testing.T, db Node) {
	var want []cluster.NodeState
	for n := range 50 {
		want = append(want, NodeState(n))
	}
	must(t, db.PutNodes(want...))
	must(t, db.PutNodes())
	if _, err := db.Node(ID(99)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown node: %v", err)
	}
	moved := NodeState(7)
	moved.City, moved.Serial = "wuhan", 8
	must(t, db.PutNodes(moved))
	want[7] = moved
	got, err := db.Node(ID(7))
	must(t, err)
	equal(t, "node", got, moved)
	got.Addrs[0][0] = 99 // a caller's copy is his own
	again, err := db.Node(ID(7))
	must(t, err)
	equal(t, "node after a caller's change", again, moved)
	slices.SortFunc(want, func(a, b cluster.NodeState) int { return cmp.Compare(a.ID, b.ID) })
	all, err := db.Nodes()
	must(t, err)
	equal(t, "all", all, want)
	if err := db.PutNodes(NodeState(60), cluster.NodeState{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("node without id: %v", err)
	}
	if _, err := db.Node(ID(60)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("half of a refused call was stored: %v", err)
	}
}

func testRows(t *testing.T, db Node) {
	row := func(n int) cluster.Row {
		return cluster.Row{ID: ID(n), Addrs: [][]byte{{1, byte(n)}}, FirstSeen: int64(n), Boot: uint64(n), Admission: Signed(n), Load: 2,
			Priority: cluster.Priority{Reachable: true, Stability: 3, Capacity: 2, Load: 1}}
	}
	must(t, db.PutRows(row(1), row(2), row(3)))
	must(t, db.DropRows(ID(2), ID(77)))
	must(t, db.DropRows())
	want := []cluster.Row{row(1), row(3)}
	slices.SortFunc(want, func(a, b cluster.Row) int { return cmp.Compare(a.ID, b.ID) })
	got, err := db.Rows()
	must(t, err)
	equal(t, "rows", got, want)
	if err := db.PutRows(cluster.Row{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("row without id: %v", err)
	}
}

func testHeads(t *testing.T, db Node) {
	must(t, db.PutHead("wuhan", 0, Signed(1)))
	must(t, db.PutHead("changsha", 1, Signed(2)))
	must(t, db.PutHead("changsha", 0, Signed(3)))
	must(t, db.PutHead("wuhan", 0, Signed(4)))
	got, err := db.Heads()
	must(t, err)
	equal(t, "heads", got, []store.HeadRecord{
		{City: "changsha", Shard: 0, Lead: Signed(3)}, {City: "changsha", Shard: 1, Lead: Signed(2)}, {City: "wuhan", Shard: 0, Lead: Signed(4)},
	})
	one, err := db.Head("wuhan", 0)
	must(t, err)
	equal(t, "head", one.Lead, Signed(4))
	if _, err := db.Head("wuhan", 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown shard: %v", err)
	}
	for _, city := range []cluster.City{"", "a\x00b", cluster.City(strings.Repeat("x", 500))} {
		if err := db.PutHead(city, 0, Signed(1)); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("city %.10q: %v", city, err)
		}
	}
	if err := db.PutHead("wuhan", math.MaxUint, Signed(1)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("shard: %v", err)
	}
}

func testResults(t *testing.T, db Node) {
	rec := Record(3)
	rtt := 1.25
	rec.Result.Samples = []probe.Sample{{Seq: 1, SentMs: 0.5, RTT: &rtt, TTL: 57}, {Seq: 2, Lost: true}}
	must(t, db.AddResult(rec, false))
	got, err := db.Result(rec.Result.Key)
	must(t, err)
	equal(t, "record", got, rec)
	bare := store.ResultRecord{Result: Result(4)}
	must(t, db.AddResult(bare, false))
	got, err = db.Result(bare.Result.Key)
	must(t, err)
	equal(t, "record without originals", got, bare)
	if _, err := db.Result(Result(5).Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown result: %v", err)
	}
}

func testImmutable(t *testing.T, db Node) {
	first := Record(1)
	must(t, db.AddResult(first, false))
	second := first
	second.Result.Tool = "forged"
	must(t, db.AddResult(second, true))
	got, err := db.Result(first.Result.Key)
	must(t, err)
	equal(t, "record", got, first)
	page, err := db.Results(store.Query{})
	must(t, err)
	if len(page.Results) != 1 || page.Results[0].Tool != "latency" {
		t.Errorf("query: %+v", page)
	}
	equal(t, "spool", db.SpoolStats(), store.SpoolStats{})
}

func testSpool(t *testing.T, db Node) {
	for n := 9; n >= 0; n-- { // the order of arrival counts, not that of keys or times
		must(t, db.AddResult(Record(n), true))
		must(t, db.AddResult(Record(n), true))
		must(t, db.AddResult(Record(n+100), false))
	}
	recs, err := db.Spool(4, math.MaxInt)
	must(t, err)
	equal(t, "oldest", recs, []store.ResultRecord{Record(9), Record(8), Record(7), Record(6)})
	if s := db.SpoolStats(); s.Depth != 10 || s.Bytes < 5000 || s.Dropped != 0 {
		t.Errorf("stats %+v", s)
	}
	one, err := db.Spool(10, 1)
	must(t, err)
	if len(one) != 1 {
		t.Errorf("a spool of small frames gives %d", len(one))
	}
	some, err := db.Spool(10, int(db.SpoolStats().Bytes/2))
	must(t, err)
	if len(some) < 4 || len(some) > 5 {
		t.Errorf("half of the bytes gives %d", len(some))
	}
	must(t, db.Release(Record(8).Result.Key, Record(0).Result.Key, Record(100).Result.Key, Record(777).Result.Key))
	must(t, db.Release(Record(8).Result.Key))
	must(t, db.Release())
	recs, err = db.Spool(3, math.MaxInt)
	must(t, err)
	equal(t, "after release", recs, []store.ResultRecord{Record(9), Record(7), Record(6)})
	if _, err := db.Result(Record(8).Result.Key); err != nil {
		t.Errorf("a released result is gone: %v", err)
	}
	must(t, db.AddResult(Record(8), true)) // it was released: it does not come back
	if s := db.SpoolStats(); s.Depth != 8 {
		t.Errorf("stats %+v", s)
	}
	for n := range 10 {
		must(t, db.Release(Record(n).Result.Key))
	}
	equal(t, "empty", db.SpoolStats(), store.SpoolStats{})
}

func testRetain(t *testing.T, db Node) {
	addAll(t, db, Results(0, 700), func(n int) bool { return n%100 == 0 })
	removed, err := db.Retain(Result(600).Started)
	must(t, err)
	if removed != 594 {
		t.Errorf("removed %d of 600, six of which wait", removed)
	}
	if _, err := db.Result(Result(1).Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an old result is still there: %v", err)
	}
	for _, n := range []int{0, 500, 600, 601} {
		if _, err := db.Result(Result(n).Key); err != nil {
			t.Errorf("result %d: %v", n, err)
		}
	}
	if again, err := db.Retain(Result(600).Started); err != nil || again != 0 {
		t.Errorf("again: %d, %v", again, err)
	}
}

func testTasks(t *testing.T, db Node) {
	task := func(n int) store.Task {
		at := Start.Add(time.Duration(n) * time.Second)
		return store.Task{ID: fmt.Sprint("task-", n), Request: []byte{byte(n)}, Status: "queued", Created: at, Updated: at}
	}
	for n := range 20 {
		must(t, db.PutTask(task((n*7)%20)))
	}
	done := task(5)
	done.Status, done.Keys, done.Updated = "finished", []probe.Key{Result(1).Key}, Start.Add(time.Hour)
	must(t, db.PutTask(done))
	got, err := db.Task("task-5")
	must(t, err)
	equal(t, "task", got, done)
	moved := task(6)
	moved.Created = Start.Add(2 * time.Hour)
	must(t, db.PutTask(moved))
	newest, err := db.Tasks(3)
	must(t, err)
	equal(t, "newest", newest, []store.Task{moved, task(19), task(18)})
	all, err := db.Tasks(0)
	must(t, err)
	if len(all) != 20 {
		t.Errorf("%d tasks", len(all))
	}
	if _, err := db.Task("none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown task: %v", err)
	}
	if err := db.PutTask(store.Task{}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("task without id: %v", err)
	}
	if err := db.PutTask(store.Task{ID: "x", Request: make([]byte, 1<<20)}); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("huge request: %v", err)
	}
}

// testConcurrent lets many write and read the same keys; afterwards cache, table and spool agree.
func testConcurrent(t *testing.T, db Node) {
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 40 {
				n := (i*5 + worker) % 60
				if err := db.AddResult(Record(n), true); err != nil {
					t.Error(err)
				}
				if _, err := db.Result(Record(n).Result.Key); err != nil {
					t.Errorf("acknowledged and not there: %v", err)
				}
				state := NodeState(n % 3)
				state.Serial = uint64(worker*1000 + i)
				if err := db.PutNodes(state); err != nil {
					t.Error(err)
				}
				if i%4 == 0 {
					if err := db.Release(Record(n).Result.Key); err != nil {
						t.Error(err)
					}
				}
				if _, err := db.Results(store.Query{Limit: 5}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	all, err := db.Nodes()
	must(t, err)
	for _, n := range all {
		cached, err := db.Node(n.ID)
		must(t, err)
		equal(t, "cache and table", cached, n)
	}
}

func testReadThrough(t *testing.T, db Node) {
	must(t, db.PutNodes(NodeState(1)))
	before := db.Stats()
	for range 5 {
		if _, err := db.Node(ID(1)); err != nil {
			t.Fatal(err)
		}
	}
	if s := db.Stats(); s.Hits-before.Hits != 5 || s.Misses != before.Misses {
		t.Errorf("a write goes to the cache first, reads hit it: %+v then %+v", before, s)
	}
	if _, err := db.Node(ID(2)); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
	if s := db.Stats(); s.Misses != before.Misses+1 {
		t.Errorf("misses: %+v", s)
	}
}

func testRefused(t *testing.T, db Node) {
	for name, change := range map[string]func(*store.ResultRecord){
		"no node":   func(r *store.ResultRecord) { r.Result.Key.Node = "" },
		"NUL":       func(r *store.ResultRecord) { r.Result.Key.Node = "a\x00b" },
		"not UTF-8": func(r *store.ResultRecord) { r.Result.Target.City = "\xff" },
		"too large": func(r *store.ResultRecord) {
			r.Result.Error = &probe.Error{Message: strings.Repeat("x", probe.MaxResultBytes)}
		},
		"long name": func(r *store.ResultRecord) { r.Result.Key.Node = strings.Repeat("n", 500) },
	} {
		rec := Record(1)
		change(&rec)
		if err := db.AddResult(rec, true); !errors.Is(err, store.ErrInvalid) && !errors.Is(err, store.ErrTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	equal(t, "spool", db.SpoolStats(), store.SpoolStats{})
}
