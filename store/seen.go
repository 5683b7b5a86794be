package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/probe"
)

// Table "seen": the keys of all results that were ever ingested, for good. A node numbers the results
// of a boot from one up, so they are a few intervals.
//
//	node text, 0x00, boot uint64, seq / 65536 uint64 (big endian) ->
//	    intervals of seq % 65536, ascending and not touching: for each a uvarint of the gap before it
//	    (since the end of the one before) and a uvarint of its length minus 1
const tableSeen = "seen"

// seenChunk sequence numbers share a record: it bounds a record whatever numbers a node makes up (every
// second one: 64 KiB).
const seenChunk = 1 << 16

func seenKey(k probe.Key) []byte {
	return appendKey(nil, probe.Key{Node: k.Node, Boot: k.Boot, Seq: k.Seq / seenChunk})
}

// span is the numbers from lo to hi, both inside.
type span struct{ lo, hi uint32 }

// spans is ascending, and between two there is at least one number.
type spans []span

func (s spans) has(n uint32) bool {
	i, _ := slices.BinarySearchFunc(s, n, func(e span, n uint32) int {
		if e.hi < n {
			return -1
		}
		return 1
	})
	return i < len(s) && s[i].lo <= n
}

// add returns the set with n in it.
func (s spans) add(n uint32) spans {
	i, _ := slices.BinarySearchFunc(s, n, func(e span, n uint32) int {
		if e.hi < n {
			return -1
		}
		return 1
	}) // s[i] is the first that ends at n or after it
	if i < len(s) && s[i].lo <= n {
		return s
	}
	left := i > 0 && s[i-1].hi+1 == n
	right := i < len(s) && n+1 == s[i].lo
	switch {
	case left && right:
		s[i-1].hi = s[i].hi
		return slices.Delete(s, i, i+1)
	case left:
		s[i-1].hi = n
	case right:
		s[i].lo = n
	default:
		return slices.Insert(s, i, span{n, n})
	}
	return s
}

func (s spans) encode() []byte {
	var b []byte
	next := uint32(0)
	for _, e := range s {
		b = binary.AppendUvarint(b, uint64(e.lo-next))
		b = binary.AppendUvarint(b, uint64(e.hi-e.lo))
		next = e.hi + 1
	}
	return b
}

// decodeSpans takes only what encode writes.
func decodeSpans(b []byte) (spans, error) {
	var s spans
	next := uint64(0)
	for len(b) > 0 {
		gap, n := binary.Uvarint(b)
		if n <= 0 {
			return nil, fmt.Errorf("%w: intervals", ErrCorrupt)
		}
		length, m := binary.Uvarint(b[n:])
		if m <= 0 || gap >= seenChunk || length >= seenChunk || next+gap+length >= seenChunk ||
			len(s) > 0 && gap == 0 || n > uvarintLen(gap) || m > uvarintLen(length) {
			return nil, fmt.Errorf("%w: intervals", ErrCorrupt)
		}
		s = append(s, span{uint32(next + gap), uint32(next + gap + length)})
		next += gap + length + 1
		b = b[n+m:]
	}
	return s, nil
}

func uvarintLen(v uint64) int {
	return len(binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64), v))
}

func wasSeen(tx *bbolt.Tx, k probe.Key) (bool, error) {
	s, err := decodeSpans(tx.Bucket([]byte(tableSeen)).Get(seenKey(k)))
	return s.has(uint32(k.Seq % seenChunk)), err
}

// markSeen adds the keys and says how many of them were new.
func markSeen(tx *bbolt.Tx, keys []probe.Key) (added int, err error) {
	b := tx.Bucket([]byte(tableSeen))
	keys = slices.Clone(keys)
	slices.SortFunc(keys, probe.Key.Compare)
	for i := 0; i < len(keys); {
		at := seenKey(keys[i])
		s, err := decodeSpans(b.Get(at))
		if err != nil {
			return 0, err
		}
		before := added
		first := keys[i]
		for ; i < len(keys) && keys[i].Node == first.Node && keys[i].Boot == first.Boot && keys[i].Seq/seenChunk == first.Seq/seenChunk; i++ {
			if n := uint32(keys[i].Seq % seenChunk); !s.has(n) {
				s = s.add(n)
				added++
			}
		}
		if added == before {
			continue
		}
		if err := b.Put(at, s.encode()); err != nil {
			return 0, err
		}
	}
	return added, nil
}

// checkSeen: every set is readable and in its one shortest form.
func checkSeen(tx *bbolt.Tx) error {
	return tx.Bucket([]byte(tableSeen)).ForEach(func(k, v []byte) error {
		key, err := parseKey(k)
		if err != nil {
			return err
		}
		if key.Seq > math.MaxUint64/seenChunk {
			return fmt.Errorf("seen: chunk %d", key.Seq)
		}
		_, err = decodeSpans(v)
		return err
	})
}
