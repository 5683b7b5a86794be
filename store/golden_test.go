package store_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
	"github.com/peerprobe/peerprobe/store/storetest"
)

var update = flag.Bool("update", false, "write the golden files of this schema version anew")

// goldenDir has, for each schema version there ever was, the files that the program wrote then. A file
// of an old version is never written again: it stands for the disks of those who did not upgrade yet.
func goldenDir(version int) string {
	return filepath.Join("testdata", fmt.Sprint("schema", version))
}

var goldenFiles = []string{"hard", "node", "registry", "results-2026-03-01"}

// fillAll writes some of everything; times and keys are fixed.
func fillAll(t *testing.T, dir string) {
	t.Helper()
	h, err := store.OpenHard(filepath.Join(dir, "hard.db"))
	must(t, err)
	must(t, h.Save(goldenHard))
	must(t, h.Close())

	db := openDB(t, dir)
	must(t, db.SetMeta("network", []byte("example")))
	must(t, db.PutNodes(storetest.NodeState(1), storetest.NodeState(2)))
	must(t, db.PutRows(goldenRow))
	must(t, db.PutHead("wuhan", 1, storetest.Signed(5)))
	for n := range 4 {
		must(t, db.AddResult(storetest.Record(n), n > 0))
	}
	must(t, db.Release(storetest.Record(2).Result.Key))
	_, err = db.Hold("wuhan", []store.ResultRecord{storetest.Record(5), storetest.Record(6), storetest.Record(7)})
	must(t, err)
	must(t, db.ReleaseHeld(storetest.Start, []probe.Key{storetest.Record(6).Result.Key}))
	must(t, db.PutTask(goldenTask))
	must(t, db.Audit(goldenAudit))
	must(t, db.Close())

	r, err := store.OpenRegistry(dir)
	must(t, err)
	must(t, r.Apply(goldenChanges))
	must(t, r.PutToken(goldenToken))
	must(t, r.UseToken(goldenToken.Hash, storetest.ID(1), storetest.Start.UnixMilli()))
	_, _, err = r.Ingest(storetest.ID(1), storetest.Results(0, 12))
	must(t, err)
	must(t, r.Audit(goldenAudit))
	must(t, r.Close())
}

var (
	goldenHard = cluster.HardState{High: storetest.Signed(1), Cert: storetest.Signed(2), Boot: 1772366400001}
	goldenRow  = cluster.Row{ID: storetest.ID(1), Addrs: [][]byte{{1, 2}}, FirstSeen: 3, Boot: 4, Admission: storetest.Signed(5), Load: 6}
	goldenTask = store.Task{ID: "task", Request: []byte{1}, Status: "finished", Created: storetest.Start, Updated: storetest.Start.Add(time.Second),
		Keys: []probe.Key{storetest.Result(1).Key}}
	goldenAudit   = store.AuditEntry{At: storetest.Start, Actor: "cli", Action: "measure", Object: "wuhan", Answer: "ok", From: "unix"}
	goldenChanges = cluster.Changes{Nodes: []cluster.NodeState{storetest.NodeState(1)}, Barred: storetest.Signed(8),
		Cities: []cluster.CityState{{City: "wuhan", Cert: storetest.Signed(6), Lead: storetest.Signed(7), Heard: 9}}}
	goldenToken = store.Token{Hash: store.TokenHash("golden"), Label: "lab", Class: cluster.ClassGuest, City: "wuhan", Uses: 3,
		Created: storetest.Start, Expires: storetest.Start.AddDate(1, 0, 0)}
)

// TestGoldenFiles opens files of every schema version and finds in them what was written then.
func TestGoldenFiles(t *testing.T) {
	if *update {
		dir := t.TempDir()
		fillAll(t, dir)
		must(t, os.MkdirAll(goldenDir(store.SchemaVersion), 0o755))
		for _, name := range goldenFiles {
			compact(t, filepath.Join(dir, name+".db"), filepath.Join(goldenDir(store.SchemaVersion), name+".bolt"))
		}
	}
	for version := 1; version <= store.SchemaVersion; version++ {
		dir := t.TempDir()
		for _, name := range goldenFiles {
			must(t, os.WriteFile(filepath.Join(dir, name+".db"), read(t, filepath.Join(goldenDir(version), name+".bolt")), 0o600))
		}
		checkAll(t, dir, version)
	}
}

func compact(t *testing.T, from, to string) {
	t.Helper()
	src, err := bbolt.Open(from, 0o600, &bbolt.Options{ReadOnly: true})
	must(t, err)
	os.Remove(to)
	dst, err := bbolt.Open(to, 0o644, &bbolt.Options{PageSize: 4096})
	must(t, err)
	must(t, bbolt.Compact(dst, src, 0))
	must(t, dst.Close())
	must(t, src.Close())
	must(t, os.Truncate(to, highWater(t, to)))
}

// highWater is how much of a bbolt file is in use.
func highWater(t *testing.T, path string) (n int64) {
	t.Helper()
	b, err := bbolt.Open(path, 0o644, nil)
	must(t, err)
	must(t, b.View(func(tx *bbolt.Tx) error { n = tx.Size(); return nil }))
	must(t, b.Close())
	return n
}

