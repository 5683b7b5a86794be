package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
	"github.com/peerprobe/peerprobe/store/storetest"
)

// kinds opens each kind of file as a table entry: path inside of the directory, open, write something.
var kinds = []struct {
	name, file string
	open       func(dir string) (closer, error)
	fill       func(t *testing.T, c closer)
}{
	{"hard", "hard.db", func(dir string) (closer, error) { return store.OpenHard(filepath.Join(dir, "hard.db")) },
		func(t *testing.T, c closer) {
			must(t, c.(*store.HardFile).Save(cluster.HardState{Boot: 7, High: storetest.Signed(1)}))
		}},
	{"node", "node.db", func(dir string) (closer, error) { return store.Open(filepath.Join(dir, "node.db")) },
		func(t *testing.T, c closer) {
			for n := range 40 {
				must(t, c.(*store.DB).AddResult(storetest.Record(n), n%2 == 0))
			}
		}},
	{"registry", "registry.db", func(dir string) (closer, error) { return store.OpenRegistry(dir) },
		func(t *testing.T, c closer) {
			_, _, err := c.(*store.Registry).Ingest(storetest.ID(1), storetest.Results(0, 100))
			must(t, err)
		}},
}

type closer interface{ Close() error }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSecondOpenFailsFast(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			dir := t.TempDir()
			first, err := k.open(dir)
			must(t, err)
			begin := time.Now()
			_, err = k.open(dir)
			if took := time.Since(begin); !errors.Is(err, store.ErrLocked) || took > time.Second {
				t.Errorf("after %v: %v", took, err)
			}
			if err != nil && (!strings.Contains(err.Error(), k.file) || !strings.Contains(err.Error(), "stop it")) {
				t.Errorf("the sentence lacks path or advice: %v", err)
			}
			must(t, first.Close())
			again, err := k.open(dir)
			must(t, err)
			must(t, again.Close())
		})
	}
}

func TestModes(t *testing.T) {
	for _, k := range kinds {
		dir := filepath.Join(t.TempDir(), "new", "data")
		c, err := k.open(dir)
		must(t, err)
		k.fill(t, c)
		must(t, c.Close())
		files := 0
		must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := d.Info()
			want := fs.FileMode(0o600)
			if d.IsDir() {
				want = 0o700
			} else {
				files++
			}
			if info.Mode().Perm() != want {
				t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
			}
			return err
		}))
		if files == 0 {
			t.Errorf("%s: no file", k.name)
		}
	}
}

func TestNewerSchema(t *testing.T) {
	for _, k := range kinds {
		dir := t.TempDir()
		c, err := k.open(dir)
		must(t, err)
		must(t, c.Close())
		path := filepath.Join(dir, k.file)
		edit(t, path, func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("meta")).Put([]byte(".schema"), binary.BigEndian.AppendUint64(nil, 42))
		})
		before := read(t, path)
		_, err = k.open(dir)
		if !errors.Is(err, store.ErrNewerSchema) {
			t.Fatalf("%s: %v", k.name, err)
		}
		for _, want := range []string{path, "schema 42", fmt.Sprint("schema ", store.SchemaVersion)} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%q lacks %q", err, want)
			}
		}
		if !bytes.Equal(before, read(t, path)) {
			t.Errorf("%s: the file was changed", k.name)
		}
	}
}

func edit(t *testing.T, path string, fn func(*bbolt.Tx) error) {
	t.Helper()
	b, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, b.Update(fn))
	must(t, b.Close())
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	return b
}

