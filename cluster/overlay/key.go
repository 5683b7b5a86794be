package overlay

import (
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
)

// KeyBits is the length of a key, as in the DBCAN paper, section 2.1.1.
const KeyBits = 128

// ErrBits says that a text is not a string of at most 128 zeros and ones.
var ErrBits = errors.New("not a string of at most 128 binary digits")

// Key is a string of up to 128 bits: a key, or the id of a zone. Bits beyond its length are 0.
type Key struct {
	hi, lo uint64
	n      uint8
}

// ParseKey reads zeros and ones, at most 128; the empty text is the id of the only zone.
func ParseKey(s string) (Key, error) {
	if len(s) > KeyBits {
		return Key{}, fmt.Errorf("%d characters: %w", len(s), ErrBits)
	}
	var k Key
	for _, c := range s {
		if c != '0' && c != '1' {
			return Key{}, fmt.Errorf("%q: %w", s, ErrBits)
		}
		k = k.Append(int(c - '0'))
	}
	return k, nil
}

// NewKey is the key with these 128 bits, the first one highest in hi.
func NewKey(hi, lo uint64) Key { return Key{hi, lo, KeyBits} }

// RandomKey draws a key of n bits, at most 128.
func RandomKey(rng *rand.Rand, n int) Key {
	return NewKey(rng.Uint64(), rng.Uint64()).Prefix(min(n, KeyBits))
}

// Len is the number of bits.
func (k Key) Len() int { return int(k.n) }

// Bit is the i-th bit, the first one is 0.
func (k Key) Bit(i int) int {
	if i < 64 {
		return int(k.hi >> (63 - i) & 1)
	}
	return int(k.lo >> (127 - i) & 1)
}

// Append is the key with one more bit; a key of 128 bits cannot grow.
func (k Key) Append(bit int) Key {
	if k.n < 64 {
		k.hi |= uint64(bit) << (63 - k.n)
	} else {
		k.lo |= uint64(bit) << (127 - k.n)
	}
	k.n++
	return k
}

// Prefix is the first n bits.
func (k Key) Prefix(n int) Key {
	switch {
	case n >= int(k.n):
		return k
	case n >= 64:
		k.lo &= ^uint64(0) << (128 - n)
	default:
		k.hi &= ^uint64(0) << (64 - n)
		k.lo = 0
	}
	k.n = uint8(n)
	return k
}

// Drop is the key without its first n bits.
func (k Key) Drop(n int) Key {
	if n >= int(k.n) {
		return Key{}
	}
	out := Key{n: k.n - uint8(n)}
	switch {
	case n == 0:
		out.hi, out.lo = k.hi, k.lo
	case n < 64:
		out.hi, out.lo = k.hi<<n|k.lo>>(64-n), k.lo<<n
	default:
		out.hi = k.lo << (n - 64)
	}
	return out
}

// Prepend is the key with one bit before it.
func (k Key) Prepend(bit int) Key {
	return Key{hi: uint64(bit)<<63 | k.hi>>1, lo: k.hi<<63 | k.lo>>1, n: k.n + 1}
}

// IsPrefixOf tells whether other begins with k.
func (k Key) IsPrefixOf(other Key) bool { return k.n <= other.n && other.common(k) >= int(k.n) }

// common is how many leading bits of 128 agree.
func (k Key) common(o Key) int {
	if d := k.hi ^ o.hi; d != 0 {
		return bits.LeadingZeros64(d)
	}
	return 64 + bits.LeadingZeros64(k.lo^o.lo)
}

// overlap is the length of the longest proper suffix of x that is a prefix of k.
func overlap(x, k Key) int {
	for l := min(int(x.n)-1, int(k.n)); l > 0; l-- {
		if x.Drop(int(x.n) - l).IsPrefixOf(k) {
			return l
		}
	}
	return 0
}

func (k Key) String() string {
	b := make([]byte, k.n)
	for i := range b {
		b[i] = '0' + byte(k.Bit(i))
	}
	return string(b)
}

// less orders ids as texts.
func (k Key) less(o Key) bool {
	if k.hi != o.hi {
		return k.hi < o.hi
	}
	if k.lo != o.lo {
		return k.lo < o.lo
	}
	return k.n < o.n
}
