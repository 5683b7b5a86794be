package overlay

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
)

func generator(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0x9e3779b97f4a7c15)) }

func load(t testing.TB, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func mustKey(t testing.TB, s string) Key {
	t.Helper()
	k, err := ParseKey(s)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// hexKey reads a key of 32 hexadecimal digits, or binary digits if there are fewer.
func hexKey(t testing.TB, s string) Key {
	t.Helper()
	if len(s) < 32 {
		return mustKey(t, s)
	}
	var b strings.Builder
	for _, c := range s {
		v := strings.IndexRune("0123456789abcdef", c)
		for i := 3; i >= 0; i-- {
			b.WriteByte('0' + byte(v>>i&1))
		}
	}
	return mustKey(t, b.String())
}

// cut halves zones until they are these.
func cut(t testing.TB, z *zones, join func() (Node, error), halve func(Node), ids []string) map[string]Node {
	t.Helper()
	if _, err := join(); err != nil {
		t.Fatal(err)
	}
	inner := map[string]bool{}
	for _, id := range ids {
		for i := range id {
			inner[id[:i]] = true
		}
	}
	for i := 0; i < z.Len(); i++ {
		for inner[z.ID(z.At(i)).String()] {
			halve(z.At(i))
		}
	}
	by := map[string]Node{}
	for i := range z.Len() {
		by[z.ID(z.At(i)).String()] = z.At(i)
	}
	for _, id := range ids {
		if _, ok := by[id]; !ok || len(by) != len(ids) {
			t.Fatalf("there are %d zones, %s is among them: %v", len(by), id, ok)
		}
	}
	return by
}

func dbcanOf(t testing.TB, ids []string) (*dbcan, map[string]Node) {
	d := newDBCAN(JoinPlain, generator(1))
	return d, cut(t, &d.zones, d.Join, func(n Node) {
		if _, err := d.halve(n); err != nil {
			t.Fatal(err)
		}
	}, ids)
}

func canOf(t testing.TB, dims int, ids []string) (*can, map[string]Node) {
	c := newCAN(dims, JoinPlain, generator(1))
	return c, cut(t, &c.zones, c.Join, func(n Node) {
		fresh, err := c.halve(n)
		if err != nil {
			t.Fatal(err)
		}
		c.moveIn(fresh, n)
	}, ids)
}

// regular are all strings of n bits.
func regular(n int) []string {
	ids := []string{""}
	for range n {
		var next []string
		for _, s := range ids {
			next = append(next, s+"0", s+"1")
		}
		ids = next
	}
	return ids
}

func names(z *zones, list []Node) []string {
	out := []string{}
	for _, n := range list {
		out = append(out, z.ID(n).String())
	}
	slices.Sort(out)
	return out
}

func TestPaperPrefixSet(t *testing.T) {
	var v struct {
		Zones []string
		Nodes []struct {
			ID                string
			Children, Parents []string
			SelfLoop          bool `json:"self_loop"`
		}
		Owners map[string]string
		Routes []struct {
			From, Key string
			Path      []string
			Hops      int
		}
	}
	load(t, "dbcan_prefix_set.json", &v)
	if len(v.Nodes) == 0 || len(v.Owners) == 0 || len(v.Routes) == 0 {
		t.Fatal("the vectors are empty")
	}
	d, by := dbcanOf(t, v.Zones)
	for _, n := range v.Nodes {
		if got := names(&d.zones, d.Children(by[n.ID], nil)); !slices.Equal(got, sorted(n.Children)) {
			t.Errorf("children of %s: %v, want %v", n.ID, got, n.Children)
		}
		if got := names(&d.zones, d.Parents(by[n.ID], nil)); !slices.Equal(got, sorted(n.Parents)) {
			t.Errorf("parents of %s: %v, want %v", n.ID, got, n.Parents)
		}
	}
	for key, owner := range v.Owners {
		if got, err := d.Owner(hexKey(t, key)); err != nil || got != by[owner] {
			t.Errorf("owner of %s: %v %v, want %s", key, got, err, owner)
		}
	}
	for _, r := range v.Routes {
		var trip Trip
		if err := d.Route(by[r.From], hexKey(t, r.Key), &trip); err != nil {
			t.Errorf("route from %s to %s: %v", r.From, r.Key, err)
			continue
		}
		var path []string
		for _, n := range trip.Path {
			path = append(path, d.ID(n).String())
		}
		if !slices.Equal(path, r.Path) || trip.Hops != r.Hops || !trip.Found {
			t.Errorf("route from %s to %s: %v, %d hops, want %v", r.From, r.Key, path, trip.Hops, r.Path)
		}
	}
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestCANEightZones(t *testing.T) {
	var v struct {
		Nodes []struct {
			ID         string
			X, Y       [2]float64
			Neighbours []string
		}
		Hops []struct {
			From, To string
			Hops     int
		} `json:"hops_to_first_point_of_zone"`
	}
	load(t, "can2_8zones.json", &v)
	if len(v.Nodes) != 8 || len(v.Hops) != 64 {
		t.Fatalf("%d nodes, %d routes", len(v.Nodes), len(v.Hops))
	}
	var ids []string
	for _, n := range v.Nodes {
		ids = append(ids, n.ID)
	}
	c, by := canOf(t, 2, ids)
	for _, n := range v.Nodes {
		b := c.box[by[n.ID]]
		for d, want := range [][2]float64{n.X, n.Y} {
			from := float64(b.from[d]) / (1 << 32) / (1 << 32)
			to := (float64(b.last(d)) + 1) / (1 << 32) / (1 << 32)
			if from != want[0] || to != want[1] {
				t.Errorf("%s: dimension %d is %v to %v, want %v", n.ID, d, from, to, want)
			}
		}
		if got := names(&c.zones, c.Neighbours(by[n.ID], nil)); !slices.Equal(got, sorted(n.Neighbours)) {
			t.Errorf("neighbours of %s: %v, want %v", n.ID, got, n.Neighbours)
		}
	}
	for _, h := range v.Hops {
		var trip Trip
		if err := c.Route(by[h.From], first(mustKey(t, h.To)), &trip); err != nil || trip.Hops != h.Hops {
			t.Errorf("%s to %s: %d hops %v, want %d", h.From, h.To, trip.Hops, err, h.Hops)
		}
	}
}

// first is the lowest key of a zone.
func first(id Key) Key { return Key{id.hi, id.lo, KeyBits} }

// TestExactSums: the sums of hops over all ordered pairs of regular networks, to the first key of each zone or the
// key that is the id of a node on a ring.
func TestExactSums(t *testing.T) {
	var cases []struct {
		Overlay string
		N       int
		Sum     int `json:"sum_hops_all_ordered_pairs"`
		Max     int
	}
	load(t, "exact_sums.json", &cases)
	seen := map[string]int{}
	for _, c := range cases {
		if c.N > exactUpTo {
			continue
		}
		o, keys := regularNetwork(t, c.Overlay, c.N)
		sum, longest := 0, 0
		var trip Trip
		for i := range o.Len() {
			for _, k := range keys {
				if err := o.Route(o.At(i), k, &trip); err != nil || !trip.Found {
					t.Fatalf("%s of %d: %v %v", c.Overlay, c.N, err, trip)
				}
				sum += trip.Hops
				longest = max(longest, trip.Hops)
			}
		}
		if sum != c.Sum || longest != c.Max {
			t.Errorf("%s of %d: sum %d and longest %d, want %d and %d", c.Overlay, c.N, sum, longest, c.Sum, c.Max)
		}
		seen[c.Overlay]++
	}
	if len(seen) != 5 {
		t.Errorf("only %v were looked at", seen)
	}
}

func regularNetwork(t testing.TB, name string, n int) (Overlay, []Key) {
	depth := 0
	for 1<<depth < n {
		depth++
	}
	geometry, _, _ := strings.Cut(name, "-")
	var keys []Key
	for _, s := range regular(depth) {
		keys = append(keys, first(mustKey(t, s)))
	}
	ringOf := func(r *ring) {
		for _, k := range keys {
			if _, err := r.JoinAs(k.hi); err != nil {
				t.Fatal(err)
			}
		}
	}
	switch Geometry(geometry) {
	case DBCAN:
		d, _ := dbcanOf(t, regular(depth))
		return d, keys
	case CAN2:
		c, _ := canOf(t, 2, regular(depth))
		return c, keys
	case CAN3:
		c, _ := canOf(t, 3, regular(depth))
		return c, keys
	case Chord:
		c := newChord(8, generator(1))
		ringOf(&c.ring)
		return c, keys
	case Koorde:
		k := newKoorde(generator(1))
		ringOf(&k.ring)
		return k, keys
	}
	t.Fatalf("no regular network of %s", name)
	return nil, nil
}
