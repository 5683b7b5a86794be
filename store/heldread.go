package store

import (
	"bytes"
	"encoding/binary"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/probe"
)

// HeldRecords returns the results that are here under the first of the keys, held or this node's own, without samples:
// at most maxBytes of their records, but at least one. Those that are not here are left out. used is how many keys that
// were.
func (db *DB) HeldRecords(keys []probe.Key, maxBytes int) (recs []ResultRecord, used int, err error) {
	err = db.file.view("read held results", func(tx *bbolt.Tx) error {
		held, own := tx.Bucket([]byte(tableHeld)), tx.Bucket([]byte(tableResults))
		left := maxBytes
		for _, k := range keys {
			key := appendKey(nil, k)
			raw := held.Get(key)
			if raw == nil {
				raw = own.Get(key)
			}
			if left -= len(raw); left < 0 && len(recs) > 0 {
				return nil
			}
			used++
			if raw == nil {
				continue
			}
			rec, err := decodeResult(raw)
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			rec = ResultRecord{Result: rec.Result, Transcript: rec.Transcript}
			rec.Result.Samples = nil
			recs = append(recs, rec)
		}
		return nil
	})
	return recs, used, err
}

// HeldNext returns the oldest results that wait on behalf of a city and that skip does not pass over, at most max of them
// and maxBytes of their records, but at least one where any waits.
func (db *DB) HeldNext(city string, max, maxBytes int, skip func(probe.Key) bool) (results []probe.Result, err error) {
	err = db.file.view("read what is held", func(tx *bbolt.Tx) error {
		records, state := tx.Bucket([]byte(tableHeld)), tx.Bucket([]byte(tableHeldState))
		c := tx.Bucket([]byte(tableHeldWait)).Cursor()
		left := maxBytes
		for n, key := c.First(); n != nil && len(results) < max; n, key = c.Next() {
			k, err := parseKey(key)
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			s, err := decodeHeldState(state.Get(key))
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			if s.city != city || skip(k) {
				continue
			}
			raw := records.Get(key)
			if left -= len(raw); left < 0 && len(results) > 0 {
				return nil
			}
			rec, err := decodeResult(raw)
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			results = append(results, rec.Result)
		}
		return nil
	})
	return results, err
}

// heldElsewhere returns keys, as they are in the table, that wait on behalf of other cities than this one, at most max.
func (db *DB) heldElsewhere(city string, max int) (keys [][]byte, err error) {
	err = db.file.view("read what is held", func(tx *bbolt.Tx) error {
		state := tx.Bucket([]byte(tableHeldState))
		c := tx.Bucket([]byte(tableHeldWait)).Cursor()
		for n, key := c.First(); n != nil && len(keys) < max; n, key = c.Next() {
			s, err := decodeHeldState(state.Get(key))
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			if s.city != city {
				keys = append(keys, bytes.Clone(key))
			}
		}
		return nil
	})
	return keys, err
}

// HeldKeys returns keys that wait on behalf of a city, in order, from number after on, at most max; and the number to go
// on from, which is after where there are no more.
func (db *DB) HeldKeys(city string, after uint64, max int) (keys []probe.Key, next uint64, err error) {
	next = after
	err = db.file.view("read what is held", func(tx *bbolt.Tx) error {
		state := tx.Bucket([]byte(tableHeldState))
		c := tx.Bucket([]byte(tableHeldWait)).Cursor()
		for n, key := c.Seek(binary.BigEndian.AppendUint64(nil, after+1)); n != nil && len(keys) < max; n, key = c.Next() {
			next = binary.BigEndian.Uint64(n)
			s, err := decodeHeldState(state.Get(key))
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			if s.city != city {
				continue
			}
			k, err := parseKey(key)
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			keys = append(keys, k)
		}
		return nil
	})
	return keys, next, err
}
