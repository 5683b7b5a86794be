package locate

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"sort"
)

// key is an address as a number: IPv6 in both halves, IPv4 in the lower one.
type key struct{ hi, lo uint64 }

func keyOf(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key{0, uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (k key) compare(o key) int {
	if c := cmp.Compare(k.hi, o.hi); c != 0 {
		return c
	}
	return cmp.Compare(k.lo, o.lo)
}

// last is the highest key of the network that starts at k with n host bits.
func (k key) last(n int) key {
	if n >= 64 {
		k.lo = ^uint64(0)
		k.hi |= 1<<(n-64) - 1 // n == 128: the shift gives 0, minus one all ones
		return k
	}
	k.lo |= 1<<n - 1
	return k
}

// next is k + 1; ok is false behind the last address there is.
func (k key) next() (_ key, ok bool) {
	k.lo++
	if k.lo == 0 {
		k.hi++
		return k, k.hi != 0
	}
	return k, true
}

// entry is one prefix before flattening.
type entry struct {
	from, to key
	bits     uint8
	place    uint32
}

// span is what holds from one start up to the next: the longest prefix there.
type span struct {
	place uint32
	bits  uint8
	known bool // false: a gap that no prefix covers
}

// table answers by binary search over disjoint spans: two flat arrays without
// pointers, so that a million rows cost the garbage collector nothing.
type table struct {
	starts []key
	spans  []span
}

func (t *table) find(k key) (span, bool) {
	i := sort.Search(len(t.starts), func(i int) bool { return t.starts[i].compare(k) > 0 })
	if i == 0 {
		return span{}, false
	}
	s := t.spans[i-1]
	return s, s.known
}

// add appends a span, in place of one with the same start.
func (t *table) add(from key, s span) {
	if n := len(t.starts); n > 0 && t.starts[n-1] == from {
		t.spans[n-1] = s
		return
	}
	t.starts = append(t.starts, from)
	t.spans = append(t.spans, s)
}

// flatten turns nested prefixes into disjoint spans. Prefixes either nest or
// do not meet, so one pass with a stack of the open ones is enough.
func flatten(entries []entry) table {
	slices.SortFunc(entries, func(a, b entry) int {
		if c := a.from.compare(b.from); c != 0 {
			return c
		}
		return cmp.Compare(a.bits, b.bits)
	})
	var t table
	var open []entry
	closeUpTo := func(limit key, all bool) {
		for len(open) > 0 {
			top := open[len(open)-1]
			if !all && top.to.compare(limit) >= 0 {
				return
			}
			open = open[:len(open)-1]
			after, ok := top.to.next()
			if !ok {
				continue
			}
			rest := span{}
			if len(open) > 0 {
				outer := open[len(open)-1]
				if outer.to.compare(after) < 0 {
					continue // it ends here too, and says itself what follows
				}
				rest = span{outer.place, outer.bits, true}
			}
			t.add(after, rest)
		}
	}
	for _, e := range entries {
		closeUpTo(e.from, false)
		t.add(e.from, span{e.place, e.bits, true})
		open = append(open, e)
	}
	closeUpTo(key{}, true)
	t.starts, t.spans = slices.Clip(t.starts), slices.Clip(t.spans)
	return t
}
