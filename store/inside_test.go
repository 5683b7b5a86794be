package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
	"pgregory.net/rapid"

	"github.com/peerprobe/peerprobe/probe"
)

func TestCacheBounds(t *testing.T) {
	c := newCache(10_000)
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20_000 {
		k := fmt.Sprint("key", rng.IntN(500))
		switch rng.IntN(4) {
		case 0:
			c.show(k, make([]byte, rng.IntN(2000)))
			c.settle(k, rng.IntN(2) == 0)
		case 1:
			c.drop(k)
		default:
			if _, mark, ok := c.get(k); !ok {
				c.fill(k, make([]byte, rng.IntN(2000)), mark)
			}
		}
		sum := 0
		for _, k := range c.lru.Keys() {
			v, _ := c.lru.Peek(k)
			sum += cost(k, v)
		}
		if s := c.snapshot(); s.Bytes != sum || s.Bytes > s.LimitBytes || s.Entries != c.lru.Len() {
			t.Fatalf("%+v, entries sum to %d", s, sum)
		}
	}
	s := c.snapshot()
	if s.Evictions == 0 || s.Hits == 0 || s.Misses == 0 {
		t.Errorf("%+v", s)
	}
	c.show("huge", make([]byte, 20_000))
	c.settle("huge", true)
	if _, _, ok := c.get("huge"); ok {
		t.Error("a value larger than the cache is in it")
	}
}

// TestCacheNeverGoesBack: a read that loaded an old value does not put it over a newer one, wherever
// the write falls between its two steps.
func TestCacheNeverGoesBack(t *testing.T) {
	for name, write := range map[string]func(c *cache){
		"shown":            func(c *cache) { c.show("k", []byte("new")) },
		"shown, settled":   func(c *cache) { c.show("k", []byte("new")); c.settle("k", true) },
		"and evicted":      func(c *cache) { c.show("k", []byte("new")); c.settle("k", true); c.lru.Remove("k") },
		"shown, evicted":   func(c *cache) { c.show("k", []byte("new")); c.lru.Remove("k") },
		"failed":           func(c *cache) { c.show("k", []byte("new")); c.settle("k", false) },
		"deleted":          func(c *cache) { c.drop("k") },
		"begun before get": nil,
	} {
		c := newCache(10_000)
		if write == nil {
			c.show("k", []byte("new"))
			c.lru.Remove("k")
			write = func(*cache) {}
		}
		_, mark, ok := c.get("k")
		if ok {
			t.Fatal("hit")
		}
		write(c)
		c.fill("k", []byte("old"), mark)
		if v, _, ok := c.get("k"); ok && string(v) == "old" {
			t.Errorf("%s: the old value is in the cache", name)
		}
	}
}