func checkAll(t *testing.T, dir string, version int) {
	t.Helper()
	same := func(what string, got, want any, err error) {
		t.Helper()
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %+v\nwant %+v", what, err, got, want)
		}
	}
	h, err := store.OpenHard(filepath.Join(dir, "hard.db"))
	must(t, err)
	hard, err := h.Load()
	same("hard state", hard, goldenHard, err)
	must(t, h.Close())

	db := openDB(t, dir)
	must(t, db.Check(t.Context()))
	meta, err := db.Meta("network")
	same("meta", string(meta), "example", err)
	node, err := db.Node(storetest.ID(2))
	same("node", node, storetest.NodeState(2), err)
	rows, err := db.Rows()
	same("rows", rows, []cluster.Row{goldenRow}, err)
	heads, err := db.Heads()
	same("heads", heads, []store.HeadRecord{{City: "wuhan", Shard: 1, Lead: storetest.Signed(5)}}, err)
	rec, err := db.Result(storetest.Record(3).Result.Key)
	same("result", rec, storetest.Record(3), err)
	spool, err := db.Spool(9, 1<<20)
	same("spool", spool, []store.ResultRecord{storetest.Record(1), storetest.Record(3)}, err)
	if version >= 2 {
		keys, _, err := db.HeldKeys("wuhan", 0, 9)
		same("held", keys, []probe.Key{storetest.Record(5).Result.Key, storetest.Record(7).Result.Key}, err)
		keys, err = db.Recall(9)
		same("kept", keys, []probe.Key{storetest.Record(6).Result.Key}, err)
		recs, _, err := db.HeldRecords(keys, 1<<20)
		want := store.ResultRecord{Result: storetest.Record(6).Result, Transcript: storetest.Record(6).Transcript}
		same("held record", recs, []store.ResultRecord{want}, err)
	}
	tasks, err := db.Tasks(1)
	same("tasks", tasks, []store.Task{goldenTask}, err)
	tail, err := db.AuditTail(1)
	same("audit", tail, []store.AuditEntry{goldenAudit}, err)
	must(t, db.Close())

	r, err := store.OpenRegistry(dir)
	must(t, err)
	must(t, r.Check(t.Context()))
	state, err := r.State()
	same("table", state, cluster.TableState{Nodes: goldenChanges.Nodes, Cities: goldenChanges.Cities, Barred: goldenChanges.Barred}, err)
	if name, err := r.Name(); err != nil || len(name) != 32 {
		t.Errorf("name %q, %v", name, err)
	}
	token := goldenToken
	token.Used = 1
	tok, err := r.Token(goldenToken.Hash)
	same("token", tok, token, err)
	if err := r.UseToken(goldenToken.Hash, storetest.ID(1), storetest.Start.AddDate(2, 0, 0).UnixMilli()); err != nil {
		t.Errorf("the node that used the token: %v", err)
	}
	page, err := r.Results(store.Query{Limit: 1})
	same("results", page.Results, storetest.Results(11, 12), err)
	added, dup, err := r.Ingest(storetest.ID(1), storetest.Results(0, 13))
	same("ingest again", []int{added, dup}, []int{1, 12}, err)
	must(t, r.Close())
}

// TestGoldenLayout compares tables, keys and the beginnings of values with a listing that a human can
// read: a change of it is a change of the schema, and needs a migration.
func TestGoldenLayout(t *testing.T) {
	dir := t.TempDir()
	fillAll(t, dir)
	var got bytes.Buffer
	for _, name := range goldenFiles {
		b, err := bbolt.Open(filepath.Join(dir, name+".db"), 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
		must(t, err)
		fmt.Fprintf(&got, "%s.db\n", name)
		must(t, b.View(func(tx *bbolt.Tx) error {
			return tx.ForEach(func(table []byte, b *bbolt.Bucket) error {
				fmt.Fprintf(&got, "  %s\n", table)
				return b.ForEach(func(k, v []byte) error {
					fmt.Fprintf(&got, "    %s\n      %s\n", hex.EncodeToString(k), dump(string(table), string(k), v))
					return nil
				})
			})
		}))
		must(t, b.Close())
	}
	path := filepath.Join(goldenDir(store.SchemaVersion), "layout.txt")
	if *update {
		must(t, os.WriteFile(path, got.Bytes(), 0o644))
	}
	want := read(t, path)
	if !bytes.Equal(got.Bytes(), want) {
		g, w := strings.Split(got.String(), "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Errorf("line %d is\n%s\nwant\n%s", i+1, g[i], w[i])
				break
			}
		}
		t.Errorf("%d lines, want %d: the layout has changed; a schema version, a migration and then -update are due", len(g), len(w))
	}
}

// dump leaves out what other packages define and may add to: their records, and sizes of such records.
func dump(table, key string, v []byte) string {
	switch {
	case table == "hard" || table == "nodes" || table == "rows" || table == "cities" || key == ".barred":
		return "(CBOR of a type of package cluster)"
	case table == "results" || table == "held":
		return hex.EncodeToString(v[:2]) + "... (CBOR of a result and its originals)"
	case table == "spool.keys" || key == ".spool" || key == ".held":
		return hex.EncodeToString(v[:8]) + "..."
	case table == "held.state":
		return hex.EncodeToString(v[:8]) + "..." + hex.EncodeToString(v[16:])
	case key == ".store":
		return "(drawn at random)"
	}
	return hex.EncodeToString(v)
}

// TestGoldenFilesAreThere: a glob that matches nothing stays green.
func TestGoldenFilesAreThere(t *testing.T) {
	found, err := filepath.Glob(filepath.Join("testdata", "schema*", "*.bolt"))
	must(t, err)
	if len(found) != store.SchemaVersion*len(goldenFiles) {
		t.Errorf("found %d golden files: %v", len(found), found)
	}
	if _, err := os.Stat(filepath.Join("testdata", fmt.Sprint("schema", store.SchemaVersion+1))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("golden files of a schema to come: %v", err)
	}
}
