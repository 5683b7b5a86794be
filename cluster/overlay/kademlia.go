package overlay

import (
	"cmp"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
)

// kademlia is Kademlia with buckets of k. A bucket that has more candidates than room holds a random k of them, as
// after a refresh; it is drawn when it is first looked at, and the same again after it was forgotten. Forgotten is
// everything at a join or leave, dead nodes stay in the tables.
type kademlia struct {
	ring
	k, alpha, beta int
	exhaustive     bool
	seed           uint64
	drawn          map[bucket][]Node
	picks          []int
	state          lookup
}

// bucket names the nodes that share i bits with the id of n and differ in the next.
type bucket struct {
	n Node
	i uint8
}

func newKademlia(c Config, rng *rand.Rand) *kademlia {
	beta := c.Beta
	if beta == 0 {
		beta = c.K
	}
	return &kademlia{ring: newRing(rng), k: c.K, alpha: c.Alpha, beta: beta, exhaustive: c.Exhaustive,
		seed: rng.Uint64(), drawn: map[bucket][]Node{}}
}

func (k *kademlia) Join() (Node, error) { clear(k.drawn); return k.ring.Join() }

func (k *kademlia) JoinAs(id uint64) (Node, error) { clear(k.drawn); return k.ring.JoinAs(id) }

func (k *kademlia) Leave(n Node) error { clear(k.drawn); return k.ring.Leave(n) }

// Owner is the node whose id is nearest to the key by XOR.
func (k *kademlia) Owner(key Key) (Node, error) {
	x, err := k.point(key)
	if err != nil {
		return None, err
	}
	return k.nearest(x), nil
}

func (k *kademlia) nearest(x uint64) Node {
	t, v := k.tree, root
	for i := 0; !t.isLeaf(v); i++ {
		w := t.kid[v][bitOf(x, i)]
		if w == noVertex {
			w = t.kid[v][1-bitOf(x, i)]
		}
		v = w
	}
	return t.node[v]
}

// Share halves at every vertex above the node that has nodes on both sides.
func (k *kademlia) Share(n Node) float64 {
	forks := 0
	for v := k.leaf[n]; v != root; v = k.tree.up[v] {
		if k.tree.sibling(v) != noVertex {
			forks++
		}
	}
	return math.Ldexp(1, -forks)
}

// path is the way from the root to a node: path[i] shares i bits with it.
func (k *kademlia) path(n Node, out []int32) []int32 {
	for v := k.leaf[n]; v != noVertex; v = k.tree.up[v] {
		out = append(out, v)
	}
	slices.Reverse(out)
	return out
}

// contacts are those of bucket i of n; v is the vertex of its candidates.
func (k *kademlia) contacts(n Node, i int, v int32) []Node {
	size := k.tree.sizeOf(v)
	if size == 0 {
		return nil
	}
	name := bucket{n, uint8(i)}
	if c, ok := k.drawn[name]; ok {
		return c
	}
	var c []Node
	if size <= k.k {
		c = k.tree.leaves(v, make([]Node, 0, size))
	} else {
		c = k.draw(v, size, rand.New(rand.NewPCG(k.seed^k.id[n], uint64(i))))
	}
	k.drawn[name] = c
	return c
}

// draw picks k of size leaves below v (Floyd's sampling).
func (k *kademlia) draw(v int32, size int, rng *rand.Rand) []Node {
	k.picks = k.picks[:0]
	c := make([]Node, 0, k.k)
	for j := size - k.k; j < size; j++ {
		r := rng.IntN(j + 1)
		if slices.Contains(k.picks, r) {
			r = j
		}
		k.picks = append(k.picks, r)
		c = append(c, k.tree.pick(v, r))
	}
	return c
}

// Neighbours appends the contacts of all buckets, the farthest first.
func (k *kademlia) Neighbours(n Node, out []Node) []Node {
	path := k.path(n, make([]int32, 0, idBits+1))
	for i := range len(path) - 1 {
		out = append(out, k.contacts(n, i, k.tree.sibling(path[i+1]))...)
	}
	return out
}

// Degree counts contacts without drawing them; who holds a node is not known.
func (k *kademlia) Degree(n Node) (out, links int) {
	for v := k.leaf[n]; v != root; v = k.tree.up[v] {
		out += min(k.k, k.tree.sizeOf(k.tree.sibling(v)))
	}
	return out, 0
}

// known appends the k contacts of n that are nearest to x.
func (k *kademlia) known(n Node, x uint64, out []Node) []Node {
	var buf [idBits + 1]int32
	path := k.path(n, buf[:0])
	buckets := len(path) - 1
	near := min(bits.LeadingZeros64(k.id[n]^x), buckets)
	start := len(out)
	group := func(from, to int) bool { // buckets from to to-1 are equally far in their first bits
		at := len(out)
		for i := from; i < to; i++ {
			out = append(out, k.contacts(n, i, k.tree.sibling(path[i+1]))...)
		}
		slices.SortFunc(out[at:], func(a, b Node) int { return cmp.Compare(k.id[a]^x, k.id[b]^x) })
		return len(out)-start < k.k
	}
	// The bucket that shares one bit more with x than n does, then all that share as many as n, then fewer.
	if more := group(near, min(near+1, buckets)); more && group(near+1, buckets) {
		for i := near - 1; i >= 0 && group(i, i+1); i-- {
		}
	}
	return out[:min(len(out), start+k.k)]
}

