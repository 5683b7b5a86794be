package overlay

import (
	"errors"
	"fmt"
	"math"
	"math/big"
	"slices"
	"testing"
)

// What holds after every join and leave, on networks that grow and shrink at random.

// variants are all geometries with all join rules.
func variants() (all []Config) {
	for _, g := range Geometries() {
		c := DefaultConfig(g)
		c.K = 4 // small enough that buckets overflow
		all = append(all, c)
		if g.Zoned() {
			c.Join = JoinNeighbours
			all = append(all, c)
		}
	}
	return all
}

func build(t testing.TB, c Config, seed uint64, n int) Overlay {
	t.Helper()
	o, err := New(c, generator(seed))
	if err != nil {
		t.Fatal(err)
	}
	if err := Grow(o, n); err != nil {
		t.Fatal(err)
	}
	return o
}

// live joins and leaves at random and calls check after each.
func live(t *testing.T, c Config, seed uint64, events, most int, check func(o Overlay)) {
	t.Helper()
	rng := generator(seed + 1000)
	o := build(t, c, seed, 1)
	check(o)
	for range events {
		// Swings between growing and shrinking, so that leaves meet all shapes.
		if o.Len() == 1 || o.Len() < most && rng.IntN(5) < 3 {
			if _, err := o.Join(); err != nil {
				t.Fatalf("%v seed %d: %v", c, seed, err)
			}
		} else if err := o.Leave(o.At(rng.IntN(o.Len()))); err != nil {
			t.Fatalf("%v seed %d: %v", c, seed, err)
		}
		check(o)
		if t.Failed() {
			t.Fatalf("to repeat: %+v seed %d, now %d nodes", c, seed, o.Len())
		}
	}
}

func each(t *testing.T, events, most int, check func(t *testing.T, c Config, o Overlay)) {
	for _, c := range variants() {
		t.Run(fmt.Sprintf("%s-%s", c.Geometry, c.Join), func(t *testing.T) {
			for seed := range uint64(3) {
				live(t, c, seed, events, most, func(o Overlay) { check(t, c, o) })
			}
		})
	}
}

func nodes(o Overlay) []Node {
	var all []Node
	for i := range o.Len() {
		all = append(all, o.At(i))
	}
	return all
}

// Zones: a universal prefix set. Kraft's sum is exactly one, and no id is a prefix of another.
func TestKraftSumIsOne(t *testing.T) {
	for _, c := range variants() {
		if !c.Geometry.Zoned() {
			continue
		}
		live(t, c, 1, 200, 60, func(o Overlay) {
			sum := new(big.Rat)
			for _, n := range nodes(o) {
				id := zonesOf(o).ID(n)
				sum.Add(sum, new(big.Rat).SetFrac(big.NewInt(1), new(big.Int).Lsh(big.NewInt(1), uint(id.Len()))))
				for _, m := range nodes(o) {
					if m != n && id.IsPrefixOf(zonesOf(o).ID(m)) {
						t.Errorf("%s is a prefix of %s", id, zonesOf(o).ID(m))
					}
				}
			}
			if sum.Cmp(big.NewRat(1, 1)) != 0 {
				t.Errorf("Kraft's sum is %v", sum)
			}
		})
	}
}

func zonesOf(o Overlay) *zones {
	switch x := o.(type) {
	case *dbcan:
		return &x.zones
	case *can:
		return &x.zones
	}
	return nil
}

func TestSharesAddUp(t *testing.T) {
	each(t, 120, 50, func(t *testing.T, _ Config, o Overlay) {
		sum := 0.0
		for _, n := range nodes(o) {
			sum += o.Share(n)
		}
		if math.Abs(sum-1) > 1e-9 {
			t.Errorf("shares add up to %v", sum)
		}
	})
}

// Every route ends at the owner, along entries of routing tables, within bounds.
func TestRoutesEndAtTheOwner(t *testing.T) {
	rng := generator(5)
	each(t, 150, 60, func(t *testing.T, c Config, o Overlay) {
		var trip Trip
		for range 4 {
			key, from := RandomKey(rng, KeyBits), o.At(rng.IntN(o.Len()))
			owner, err := o.Owner(key)
			if err != nil {
				t.Fatal(err)
			}
			if err := o.Route(from, key, &trip); err != nil {
				t.Fatal(err)
			}
			if !trip.Found || trip.Timeouts != 0 || trip.Path[0] != from {
				t.Errorf("%v: %+v", key, trip)
			}
			if last := trip.Path[len(trip.Path)-1]; c.Geometry != Kademlia && last != owner || !contains(trip.Path, owner) {
				t.Errorf("%v: ends at %v, the owner is %v", key, last, owner)
			}
			if c.Geometry == Kademlia {
				continue
			}
			if trip.Hops != len(trip.Path)-1 || trip.Hops != trip.Messages {
				t.Errorf("%d hops, %d messages, path %v", trip.Hops, trip.Messages, trip.Path)
			}
			for i, to := range trip.Path[1:] {
				at := trip.Path[i]
				if to != at && !contains(o.Neighbours(at, nil), to) {
					t.Errorf("%v is no neighbour of %v", to, at)
				}
			}
		}
	})
}