// TestDamagedFiles: whatever happened to a file, opening it says so and leaves it as it is.
func TestDamagedFiles(t *testing.T) {
	damage := map[string]func(b []byte) []byte{
		"empty":             func(b []byte) []byte { return nil },
		"one byte":          func(b []byte) []byte { return b[:1] },
		"one page":          func(b []byte) []byte { return b[:4096] },
		"two pages":         func(b []byte) []byte { return b[:8192] },
		"three pages":       func(b []byte) []byte { return b[:3*4096] },
		"text":              func(b []byte) []byte { return bytes.Repeat([]byte("not a database\n"), 4000) },
		"zeros":             func(b []byte) []byte { return make([]byte, len(b)) },
		"headers gone":      func(b []byte) []byte { return append(make([]byte, 8192), b[8192:]...) },
		"all but the heads": func(b []byte) []byte { return append(b[:8192:8192], make([]byte, len(b)-8192)...) },
		"ones": func(b []byte) []byte {
			return append(b[:8192:8192], bytes.Repeat([]byte{0xff}, len(b)-8192)...)
		},
	}
	for _, k := range kinds {
		dir := t.TempDir()
		c, err := k.open(dir)
		must(t, err)
		k.fill(t, c)
		must(t, c.Close())
		whole := read(t, filepath.Join(dir, k.file))
		for name, fn := range damage {
			t.Run(k.name+"/"+name, func(t *testing.T) {
				dir := t.TempDir()
				path := filepath.Join(dir, k.file)
				broken := fn(bytes.Clone(whole))
				must(t, os.WriteFile(path, broken, 0o600))
				c, err := k.open(dir)
				if err == nil {
					c.Close()
				}
				if !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "\n") {
					t.Errorf("error: %v", err)
				}
				if !bytes.Equal(broken, read(t, path)) {
					t.Error("the file was changed")
				}
			})
		}
	}
}

// TestDamagedPages overwrites one page at a time: the process survives, and either the page was not in
// use, or somebody says so.
func TestDamagedPages(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	for n := range 40 {
		must(t, db.AddResult(storetest.Record(n), true))
	}
	must(t, db.Close())
	whole := read(t, filepath.Join(dir, "node.db"))
	used, said := 0, 0
	for page := 2; page*4096 < min(len(whole), 60*4096); page++ {
		if bytes.Equal(whole[page*4096:][:4096], make([]byte, 4096)) {
			continue
		}
		used++
		broken := bytes.Clone(whole)
		copy(broken[page*4096:][:4096], bytes.Repeat([]byte{0xa5, 0x5a, 1}, 1366))
		path := filepath.Join(t.TempDir(), "node.db")
		must(t, os.WriteFile(path, broken, 0o600))
		db, err := store.Open(path)
		if err == nil {
			err = db.Check(context.Background())
			db.Results(store.Query{})
			db.AddResult(storetest.Record(100), true)
			db.Close()
		}
		if err != nil {
			said++
			if !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("page %d: %v", page, err)
			}
		}
	}
	if used < 10 || said < used/3 {
		t.Errorf("%d pages damaged, %d noticed", used, said)
	}
}

func TestWrongKindAndForeignFiles(t *testing.T) {
	dir := t.TempDir()
	h, err := store.OpenHard(filepath.Join(dir, "hard.db"))
	must(t, err)
	must(t, h.Close())
	if _, err := store.Open(filepath.Join(dir, "hard.db")); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "node") {
		t.Errorf("hard state as a node's file: %v", err)
	}
	path := filepath.Join(dir, "foreign.db")
	b, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, b.Close())
	if _, err := store.Open(path); !errors.Is(err, store.ErrCorrupt) {
		t.Errorf("somebody else's bbolt file: %v", err)
	}
	if _, err := store.Open(dir); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	if _, err := store.Open(filepath.Join(dir, "file", "node.db")); err == nil {
		t.Error("a directory that is a file")
	}
	edit(t, func() string {
		db := openDB(t, dir)
		must(t, db.Close())
		return filepath.Join(dir, "node.db")
	}(), func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("heads")) })
	if _, err := store.Open(filepath.Join(dir, "node.db")); !errors.Is(err, store.ErrCorrupt) || !strings.Contains(err.Error(), "heads") {
		t.Errorf("a table is missing: %v", err)
	}
}

