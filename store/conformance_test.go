package store_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/peerprobe/peerprobe/store"
	"github.com/peerprobe/peerprobe/store/storetest"
)

func TestMain(m *testing.M) {
	childMain() // does not return in a child
	goleak.VerifyTestMain(m)
}

func TestNodeConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) storetest.Node { return openDB(t, dir) })
}

// TestSmallCacheConformance runs the same with a cache that evicts all the time.
func TestSmallCacheConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T, dir string) storetest.Node {
		opt := store.DefaultOptions()
		opt.CacheBytes = 3000
		db, err := store.OpenWith(filepath.Join(dir, "node.db"), opt)
		if err != nil {
			t.Fatal(err)
		}
		return db
	})
}

func TestRegistryConformance(t *testing.T) {
	storetest.RunRegistry(t, func(t *testing.T, dir string) storetest.Registry {
		r, err := store.OpenRegistry(dir)
		if err != nil {
			t.Fatal(err)
		}
		return r
	})
}

func openDB(t testing.TB, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(filepath.Join(dir, "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}
