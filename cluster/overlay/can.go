package overlay

import (
	"math"
	"math/rand/v2"
	"slices"
)

// maxDims is the most dimensions a box has room for.
const maxDims = 3

// can is CAN on a torus of dims dimensions. Bit i of an id or key halves dimension i mod dims, so that a key is a
// point and an id a box. Neighbours abut in exactly one dimension and overlap in the others.
type can struct {
	zones
	dims int
	near [][]Node // neighbours of a node
	box  []box    // zone of a node
}

// box is a zone: in each dimension the 2^-width long part of the circle of 2^64 points that begins at from.
type box struct {
	from  [maxDims]uint64
	width [maxDims]uint8
}

func newCAN(dims int, join JoinRule, rng *rand.Rand) *can {
	return &can{zones: newZones(join, rng), dims: dims}
}

// boxOf reads the bits of an id or key.
func (c *can) boxOf(k Key) (b box) {
	for i := range k.Len() {
		d := i % c.dims
		b.from[d] |= uint64(k.Bit(i)) << (63 - b.width[d])
		b.width[d]++
	}
	return b
}

// last is the last point of a box in dimension d; a zone that is not divided in it ends before its beginning.
func (b *box) last(d int) uint64 {
	if b.width[d] == 0 {
		return b.from[d] - 1
	}
	return b.from[d] + (1<<(64-b.width[d]) - 1)
}

// overlaps tells whether two boxes share points in dimension d: the smaller one lies in the larger one.
func (b *box) overlaps(o *box, d int) bool {
	w := min(b.width[d], o.width[d])
	return w == 0 || (b.from[d]^o.from[d])>>(64-w) == 0
}

func (b *box) abuts(o *box, d int) bool {
	return b.last(d)+1 == o.from[d] || o.last(d)+1 == b.from[d]
}

func (c *can) neighbours(a, b *box) bool {
	touch := 0
	for d := range c.dims {
		switch {
		case a.overlaps(b, d):
		case a.abuts(b, d):
			touch++
		default:
			return false
		}
	}
	return touch == 1
}

// distance is that of a point and the nearest point of a box, squared, on the torus.
func (c *can) distance(b *box, p *[maxDims]uint64) float64 {
	sum := 0.0
	for d := range c.dims {
		off := p[d] - b.from[d]
		end := b.last(d) - b.from[d]
		if off <= end {
			continue
		}
		// Behind the last point, or before the first one the other way round.
		near := float64(min(off-end, -off))
		sum += near * near
	}
	return sum
}

func (c *can) Join() (Node, error) {
	n, old, err := c.split(c.Neighbours)
	if err != nil {
		return None, err
	}
	c.moveIn(n, old)
	return n, nil
}

// moveIn gives n, which has half of what was old's zone, its neighbours, and old those that remain.
func (c *can) moveIn(n, old Node) {
	for int(n) >= len(c.near) {
		c.near = append(c.near, nil)
		c.box = append(c.box, box{})
	}
	c.box[n] = c.boxOf(c.id[n])
	if old == None {
		return
	}
	before := c.near[old]
	c.box[old] = c.boxOf(c.id[old])
	c.near[old] = nil
	for _, m := range before {
		c.unlink(m, old)
		c.meet(old, m)
		c.meet(n, m)
	}
	c.meet(old, n)
}

// meet makes two nodes neighbours, if their zones are and they are not yet.
func (c *can) meet(a, b Node) {
	if a != b && c.neighbours(&c.box[a], &c.box[b]) && !contains(c.near[a], b) {
		c.near[a] = append(c.near[a], b)
		c.near[b] = append(c.near[b], a)
	}
}

// unlink makes at forget n.
func (c *can) unlink(at, n Node) {
	if i := slices.Index(c.near[at], n); i >= 0 {
		c.near[at] = slices.Delete(c.near[at], i, i+1)
	}
}

func (c *can) Leave(n Node) error {
	keep, freed, err := c.merge(n)
	if err != nil {
		return err
	}
	affected := []Node{keep, freed, n}
	var around []Node // of the three zones
	for i, a := range affected {
		if contains(affected[:i], a) {
			continue
		}
		around = append(around, c.near[a]...)
		for _, m := range c.near[a] {
			c.unlink(m, a)
		}
		c.near[a] = nil
	}
	for _, a := range affected {
		if c.here(a) {
			c.box[a] = c.boxOf(c.id[a])
		}
	}
	for _, a := range affected {
		for _, m := range around {
			if c.here(a) && c.here(m) {
				c.meet(a, m)
			}
		}
		if c.here(a) && c.here(keep) {
			c.meet(a, keep)
		}
	}
	return nil
}

func (c *can) Neighbours(n Node, out []Node) []Node { return append(out, c.near[n]...) }

// Degree counts neighbours; all links of CAN go both ways.
func (c *can) Degree(n Node) (out, links int) { return len(c.near[n]), len(c.near[n]) }

// maxDetours bounds the steps of one lookup that come no nearer; none is made while all nodes live.
const maxDetours = 64

// Route is greedy: to a neighbour that owns the key, else to the one whose zone has the point nearest to the key.
// (Distances to centres get stuck.) Past dead neighbours it takes the next best one, also when that is not nearer
// than here, but no node twice.
func (c *can) Route(from Node, key Key, t *Trip) error {
	owner, err := c.Owner(key)
	if err != nil {
		return err
	}
	t.start(from)
	point := c.boxOf(key).from
	detours := 0
	for x := from; x != owner; {
		next, nearer := c.next(x, owner, &point, t)
		if !nearer {
			detours++
		}
		if next == None || detours > maxDetours {
			return nil
		}
		t.step(next)
		x = next
	}
	t.Found = true
	return nil
}

// next is the best living neighbour of x and whether it is nearer than x; None when there is none left. Equally
// near neighbours are taken in the order of their ids, as if each node kept its table sorted.
func (c *can) next(x, owner Node, point *[maxDims]uint64, t *Trip) (next Node, nearer bool) {
	if contains(c.near[x], owner) {
		if c.Alive(owner) {
			return owner, true
		}
		t.lost()
		return None, false
	}
	astray := t.Timeouts > 0
	best, dist := None, math.Inf(1)
	var dead []float64
	for _, m := range c.near[x] {
		d := c.distance(&c.box[m], point)
		if !c.Alive(m) {
			dead = append(dead, d)
			continue
		}
		if (d < dist || d == dist && c.id[m].less(c.id[best])) && !(astray && contains(t.Path, m)) {
			best, dist = m, d
		}
	}
	for _, d := range dead { // those tried before the best
		if d <= dist {
			t.lost()
		}
	}
	return best, dist < c.distance(&c.box[x], point)
}