// TestLeftover: a crash while a file was made leaves its beginning under another name.
func TestLeftover(t *testing.T) {
	for name, left := range map[string][]byte{"empty": {}, "garbage": []byte("half a page"), "zeros": make([]byte, 16384)} {
		path := filepath.Join(t.TempDir(), "node.db")
		must(t, os.WriteFile(path+".new", left, 0o600))
		db, err := store.Open(path)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		must(t, db.Check(context.Background()))
		must(t, db.Close())
		if _, err := os.Stat(path + ".new"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: it is still there: %v", name, err)
		}
	}
}

func TestClosed(t *testing.T) {
	dir := t.TempDir()
	db := openDB(t, dir)
	must(t, db.AddResult(storetest.Record(1), true))
	must(t, db.Close())
	must(t, db.Close())
	r, err := store.OpenRegistry(filepath.Join(dir, "r"))
	must(t, err)
	must(t, r.Close())
	h, err := store.OpenHard(filepath.Join(dir, "hard.db"))
	must(t, err)
	must(t, h.Close())
	must(t, h.Close())
	for name, call := range map[string]func() error{
		"AddResult": func() error { return db.AddResult(storetest.Record(2), true) },
		"PutNodes":  func() error { return db.PutNodes(storetest.NodeState(1)) },
		"Nodes":     func() error { _, err := db.Nodes(); return err },
		"Results":   func() error { _, err := db.Results(store.Query{}); return err },
		"Spool":     func() error { _, err := db.Spool(1, 1); return err },
		"Release":   func() error { return db.Release(probe.Key{Node: "x"}) },
		"SetMeta":   func() error { return db.SetMeta("a", nil) },
		"Check":     func() error { return db.Check(context.Background()) },
		"Retain":    func() error { _, err := db.Retain(time.Now()); return err },
		"Ingest":    func() error { _, _, err := r.Ingest(storetest.ID(1), storetest.Results(0, 1)); return err },
		"State":     func() error { _, err := r.State(); return err },
		"Apply":     func() error { return r.Apply(cluster.Changes{Barred: storetest.Signed(1)}) },
		"Save":      func() error { return h.Save(cluster.HardState{}) },
		"Load":      func() error { _, err := h.Load(); return err },
	} {
		if err := call(); !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckEndsWithContext(t *testing.T) {
	db := openDB(t, t.TempDir())
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := db.Check(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v", err)
	}
	must(t, db.Close())
}

// TestDiskFull: a file that cannot grow refuses the write, keeps what was there, and goes on reading.
func TestDiskFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	opt := store.DefaultOptions()
	opt.FileBytes = 512 << 10
	db, err := store.OpenWith(path, opt)
	must(t, err)
	stored := 0
	for ; stored < 10_000; stored++ {
		if err = db.AddResult(storetest.Record(stored), true); err != nil {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "free space") {
		t.Fatalf("after %d results: %v", stored, err)
	}
	if _, err := db.Result(storetest.Record(stored).Result.Key); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("the refused result is in the cache: %v", err)
	}
	if s := db.SpoolStats(); s.Depth != stored {
		t.Errorf("spool %+v after %d", s, stored)
	}
	must(t, db.Check(context.Background()))
	must(t, db.Close())
	db, err = store.Open(path) // with space again
	must(t, err)
	must(t, db.AddResult(storetest.Record(stored), true))
	for n := range stored + 1 {
		if _, err := db.Result(storetest.Record(n).Result.Key); err != nil {
			t.Error(err)
		}
	}
	must(t, db.Check(context.Background()))
	must(t, db.Close())
}

func TestOptions(t *testing.T) {
	for _, opt := range []store.Options{{}, {SpoolResults: 1}, {SpoolResults: 1, SpoolBytes: 1 << 30, CacheBytes: -1}, {SpoolResults: 1, SpoolBytes: 1 << 30, FileBytes: -1}} {
		if _, err := store.OpenWith(filepath.Join(t.TempDir(), "node.db"), opt); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: %v", opt, err)
		}
	}
}

