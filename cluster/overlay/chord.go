package overlay

import (
	"math/bits"
	"math/rand/v2"
)

// chord is Chord with fingers at 2^i and closest preceding fingers. A key belongs to the first node at or after it.
// Fingers are worked out when they are needed: they are a function of the ids.
type chord struct {
	ring
	successors int
}

func newChord(successors int, rng *rand.Rand) *chord { return &chord{newRing(rng), successors} }

// Owner is the successor of the key.
func (c *chord) Owner(k Key) (Node, error) {
	x, err := c.point(k)
	if err != nil {
		return None, err
	}
	return c.successor(x), nil
}

func (c *chord) Share(n Node) float64 { return c.ringShare(n) }

// finger is the first node at least 2^i behind n.
func (c *chord) finger(n Node, i int) Node { return c.successor(c.id[n] + 1<<i) }

// Neighbours appends the distinct fingers, nearest first.
func (c *chord) Neighbours(n Node, out []Node) []Node {
	last := c.after(n)
	if last == n {
		return out
	}
	out = append(out, last)
	// All fingers up to the distance of the successor are the successor.
	for i := bits.Len64(c.id[last] - c.id[n]); i < idBits; i++ {
		if f := c.finger(n, i); f != last && f != n {
			out = append(out, f)
			last = f
		}
	}
	return out
}

// Degree counts fingers; links adds the nodes that have n as a finger, those that are both once.
func (c *chord) Degree(n Node) (out, links int) {
	if c.Len() == 1 {
		return 0, 0
	}
	fingers := c.Neighbours(n, nil)
	out, links = len(fingers), len(fingers)
	// p holds n when p + 2^i lies in (before, id]: an arc of this span for each i, the next one farther back.
	first, last := c.id[c.before(n)]+1, c.id[n]
	for _, f := range fingers {
		// A power of two from first - f to last - f: f holds n.
		if bits.Len64(last-c.id[f]) > bits.Len64(first-c.id[f]-1) {
			links--
		}
	}
	near := bits.Len64(last - first)
	if near == idBits {
		return out, links + c.Len() - 1
	}
	// Up to the size of the span arcs overlap, and are one.
	links += c.arc(first-1<<near, last-1)
	for i := near + 1; i < idBits; i++ {
		links += c.arc(first-1<<i, last-1<<i)
	}
	return out, links
}

// Route forwards to the closest finger before the key, and at the last node before the key to its successor. Past a
// dead finger it takes the next lower one, and then the farthest living one of the successors it knows.
func (c *chord) Route(from Node, key Key, t *Trip) error {
	x, err := c.point(key)
	if err != nil {
		return err
	}
	owner := c.successor(x)
	t.start(from)
	for n := from; n != owner; {
		next := c.next(n, owner, x, t)
		if next == None {
			return nil
		}
		t.step(next)
		n = next
	}
	t.Found = true
	return nil
}

func (c *chord) next(n, owner Node, key uint64, t *Trip) Node {
	succ := c.after(n)
	if succ == owner && within(key, c.id[n], c.id[succ]) {
		if c.Alive(owner) {
			return owner
		}
		t.lost()
		return None
	}
	last := None
	for i := idBits - 1; i >= 0; i-- {
		if uint64(1)<<i >= key-c.id[n] { // beyond the key; key-id is never 0 here
			continue
		}
		f := c.finger(n, i)
		if f == last || !within(c.id[f], c.id[n], key-1) {
			continue
		}
		if c.Alive(f) {
			return f
		}
		t.lost()
		last = f
	}
	return c.detour(n, owner, key)
}

// detour is for a node all of whose fingers before the key are dead: the farthest living one of its successors
// that is not behind the owner.
func (c *chord) detour(n, owner Node, key uint64) Node {
	best := None
	s := n
	for range c.successors {
		if s = c.after(s); s == n {
			break
		}
		if c.Alive(s) {
			best = s
		}
		if s == owner {
			break
		}
	}
	return best
}
