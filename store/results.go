package store

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
)

// Table "results": one record a session, written once and never changed.
//
//	result key (see appendKey) -> CBOR {1 result (bytes of probe.EncodeResult), 2 statement,
//	3 transcript, 4 ticket (cluster.Signed, as received; absent when there is none)}
//
// Table "results.time": the same results by time, for queries.
//
//	time filed: started, unix ns (see appendTime), result key -> facts (see appendFacts)
const (
	tableResults     = "results"
	tableResultsTime = "results.time"
)

// ResultRecord is a result and the signed originals that prove it.
type ResultRecord struct {
	Result                        probe.Result
	Statement, Transcript, Ticket cluster.Signed // empty where there is none
}

type resultWire struct {
	Result     []byte          `cbor:"1,keyasint"`
	Statement  *cluster.Signed `cbor:"2,keyasint,omitempty"`
	Transcript *cluster.Signed `cbor:"3,keyasint,omitempty"`
	Ticket     *cluster.Signed `cbor:"4,keyasint,omitempty"`
}

func encodeResult(r *ResultRecord) ([]byte, error) {
	if err := checkKey(r.Result.Key); err != nil {
		return nil, err
	}
	w := resultWire{Result: probe.EncodeResult(&r.Result)}
	if len(w.Result) > probe.MaxResultBytes {
		return nil, fmt.Errorf("%w: result %s has %d bytes, at most %d", ErrTooLarge, r.Result.Key, len(w.Result), probe.MaxResultBytes)
	}
	// What cannot be read again (text that is not UTF-8) must not get in: it would break every page that it is on.
	if _, err := probe.DecodeResult(w.Result); err != nil {
		return nil, fmt.Errorf("%w result %s: %w", ErrInvalid, r.Result.Key, err)
	}
	for _, s := range []struct {
		to   **cluster.Signed
		from *cluster.Signed
	}{{&w.Statement, &r.Statement}, {&w.Transcript, &r.Transcript}, {&w.Ticket, &r.Ticket}} {
		if len(s.from.Payload) > 0 || len(s.from.Sig) > 0 {
			*s.to = s.from
		}
	}
	return encodeRecord(w)
}

