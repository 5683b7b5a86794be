package overlay

import "math/rand/v2"

// dbcan is CAN on the de Bruijn graph B(2, n): node x1..xk has edges to the nodes whose id is comparable with
// x2..xk, that is, one is a prefix of the other (DBCAN paper, section 2.1.3).
type dbcan struct{ zones }

func newDBCAN(join JoinRule, rng *rand.Rand) *dbcan { return &dbcan{newZones(join, rng)} }

func (d *dbcan) Join() (Node, error) {
	n, _, err := d.split(d.around)
	return n, err
}

func (d *dbcan) Leave(n Node) error {
	_, _, err := d.merge(n)
	return err
}

// comparable appends the nodes whose id is a prefix of k or the other way round, except one.
func (d *dbcan) comparable(k Key, except Node, out []Node) []Node {
	v, _ := d.tree.walk(root, k)
	from := len(out)
	out = d.tree.leaves(v, out)
	for i := from; i < len(out); i++ {
		if out[i] == except {
			return append(out[:i], out[i+1:]...)
		}
	}
	return out
}

// Children appends the nodes that n forwards to.
func (d *dbcan) Children(n Node, out []Node) []Node {
	if d.id[n].Len() == 0 {
		return out
	}
	return d.comparable(d.id[n].Drop(1), n, out)
}

// Parents appends the nodes that forward to n.
func (d *dbcan) Parents(n Node, out []Node) []Node {
	if d.id[n].Len() == 0 {
		return out
	}
	return d.comparable(d.id[n].Prepend(1), n, d.comparable(d.id[n].Prepend(0), n, out))
}

func (d *dbcan) around(n Node, out []Node) []Node { return d.Parents(n, d.Children(n, out)) }

func (d *dbcan) Neighbours(n Node, out []Node) []Node { return d.Children(n, out) }

// Degree counts children, and children and parents, those that are both once.
func (d *dbcan) Degree(n Node) (out, links int) {
	all := d.Children(n, nil)
	out = len(all)
	links = out
	for _, p := range d.Parents(n, nil) {
		if !contains(all[:out], p) {
			links++
		}
	}
	return out, links
}

// Route follows the paper's rule with S computed anew at every node: S is the longest suffix of the node's id that
// is a prefix of the key; the next node is the child that continues x2..xk with what follows S in the key.
func (d *dbcan) Route(from Node, key Key, t *Trip) error {
	owner, err := d.Owner(key)
	if err != nil {
		return err
	}
	t.start(from)
	for x := from; ; {
		if x == owner {
			t.Found = true
			return nil
		}
		next := d.child(x, key)
		if !d.Alive(next) { // there is no second way
			t.lost()
			return nil
		}
		t.step(next)
		x = next
	}
}

// child is where a lookup goes from x, which does not own the key.
func (d *dbcan) child(x Node, key Key) Node {
	id := d.id[x]
	v, _ := d.tree.walk(root, id.Drop(1))
	if !d.tree.isLeaf(v) {
		v, _ = d.tree.walk(v, key.Drop(overlap(id, key)))
	}
	return d.tree.node[v]
}

func contains(list []Node, n Node) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}
