package store

import (
	"encoding/binary"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/probe"
)

// The spool is the set of results that are not yet durable elsewhere: keys over "results", not a
// second copy.
//
// Table "spool": in the order in which they came.
//
//	uint64 big endian, counting up -> result key
//
// Table "spool.keys": the same by key.
//
//	result key -> 16 bytes: the number above, the size of the record in bytes; uint64 big endian
//
// Their counters are in meta under ".spool".
const (
	tableSpool     = "spool"
	tableSpoolKeys = "spool.keys"
)

// SpoolStats: what waits, and how many results were ever dropped from a full spool before anybody
// acknowledged them. Dropped is durable. A dropped result stays among the results.
type SpoolStats struct {
	Depth   int
	Bytes   int64
	Dropped uint64
}

func readSpoolStats(tx *bbolt.Tx) (SpoolStats, error) {
	raw := tx.Bucket([]byte(tableMeta)).Get([]byte(metaSpool))
	if raw == nil {
		return SpoolStats{}, nil
	}
	if len(raw) != 24 {
		return SpoolStats{}, fmt.Errorf("%w: the spool's counters", ErrCorrupt)
	}
	return SpoolStats{
		Depth:   int(binary.BigEndian.Uint64(raw)),
		Bytes:   int64(binary.BigEndian.Uint64(raw[8:])),
		Dropped: binary.BigEndian.Uint64(raw[16:]),
	}, nil
}

func writeSpoolStats(tx *bbolt.Tx, s SpoolStats) error {
	raw := binary.BigEndian.AppendUint64(nil, uint64(s.Depth))
	raw = binary.BigEndian.AppendUint64(raw, uint64(s.Bytes))
	raw = binary.BigEndian.AppendUint64(raw, s.Dropped)
	return tx.Bucket([]byte(tableMeta)).Put([]byte(metaSpool), raw)
}

// spoolResult puts a key into the spool and drops the oldest beyond the bounds.
func spoolResult(tx *bbolt.Tx, key []byte, size int, opt Options) (stats SpoolStats, gone []probe.Key, err error) {
	if stats, err = readSpoolStats(tx); err != nil {
		return stats, nil, err
	}
	order, keys := tx.Bucket([]byte(tableSpool)), tx.Bucket([]byte(tableSpoolKeys))
	n, err := order.NextSequence()
	if err != nil {
		return stats, nil, err
	}
	number := binary.BigEndian.AppendUint64(nil, n)
	if err := order.Put(number, key); err != nil {
		return stats, nil, err
	}
	if err := keys.Put(key, binary.BigEndian.AppendUint64(number, uint64(size))); err != nil {
		return stats, nil, err
	}
	stats.Depth++
	stats.Bytes += int64(size)
	for stats.Depth > opt.SpoolResults || stats.Bytes > opt.SpoolBytes {
		_, first := order.Cursor().First()
		oldest := append([]byte{}, first...)
		k, err := parseKey(oldest)
		if err != nil {
			return stats, nil, err
		}
		if _, err := unspool(tx, oldest, &stats); err != nil {
			return stats, nil, err
		}
		stats.Dropped++
		gone = append(gone, k)
	}
	return stats, gone, writeSpoolStats(tx, stats)
}

// dropped are keys that the spool let go, for whoever delivers them.
type dropped struct {
	mu   sync.Mutex
	keys []probe.Key
}

func (d *dropped) add(keys []probe.Key) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.keys = append(d.keys, keys...); len(d.keys) > MaxSpoolResults {
		d.keys = d.keys[len(d.keys)-MaxSpoolResults:] // nobody wants to know
	}
}

// TakeDropped returns the keys that were dropped from a full spool since the last call.
func (db *DB) TakeDropped() []probe.Key {
	db.drops.mu.Lock()
	defer db.drops.mu.Unlock()
	keys := db.drops.keys
	db.drops.keys = nil
	return keys
}

