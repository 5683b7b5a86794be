package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/probe"
)

// Results that a node holds for others: as head, as its backup, or from the time when it was one of them. They wait until
// the registry has them, and are then kept for a while, because the registry may lose its disk.
//
// Table "held": a record each.
//
//	result key (see appendKey) -> CBOR as in "results": the result without its samples, and the transcript
//
// Table "held.state": where each one stands.
//
//	result key -> 24 bytes: number, size of the record in bytes, moment of release (unix ns, see appendTime; 0: it
//	waits), uint64 big endian; then the city for which it is held, nothing where it was given up
//
// Table "held.wait": those that wait, in the order in which they came.
//
//	number, uint64 big endian, counting up -> result key
//
// Table "held.kept": those that are kept, by moment of release.
//
//	moment of release (see appendTime), result key -> nothing
//
// Their counters are in meta under ".held".
const (
	tableHeld      = "held"
	tableHeldState = "held.state"
	tableHeldWait  = "held.wait"
	tableHeldKept  = "held.kept"

	metaHeld = ".held"
)

// ErrFull: the table takes no more until some of it is released. Nothing of the call was stored.
var ErrFull = errors.New("as many results are held as may be")

// HeldStats counts what is held for others. What is kept is in the registry.
type HeldStats struct {
	Waiting   int
	Bytes     int64
	Kept      int
	KeptBytes int64
}

// heldState is where one result stands.
type heldState struct {
	number, size uint64
	released     int64  // unix ns; 0: it waits
	city         string // "": given up, nobody knows whether the registry has it
}

func (s heldState) encode() []byte {
	b := binary.BigEndian.AppendUint64(nil, s.number)
	b = binary.BigEndian.AppendUint64(b, s.size)
	if s.released == 0 {
		b = binary.BigEndian.AppendUint64(b, 0)
	} else {
		b = appendTime(b, s.released)
	}
	return append(b, s.city...)
}

func decodeHeldState(b []byte) (s heldState, err error) {
	if len(b) < 24 {
		return s, fmt.Errorf("%w: state of a held result: %d bytes", ErrCorrupt, len(b))
	}
	s = heldState{number: binary.BigEndian.Uint64(b), size: binary.BigEndian.Uint64(b[8:]), city: string(b[24:])}
	if binary.BigEndian.Uint64(b[16:]) != 0 {
		s.released = parseTime(b[16:])
	}
	return s, nil
}

func keptKey(released int64, key []byte) []byte { return append(appendTime(nil, released), key...) }

func readHeldStats(tx *bbolt.Tx) (HeldStats, error) {
	raw := tx.Bucket([]byte(tableMeta)).Get([]byte(metaHeld))
	if raw == nil {
		return HeldStats{}, nil
	}
	if len(raw) != 32 {
		return HeldStats{}, fmt.Errorf("%w: the counters of what is held", ErrCorrupt)
	}
	n := func(i int) uint64 { return binary.BigEndian.Uint64(raw[8*i:]) }
	return HeldStats{Waiting: int(n(0)), Bytes: int64(n(1)), Kept: int(n(2)), KeptBytes: int64(n(3))}, nil
}

func (s HeldStats) write(tx *bbolt.Tx) error {
	var raw []byte
	for _, n := range []uint64{uint64(s.Waiting), uint64(s.Bytes), uint64(s.Kept), uint64(s.KeptBytes)} {
		raw = binary.BigEndian.AppendUint64(raw, n)
	}
	return tx.Bucket([]byte(tableMeta)).Put([]byte(metaHeld), raw)
}

// holding is one transaction on the tables.
type holding struct {
	records, state, wait, kept *bbolt.Bucket
	stats                      HeldStats
}

func openHolding(tx *bbolt.Tx) (h holding, err error) {
	h = holding{records: tx.Bucket([]byte(tableHeld)), state: tx.Bucket([]byte(tableHeldState)),
		wait: tx.Bucket([]byte(tableHeldWait)), kept: tx.Bucket([]byte(tableHeldKept))}
	h.stats, err = readHeldStats(tx)
	return h, err
}

// held runs one change of the tables and publishes the counters when it is durable.
func (db *DB) heldChange(what string, apply func(tx *bbolt.Tx, h *holding) error) error {
	var stats HeldStats
	return db.file.change(what, &change{
		apply: func(tx *bbolt.Tx) error {
			h, err := openHolding(tx)
			if err != nil {
				return err
			}
			before := h.stats
			if err := apply(tx, &h); err != nil {
				return err
			}
			if stats = h.stats; stats == before {
				return nil
			}
			return stats.write(tx)
		},
		after: func(err error) {
			if err == nil {
				db.held.Store(&stats)
			}
		},
	})
}

// HeldStats returns the counters as of the last commit.
func (db *DB) HeldStats() HeldStats { return *db.held.Load() }

