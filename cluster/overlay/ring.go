package overlay

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
)

// idBits is the length of the ids on rings and of Kademlia: with a million nodes two are equal once in 37 million
// networks, and then the second is drawn again.
const idBits = 64

// ring is what Chord, Koorde and Kademlia have in common: nodes with ids of 64 bits, in a tree.
type ring struct {
	roster
	tree *tree
	id   []uint64 // of a node
	leaf []int32  // of a node
	rng  *rand.Rand
}

func newRing(rng *rand.Rand) ring { return ring{tree: newTree(), rng: rng} }

// ID is the id of a node.
func (r *ring) ID(n Node) uint64 { return r.id[n] }

// point is where a key lies among the ids.
func (r *ring) point(k Key) (uint64, error) {
	if r.Len() == 0 {
		return 0, ErrEmpty
	}
	if k.Len() < idBits {
		return 0, fmt.Errorf("key of %d bits, ids of %d: %w", k.Len(), idBits, ErrShortKey)
	}
	return k.hi, nil
}

// Join adds a node with a random id.
func (r *ring) Join() (Node, error) {
	for {
		if n, err := r.JoinAs(r.rng.Uint64()); err == nil {
			return n, nil
		}
	}
}

// JoinAs adds a node with this id; ErrFull if there is one already.
func (r *ring) JoinAs(id uint64) (Node, error) {
	t := r.tree
	v, used := t.walk(root, NewKey(id, 0).Prefix(idBits))
	if t.isLeaf(v) {
		// Somebody is here: both move down to where their ids part.
		other := t.node[v]
		if r.id[other] == id {
			return None, fmt.Errorf("id %016x is taken: %w", id, ErrFull)
		}
		t.node[v] = None
		for part := bits.LeadingZeros64(r.id[other] ^ id); used < part; used++ {
			v = t.hang(v, bitOf(id, used))
			t.size[v] = 1
		}
		w := t.hang(v, bitOf(r.id[other], used))
		t.size[w], t.node[w], r.leaf[other] = 1, other, w
	}
	if v != root || r.Len() > 0 {
		v = t.hang(v, bitOf(id, used))
	}
	n := r.add()
	for int(n) >= len(r.id) {
		r.id = append(r.id, 0)
		r.leaf = append(r.leaf, noVertex)
	}
	t.node[v], r.id[n], r.leaf[n] = n, id, v
	t.count(v, 1)
	return n, nil
}

func bitOf(id uint64, i int) int { return int(id >> (63 - i) & 1) }

// Leave takes a node out; tables are mended at once.
func (r *ring) Leave(n Node) error {
	if err := r.mayLeave(n); err != nil {
		return err
	}
	t := r.tree
	v := r.leaf[n]
	t.count(v, -1)
	t.node[v] = None
	for t.size[v] == 0 {
		up := t.up[v]
		t.drop(v)
		v = up
	}
	if t.size[v] == 1 { // whoever stays alone below v moves up
		only := t.edge(v, 0)
		w := r.leaf[only]
		for w != v {
			up := t.up[w]
			t.node[w] = None
			t.drop(w)
			w = up
		}
		for v != root && t.size[t.up[v]] == 1 {
			up := t.up[v]
			t.drop(v)
			v = up
		}
		t.node[v], r.leaf[only] = only, v
	}
	r.remove(n)
	return nil
}

// successor is the first node at or after x.
func (r *ring) successor(x uint64) Node { return r.beside(x, 0) }

// predecessor is the last node at or before x.
func (r *ring) predecessor(x uint64) Node { return r.beside(x, 1) }

// beside is the first node at or behind x (side 0), or the last at or before x (side 1), around the ring.
func (r *ring) beside(x uint64, side int) Node {
	t := r.tree
	v, turn := root, noVertex // turn: the subtree next to the path that was met last
	for i := 0; v != noVertex && !t.isLeaf(v); i++ {
		b := bitOf(x, i)
		if other := t.kid[v][1-side]; b == side && other != noVertex {
			turn = other
		}
		v = t.kid[v][b]
	}
	if v != noVertex {
		if id := r.id[t.node[v]]; id == x || (id > x) == (side == 0) {
			return t.node[v]
		}
	}
	if turn == noVertex {
		turn = root
	}
	return t.edge(turn, side)
}

// after is the node that follows n on the ring; before the one ahead of it. A lone node follows itself.
func (r *ring) after(n Node) Node  { return r.successor(r.id[n] + 1) }
func (r *ring) before(n Node) Node { return r.predecessor(r.id[n] - 1) }

// within tells whether x lies in (a, b] on the ring; (a, a] is everything.
func within(x, a, b uint64) bool { return x-a-1 < b-a || a == b }

// rank is how many ids are below x.
func (r *ring) rank(x uint64) int {
	t := r.tree
	v, n := root, 0
	for i := 0; v != noVertex && !t.isLeaf(v); i++ {
		b := bitOf(x, i)
		if b == 1 {
			n += t.sizeOf(t.kid[v][0])
		}
		v = t.kid[v][b]
	}
	if v != noVertex && r.id[t.node[v]] < x {
		n++
	}
	return n
}

// arc is how many ids lie in [a, b], around the ring.
func (r *ring) arc(a, b uint64) int {
	upto := r.Len()
	if b != math.MaxUint64 {
		upto = r.rank(b + 1)
	}
	if a <= b {
		return upto - r.rank(a)
	}
	return r.Len() - r.rank(a) + upto
}

// ringShare is the arc from the node before, which is what a node owns on a ring.
func (r *ring) ringShare(n Node) float64 {
	if r.Len() == 1 {
		return 1
	}
	return math.Ldexp(float64(r.id[n]-r.id[r.before(n)]), -idBits)
}