// Route is an iterative lookup: alpha of the nearest known nodes are asked at a time, each answers with the k
// nearest that it knows. It ends when the owner has answered. With Config.Exhaustive it is the walk before a put.
func (k *kademlia) Route(from Node, key Key, t *Trip) error {
	x, err := k.point(key)
	if err != nil {
		return err
	}
	owner := k.nearest(x)
	t.start(from)
	if from == owner && !k.exhaustive {
		t.Found = true
		return nil
	}
	l := &k.state
	l.begin(x, owner, len(k.place))
	l.seen[from] = l.round
	l.merge(k, k.known(from, x, l.answer[:0]), 1)
	if k.exhaustive {
		k.walk(l, t)
	} else {
		k.rounds(l, t)
	}
	t.Hops = l.depth
	if from == owner {
		t.Found, t.Hops = true, 0
	}
	return nil
}

// rounds asks alpha at a time until the owner has answered, or the beta nearest have.
func (k *kademlia) rounds(l *lookup, t *Trip) {
	for !t.Found {
		asked := l.choose(k.beta, k.alpha)
		if len(asked) == 0 {
			return
		}
		for _, c := range asked {
			k.ask(c, l, t)
		}
	}
}

// walk is a lookup as go-libp2p-kad-dht does it: alpha questions are under way at any time, to the nearest that are
// known; each answer makes room for one more; it ends when the beta nearest have answered. Then all of the k nearest
// that have not answered are asked, those whose answer is still under way once more.
func (k *kademlia) walk(l *lookup, t *Trip) {
	var underway []candidate // in the order in which they will answer
	for !l.answered(k.beta) {
		for _, c := range l.choose(len(l.list), k.alpha-len(underway)) {
			t.Messages++
			t.Path = append(t.Path, c.node)
			underway = append(underway, c)
		}
		if len(underway) == 0 {
			break
		}
		k.answer(underway[0], l, t)
		underway = underway[1:]
	}
	for _, c := range l.list[:min(k.k, len(l.list))] {
		if !c.answered {
			t.Messages++
			t.Path = append(t.Path, c.node)
			if k.dead[c.node] {
				t.Timeouts++
			} else if c.node == l.owner {
				t.Found = true
			}
		}
	}
}

// ask sends one question and takes in the answer.
func (k *kademlia) ask(c candidate, l *lookup, t *Trip) {
	t.Messages++
	t.Path = append(t.Path, c.node)
	k.answer(c, l, t)
}

// answer is what comes back, or that nothing does.
func (k *kademlia) answer(c candidate, l *lookup, t *Trip) {
	if k.dead[c.node] {
		t.Timeouts++
		l.forget(c.node)
		return
	}
	if c.node == l.owner {
		t.Found = true
	}
	l.done(c)
	l.merge(k, k.known(c.node, l.target, l.answer[:0]), c.depth+1)
}

// lookup is the state of one iterative lookup; its memory is used again.
type lookup struct {
	target uint64
	owner  Node
	depth  int         // of the owner's first referral
	list   []candidate // by distance, the living and the unknown
	seen   []uint32    // round in which a node was heard of
	round  uint32
	answer []Node
	turn   []candidate
}

type candidate struct {
	distance uint64
	node     Node
	depth    int
	asked    bool
	answered bool
}

func byDistance(a, b candidate) int { return cmp.Compare(a.distance, b.distance) }

func (l *lookup) begin(target uint64, owner Node, nodes int) {
	l.target, l.owner, l.depth, l.list = target, owner, 0, l.list[:0]
	if len(l.seen) < nodes {
		l.seen = make([]uint32, nodes)
		l.round = 0
	}
	l.round++
}

// merge takes in an answer.
func (l *lookup) merge(k *kademlia, answer []Node, depth int) {
	l.answer = answer[:0]
	for _, n := range answer {
		if l.seen[n] == l.round {
			continue
		}
		l.seen[n] = l.round
		if n == l.owner {
			l.depth = depth
		}
		c := candidate{distance: k.id[n] ^ l.target, node: n, depth: depth}
		i, _ := slices.BinarySearchFunc(l.list, c, byDistance)
		l.list = slices.Insert(l.list, i, c)
	}
}

// done notes that a node has answered.
func (l *lookup) done(c candidate) {
	if i, ok := slices.BinarySearchFunc(l.list, c, byDistance); ok {
		l.list[i].answered = true
	}
}

// answered tells whether the first nearest have all answered.
func (l *lookup) answered(first int) bool {
	for i := range l.list[:min(first, len(l.list))] {
		if !l.list[i].answered {
			return false
		}
	}
	return true
}

// choose marks up to limit nodes among the nearest first ones that were not asked yet, and returns them.
func (l *lookup) choose(first, limit int) []candidate {
	l.turn = l.turn[:0]
	for i := range l.list[:min(first, len(l.list))] {
		if c := &l.list[i]; !c.asked && len(l.turn) < limit {
			c.asked = true
			l.turn = append(l.turn, *c)
		}
	}
	return l.turn
}

// forget takes out a node that did not answer.
func (l *lookup) forget(n Node) {
	l.list = slices.DeleteFunc(l.list, func(c candidate) bool { return c.node == n })
}
