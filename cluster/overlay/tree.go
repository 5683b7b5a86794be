package overlay

// tree is a binary tree of bit strings. For CAN and DBCAN its leaves are zones, a universal prefix set: every
// inner vertex has two kids. For rings and Kademlia the leaves are ids of 64 bits, each at the shallowest vertex
// where it stands alone, and an inner vertex may have one kid only.
type tree struct {
	kid  [][2]int32 // noVertex where there is none
	up   []int32
	size []int32 // leaves at and below; kept for ids only
	node []Node  // of a leaf; None for inner vertices
	free []int32
}

const noVertex int32 = -1

// root is the vertex of the empty string; it exists always.
const root int32 = 0

func newTree() *tree {
	t := &tree{}
	t.vertex(noVertex)
	return t
}

func (t *tree) vertex(up int32) int32 {
	if last := len(t.free) - 1; last >= 0 {
		v := t.free[last]
		t.free = t.free[:last]
		t.kid[v], t.up[v], t.size[v], t.node[v] = [2]int32{noVertex, noVertex}, up, 0, None
		return v
	}
	t.kid = append(t.kid, [2]int32{noVertex, noVertex})
	t.up = append(t.up, up)
	t.size = append(t.size, 0)
	t.node = append(t.node, None)
	return int32(len(t.kid) - 1)
}

// hang makes a new vertex below v.
func (t *tree) hang(v int32, side int) int32 {
	w := t.vertex(v)
	t.kid[v][side] = w
	return w
}

// drop takes away a vertex that has nothing below it.
func (t *tree) drop(v int32) {
	if up := t.up[v]; up != noVertex {
		t.kid[up][t.side(v)] = noVertex
	}
	t.free = append(t.free, v)
}

// side is which kid of its parent v is.
func (t *tree) side(v int32) int {
	if t.kid[t.up[v]][1] == v {
		return 1
	}
	return 0
}

func (t *tree) sibling(v int32) int32 { return t.kid[t.up[v]][1-t.side(v)] }

func (t *tree) isLeaf(v int32) bool { return t.node[v] != None }

// count adds d leaves to v and all above it.
func (t *tree) count(v int32, d int32) {
	for ; v != noVertex; v = t.up[v] {
		t.size[v] += d
	}
}

// sizeOf is the number of leaves below a vertex that may be none.
func (t *tree) sizeOf(v int32) int {
	if v == noVertex {
		return 0
	}
	return int(t.size[v])
}

// walk follows the bits of k from v until a leaf, the end of k or a missing kid, and tells how many bits it used.
func (t *tree) walk(v int32, k Key) (int32, int) {
	for i := range k.Len() {
		if t.isLeaf(v) {
			return v, i
		}
		w := t.kid[v][k.Bit(i)]
		if w == noVertex {
			return v, i
		}
		v = w
	}
	return v, k.Len()
}

// leaves appends the nodes below v in order.
func (t *tree) leaves(v int32, out []Node) []Node {
	if v == noVertex {
		return out
	}
	if t.isLeaf(v) {
		return append(out, t.node[v])
	}
	return t.leaves(t.kid[v][1], t.leaves(t.kid[v][0], out))
}

// pick is the node of the i-th leaf below v.
func (t *tree) pick(v int32, i int) Node {
	for !t.isLeaf(v) {
		left := t.kid[v][0]
		if n := t.sizeOf(left); i < n {
			v = left
		} else {
			i -= n
			v = t.kid[v][1]
		}
	}
	return t.node[v]
}

// edge is the first (side 0) or last (side 1) node below v.
func (t *tree) edge(v int32, side int) Node {
	for !t.isLeaf(v) {
		w := t.kid[v][side]
		if w == noVertex {
			w = t.kid[v][1-side]
		}
		v = w
	}
	return t.node[v]
}

// roster numbers the nodes: living numbers dense, for uniform choice, and dead flags.
type roster struct {
	list  []Node  // those there are
	place []int32 // of a node in list; -1: free
	spare []Node
	dead  []bool
}

func (r *roster) Len() int      { return len(r.list) }
func (r *roster) At(i int) Node { return r.list[i] }

// Kill and Revive do nothing for nodes that are not there.
func (r *roster) Kill(n Node)   { r.set(n, true) }
func (r *roster) Revive(n Node) { r.set(n, false) }

func (r *roster) set(n Node, dead bool) {
	if r.here(n) {
		r.dead[n] = dead
	}
}

func (r *roster) Alive(n Node) bool { return r.here(n) && !r.dead[n] }

func (r *roster) here(n Node) bool { return n >= 0 && int(n) < len(r.place) && r.place[n] >= 0 }

// add is a fresh number.
func (r *roster) add() Node {
	var n Node
	if last := len(r.spare) - 1; last >= 0 {
		n = r.spare[last]
		r.spare = r.spare[:last]
		r.dead[n] = false
	} else {
		n = Node(len(r.place))
		r.place = append(r.place, 0)
		r.dead = append(r.dead, false)
	}
	r.place[n] = int32(len(r.list))
	r.list = append(r.list, n)
	return n
}

// remove frees a number.
func (r *roster) remove(n Node) {
	last := r.list[len(r.list)-1]
	i := r.place[n]
	r.list[i], r.place[last] = last, i
	r.list = r.list[:len(r.list)-1]
	r.place[n] = -1
	r.spare = append(r.spare, n)
}

// mayLeave says why a node cannot, if so.
func (r *roster) mayLeave(n Node) error {
	switch {
	case !r.here(n):
		return ErrGone
	case len(r.list) == 1:
		return ErrLast
	}
	return nil
}
