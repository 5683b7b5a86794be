package overlay

import (
	"cmp"
	"slices"
	"testing"
)

func ringOf(o Overlay) *ring {
	switch x := o.(type) {
	case *chord:
		return &x.ring
	case *koorde:
		return &x.ring
	case *kademlia:
		return &x.ring
	}
	return nil
}

// The tree answers what a search through all ids answers.
func TestRingSearch(t *testing.T) {
	rng := generator(7)
	live(t, DefaultConfig(Chord), 1, 300, 40, func(o Overlay) {
		r := ringOf(o)
		all := nodes(o)
		slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(r.id[a], r.id[b]) })
		for i, n := range all {
			if got := r.after(n); got != all[(i+1)%len(all)] {
				t.Errorf("after %d comes %d, want %d", n, got, all[(i+1)%len(all)])
			}
			if got := r.before(n); got != all[(i+len(all)-1)%len(all)] {
				t.Errorf("before %d is %d", n, got)
			}
			if r.rank(r.id[n]) != i || r.rank(r.id[n]+1) != i+1 && r.id[n] != ^uint64(0) {
				t.Errorf("rank of node %d of %d is %d", i, len(all), r.rank(r.id[n]))
			}
		}
		for range 5 {
			a, b := rng.Uint64(), rng.Uint64()
			in := 0
			for _, n := range all {
				if r.id[n]-a <= b-a {
					in++
				}
			}
			if got := r.arc(a, b); got != in {
				t.Errorf("%d ids in the arc, counted %d", in, got)
			}
		}
	})
}

// Ids at the edges and ids that share 63 bits.
func TestRingEdges(t *testing.T) {
	c := newChord(8, generator(1))
	ids := []uint64{0, 1, 2, 1 << 63, 1<<63 + 1, ^uint64(0), ^uint64(0) - 1}
	by := map[uint64]Node{}
	for _, id := range ids {
		n, err := c.JoinAs(id)
		if err != nil {
			t.Fatal(err)
		}
		by[id] = n
	}
	if _, err := c.JoinAs(1); err == nil || c.Len() != len(ids) {
		t.Errorf("the same id twice: %v, %d nodes", err, c.Len())
	}
	slices.Sort(ids)
	for i, id := range ids {
		if got := c.after(by[id]); got != by[ids[(i+1)%len(ids)]] {
			t.Errorf("after %x comes %x", id, c.ID(got))
		}
	}
	for len(ids) > 1 {
		if err := c.Leave(by[ids[0]]); err != nil {
			t.Fatal(err)
		}
		ids = ids[1:]
		if got := c.successor(0); got != by[ids[0]] {
			t.Errorf("first of %x is %x", ids, c.ID(got))
		}
	}
	if v := c.leaf[by[ids[0]]]; v != root {
		t.Errorf("the last node hangs at %d", v)
	}
}

// Who holds whom, counted by looking into all tables.
func TestRingLinks(t *testing.T) {
	for _, g := range []Geometry{Chord, Koorde} {
		live(t, DefaultConfig(g), 2, 150, 40, func(o Overlay) {
			for _, n := range nodes(o) {
				own := o.Neighbours(n, nil)
				holders, both := 0, 0
				for _, m := range nodes(o) {
					if contains(o.Neighbours(m, nil), n) {
						holders++
						if contains(own, m) {
							both++
						}
					}
				}
				want := len(own) + holders - both
				if _, links := o.Degree(n); links != want {
					t.Errorf("%s of %d: %d links, tables say %d", g, o.Len(), links, want)
				}
			}
		})
	}
}

func TestChordFingers(t *testing.T) {
	live(t, DefaultConfig(Chord), 3, 100, 40, func(o Overlay) {
		c := o.(*chord)
		for _, n := range nodes(o) {
			for _, f := range c.Neighbours(n, nil) {
				// f is a finger: somewhere between its predecessor and it lies n + 2^i.
				found := false
				for i := range idBits {
					found = found || within(c.id[n]+1<<i, c.id[c.before(f)], c.id[f])
				}
				if !found {
					t.Errorf("%x is no finger of %x", c.id[f], c.id[n])
				}
			}
		}
	})
}

// A finger that lies on the key itself does not precede it: the way leads over the node before the key.
func TestChordPrecedesStrictly(t *testing.T) {
	c := newChord(8, generator(1))
	by := map[uint64]Node{}
	for _, id := range []uint64{0, 1, 3} {
		n, err := c.JoinAs(id << 60)
		if err != nil {
			t.Fatal(err)
		}
		by[id] = n
	}
	var trip Trip
	if err := c.Route(by[0], NewKey(3<<60, 0), &trip); err != nil || !slices.Equal(trip.Path, []Node{by[0], by[1], by[3]}) {
		t.Errorf("from 0 to 3: %v %v", trip.Path, err)
	}
}

