package overlay

import "math/rand/v2"

// koorde is Koorde with degree 2: each node knows its successor and one de Bruijn pointer, the last node at or
// before twice its id. There is one way only: a dead node on it ends a lookup.
type koorde struct{ ring }

func newKoorde(rng *rand.Rand) *koorde { return &koorde{newRing(rng)} }

// Owner is the successor of the key.
func (k *koorde) Owner(key Key) (Node, error) {
	x, err := k.point(key)
	if err != nil {
		return None, err
	}
	return k.successor(x), nil
}

func (k *koorde) Share(n Node) float64 { return k.ringShare(n) }

func (k *koorde) bruijn(n Node) Node { return k.predecessor(2 * k.id[n]) }

// Neighbours appends the successor and the de Bruijn pointer.
func (k *koorde) Neighbours(n Node, out []Node) []Node {
	succ, db := k.after(n), k.bruijn(n)
	if succ != n {
		out = append(out, succ)
	}
	if db != n && db != succ {
		out = append(out, db)
	}
	return out
}

// Degree adds to the neighbours the predecessor and those whose pointer leads here: 2x lies in [id, successor), so
// x in either half of the ring at half of that.
func (k *koorde) Degree(n Node) (out, links int) {
	if k.Len() == 1 {
		return 0, 0
	}
	all := k.Neighbours(n, nil)
	out = len(all)
	seen := append(all, n)
	add := func(m Node) {
		if !contains(seen, m) {
			seen = append(seen, m)
		}
	}
	add(k.before(n))
	id := k.id[n]
	width := k.id[k.after(n)] - id
	half := id>>1 + id&1 // the first x with 2x at or behind id, and it again half a ring on
	for _, start := range []uint64{half, half + 1<<63} {
		m := k.successor(start)
		for range k.Len() {
			if 2*k.id[m]-id >= width {
				break
			}
			add(m)
			m = k.after(m)
		}
	}
	return out, len(seen) - 1
}

// start chooses the imaginary node in (n, successor] whose low bits are as many of the key's first bits as
// possible, and says what of the key remains to be shifted in.
func (k *koorde) start(n Node, key uint64) (imaginary, rest uint64) {
	lo := k.id[n] + 1
	width := k.id[k.after(n)] - lo // last - first
	for j := idBits; j > 0; j-- {
		top := key >> (idBits - j)
		mod := ^uint64(0)
		if j < idBits {
			mod = 1<<j - 1
		}
		if off := (top - lo) & mod; off <= width {
			return lo + off, shift(key, j)
		}
	}
	return lo, key
}

func shift(x uint64, n int) uint64 {
	if n >= idBits {
		return 0
	}
	return x << n
}

// Route is the lookup of the paper's figure 1: to the successor when the key is in between; by the de Bruijn
// pointer when the imaginary node is in between; else to the successor.
func (k *koorde) Route(from Node, key Key, t *Trip) error {
	x, err := k.point(key)
	if err != nil {
		return err
	}
	owner := k.successor(x)
	t.start(from)
	if from == owner {
		t.Found = true
		return nil
	}
	imaginary, rest := k.start(from, x)
	for n := from; ; {
		succ := k.after(n)
		next := succ
		last := within(x, k.id[n], k.id[succ])
		if !last && within(imaginary, k.id[n], k.id[succ]) {
			next = k.bruijn(n)
			imaginary, rest = imaginary<<1|rest>>(idBits-1), rest<<1
		}
		if !k.Alive(next) {
			t.lost()
			return nil
		}
		t.step(next)
		if last {
			t.Found = true
			return nil
		}
		n = next
	}
}
