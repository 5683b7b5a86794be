// Package storetest is the conformance suite of package store: what every backend must do, as tests that
// any of them can run. It is not a store, and it knows no backend.
//
// After each test the store is checked from end to end (its own pages and what its tables promise one
// another), closed, opened again, and checked again: a test that leaves a damaged file fails, whatever
// it asserted.
package storetest

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// Common is what a node's store and a registry's have in common.
type Common interface {
	SetMeta(key string, value []byte) error
	Meta(key string) ([]byte, error)
	Audit(store.AuditEntry) error
	AuditTail(n int) ([]store.AuditEntry, error)
	Results(store.Query) (store.Page, error)
	Check(context.Context) error
	Close() error
}

// Node is a node's store, as *store.DB is.
type Node interface {
	Common
	PutNodes(...cluster.NodeState) error
	Node(cluster.ID) (cluster.NodeState, error)
	Nodes() ([]cluster.NodeState, error)
	PutRows(...cluster.Row) error
	DropRows(...cluster.ID) error
	Rows() ([]cluster.Row, error)
	PutHead(cluster.City, uint, cluster.Signed) error
	Head(cluster.City, uint) (store.HeadRecord, error)
	Heads() ([]store.HeadRecord, error)
	AddResult(store.ResultRecord, bool) error
	Result(probe.Key) (store.ResultRecord, error)
	Retain(before time.Time) (int, error)
	Spool(max, maxBytes int) ([]store.ResultRecord, error)
	Release(...probe.Key) error
	SpoolStats() store.SpoolStats
	SpoolKeys(after uint64, max int) ([]probe.Key, uint64, error)
	Hold(city string, recs []store.ResultRecord) ([]probe.Key, error)
	HoldSpool(city string, after uint64, max int) (keys, known []probe.Key, next uint64, err error)
	HeldRecords(keys []probe.Key, maxBytes int) ([]store.ResultRecord, int, error)
	HeldNext(city string, max, maxBytes int, skip func(probe.Key) bool) ([]probe.Result, error)
	HeldKeys(city string, after uint64, max int) ([]probe.Key, uint64, error)
	LetGo(at time.Time, city string) error
	ReleaseHeld(at time.Time, keys []probe.Key) error
	Recall(max int) ([]probe.Key, error)
	Expire(before time.Time) (int, error)
	HeldStats() store.HeldStats
	PutTask(store.Task) error
	Task(id string) (store.Task, error)
	Tasks(limit int) ([]store.Task, error)
	Stats() store.CacheStats
}

// Registry is a registry's store, as *store.Registry is.
type Registry interface {
	Common
	State() (cluster.TableState, error)
	Apply(cluster.Changes) error
	PutToken(store.Token) error
	Token(hash [32]byte) (store.Token, error)
	Tokens() ([]store.Token, error)
	UseToken(hash [32]byte, id cluster.ID, nowMs int64) error
	Ingest(from cluster.ID, results []probe.Result) (added, dup int, err error)
	Seen(probe.Key) (bool, error)
	Name() (string, error)
	Retain(before time.Time) (int, error)
}

// Run runs the suite for a node's store. open opens the store that lies in dir, with its default bounds.
func Run(t *testing.T, open func(t *testing.T, dir string) Node) {
	runAll(t, open, map[string]func(*testing.T, Node){
		"Meta":        func(t *testing.T, db Node) { testMeta(t, db) },
		"Audit":       func(t *testing.T, db Node) { testAudit(t, db) },
		"Nodes":       testNodes,
		"Rows":        testRows,
		"Heads":       testHeads,
		"Results":     testResults,
		"Immutable":   testImmutable,
		"Spool":       testSpool,
		"Retain":      testRetain,
		"Tasks":       testTasks,
		"Concurrent":  testConcurrent,
		"ReadThrough": testReadThrough,
		"Refused":     testRefused,
		"Held":        testHeld,
		"HeldSpool":   testHeldSpool,
		"HeldGivenUp": testHeldGivenUp,
		"HeldRaces":   testHeldRaces,
		"Paging": func(t *testing.T, db Node) {
			testPaging(t, db, func(rs []probe.Result) {
				addAll(t, db, rs, func(int) bool { return false })
			})
		},
	})
}

// RunRegistry runs the suite for a registry's store.
func RunRegistry(t *testing.T, open func(t *testing.T, dir string) Registry) {
	runAll(t, open, map[string]func(*testing.T, Registry){
		"Meta":          func(t *testing.T, r Registry) { testMeta(t, r) },
		"Audit":         func(t *testing.T, r Registry) { testAudit(t, r) },
		"Table":         testTable,
		"Tokens":        testTokens,
		"TokenRace":     testTokenRace,
		"Ingest":        testIngest,
		"IngestRace":    testIngestRace,
		"WrongClocks":   testWrongClocks,
		"RetainDays":    testRetainDays,
		"IngestRefused": testIngestRefused,
		"Name":          testName,
		"Paging": func(t *testing.T, r Registry) {
			testPaging(t, r, func(rs []probe.Result) {
				_, _, err := r.Ingest(ID(1), rs)
				must(t, err)
			})
		},
	})
}

func runAll[S Common](t *testing.T, open func(*testing.T, string) S, tests map[string]func(*testing.T, S)) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir)
			test(t, s)
			checkAndClose(t, s)
			checkAndClose(t, open(t, dir))
		})
	}
}

// addAll adds results from many goroutines, so that they share commits.
func addAll(t *testing.T, db Node, rs []probe.Result, spool func(n int) bool) {
	var g errgroup.Group
	g.SetLimit(64)
	for n, r := range rs {
		g.Go(func() error { return db.AddResult(store.ResultRecord{Result: r}, spool(n)) })
	}
	must(t, g.Wait())
}

func checkAndClose(t *testing.T, s Common) {
	t.Helper()
	if err := s.Check(context.Background()); err != nil {
		t.Errorf("check: %v", err)
	}
	must(t, s.Close())
	must(t, s.Close()) // twice is harmless
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
