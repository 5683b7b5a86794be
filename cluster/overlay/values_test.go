package overlay

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"
)

// published are mean hops with the half width of their 95 % interval: 20 networks of 5,000 lookups each, by an
// implementation that is independent of this one.
var published = []struct {
	geometry Geometry
	join     JoinRule
	nodes    int
	hops, ci float64
}{
	{DBCAN, JoinPlain, 256, 6.39, .02}, {DBCAN, JoinNeighbours, 256, 6.48, .01}, {CAN2, JoinPlain, 256, 6.77, .04},
	{CAN3, JoinPlain, 256, 4.16, .03}, {Koorde, JoinPlain, 256, 21.0, .4}, {Chord, JoinPlain, 256, 4.84, .02},
	{Kademlia, JoinPlain, 256, 1.64, .01},
	{DBCAN, JoinPlain, 4096, 10.33, .01}, {DBCAN, JoinNeighbours, 4096, 10.43, .01}, {CAN2, JoinPlain, 4096, 25.6, .06},
	{CAN3, JoinPlain, 4096, 9.96, .03}, {Koorde, JoinPlain, 4096, 33.5, .2}, {Chord, JoinPlain, 4096, 6.86, .01},
	{Kademlia, JoinPlain, 4096, 2.19, .01},
	{DBCAN, JoinPlain, 65536, 14.32, .01}, {DBCAN, JoinNeighbours, 65536, 14.44, .01}, {CAN2, JoinPlain, 65536, 100.2, .24},
	{CAN3, JoinPlain, 65536, 24.08, .07}, {Koorde, JoinPlain, 65536, 45.6, .09}, {Chord, JoinPlain, 65536, 8.86, .01},
	{Kademlia, JoinPlain, 65536, 2.83, .01},
}

// allowed is four standard errors of the difference: that of the published figure, and that of runs networks of
// lookups lookups whose hops have this deviation. Networks differ at least as much as the published interval says,
// and its second digit is rounded.
func allowed(ci float64, runs, lookups int, deviation float64) float64 {
	const publishedRuns = 20
	se := ci / 1.96
	perNetwork := se * se * publishedRuns
	return 0.005 + 4*math.Sqrt(se*se+perNetwork/float64(runs)+deviation*deviation/float64(runs*lookups))
}

func deviation(histogram []int) float64 {
	m, squares := mean(histogram), 0.0
	for v, c := range histogram {
		squares += float64(c) * (float64(v) - m) * (float64(v) - m)
	}
	return math.Sqrt(squares / float64(total(histogram)))
}

// TestPublishedHops checks a reduced set: fewer and smaller series, the largest networks only without the race
// detector.
func TestPublishedHops(t *testing.T) {
	for _, p := range published {
		runs, lookups := 6, 800
		switch {
		case p.nodes > 10000 && raced:
			continue
		case p.nodes > 10000:
			runs, lookups = 1, 1000
		case p.nodes > 1000:
			runs, lookups = 3, 400
		}
		e := DefaultExperiment(p.geometry, p.nodes)
		e.Join, e.Lookups = p.join, lookups
		var samples []*Sample
		for run := range runs {
			s, err := e.Run(run, nil)
			if err != nil {
				t.Fatal(err)
			}
			if s.Whole.Found() != lookups {
				t.Errorf("%s of %d: %d of %d lookups found the owner", p.geometry, p.nodes, s.Whole.Found(), lookups)
			}
			samples = append(samples, s)
		}
		s := Summarize(samples)
		tolerance := allowed(p.ci, runs, lookups, deviation(s.Complete))
		if off := math.Abs(s.Hops.Mean - p.hops); off > tolerance {
			t.Errorf("%s %s of %d: %.3f hops, published are %.2f, off by more than %.3f", p.geometry, p.join, p.nodes, s.Hops.Mean, p.hops, tolerance)
		}
	}
}

