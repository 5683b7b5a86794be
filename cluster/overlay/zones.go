package overlay

import (
	"fmt"
	"math"
	"math/rand/v2"
)

// zones is what CAN and DBCAN have in common: nodes own the leaves of a tree of zones, joins halve a zone, leaves
// merge two halves. The ids of the nodes are a universal prefix set at any time.
type zones struct {
	roster
	tree *tree
	id   []Key   // of a node
	leaf []int32 // of a node
	join JoinRule
	rng  *rand.Rand
}

func newZones(join JoinRule, rng *rand.Rand) zones {
	return zones{tree: newTree(), join: join, rng: rng}
}

// ID is the string that all keys of a node begin with.
func (z *zones) ID(n Node) Key { return z.id[n] }

// Share is the area of the node's zone.
func (z *zones) Share(n Node) float64 { return math.Ldexp(1, -z.id[n].Len()) }

// Owner is the node whose id is a prefix of the key.
func (z *zones) Owner(k Key) (Node, error) {
	if z.Len() == 0 {
		return None, ErrEmpty
	}
	v, _ := z.tree.walk(root, k)
	if !z.tree.isLeaf(v) {
		return None, fmt.Errorf("key of %d bits: %w", k.Len(), ErrShortKey)
	}
	return z.tree.node[v], nil
}

// settle gives a node a leaf.
func (z *zones) settle(n Node, v int32, id Key) {
	for int(n) >= len(z.id) {
		z.id = append(z.id, Key{})
		z.leaf = append(z.leaf, noVertex)
	}
	z.id[n], z.leaf[n] = id, v
	z.tree.node[v] = n
}

// split adds a node, in one half of the zone of old; old is None for the first node.
func (z *zones) split(near func(Node, []Node) []Node) (fresh, old Node, err error) {
	if z.Len() == 0 {
		n := z.add()
		z.settle(n, root, Key{})
		return n, None, nil
	}
	owner, err := z.Owner(RandomKey(z.rng, KeyBits))
	if err != nil {
		return None, None, err
	}
	if z.join == JoinNeighbours {
		owner = z.largest(owner, near(owner, nil))
	}
	n, err := z.halve(owner)
	return n, owner, err
}

// halve gives the second half of a zone to a new node.
func (z *zones) halve(owner Node) (Node, error) {
	id, v := z.id[owner], z.leaf[owner]
	if id.Len() == KeyBits {
		return None, ErrFull
	}
	t := z.tree
	n := z.add()
	t.node[v] = None
	z.settle(owner, t.hang(v, 0), id.Append(0))
	z.settle(n, t.hang(v, 1), id.Append(1))
	return n, nil
}

// largest is the node with the largest zone: owner when no other is larger, else one of the largest at random.
func (z *zones) largest(owner Node, others []Node) Node {
	best, ties := owner, 0
	for _, n := range others {
		switch a, b := z.id[n].Len(), z.id[best].Len(); {
		case a < b:
			best, ties = n, 1
		case a == b && best != owner && n != best:
			if ties++; z.rng.IntN(ties) == 0 {
				best = n
			}
		}
	}
	return best
}

// merge takes a node out. The zones of keep and freed, which are siblings, become one that keep owns; freed takes
// the zone of the leaver, unless it is the leaver.
func (z *zones) merge(n Node) (keep, freed Node, err error) {
	if err := z.mayLeave(n); err != nil {
		return None, None, err
	}
	t := z.tree
	freed, keep = n, t.node[t.sibling(z.leaf[n])]
	if keep == None { // the sibling is divided: two zones below it become one
		v := z.pair(t.sibling(z.leaf[n]))
		keep, freed = t.node[t.kid[v][0]], t.node[t.kid[v][1]]
	}
	v, id := t.up[z.leaf[keep]], z.id[keep]
	t.drop(z.leaf[keep])
	t.drop(z.leaf[freed])
	z.settle(keep, v, id.Prefix(id.Len()-1))
	if freed != n {
		z.settle(freed, z.leaf[n], z.id[n])
	}
	z.remove(n)
	return keep, freed, nil
}

// pair is a vertex over two sibling zones below v, which is divided: a way down at random, as far as there are
// divided zones.
func (z *zones) pair(v int32) int32 {
	for {
		k := z.tree.kid[v]
		switch left, right := z.tree.isLeaf(k[0]), z.tree.isLeaf(k[1]); {
		case left && right:
			return v
		case left:
			v = k[1]
		case right:
			v = k[0]
		default:
			v = k[z.rng.IntN(2)]
		}
	}
}