// SpoolKeys returns keys that wait, in the order in which they came, from number after on, at most max; and the number to
// go on from, which is after where there are no more.
func (db *DB) SpoolKeys(after uint64, max int) (keys []probe.Key, next uint64, err error) {
	next = after
	err = db.file.view("read the spool", func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(tableSpool)).Cursor()
		for n, key := c.Seek(binary.BigEndian.AppendUint64(nil, after+1)); n != nil && len(keys) < max; n, key = c.Next() {
			k, err := parseKey(key)
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			next = binary.BigEndian.Uint64(n)
			keys = append(keys, k)
		}
		return nil
	})
	return keys, next, err
}

// unspool takes a key out; one that is not there is ignored.
func unspool(tx *bbolt.Tx, key []byte, stats *SpoolStats) (bool, error) {
	order, keys := tx.Bucket([]byte(tableSpool)), tx.Bucket([]byte(tableSpoolKeys))
	v := keys.Get(key)
	if v == nil {
		return false, nil
	}
	number, size := append([]byte{}, v[:8]...), binary.BigEndian.Uint64(v[8:])
	if err := keys.Delete(key); err != nil {
		return false, err
	}
	stats.Depth--
	stats.Bytes -= int64(size)
	return true, order.Delete(number)
}

// Spool returns the oldest results that wait, at most max of them and maxBytes of their records, but
// at least one where any waits.
func (db *DB) Spool(max, maxBytes int) (recs []ResultRecord, err error) {
	err = db.file.view("read the spool", func(tx *bbolt.Tx) error {
		results := tx.Bucket([]byte(tableResults))
		c := tx.Bucket([]byte(tableSpool)).Cursor()
		left := maxBytes
		for n, key := c.First(); n != nil && len(recs) < max; n, key = c.Next() {
			raw := results.Get(key)
			if left -= len(raw); left < 0 && len(recs) > 0 {
				return nil
			}
			rec, err := decodeResult(raw)
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			recs = append(recs, rec)
		}
		return nil
	})
	return recs, err
}

// Release takes results out of the spool: they are durable elsewhere. Keys that do not wait are ignored.
func (db *DB) Release(keys ...probe.Key) error {
	if len(keys) == 0 {
		return nil
	}
	raw := make([][]byte, len(keys))
	for i, k := range keys {
		raw[i] = appendKey(nil, k)
	}
	var stats SpoolStats
	return db.file.change("release from the spool", &change{
		apply: func(tx *bbolt.Tx) (err error) {
			if stats, err = readSpoolStats(tx); err != nil {
				return err
			}
			changed := false
			for _, k := range raw {
				gone, err := unspool(tx, k, &stats)
				if err != nil {
					return err
				}
				changed = changed || gone
			}
			if !changed {
				return nil
			}
			return writeSpoolStats(tx, stats)
		},
		after: func(err error) {
			if err == nil {
				db.spool.Store(&stats)
			}
		},
	})
}

// SpoolStats returns the counters as of the last commit.
func (db *DB) SpoolStats() SpoolStats { return *db.spool.Load() }

// checkSpool: the spool is a subset of results, both tables agree, and the counters with them.
func checkSpool(tx *bbolt.Tx) error {
	order, keys, results := tx.Bucket([]byte(tableSpool)), tx.Bucket([]byte(tableSpoolKeys)), tx.Bucket([]byte(tableResults))
	want, err := readSpoolStats(tx)
	if err != nil {
		return err
	}
	have := SpoolStats{Dropped: want.Dropped}
	err = order.ForEach(func(n, key []byte) error {
		v, raw := keys.Get(key), results.Get(key)
		if raw == nil {
			return fmt.Errorf("spool: %x is not among the results", key)
		}
		if len(v) != 16 || string(v[:8]) != string(n) || binary.BigEndian.Uint64(v[8:]) != uint64(len(raw)) {
			return fmt.Errorf("spool: entries of %x disagree", key)
		}
		have.Depth++
		have.Bytes += int64(len(raw))
		return nil
	})
	if err != nil {
		return err
	}
	if n := keys.Stats().KeyN; n != have.Depth {
		return fmt.Errorf("spool: %d keys for %d entries", n, have.Depth)
	}
	if have != want {
		return fmt.Errorf("spool: counters say %+v, the tables %+v", want, have)
	}
	return nil
}
