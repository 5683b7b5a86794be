package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
)

// Table "cities":
//
//	city -> CBOR cluster.CityState
//
// The list of barred nodes is in meta:
//
//	".barred" -> CBOR cluster.Signed, as signed
const (
	tableCities = "cities"

	metaBarred = ".barred"
)

// registryFile locks the whole directory.
const registryFile = "registry.db"

// Registry is the registry's directory: registry.db and one file of results a day.
type Registry struct {
	tables
	days *days
	once sync.Once
	err  error
}

// OpenRegistry creates, migrates and locks the directory. Files of results are opened when they are used.
func OpenRegistry(dir string) (*Registry, error) {
	f, err := openFile(filepath.Join(dir, registryFile), layoutRegistry, 0)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, dirMode); err != nil {
		f.close()
		return nil, openError(dir, err)
	}
	d, err := openDays(dir)
	if err != nil {
		f.close()
		return nil, err
	}
	return &Registry{tables: tables{f}, days: d}, nil
}

// Close commits what is queued and releases all files. Closing twice is harmless.
func (r *Registry) Close() error {
	r.once.Do(func() {
		r.err = r.file.close()
		if err := r.days.close(); r.err == nil {
			r.err = err
		}
	})
	return r.err
}

// SchemaVersion of the open files; files are migrated when they are opened.
func (r *Registry) SchemaVersion() int { return int(r.file.layout.version()) }