func decodeResult(raw []byte) (rec ResultRecord, err error) {
	var w resultWire
	if err := decodeRecord(raw, &w); err != nil {
		return rec, err
	}
	r, err := probe.DecodeResult(w.Result)
	if err != nil {
		return rec, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	rec.Result = *r
	for _, s := range []struct{ from, to *cluster.Signed }{
		{w.Statement, &rec.Statement}, {w.Transcript, &rec.Transcript}, {w.Ticket, &rec.Ticket},
	} {
		if s.from != nil {
			*s.to = *s.from
		}
	}
	return rec, nil
}

// stored is a result on its way to the tables.
type stored struct {
	key, value, timeKey, facts []byte
}

// newStored files the result under the time at (unix ns).
func newStored(r *ResultRecord, at int64) (stored, error) {
	value, err := encodeResult(r)
	if err != nil {
		return stored{}, err
	}
	s := stored{key: appendKey(nil, r.Result.Key), value: value}
	s.timeKey = append(appendTime(nil, at), s.key...)
	s.facts = appendFacts(nil, &r.Result)
	return s, nil
}

// putResult writes a result and its index entry unless the key is there: the first one stays.
func putResult(tx *bbolt.Tx, s stored) (added bool, err error) {
	b := tx.Bucket([]byte(tableResults))
	if b.Get(s.key) != nil {
		return false, nil
	}
	if err := b.Put(s.key, s.value); err != nil {
		return false, err
	}
	return true, tx.Bucket([]byte(tableResultsTime)).Put(s.timeKey, s.facts)
}

// AddResult stores a result, durable when it returns; with spool it is also kept as not yet released.
// A key that is there already is left as it is, and that is no error.
func (db *DB) AddResult(rec ResultRecord, spool bool) error {
	s, err := newStored(&rec, started(&rec.Result))
	if err != nil {
		return fmt.Errorf("store: add result: %w", err)
	}
	name := tableResults + "\x00" + string(s.key)
	var added bool
	var stats SpoolStats
	var gone []probe.Key
	return db.file.change("add result "+rec.Result.Key.String(), &change{
		before: func() { db.cache.show(name, s.value) },
		apply: func(tx *bbolt.Tx) (err error) {
			if added, err = putResult(tx, s); err != nil || !added || !spool {
				return err
			}
			stats, gone, err = spoolResult(tx, s.key, len(s.value), db.opt)
			return err
		},
		after: func(err error) {
			db.cache.settle(name, err == nil && added)
			if err == nil && added && spool {
				db.spool.Store(&stats)
				db.drops.add(gone)
			}
		},
	})
}

// Result returns one result with its originals, or ErrNotFound.
func (db *DB) Result(key probe.Key) (ResultRecord, error) {
	if err := checkKey(key); err != nil {
		return ResultRecord{}, fmt.Errorf("store: result: %w", err)
	}
	raw, err := db.load(tableResults, appendKey(nil, key))
	if err != nil {
		return ResultRecord{}, err
	}
	if raw == nil {
		return ResultRecord{}, fmt.Errorf("store: result %s: %w", key, ErrNotFound)
	}
	rec, err := decodeResult(raw)
	if err != nil {
		return rec, corruptError(db.file.path, err.Error())
	}
	return rec, nil
}

// Results answers a query, newest first. Samples are in it where they were kept.
func (db *DB) Results(q Query) (Page, error) {
	p, err := q.plan()
	if err != nil {
		return Page{}, err
	}
	err = db.file.view("query results", p.scan)
	return p.page, err
}

// retainStep is how many results one commit of Retain removes, so that a new result never waits long.
const retainStep = 256

// Retain deletes results that started before the given time and do not wait in the spool, and says how many.
func (db *DB) Retain(before time.Time) (removed int, err error) {
	var from []byte // where the last step ended: results in the spool are passed over once
	for {
		n, next, err := db.retain(from, unixNs(before))
		removed += n
		if err != nil || next == nil {
			return removed, err
		}
		from = next
	}
}

func (db *DB) retain(from []byte, before int64) (n int, next []byte, err error) {
	var gone []string
	err = db.file.change("remove old results", &change{
		apply: func(tx *bbolt.Tx) error {
			n, next, gone = 0, nil, nil
			index, results, waiting := tx.Bucket([]byte(tableResultsTime)), tx.Bucket([]byte(tableResults)), tx.Bucket([]byte(tableSpoolKeys))
			var old [][]byte
			c := index.Cursor()
			seen := 0
			for k, _ := c.Seek(from); k != nil && parseTime(k) < before; k, _ = c.Next() {
				if seen++; seen > retainStep {
					next = append([]byte{}, k...)
					break
				}
				if waiting.Get(k[8:]) == nil {
					old = append(old, append([]byte{}, k...))
				}
			}
			for _, k := range old {
				if err := index.Delete(k); err != nil {
					return err
				}
				if err := results.Delete(k[8:]); err != nil {
					return err
				}
				gone = append(gone, tableResults+"\x00"+string(k[8:]))
			}
			n = len(old)
			return nil
		},
		after: func(err error) {
			if err != nil {
				return
			}
			for _, name := range gone {
				db.cache.drop(name)
			}
		},
	})
	return n, next, err
}

// started is the time under which a node files a result.
func started(r *probe.Result) int64 { return unixNs(r.Started) }

func checkOwnResults(tx *bbolt.Tx) error { return checkResults(tx, started) }

// checkResults: both tables name the same results, at the times that filedAt says and with the facts
// that the records say.
func checkResults(tx *bbolt.Tx, filedAt func(*probe.Result) int64) error {
	index, results := tx.Bucket([]byte(tableResultsTime)), tx.Bucket([]byte(tableResults))
	n := 0
	err := results.ForEach(func(k, v []byte) error {
		n++
		rec, err := decodeResult(v)
		if err != nil {
			return err
		}
		s, err := newStored(&rec, filedAt(&rec.Result))
		if err != nil {
			return err
		}
		if string(s.key) != string(k) {
			return fmt.Errorf("results: record of %s lies under %x", rec.Result.Key, k)
		}
		if string(index.Get(s.timeKey)) != string(s.facts) {
			return fmt.Errorf("results.time: the entry of %s is missing or differs", rec.Result.Key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return index.ForEach(func(k, _ []byte) error {
		if n--; n < 0 || len(k) < 8 || results.Get(k[8:]) == nil {
			return fmt.Errorf("results.time: an entry without a result: %x", k)
		}
		return nil
	})
}

// facts are what queries filter by, so that a scan reads no records: five texts, each with a uvarint
// length: initiator's city and node, target's city and node, tool; then the status.
type facts [6]string

func factsOf(r *probe.Result) facts {
	return facts{r.Initiator.City, r.Initiator.Node, r.Target.City, r.Target.Node, r.Tool, r.Status}
}

func appendFacts(b []byte, r *probe.Result) []byte {
	for _, s := range factsOf(r) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

func parseFacts(b []byte) (f facts, err error) {
	for i := range f {
		n, used := binary.Uvarint(b)
		if used <= 0 || n > uint64(len(b)-used) {
			return f, fmt.Errorf("%w: facts of a result", ErrCorrupt)
		}
		f[i], b = string(b[used:used+int(n)]), b[used+int(n):]
	}
	if len(b) > 0 {
		return f, fmt.Errorf("%w: facts of a result", ErrCorrupt)
	}
	return f, nil
}