func openTest(t testing.TB) *DB {
	t.Helper()
	db, err := Open(filepath.Join(t.TempDir(), "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// TestOneFailureLeavesTheOthers: of the changes of one commit, the one that fails or panics is alone in that.
func TestOneFailureLeavesTheOthers(t *testing.T) {
	db := openTest(t)
	errBad := errors.New("bad")
	hold, held := make(chan struct{}), make(chan struct{})
	var once sync.Once
	var wg sync.WaitGroup
	errs := make([]error, 20)
	wg.Go(func() { // holds the writer until all others wait for the next commit
		errs[0] = db.file.update("first", func(*bbolt.Tx) error {
			once.Do(func() { close(held) })
			<-hold
			return nil
		})
	})
	<-held
	for i := 1; i < len(errs); i++ {
		wg.Go(func() {
			errs[i] = db.file.update("test", func(tx *bbolt.Tx) error {
				if err := tx.Bucket([]byte(tableMeta)).Put(fmt.Append(nil, "k", i), []byte("v")); err != nil {
					return err
				}
				switch i {
				case 5, 12:
					return errBad
				case 7:
					panic("page 3 is damaged")
				}
				return nil
			})
		})
	}
	for len(db.file.writer.queue) < len(errs)-1 { // all of them in one commit
		runtime.Gosched()
	}
	close(hold)
	wg.Wait()
	for i, err := range errs {
		var want error
		switch i {
		case 5, 12:
			want = errBad
		case 7:
			want = ErrCorrupt
		}
		if !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("change %d: %v, want %v", i, err, want)
		}
		if i == 0 {
			continue
		}
		if _, err := db.Meta(fmt.Sprint("k", i)); (err == nil) != (want == nil) {
			t.Errorf("change %d left: %v", i, err)
		}
	}
}

// TestCommitsAreShared: what came while a commit was in flight is in the next one.
func TestCommitsAreShared(t *testing.T) {
	db := openTest(t)
	before := db.file.bolt.db.Stats()
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if err := db.SetMeta(fmt.Sprint("k", i), []byte("v")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	// A commit alone writes at least four pages.
	after := db.file.bolt.db.Stats()
	if writes := after.TxStats.GetWrite() - before.TxStats.GetWrite(); writes > 400 {
		t.Errorf("%d page writes for 200 changes", writes)
	}
}

func TestSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[uint32]bool{}
		var s spans
		top := rapid.SampledFrom([]uint32{10, 300, seenChunk - 1}).Draw(t, "top")
		for range rapid.IntRange(0, 60).Draw(t, "adds") {
			n := rapid.Uint32Range(0, top).Draw(t, "n")
			s = s.add(n)
			want[n] = true
		}
		for n := range top + 1 {
			if s.has(n) != want[n] {
				t.Fatalf("%v has %d: %v", s, n, s.has(n))
			}
		}
		for i := 1; i < len(s); i++ {
			if s[i-1].hi+1 >= s[i].lo {
				t.Fatalf("%v touches itself", s)
			}
		}
		back, err := decodeSpans(s.encode())
		if err != nil || !slices.Equal(back, s) {
			t.Fatalf("%v came back as %v, %v", s, back, err)
		}
	})
	if s, err := decodeSpans(spans{{0, seenChunk - 1}}.encode()); err != nil || len(s) != 1 || len(s.encode()) > 4 {
		t.Errorf("a full chunk: %v, %v", s, err)
	}
	var worst spans
	for n := uint32(0); n < seenChunk; n += 2 {
		worst = worst.add(n)
	}
	if n := len(worst.encode()); n > seenChunk {
		t.Errorf("the worst record has %d bytes", n)
	}
	for _, bad := range []string{"\x80", "\x05", "\x00\x00\x00\x00", "\xff\xff\x7f\x00", "\x80\x00\x00", "\x00\x80\x00"} {
		if s, err := decodeSpans([]byte(bad)); err == nil {
			t.Errorf("%x was read as %v", bad, s)
		}
	}
}

func TestMigrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	one := layout{kind: "test", tables: []string{tableMeta, "old"}}
	f, err := openFile(path, one, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.update("fill", func(tx *bbolt.Tx) error { return tx.Bucket([]byte("old")).Put([]byte("k"), []byte("v")) }); err != nil {
		t.Fatal(err)
	}
	f.close()

	move := func(tx *bbolt.Tx) error { // 1 to 2: a table gets another name
		b, err := tx.CreateBucket([]byte("new"))
		if err != nil {
			return err
		}
		if err := tx.Bucket([]byte("old")).ForEach(b.Put); err != nil {
			return err
		}
		return tx.DeleteBucket([]byte("old"))
	}
	upper := func(tx *bbolt.Tx) error { // 2 to 3: values change
		return tx.Bucket([]byte("new")).Put([]byte("k"), []byte("V"))
	}
	fails := layout{kind: "test", tables: []string{tableMeta, "new"}, migrations: []migration{move, func(*bbolt.Tx) error { return errors.New("no") }}}
	if _, err := openFile(path, fails, 0); err == nil || !strings.Contains(err.Error(), "from schema 2 to 3") {
		t.Errorf("a migration that fails: %v", err)
	}
	f, err = openFile(path, one, 0) // and has changed nothing
	if err != nil {
		t.Fatal(err)
	}
	f.close()

	three := layout{kind: "test", tables: []string{tableMeta, "new", "added"}, migrations: []migration{move, upper}}
	for range 2 {
		f, err = openFile(path, three, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = f.view("test", func(tx *bbolt.Tx) error {
			if v := tx.Bucket([]byte("new")).Get([]byte("k")); string(v) != "V" || tx.Bucket([]byte("old")) != nil || tx.Bucket([]byte("added")) == nil {
				t.Errorf("after both: %q", v)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		f.close()
	}
	if _, err := openFile(path, one, 0); !errors.Is(err, ErrNewerSchema) || !strings.Contains(err.Error(), "schema 3") {
		t.Errorf("the older program: %v", err)
	}
}

func TestOneSchemaForAllFiles(t *testing.T) {
	for _, l := range []layout{layoutHard, layoutNode, layoutRegistry, layoutDay} {
		if l.version() != SchemaVersion {
			t.Errorf("%s has schema %d, SchemaVersion is %d", l.kind, l.version(), SchemaVersion)
		}
	}
}

func TestBoundedTables(t *testing.T) {
	db := openTest(t)
	err := db.file.update("test", func(tx *bbolt.Tx) error {
		raw, err := encodeRecord(auditWire{Actor: "a"})
		if err != nil {
			return err
		}
		for range 25 {
			if err := appendAudit(tx.Bucket([]byte(tableAudit)), raw, 10); err != nil {
				return err
			}
		}
		for n := range 25 {
			id, at := fmt.Append(nil, "t", n), time.Unix(int64(n), 0)
			raw, err := encodeRecord(taskWire{ID: string(id), Created: unixNs(at)})
			if err != nil {
				return err
			}
			if err := putTask(tx, id, append(appendTime(nil, unixNs(at)), id...), raw, 10); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	tail, err := db.AuditTail(100)
	if err != nil || len(tail) != 10 {
		t.Errorf("audit: %d, %v", len(tail), err)
	}
	tasks, err := db.Tasks(100)
	if err != nil || len(tasks) != 10 || tasks[9].ID != "t15" {
		t.Errorf("tasks: %+v, %v", tasks, err)
	}
	if err := db.Check(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestCheckFinds breaks each promise between tables once.
func TestCheckFinds(t *testing.T) {
	del := func(table string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error {
			k, _ := tx.Bucket([]byte(table)).Cursor().First()
			return tx.Bucket([]byte(table)).Delete(k)
		}
	}
	put := func(table, k, v string) func(*bbolt.Tx) error {
		return func(tx *bbolt.Tx) error { return tx.Bucket([]byte(table)).Put([]byte(k), []byte(v)) }
	}
	for name, harm := range map[string]func(*bbolt.Tx) error{
		"result gone":      del(tableResults),
		"index entry gone": del(tableResultsTime),
		"spool entry gone": del(tableSpool),
		"spool key gone":   del(tableSpoolKeys),
		"task gone":        del(tableTasks),
		"task index gone":  del(tableTasksTime),
		"counters":         put(tableMeta, metaSpool, strings.Repeat("\x00", 23)+"\x07"),
		"short counters":   put(tableMeta, metaSpool, "x"),
		"node":             put(tableNodes, "n", "\xa0"),
		"row":              put(tableRows, "n", "\xa0"),
		"head":             put(tableHeads, "n", "\xa0"),
		"held record gone": del(tableHeld),
		"held state gone":  del(tableHeldState),
		"held wait gone":   del(tableHeldWait),
		"held kept gone":   del(tableHeldKept),
		"held counters":    put(tableMeta, metaHeld, strings.Repeat("\x00", 31)+"\x07"),
		"short held":       put(tableMeta, metaHeld, "x"),
		"short state":      put(tableHeldState, "n", "x"),
		"not CBOR":         put(tableNodes, "n", "\xff"),
		"audit":            put(tableAudit, "\x00\x00\x00\x00\x00\x00\x00\x09", "\xa0"),
		"kind":             put(tableMeta, metaKind, "hard"),
	} {
		db := openTest(t)
		for n := range 3 {
			r := probe.Result{Key: probe.Key{Node: "n", Boot: 1, Seq: uint64(n)}, Started: time.Unix(int64(n), 0)}
			if err := errors.Join(db.AddResult(ResultRecord{Result: r}, true), db.PutTask(Task{ID: fmt.Sprint(n)}), db.Audit(AuditEntry{})); err != nil {
				t.Fatal(err)
			}
		}
		k := probe.Key{Node: "n", Boot: 1, Seq: 9}
		_, err := db.Hold("c", []ResultRecord{{Result: probe.Result{Key: k}}, {Result: probe.Result{Key: probe.Key{Node: "n", Boot: 1, Seq: 10}}}})
		if err = errors.Join(err, db.ReleaseHeld(time.Unix(1, 0), []probe.Key{k})); err != nil {
			t.Fatal(err)
		}
		if err := db.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := db.file.update("harm", harm); err != nil {
			t.Fatal(err)
		}
		if err := db.Check(t.Context()); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
		db.Close()
	}
}