// Buckets hold who belongs there, at most k, and all where there is room; an answer is the k nearest of the table.
func TestKademliaTables(t *testing.T) {
	rng := generator(8)
	c := DefaultConfig(Kademlia)
	c.K = 3
	live(t, c, 4, 150, 60, func(o Overlay) {
		k := o.(*kademlia)
		n := o.At(rng.IntN(o.Len()))
		table := o.Neighbours(n, nil)
		has, could := map[int]int{}, map[int]int{}
		for _, m := range nodes(o) {
			if m == n {
				continue
			}
			i := NewKey(k.id[n], 0).common(NewKey(k.id[m], 0))
			could[i]++
			if contains(table, m) {
				has[i]++
			}
		}
		for i := range could {
			if has[i] != min(c.K, could[i]) {
				t.Errorf("bucket %d holds %d of %d", i, has[i], could[i])
			}
		}
		x := rng.Uint64()
		slices.SortFunc(table, func(a, b Node) int { return cmp.Compare(k.id[a]^x, k.id[b]^x) })
		if got := k.known(n, x, nil); !slices.Equal(got, table[:min(c.K, len(table))]) {
			t.Errorf("answer %v, nearest of the table %v", got, table)
		}
		all := nodes(o)
		owner := slices.MinFunc(all, func(a, b Node) int { return cmp.Compare(k.id[a]^x, k.id[b]^x) })
		if got, err := o.Owner(NewKey(x, 0)); err != nil || got != owner {
			t.Errorf("owner %d %v, nearest is %d", got, err, owner)
		}
	})
}

// An exhaustive lookup asks the k nearest of all, as far as nobody is dead.
func TestKademliaExhaustive(t *testing.T) {
	c := DefaultConfig(Kademlia)
	c.Exhaustive, c.Beta, c.Alpha = true, 3, 10
	o := build(t, c, 5, 300)
	k, rng := o.(*kademlia), generator(9)
	missing := 0
	var trip Trip
	for range 100 {
		x, from := rng.Uint64(), o.At(rng.IntN(o.Len()))
		if err := o.Route(from, NewKey(x, 0), &trip); err != nil || !trip.Found {
			t.Fatalf("%v %+v", err, trip)
		}
		all := nodes(o)
		slices.SortFunc(all, func(a, b Node) int { return cmp.Compare(k.id[a]^x, k.id[b]^x) })
		for _, n := range all[:c.K] {
			if n != from && !contains(trip.Path, n) {
				missing++
			}
		}
		if trip.Messages != len(trip.Path)-1 {
			t.Errorf("%d messages, %d asked", trip.Messages, len(trip.Path)-1)
		}
	}
	if missing > 100 { // of 2,000: tables are samples
		t.Errorf("%d of 2000 nearest nodes were not asked", missing)
	}
}

// The dead: one way only, and many ways.
func TestDeadNodes(t *testing.T) {
	for _, c := range variants() {
		if c.Geometry == Kademlia {
			c.K = 20
		}
		o, rng := build(t, c, 6, 1000), generator(10)
		for i := range 100 {
			o.Kill(o.At(i * 10))
		}
		found, tried, timeouts := 0, 0, 0
		var trip Trip
		for tried < 500 {
			from, key := o.At(rng.IntN(o.Len())), RandomKey(rng, KeyBits)
			if owner, err := o.Owner(key); err != nil || !o.Alive(owner) || !o.Alive(from) {
				continue
			}
			tried++
			if err := o.Route(from, key, &trip); err != nil {
				t.Fatal(err)
			}
			timeouts += trip.Timeouts
			if trip.Found {
				found++
			}
			for _, n := range trip.Path {
				if c.Geometry != Kademlia && !o.Alive(n) {
					t.Fatalf("%s went over the dead %d", c.Geometry, n)
				}
			}
		}
		least, most := 450, 500 // of 500
		switch c.Geometry {
		case DBCAN: // 0.9 to the power of the hops before the owner
			least, most = 150, 280
		case Koorde:
			least, most = 5, 100
		case Kademlia, Chord:
			least = 500
		case CAN2, CAN3:
			least = 460
		}
		if found < least || found > most || timeouts == 0 {
			t.Errorf("%s %s: %d of %d found, %d timeouts; expected %d to %d", c.Geometry, c.Join, found, tried, timeouts, least, most)
		}
		for i := range 100 {
			o.Revive(o.At(i * 10))
		}
		if err := o.Route(o.At(1), RandomKey(rng, KeyBits), &trip); err != nil || !trip.Found || trip.Timeouts != 0 {
			t.Errorf("%s: after revival %+v %v", c.Geometry, trip, err)
		}
	}
}