// Hold makes results of others durable, all in one commit, on behalf of a city. What is there already stays as it is;
// those of them that are kept, because the registry has them, are returned. What is kept of another city waits again, as
// the registry may not have it: see LetGo. ErrFull: nothing was stored.
func (db *DB) Hold(city string, recs []ResultRecord) (known []probe.Key, err error) {
	if len(city) > maxNameBytes {
		return nil, fmt.Errorf("store: hold: %w name of a city: %d bytes", ErrInvalid, len(city))
	}
	in := make([]pair, len(recs))
	for i := range recs {
		rec := ResultRecord{Result: recs[i].Result, Transcript: recs[i].Transcript}
		rec.Result.Samples = nil
		value, err := encodeResult(&rec)
		if err != nil {
			return nil, fmt.Errorf("store: hold: %w", err)
		}
		in[i] = pair{appendKey(nil, rec.Result.Key), value}
	}
	err = db.heldChange("hold results", func(_ *bbolt.Tx, h *holding) (err error) {
		known, err = h.hold(city, in, recs, db.opt)
		return err
	})
	return known, err
}

func (h *holding) hold(city string, in []pair, recs []ResultRecord, opt Options) (known []probe.Key, err error) {
	for i, p := range in {
		if raw := h.state.Get(p.key); raw != nil {
			s, err := decodeHeldState(raw)
			if err != nil {
				return nil, err
			}
			switch {
			case s.released == 0:
			case s.city == city:
				known = append(known, recs[i].Result.Key)
			default:
				s.city = city
				if err := h.again(keptKey(s.released, p.key), s); err != nil {
					return nil, err
				}
				if h.full(opt) {
					return nil, ErrFull
				}
			}
			continue
		}
		h.stats.Waiting++
		h.stats.Bytes += int64(len(p.value))
		if h.full(opt) {
			return nil, ErrFull
		}
		if err := h.records.Put(p.key, p.value); err != nil {
			return nil, err
		}
		if err := h.enter(p.key, heldState{size: uint64(len(p.value)), city: city}); err != nil {
			return nil, err
		}
	}
	return known, nil
}

func (h *holding) full(opt Options) bool {
	return h.stats.Waiting > opt.HeldResults || h.stats.Bytes > opt.HeldBytes
}

// enter puts a result behind those that wait.
func (h *holding) enter(key []byte, s heldState) (err error) {
	if s.number, err = h.wait.NextSequence(); err != nil {
		return err
	}
	s.released = 0
	if err := h.wait.Put(binary.BigEndian.AppendUint64(nil, s.number), key); err != nil {
		return err
	}
	return h.state.Put(key, s.encode())
}

// HoldSpool holds this node's own results, too, as a head does: those of the spool from number after on, at most max, in
// one commit. It returns their keys, those of them that the registry has as Hold does, and the number to go on from,
// which is after where there is nothing more.
func (db *DB) HoldSpool(city string, after uint64, max int) (keys, known []probe.Key, next uint64, err error) {
	err = db.heldChange("hold own results", func(tx *bbolt.Tx, h *holding) error {
		keys, known, next = nil, nil, after
		var in []pair
		var recs []ResultRecord
		c := tx.Bucket([]byte(tableSpool)).Cursor()
		for n, key := c.Seek(binary.BigEndian.AppendUint64(nil, after+1)); n != nil && len(in) < max; n, key = c.Next() {
			rec, err := decodeResult(tx.Bucket([]byte(tableResults)).Get(key))
			if err != nil {
				return err
			}
			rec = ResultRecord{Result: rec.Result, Transcript: rec.Transcript}
			rec.Result.Samples = nil
			value, err := encodeResult(&rec)
			if err != nil {
				return err
			}
			in, recs, keys = append(in, pair{bytes.Clone(key), value}), append(recs, rec), append(keys, rec.Result.Key)
			next = binary.BigEndian.Uint64(n)
		}
		var err error
		known, err = h.hold(city, in, recs, db.opt)
		return err
	})
	if err != nil {
		return nil, nil, after, err
	}
	return keys, known, next, nil
}

// ReleaseHeld says that the registry has results: those that wait are kept from now on. Beyond the bounds of what is
// kept the oldest go. Keys that do not wait are ignored.
func (db *DB) ReleaseHeld(at time.Time, keys []probe.Key) error {
	if len(keys) == 0 {
		return nil
	}
	return db.heldChange("release held results", func(_ *bbolt.Tx, h *holding) error {
		for _, k := range keys {
			if err := h.release(appendKey(nil, k), unixNs(at), false); err != nil {
				return err
			}
		}
		return h.bound(db.opt)
	})
}

// LetGo gives up delivering what waits on behalf of other cities than this one. It is kept for as long as what the
// registry has, but of no city: where one of them comes again it waits again.
func (db *DB) LetGo(at time.Time, city string) error {
	for {
		keys, err := db.heldElsewhere(city, retainStep)
		if err != nil || len(keys) == 0 {
			return err
		}
		err = db.heldChange("let go held results", func(_ *bbolt.Tx, h *holding) error {
			for _, key := range keys {
				if err := h.release(key, unixNs(at), true); err != nil {
					return err
				}
			}
			return h.bound(db.opt)
		})
		if err != nil {
			return err
		}
	}
}

