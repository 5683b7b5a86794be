package locate

import "math"

// Tables of addresses. In a file, ranges follow one another from the first address to the last, without gaps:
//
//	the number of ranges
//	lengths: of each range how many zero bits end its number of units (IPv4: addresses, or /24 networks; IPv6:
//	/64 networks), a byte; then, with their size in bytes before them, those numbers without these bits, uvarints
//	values, of each range a byte: 0 to 253 is one of the values used last, the last but one first (the last
//	itself cannot follow itself); 254 is the next value that was not there before: they are numbered as they
//	appear; 255 is any other
//	those others, uvarints
//
// Addresses jump to and fro between few values, so that most bytes are small.
const (
	// RecentValues is how many values are remembered.
	RecentValues = 254
	// CodeNew and CodeOther are the two bytes that are no index.
	CodeNew, CodeOther = 254, 255
)

// maxRanges bounds the ranges of a table: a fourth of all /24 networks.
const maxRanges = 1 << 22

// walk reads ranges from unit 0 to the last and calls visit with the first unit of each and its value, a number
// below values; before, it calls room with how many there are.
func (r *reader) walk(last uint64, values int, room func(n int), visit func(from uint64, value uint32)) {
	n := r.count(maxRanges)
	if n == 0 || len(r.b) < n {
		r.fail()
		return
	}
	zeros := r.b[:n]
	r.b = r.b[n:]
	lengths := &reader{b: r.bytes()}
	if len(r.b) < n {
		r.fail()
		return
	}
	codes := r.b[:n]
	r.b = r.b[n:]
	room(n)
	var recent recentValues
	from := uint64(0)
	for i, z := range zeros {
		v := recent.next(codes[i], r)
		l := uint64(1) // most are: a whole power of two
		if len(lengths.b) > 0 && lengths.b[0] == 1 {
			lengths.b = lengths.b[1:]
		} else {
			l = lengths.uint()
		}
		if r.err != nil || lengths.err != nil || int(v) >= values || z > 63 || l == 0 || l<<z>>z != l || l<<z-1 > last-from || (l<<z-1 == last-from) != (i == n-1) {
			r.fail()
			return
		}
		visit(from, v)
		from += l << z // behind the last address of IPv6 it is 0
	}
	if len(lengths.b) > 0 {
		r.fail()
	}
}

// recentValues are the values used last, the last first.
type recentValues struct {
	list  [RecentValues + 1]uint32
	known int
	fresh uint32
}

// next decodes one value; those that have no code of their own come from others.
func (p *recentValues) next(code byte, others *reader) uint32 {
	v, at := p.fresh, int(code)+1
	switch {
	case code == CodeNew:
		p.fresh++
	case code == CodeOther:
		v = uint32(min(others.uint(), maxUnpacked))
	case at < p.known:
		v = p.list[at]
	default:
		others.fail()
		return 0
	}
	if code >= CodeNew {
		p.known = min(p.known+1, len(p.list))
		at = p.known - 1
	}
	if at > fewValues {
		copy(p.list[1:at+1], p.list[:at])
	} else {
		for ; at > 0; at-- {
			p.list[at] = p.list[at-1]
		}
	}
	p.list[0] = v
	return v
}

// fewValues are moved faster one by one than by a call.
const fewValues = 12

// ranges4 answers for IPv4: the high half of an address leads to the ranges that begin there, and a search in
// them to the one. Every high half has a range that begins with it. No pointers, so that two million ranges cost
// the garbage collector nothing.
type ranges4[L uint8 | uint16, V uint16 | uint32] struct {
	first []uint32 // of each high half, its first range; one more at the end
	low   []L      // of a range: where it begins in the low half, or in the upper byte of it
	value []V
	shift uint8 // low bits of an address that no range tells apart
}

const halves = 1 << 16

func (t *ranges4[L, V]) find(addr uint32) V {
	high, low := addr>>16, L(uint16(addr)>>t.shift)
	from, to := t.first[high], t.first[high+1]
	for to-from > 1 {
		mid := (from + to) / 2
		if t.low[mid] <= low {
			from = mid
		} else {
			to = mid
		}
	}
	return t.value[from]
}

// read4 reads a table of IPv4 whose units have shift low bits.
func read4[L uint8 | uint16, V uint16 | uint32](r *reader, shift uint8, values int, value func(uint32) V) *ranges4[L, V] {
	t := &ranges4[L, V]{first: make([]uint32, 0, halves+1), shift: shift}
	var last V
	begin := func() { // the next high half, with what reaches into it
		t.first = append(t.first, uint32(len(t.low)))
		t.low, t.value = append(t.low, 0), append(t.value, last)
	}
	r.walk(1<<(32-shift)-1, values, func(n int) {
		t.low, t.value = make([]L, 0, n+halves), make([]V, 0, n+halves)
	}, func(from uint64, v uint32) {
		high, low := int(from<<shift>>16), L(uint16(from<<shift)>>shift)
		for len(t.first) < high || len(t.first) == high && low != 0 {
			begin()
		}
		if last = value(v); low == 0 {
			begin()
		} else {
			t.low, t.value = append(t.low, low), append(t.value, last)
		}
	})
	for len(t.first) < halves {
		begin()
	}
	t.first = append(t.first, uint32(len(t.low)))
	return t
}

// ranges6 answers for IPv6, by /64 network.
type ranges6 struct {
	from  []uint64
	value []uint32
}

func (t *ranges6) find(high uint64) uint32 {
	from, to := 0, len(t.from)
	for to-from > 1 {
		mid := (from + to) / 2
		if t.from[mid] <= high {
			from = mid
		} else {
			to = mid
		}
	}
	return t.value[from]
}

func read6(r *reader, values int) *ranges6 {
	t := &ranges6{}
	r.walk(math.MaxUint64, values, func(n int) {
		t.from, t.value = make([]uint64, 0, n), make([]uint32, 0, n)
	}, func(from uint64, v uint32) {
		t.from, t.value = append(t.from, from), append(t.value, v)
	})
	return t
}