// TestFullHold: what is full takes nothing, keeps what it has, and takes again when there is room; of what is kept the
// oldest goes.
func TestFullHold(t *testing.T) {
	opt := store.DefaultOptions()
	opt.HeldResults, opt.KeptResults = 10, 6
	db, err := store.OpenWith(filepath.Join(t.TempDir(), "node.db"), opt)
	must(t, err)
	defer db.Close()
	recs := func(from, to int) (out []store.ResultRecord, keys []probe.Key) {
		for n := from; n < to; n++ {
			out, keys = append(out, storetest.Record(n)), append(keys, storetest.Record(n).Result.Key)
		}
		return out, keys
	}
	first, firstKeys := recs(0, 8)
	_, err = db.Hold("wuhan", first)
	must(t, err)
	second, secondKeys := recs(6, 11) // two are there, three are not
	if _, err := db.Hold("wuhan", second); !errors.Is(err, store.ErrFull) {
		t.Errorf("beyond the bound: %v", err)
	}
	if s := db.HeldStats(); s.Waiting != 8 {
		t.Errorf("half of a refused call was stored: %+v", s)
	}
	must(t, db.ReleaseHeld(storetest.Start, firstKeys[:4]))
	_, err = db.Hold("wuhan", second)
	must(t, err)
	must(t, db.ReleaseHeld(storetest.Start.Add(time.Hour), secondKeys))
	if s := db.HeldStats(); s.Waiting != 2 || s.Kept != 6 {
		t.Errorf("%+v", s)
	}
	if recs, _, err := db.HeldRecords(firstKeys[:4], 1<<20); err != nil || len(recs) != 1 {
		t.Errorf("of the oldest that were kept %d are left, want 1: %v", len(recs), err)
	}
	must(t, db.Check(t.Context()))
}

// TestFullSpool drops the oldest and counts them, also over a restart; the results stay.
func TestFullSpool(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.db")
	opt := store.DefaultOptions()
	opt.SpoolResults = 10
	for round := range 2 {
		db, err := store.OpenWith(path, opt)
		must(t, err)
		for n := round * 15; n < round*15+15; n++ {
			must(t, db.AddResult(storetest.Record(n), true))
		}
		if s := db.SpoolStats(); s.Depth != 10 || s.Dropped != uint64(5+15*round) {
			t.Errorf("round %d: %+v", round, s)
		}
		if gone := db.TakeDropped(); len(gone) != 5+10*round || gone[0] != storetest.Record(round*15-10*round).Result.Key || len(db.TakeDropped()) != 0 {
			t.Errorf("round %d: dropped %v", round, gone)
		}
		recs, err := db.Spool(1, 1<<20)
		must(t, err)
		if want := storetest.Record(round*15 + 5).Result.Key; recs[0].Result.Key != want {
			t.Errorf("oldest is %s, want %s", recs[0].Result.Key, want)
		}
		if _, err := db.Result(storetest.Record(0).Result.Key); err != nil {
			t.Errorf("a dropped result left the results: %v", err)
		}
		must(t, db.Check(context.Background()))
		must(t, db.Close())
	}
	opt.SpoolResults, opt.SpoolBytes = 1<<20, 2<<20
	db, err := store.OpenWith(filepath.Join(t.TempDir(), "node.db"), opt)
	must(t, err)
	for n := range 5 {
		rec := storetest.Record(n)
		rec.Result.Error = &probe.Error{Message: strings.Repeat("x", 900<<10)}
		must(t, db.AddResult(rec, true))
	}
	if s := db.SpoolStats(); s.Depth != 2 || s.Bytes > 2<<20 || s.Dropped != 3 {
		t.Errorf("bounded by bytes: %+v", s)
	}
	must(t, db.Check(context.Background()))
	must(t, db.Close())
}