// |X|-|S| falls at every hop of DBCAN, so that a route has at most as many hops as the first id has bits.
func TestDBCANAlignmentGrows(t *testing.T) {
	rng := generator(6)
	for _, join := range []JoinRule{JoinPlain, JoinNeighbours} {
		c := DefaultConfig(DBCAN)
		c.Join = join
		live(t, c, 2, 300, 80, func(o Overlay) {
			d := o.(*dbcan)
			var trip Trip
			for range 5 {
				key, from := RandomKey(rng, KeyBits), o.At(rng.IntN(o.Len()))
				if err := d.Route(from, key, &trip); err != nil {
					t.Fatal(err)
				}
				left := d.ID(from).Len() + 1
				for _, n := range trip.Path {
					now := d.ID(n).Len() - overlap(d.ID(n), key)
					if d.ID(n).IsPrefixOf(key) {
						now = 0
					}
					if now >= left {
						t.Errorf("from %v to %v: |X|-|S| is %d after %d", d.ID(from), key, now, left)
					}
					left = now
				}
				if trip.Hops > d.ID(from).Len() {
					t.Errorf("%d hops from %v", trip.Hops, d.ID(from))
				}
			}
		})
	}
}

// Children and parents mirror each other, and Degree agrees with them.
func TestDBCANMirrors(t *testing.T) {
	live(t, DefaultConfig(DBCAN), 3, 200, 60, func(o Overlay) {
		d := o.(*dbcan)
		for _, n := range nodes(o) {
			children, parents := d.Children(n, nil), d.Parents(n, nil)
			for _, m := range nodes(o) {
				x, y := d.ID(n), d.ID(m)
				edge := m != n && (x.Drop(1).IsPrefixOf(y) || y.IsPrefixOf(x.Drop(1)))
				if contains(children, m) != edge || contains(d.Parents(m, nil), n) != edge {
					t.Errorf("edge %v to %v: %v, but children %v and parents %v", x, y, edge, children, d.Parents(m, nil))
				}
			}
			all := slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(children), parents...))))
			if out, links := d.Degree(n); out != len(children) || links != len(all) || contains(all, n) {
				t.Errorf("%v: degree %d and %d, has %v and %v", d.ID(n), out, links, children, parents)
			}
		}
	})
}

// Everybody can be reached from everybody along the tables.
func TestStronglyConnected(t *testing.T) {
	each(t, 100, 40, func(t *testing.T, _ Config, o Overlay) {
		for _, from := range nodes(o) {
			seen := map[Node]bool{from: true}
			for queue := []Node{from}; len(queue) > 0; queue = queue[1:] {
				for _, m := range o.Neighbours(queue[0], nil) {
					if !seen[m] {
						seen[m] = true
						queue = append(queue, m)
					}
				}
			}
			if len(seen) != o.Len() {
				t.Fatalf("%d of %d are reached from %d", len(seen), o.Len(), from)
			}
		}
	})
}

// Tables hold each node once and never the node itself.
func TestTablesAreSets(t *testing.T) {
	each(t, 100, 40, func(t *testing.T, c Config, o Overlay) {
		for _, n := range nodes(o) {
			table := o.Neighbours(n, nil)
			if len(slices.Compact(slices.Sorted(slices.Values(table)))) != len(table) || contains(table, n) {
				t.Errorf("table of %d: %v", n, table)
			}
			if out, _ := o.Degree(n); out != len(table) {
				t.Errorf("degree %d, table of %d", out, len(table))
			}
		}
	})
}

// CAN's neighbours, kept up to date piece by piece, are those that the zones say.
func TestCANNeighboursAreThoseThatTouch(t *testing.T) {
	for _, g := range []Geometry{CAN2, CAN3} {
		live(t, DefaultConfig(g), 4, 250, 50, func(o Overlay) {
			c := o.(*can)
			for _, a := range nodes(o) {
				for _, b := range nodes(o) {
					if want := a != b && touch(c, a, b); contains(c.near[a], b) != want {
						t.Errorf("%v and %v: neighbours is %v, want %v", c.ID(a), c.ID(b), !want, want)
					}
				}
			}
		})
	}
}