// bound removes the oldest of the kept beyond the bounds.
func (h *holding) bound(opt Options) error {
	for h.stats.Kept > opt.KeptResults || h.stats.KeptBytes > opt.KeptBytes {
		k, _ := h.kept.Cursor().First()
		if err := h.drop(bytes.Clone(k)); err != nil {
			return err
		}
	}
	return nil
}

func (h *holding) release(key []byte, at int64, givenUp bool) error {
	raw := h.state.Get(key)
	if raw == nil {
		return nil
	}
	s, err := decodeHeldState(raw)
	if err != nil || s.released != 0 {
		return err
	}
	if err := h.wait.Delete(binary.BigEndian.AppendUint64(nil, s.number)); err != nil {
		return err
	}
	if s.released = at; givenUp {
		s.city = ""
	}
	if err := h.kept.Put(keptKey(at, key), nil); err != nil {
		return err
	}
	h.stats.Waiting--
	h.stats.Bytes -= int64(s.size)
	h.stats.Kept++
	h.stats.KeptBytes += int64(s.size)
	return h.state.Put(key, s.encode())
}

// drop removes one of the kept.
func (h *holding) drop(kept []byte) error {
	key := kept[8:]
	s, err := decodeHeldState(h.state.Get(key))
	if err != nil {
		return err
	}
	h.stats.Kept--
	h.stats.KeptBytes -= int64(s.size)
	return errors.Join(h.kept.Delete(kept), h.state.Delete(key), h.records.Delete(key))
}

// Recall says that the registry has lost what it had: what is kept waits again, the oldest first, at most max in one
// commit. It returns their keys; none: nothing is kept any more.
func (db *DB) Recall(max int) (keys []probe.Key, err error) {
	err = db.heldChange("recall kept results", func(_ *bbolt.Tx, h *holding) error {
		keys = nil
		for len(keys) < max {
			first, _ := h.kept.Cursor().First()
			if first == nil {
				return nil
			}
			kept := bytes.Clone(first)
			s, err := decodeHeldState(h.state.Get(kept[8:]))
			if err != nil {
				return err
			}
			k, err := parseKey(kept[8:])
			if err != nil {
				return err
			}
			if err := h.again(kept, s); err != nil {
				return err
			}
			keys = append(keys, k)
		}
		return nil
	})
	return keys, err
}

// again lets one of the kept wait.
func (h *holding) again(kept []byte, s heldState) error {
	h.stats.Kept--
	h.stats.KeptBytes -= int64(s.size)
	h.stats.Waiting++
	h.stats.Bytes += int64(s.size)
	return errors.Join(h.kept.Delete(kept), h.enter(kept[8:], s))
}

// Expire removes what has been kept since before a moment, and says how many.
func (db *DB) Expire(before time.Time) (removed int, err error) {
	for {
		n := 0
		err := db.heldChange("remove kept results", func(_ *bbolt.Tx, h *holding) error {
			for n = 0; n < retainStep; n++ {
				k, _ := h.kept.Cursor().First()
				if k == nil || parseTime(k) >= unixNs(before) {
					return nil
				}
				if err := h.drop(bytes.Clone(k)); err != nil {
					return err
				}
			}
			return nil
		})
		if removed += n; err != nil || n < retainStep {
			return removed, err
		}
	}
}

// checkHeld: the four tables agree, and the counters with them.
func checkHeld(tx *bbolt.Tx) error {
	h, err := openHolding(tx)
	if err != nil {
		return err
	}
	var have HeldStats
	err = h.state.ForEach(func(key, raw []byte) error {
		s, err := decodeHeldState(raw)
		if err != nil {
			return err
		}
		rec := h.records.Get(key)
		if uint64(len(rec)) != s.size || rec == nil {
			return fmt.Errorf("held: the record of %x has %d bytes, its state says %d", key, len(rec), s.size)
		}
		if _, err := decodeResult(rec); err != nil {
			return err
		}
		if s.released == 0 {
			have.Waiting++
			have.Bytes += int64(s.size)
			if !bytes.Equal(h.wait.Get(binary.BigEndian.AppendUint64(nil, s.number)), key) {
				return fmt.Errorf("held: %x does not wait under its number %d", key, s.number)
			}
			return nil
		}
		have.Kept++
		have.KeptBytes += int64(s.size)
		if h.kept.Get(keptKey(s.released, key)) == nil {
			return fmt.Errorf("held: %x is not among the kept", key)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if n, w, k := h.records.Stats().KeyN, h.wait.Stats().KeyN, h.kept.Stats().KeyN; n != have.Waiting+have.Kept || w != have.Waiting || k != have.Kept {
		return fmt.Errorf("held: %d records, %d wait, %d kept; the states say %+v", n, w, k, have)
	}
	if have != h.stats {
		return fmt.Errorf("held: counters say %+v, the tables %+v", h.stats, have)
	}
	return nil
}