// Check reads all files: bbolt's pages, every record, and what tables promise one another.
func (r *Registry) Check(ctx context.Context) error {
	err := r.file.check(ctx, func(tx *bbolt.Tx) error {
		for _, check := range []func(*bbolt.Tx) error{checkNodes, checkCities, checkTokens, checkSeen, checkAudit} {
			if err := check(tx); err != nil {
				return corruptError(r.file.path, err.Error())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range r.days.names() {
		err := r.days.with(name, false, func(f *file) error {
			return f.check(ctx, func(tx *bbolt.Tx) error {
				if err := checkResults(tx, filedIn(name)); err != nil {
					return corruptError(f.path, err.Error())
				}
				return r.checkCounted(f.path, tx)
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// checkCounted: what is in a file of results was seen, except what a crash left between the two
// commits of Ingest: it comes again, and is counted then. So it is not an error that a result is not
// seen, but a set that is unreadable is.
func (r *Registry) checkCounted(path string, tx *bbolt.Tx) error {
	return r.file.view("check", func(own *bbolt.Tx) error {
		return tx.Bucket([]byte(tableResults)).ForEach(func(k, _ []byte) error {
			key, err := parseKey(k)
			if err != nil {
				return corruptError(path, err.Error())
			}
			_, err = wasSeen(own, key)
			return err
		})
	})
}

// State returns the whole table of nodes and cities.
func (r *Registry) State() (s cluster.TableState, err error) {
	if s.Nodes, err = list[cluster.NodeState](r.file, tableNodes); err != nil {
		return s, err
	}
	if s.Cities, err = list[cluster.CityState](r.file, tableCities); err != nil {
		return s, err
	}
	err = r.file.view("read the barred", func(tx *bbolt.Tx) error {
		raw := tx.Bucket([]byte(tableMeta)).Get([]byte(metaBarred))
		if raw == nil {
			return nil
		}
		if err := decodeRecord(raw, &s.Barred); err != nil {
			return corruptError(r.file.path, err.Error())
		}
		return nil
	})
	return s, err
}

// Apply stores changes of the table, all in one commit, durable when it returns.
func (r *Registry) Apply(c cluster.Changes) error {
	nodes, err := nodePairs(c.Nodes)
	if err != nil {
		return err
	}
	cities := make([]pair, 0, len(c.Cities))
	for _, city := range c.Cities {
		if city.City == "" || len(city.City) > maxNameBytes {
			return fmt.Errorf("store: put city %q: %w name: 1 to %d bytes are needed", city.City, ErrInvalid, maxNameBytes)
		}
		raw, err := encodeRecord(city)
		if err != nil {
			return fmt.Errorf("store: put city %s: %w", city.City, err)
		}
		cities = append(cities, pair{[]byte(city.City), raw})
	}
	var meta []pair
	if len(c.Barred.Payload) > 0 {
		raw, err := encodeRecord(c.Barred)
		if err != nil {
			return fmt.Errorf("store: put the barred: %w", err)
		}
		meta = []pair{{[]byte(metaBarred), raw}}
	}
	if len(nodes)+len(cities)+len(meta) == 0 {
		return nil
	}
	return r.file.update("apply changes", func(tx *bbolt.Tx) error {
		for _, t := range []struct {
			name  string
			pairs []pair
		}{{tableNodes, nodes}, {tableCities, cities}, {tableMeta, meta}} {
			b := tx.Bucket([]byte(t.name))
			for _, p := range t.pairs {
				if err := b.Put(p.key, p.value); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

// checkCities: every record is of the city that it lies under.
func checkCities(tx *bbolt.Tx) error {
	return tx.Bucket([]byte(tableCities)).ForEach(func(k, v []byte) error {
		var c cluster.CityState
		if err := decodeRecord(v, &c); err != nil {
			return err
		}
		if string(c.City) != string(k) {
			return fmt.Errorf("cities: record of %s lies under %s", c.City, k)
		}
		return nil
	})
}

// Ingest stores results that a head delivered, and counts which of them were new: exactly once by
// key, for good, also after the day's file is gone. Durable when it returns nil.
//
// The order makes it so: the day's file first (a key that is there is left alone), then the set of
// keys seen, each with its fsync. A crash in between leaves results that are not yet counted; they
// come again, find themselves there, and are counted once. Samples and original signatures are not kept.
func (r *Registry) Ingest(from cluster.ID, results []probe.Result) (added, dup int, err error) {
	if err := checkID(from); err != nil {
		return 0, 0, fmt.Errorf("store: ingest: %w", err)
	}
	if len(results) > MaxBatchRows {
		return 0, 0, fmt.Errorf("store: ingest: %w: %d results, at most %d", ErrTooLarge, len(results), MaxBatchRows)
	}
	keys := make([]probe.Key, len(results))
	for i := range results {
		keys[i] = results[i].Key
		if err := checkKey(keys[i]); err != nil {
			return 0, 0, fmt.Errorf("store: ingest: %w", err)
		}
	}
	fresh := make([]*probe.Result, 0, len(results))
	err = r.file.view("ingest", func(tx *bbolt.Tx) error {
		for i := range results {
			seen, err := wasSeen(tx, keys[i])
			if err != nil {
				return err
			}
			if !seen {
				fresh = append(fresh, &results[i])
			}
		}
		return nil
	})
	if err != nil || len(fresh) == 0 {
		return 0, len(results), err
	}
	if err := r.days.store(fresh, time.Now()); err != nil {
		return 0, 0, err
	}
	err = r.file.update("ingest", func(tx *bbolt.Tx) (err error) {
		added, err = markSeen(tx, keys)
		return err
	})
	if err != nil {
		return 0, 0, err
	}
	return added, len(results) - added, nil
}

// Seen says whether a result with this key was ever ingested.
func (r *Registry) Seen(key probe.Key) (seen bool, err error) {
	if err := checkKey(key); err != nil {
		return false, fmt.Errorf("store: seen: %w", err)
	}
	err = r.file.view("seen", func(tx *bbolt.Tx) (err error) {
		seen, err = wasSeen(tx, key)
		return err
	})
	return seen, err
}

// Results answers a query over all days, newest first.
func (r *Registry) Results(q Query) (Page, error) {
	p, err := q.plan()
	if err != nil {
		return Page{}, err
	}
	for _, name := range r.days.between(p) {
		err := r.days.with(name, false, func(f *file) error { return f.view("query results", p.scan) })
		if err != nil {
			return Page{}, err
		}
		if p.full {
			break
		}
	}
	return p.page, nil
}