// The paper's figures 2 and 3: degrees and zones.
func TestPublishedTables(t *testing.T) {
	nodes := 50000
	if raced {
		nodes = 12500 // a quarter: the mix of sizes depends on the fraction of log2 N
	}
	one := func(join JoinRule, g Geometry, turnover float64) Summary {
		e := DefaultExperiment(g, nodes)
		e.Lookups, e.Join, e.Turnover = 1, join, turnover
		s, err := e.Run(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		return Summarize([]*Sample{s})
	}
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance {
			t.Errorf("%s: %.4f, want %.4f within %.4f", what, got, want, tolerance)
		}
	}
	two := func(zones []Class) (share float64, shown int) { // S and 2S, and the classes with a thousandth or more
		for _, z := range zones {
			if z.Size == 0 || z.Size == 1 {
				share += z.Share
			}
			if z.Share >= 0.001 {
				shown++
			}
		}
		return share, shown
	}
	plain, balanced := one(JoinPlain, DBCAN, 0), one(JoinNeighbours, DBCAN, 0.5)
	near("children, plain", plain.Degree, 2.1268, 0.02)
	near("children and parents, plain", plain.Links, 4.2536, 0.04)
	near("children, nbr1", balanced.Degree, 2, 0.01)
	s, n := two(plain.Zones)
	near("S and 2S, plain", s, 0.71, 0.02)
	if n != 7 {
		t.Errorf("plain joins give %d classes, want 7: %v", n, plain.Zones)
	}
	s, _ = two(balanced.Zones)
	near("S and 2S, nbr1, growth alone", s, 0.976, 0.005)
	s, n = two(balanced.ChurnedZones)
	near("S and 2S, nbr1, half a turnover", s, 0.930, 0.008)
	if n != 4 {
		t.Errorf("nbr1 joins give %d classes, want 4: %v", n, balanced.ChurnedZones)
	}
	can := one(JoinPlain, CAN2, 0)
	s, n = two(can.Zones)
	near("CAN's S and 2S", s, 0.71, 0.02)
	if n != 7 {
		t.Errorf("CAN has %d classes, want 7: %v", n, can.Zones)
	}
	if can.Degree < 4.3 || can.Degree > 4.65 {
		t.Errorf("CAN's degree is %v", can.Degree)
	}
}

// Regular DBCAN has 2N-2 edges.
func TestRegularDegree(t *testing.T) {
	o, _ := regularNetwork(t, "dbcan-regular", 64)
	edges := 0
	for _, n := range nodes(o) {
		out, _ := o.Degree(n)
		edges += out
	}
	if edges != 2*64-2 {
		t.Errorf("%d edges, want %d", edges, 2*64-2)
	}
}