// touch compares corner points in plain integers.
func touch(c *can, a, b Node) bool {
	abut, x, y := 0, c.boxOf(c.ID(a)), c.boxOf(c.ID(b))
	turn := new(big.Int).Lsh(big.NewInt(1), 64)
	span := func(b *box, d int) (lo, hi *big.Int) {
		lo = new(big.Int).SetUint64(b.from[d])
		return lo, new(big.Int).Add(lo, new(big.Int).Lsh(big.NewInt(1), uint(64-b.width[d])))
	}
	for d := range c.dims {
		alo, ahi := span(&x, d)
		blo, bhi := span(&y, d)
		switch {
		case alo.Cmp(bhi) < 0 && blo.Cmp(ahi) < 0:
		case ahi.Cmp(blo) == 0 || bhi.Cmp(alo) == 0, ahi.Cmp(new(big.Int).Add(blo, turn)) == 0, bhi.Cmp(new(big.Int).Add(alo, turn)) == 0:
			abut++
		default:
			return false
		}
	}
	return abut == 1
}

// The same seed gives the same network and the same routes; another seed gives another one.
func TestSeedDecides(t *testing.T) {
	for _, c := range variants() {
		trace := func(seed uint64) string {
			o, rng := build(t, c, seed, 50), generator(9)
			out := ""
			var trip Trip
			for range 20 {
				if rng.IntN(3) == 0 {
					if err := o.Leave(o.At(rng.IntN(o.Len()))); err != nil {
						t.Fatal(err)
					}
				}
				if err := o.Route(o.At(rng.IntN(o.Len())), RandomKey(rng, KeyBits), &trip); err != nil {
					t.Fatal(err)
				}
				out += fmt.Sprint(trip)
			}
			return out
		}
		first, again := trace(1), trace(1)
		if first != again {
			t.Errorf("%v: one seed, two networks", c)
		}
		if first == trace(2) {
			t.Errorf("%v: two seeds, one network", c)
		}
	}
}

func TestBadCalls(t *testing.T) {
	for _, c := range variants() {
		o, err := New(c, generator(1))
		if err != nil {
			t.Fatal(err)
		}
		key := RandomKey(generator(2), KeyBits)
		if _, err := o.Owner(key); !errors.Is(err, ErrEmpty) {
			t.Errorf("%s: owner in an empty overlay: %v", c.Geometry, err)
		}
		if err := o.Leave(0); !errors.Is(err, ErrGone) {
			t.Errorf("%s: leave of nobody: %v", c.Geometry, err)
		}
		only, err := o.Join()
		if err != nil {
			t.Fatal(err)
		}
		var trip Trip
		if err := o.Route(only, key, &trip); err != nil || trip.Hops != 0 || !trip.Found {
			t.Errorf("%s: a lone node's lookup: %+v %v", c.Geometry, trip, err)
		}
		if out, links := o.Degree(only); out != 0 || links != 0 || o.Share(only) != 1 || len(o.Neighbours(only, nil)) != 0 {
			t.Errorf("%s: a lone node has degree %d and %d, share %v", c.Geometry, out, links, o.Share(only))
		}
		if err := o.Leave(only); !errors.Is(err, ErrLast) {
			t.Errorf("%s: leave of the last: %v", c.Geometry, err)
		}
		if err := Grow(o, 100); err != nil {
			t.Fatal(err)
		}
		short, _ := ParseKey("0")
		if err := o.Route(only, short, &trip); !errors.Is(err, ErrShortKey) {
			t.Errorf("%s: a key of one bit: %v", c.Geometry, err)
		}
		gone := o.At(7)
		if err := o.Leave(gone); err != nil {
			t.Fatal(err)
		}
		if err := o.Leave(gone); !errors.Is(err, ErrGone) {
			t.Errorf("%s: leave twice: %v", c.Geometry, err)
		}
	}
	if _, err := ParseGeometry("torus"); !errors.Is(err, ErrGeometry) {
		t.Errorf("torus: %v", err)
	}
	for _, s := range []string{"012", string(make([]byte, 129))} {
		if _, err := ParseKey(s); !errors.Is(err, ErrBits) {
			t.Errorf("key %q: %v", s, err)
		}
	}
	for _, spoil := range []func(*Config){
		func(c *Config) { c.K = 0 }, func(c *Config) { c.Alpha = 0 }, func(c *Config) { c.Beta = 21 },
		func(c *Config) { c.Successors = 0 }, func(c *Config) { c.Join = "best" }, func(c *Config) { c.Geometry = "x" },
	} {
		c := DefaultConfig(Kademlia)
		spoil(&c)
		if _, err := New(c, generator(1)); !errors.Is(err, ErrConfig) && !errors.Is(err, ErrGeometry) {
			t.Errorf("%+v: %v", c, err)
		}
	}
}
