package store

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
)

// Options of a node's main file.
type Options struct {
	CacheBytes   int   // bound of the read-through cache; 0: no cache
	SpoolResults int   // at most so many results wait for release, then the oldest is dropped
	SpoolBytes   int64 // and at most so many bytes of them
	HeldResults  int   // at most so many results of others wait for the registry, then Hold says ErrFull
	HeldBytes    int64 // and at most so many bytes of them
	KeptResults  int   // so many of those that the registry has are kept, then the oldest goes
	KeptBytes    int64 // and so many bytes of them
	FileBytes    int   // bound of the file; 0: the disk's
}

// Defaults, each for a node of a few thousand results a day on a small host.
const (
	// DefaultCacheBytes holds a few thousand results, or every head of the network.
	DefaultCacheBytes = 4 << 20
	// MaxSpoolResults is a session every 10 s for more than a week without a registry.
	MaxSpoolResults = 65_536
	// MaxSpoolBytes bounds the same where results carry their samples.
	MaxSpoolBytes = 256 << 20
	// MaxHeldResults is what package cluster keeps track of; at 1 kB each they need as much disk as MaxHeldBytes.
	MaxHeldResults = cluster.DefaultMaxHeld
	// MaxHeldBytes bounds the same on disk; as much again is kept of what the registry has.
	MaxHeldBytes = 256 << 20
)

// DefaultOptions are what Open uses.
func DefaultOptions() Options {
	return Options{CacheBytes: DefaultCacheBytes, SpoolResults: MaxSpoolResults, SpoolBytes: MaxSpoolBytes,
		HeldResults: MaxHeldResults, HeldBytes: MaxHeldBytes, KeptResults: MaxHeldResults, KeptBytes: MaxHeldBytes}
}

// Validate says what makes no sense.
func (o Options) Validate() error {
	switch {
	case o.CacheBytes < 0:
		return fmt.Errorf("store: options: %w: cache of %d bytes", ErrInvalid, o.CacheBytes)
	case o.SpoolResults < 1:
		return fmt.Errorf("store: options: %w: spool of %d results, at least 1", ErrInvalid, o.SpoolResults)
	case o.SpoolBytes < maxRecordBytes:
		return fmt.Errorf("store: options: %w: spool of %d bytes, at least one record (%d)", ErrInvalid, o.SpoolBytes, maxRecordBytes)
	case o.HeldResults < 1 || o.KeptResults < 0:
		return fmt.Errorf("store: options: %w: %d results held for others, at least 1, and %d kept", ErrInvalid, o.HeldResults, o.KeptResults)
	case o.HeldBytes < maxRecordBytes || o.KeptBytes < 0:
		return fmt.Errorf("store: options: %w: %d bytes of results held for others, at least one record (%d), and %d kept", ErrInvalid, o.HeldBytes, maxRecordBytes, o.KeptBytes)
	case o.FileBytes < 0:
		return fmt.Errorf("store: options: %w: file of %d bytes", ErrInvalid, o.FileBytes)
	}
	return nil
}

// tables are the methods that a node's file and the registry's have in common: meta and audit.
type tables struct{ file *file }

// DB is a node's main file.
type DB struct {
	tables
	opt   Options
	cache *cache
	spool atomic.Pointer[SpoolStats] // as of the last commit
	held  atomic.Pointer[HeldStats]  // as of the last commit
	drops dropped
	shut  atomic.Bool
}

// Open creates, migrates and locks the file, with DefaultOptions.
func Open(path string) (*DB, error) { return OpenWith(path, DefaultOptions()) }

// OpenWith is Open with other bounds.
func OpenWith(path string, opt Options) (*DB, error) {
	if err := opt.Validate(); err != nil {
		return nil, err
	}
	f, err := openFile(path, layoutNode, opt.FileBytes)
	if err != nil {
		return nil, err
	}
	db := &DB{tables: tables{f}, opt: opt, cache: newCache(opt.CacheBytes)}
	err = f.view("read the spool's counters", func(tx *bbolt.Tx) error {
		s, err := readSpoolStats(tx)
		if err != nil {
			return err
		}
		db.spool.Store(&s)
		h, err := readHeldStats(tx)
		db.held.Store(&h)
		return err
	})
	if err != nil {
		f.close()
		return nil, err
	}
	return db, nil
}

// Close commits what is queued, joins the writer and releases the file. Closing twice is harmless.
func (db *DB) Close() error {
	if db.shut.Swap(true) {
		return nil
	}
	return db.file.close()
}

// SchemaVersion of the open file; files are migrated when they are opened.
func (db *DB) SchemaVersion() int { return int(db.file.layout.version()) }

// Stats counts the cache's hits and misses since Open.
func (db *DB) Stats() CacheStats { return db.cache.snapshot() }

// Check reads the whole file: bbolt's pages, every record, and what tables promise one another: the
// spool is a subset of results, counters equal what they count, every index entry has its record.
func (db *DB) Check(ctx context.Context) error {
	return db.file.check(ctx, func(tx *bbolt.Tx) error {
		for _, check := range []func(*bbolt.Tx) error{checkNodes, checkHeads, checkOwnResults, checkSpool, checkHeld, checkTasks, checkAudit} {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := check(tx); err != nil {
				return corruptError(db.file.path, err.Error())
			}
		}
		return nil
	})
}

// load reads one record: from the cache, else from the table and into the cache. The bytes are shared
// and must not be changed; nil when there is no such record.
func (db *DB) load(table string, key []byte) ([]byte, error) {
	name := table + "\x00" + string(key)
	raw, mark, ok := db.cache.get(name)
	if ok {
		return raw, nil
	}
	err := db.file.view("read "+table, func(tx *bbolt.Tx) error {
		raw = bytes.Clone(tx.Bucket([]byte(table)).Get(key))
		return nil
	})
	if err == nil && raw != nil {
		db.cache.fill(name, raw, mark)
	}
	return raw, err
}

// pair is a record on its way to a table.
type pair struct{ key, value []byte }

// put shows the records in the cache, then writes them to the table in the next commit.
func (db *DB) put(table string, pairs []pair) error {
	if len(pairs) == 0 {
		return nil
	}
	return db.file.change("write "+table, &change{
		before: func() {
			for _, p := range pairs {
				db.cache.show(table+"\x00"+string(p.key), p.value)
			}
		},
		apply: func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(table))
			for _, p := range pairs {
				if err := b.Put(p.key, p.value); err != nil {
					return err
				}
			}
			return nil
		},
		after: func(err error) {
			for _, p := range pairs {
				db.cache.settle(table+"\x00"+string(p.key), err == nil)
			}
		},
	})
}

// remove deletes keys from a table and from the cache.
func (db *DB) remove(table string, keys [][]byte) error {
	if len(keys) == 0 {
		return nil
	}
	return db.file.change("delete from "+table, &change{
		apply: func(tx *bbolt.Tx) error {
			b := tx.Bucket([]byte(table))
			for _, k := range keys {
				if err := b.Delete(k); err != nil {
					return err
				}
			}
			return nil
		},
		before: func() {
			for _, k := range keys {
				db.cache.show(table+"\x00"+string(k), nil)
			}
		},
		after: func(error) {
			for _, k := range keys {
				db.cache.settle(table+"\x00"+string(k), false)
			}
		},
	})
}