// One way for each pair: with 5 % of 10,000 dead and nothing mended 58 % of the lookups succeed.
func TestPublishedResilience(t *testing.T) {
	found := map[Geometry]float64{}
	for _, g := range []Geometry{DBCAN, Kademlia} {
		e := DefaultExperiment(g, 10000)
		e.Lookups, e.Dead, e.Bare = 800, 0.05, true
		s, err := e.Run(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		found[g] = Summarize([]*Sample{s}).DeadFound.Mean
	}
	if math.Abs(found[DBCAN]-0.58) > 0.07 || found[Kademlia] != 1 {
		t.Errorf("found: %v, want 0.58 and 1", found)
	}
}

func TestExperimentIsRepeatable(t *testing.T) {
	e := DefaultExperiment(Kademlia, 300)
	e.Lookups, e.Dead, e.Turnover = 200, 0.1, 0.5
	a, err := e.Run(3, nil)
	if err != nil {
		t.Fatal(err)
	}
	b, _ := e.Run(3, nil)
	c, _ := e.Run(4, nil)
	if !reflect.DeepEqual(a, b) || reflect.DeepEqual(a, c) {
		t.Error("the run's number and the seed do not decide")
	}
}

// Rings and Kademlia halve no zones: the rule changes nothing. A share that rounds to nobody kills nobody, and says so.
func TestRuleAndShareThatSayNothing(t *testing.T) {
	for _, g := range []Geometry{Koorde, Chord, Kademlia} {
		e := DefaultExperiment(g, 100)
		e.Lookups, e.Dead = 50, 0.001
		plain, err := e.Run(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		e.Join = JoinNeighbours
		if other, _ := e.Run(0, nil); !reflect.DeepEqual(plain, other) {
			t.Errorf("%s: the join rule changes the network", g)
		}
		if plain.Dead.Tried != 0 {
			t.Errorf("%s: %d lookups past nobody dead", g, plain.Dead.Tried)
		}
	}
}

func TestExperimentStops(t *testing.T) {
	stop := errors.New("stop")
	for _, after := range []int{0, 3, 5, 9} {
		e := DefaultExperiment(CAN2, 600)
		e.Dead, e.Turnover = 0.1, 1
		calls := 0
		_, err := e.Run(0, func() error {
			if calls++; calls > after {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) {
			t.Errorf("after %d steps: %v", after, err)
		}
	}
}

func TestSmallNetworks(t *testing.T) {
	for _, c := range variants() {
		for nodes := 1; nodes < 6; nodes++ {
			e := DefaultExperiment(c.Geometry, nodes)
			e.Config, e.Lookups, e.Dead, e.Turnover = c, 50, 0.4, 1
			s, err := e.Run(0, nil)
			if err != nil {
				t.Fatalf("%s of %d: %v", c.Geometry, nodes, err)
			}
			sum := Summarize([]*Sample{s})
			if sum.Runs != 1 || s.Whole.Found() != 50 || nodes == 1 && (sum.Hops.Mean != 0 || sum.Degree != 0 || sum.MaxShare != 1) {
				t.Errorf("%s of %d: %+v", c.Geometry, nodes, sum)
			}
		}
	}
}

func TestExperimentRefuses(t *testing.T) {
	for _, spoil := range []func(*Experiment){
		func(e *Experiment) { e.Nodes = 0 }, func(e *Experiment) { e.Nodes = -5 }, func(e *Experiment) { e.Lookups = -1 },
		func(e *Experiment) { e.KeyBits = 0 }, func(e *Experiment) { e.KeyBits = 129 }, func(e *Experiment) { e.Dead = 1 },
		func(e *Experiment) { e.Dead = math.NaN() }, func(e *Experiment) { e.Turnover = -1 }, func(e *Experiment) { e.Turnover = 1e9 },
	} {
		e := DefaultExperiment(DBCAN, 10)
		spoil(&e)
		if _, err := e.Run(0, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%+v: %v", e, err)
		}
	}
	short := DefaultExperiment(DBCAN, 1000)
	short.KeyBits = 4
	if _, err := short.Run(0, nil); !errors.Is(err, ErrShortKey) {
		t.Errorf("keys of 4 bits among 1000 zones: %v", err)
	}
}

func TestSummaries(t *testing.T) {
	if q := Quantile([]int{0, 50, 49, 1}, 0.99); q != 2 {
		t.Errorf("p99 is %d", q)
	}
	if q := Quantile([]int{0, 50, 49, 1}, 1); q != 3 {
		t.Errorf("max is %d", q)
	}
	if q := Quantile(nil, 0.5); q != 0 {
		t.Errorf("median of nothing is %d", q)
	}
	e := estimate([]float64{1, 2, 3})
	if e.Mean != 2 || math.Abs(e.Half-4.303/math.Sqrt(3)) > 1e-9 {
		t.Errorf("estimate %v", e)
	}
	if e := estimate(slices.Repeat([]float64{1}, 20)); e.Mean != 1 || e.Half != 0 {
		t.Errorf("of twenty alike: %v", e) // a share of all is never above all
	}
	if e := estimate([]float64{1}); e.Mean != 1 || !math.IsNaN(e.Half) {
		t.Errorf("of one: %v", e)
	}
	if got := classes([]int{0, 0, 1, 6, 3}); !reflect.DeepEqual(got, []Class{{-1, .3}, {0, .6}, {1, .1}}) {
		t.Errorf("classes %v", got)
	}
}
