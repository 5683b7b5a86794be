package scale

import (
	"errors"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster/overlay"
)

func generator(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 1)) }

// Sessions have the mean that was asked for, and what is met at random is what renewal theory says.
func TestSessions(t *testing.T) {
	rng := generator(1)
	const mean, draws = 100.0, 200_000
	for _, s := range AllSessions() {
		sum := 0.0
		short := 0
		for range draws {
			x := s.draw(mean, rng)
			if x < 0 || math.IsNaN(x) || math.IsInf(x, 0) {
				t.Fatalf("%s: a session of %v", s, x)
			}
			sum += math.Min(x, 1e5*mean)
			if x < mean {
				short++
			}
		}
		// Heavy tails have no variance to speak of: their mean settles slowly.
		if got := sum / draws; math.Abs(got-mean) > 0.12*mean {
			t.Errorf("%s: mean %v, want %v", s, got, mean)
		}
		want := map[Sessions]float64{Exponential: 1 - math.Exp(-1), Pareto: 1 - math.Pow(3, -1.5), LogNormal: 0.8413}[s]
		if got := float64(short) / draws; math.Abs(got-want) > 0.01 {
			t.Errorf("%s: %.3f are shorter than the mean, want %.3f", s, got, want)
		}
	}
}

// The share of dead entries is the mean over ages u of (1/mean) * integral of the survival function up to u.
func TestStale(t *testing.T) {
	const refresh, mean = 5 * time.Minute, 30 * time.Minute
	r := refresh.Seconds() / mean.Seconds()
	if got, want := Exponential.Stale(mean, refresh, generator(2)), 1-(1-math.Exp(-r))/r; math.Abs(got-want) > 0.004 {
		t.Errorf("exponential: %v, want %v", got, want)
	}
	// Pareto's shortest session is 10 minutes: nobody met dies of youth before the refresh, so it is refresh / 2 mean.
	if got, want := Pareto.Stale(mean, refresh, generator(2)), r/2; math.Abs(got-want) > 0.004 {
		t.Errorf("pareto: %v, want %v", got, want)
	}
}

// tenureMembers keeps the test short; the larger the city, the longer its oldest member stays.
const tenureMembers = 80

// With heavy tails ranking by uptime gives head tenures of days, by bandwidth and computing power under an hour,
// pre-emption a quarter of an hour.
func TestTenures(t *testing.T) {
	get := func(s Sessions, r Rule) Tenure {
		x, err := HeadTenure(tenureMembers, s, 30*time.Minute, 2*time.Minute, r, generator(3), func() error { return nil })
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	if x := get(Pareto, ByUptime); x.Mean < 2*24*time.Hour || x.Stale > 0.001 {
		t.Errorf("by uptime: %+v", x)
	}
	if x := get(Pareto, ByCapacity); x.Median > time.Hour || x.Mean > 12*time.Hour { // the mean of heavy tails does not settle
		t.Errorf("by capacity: %+v", x)
	}
	if x := get(Pareto, Preempt); x.Mean > 30*time.Minute || x.Mean < 9*time.Minute {
		t.Errorf("pre-emptive: %+v", x)
	}
	// Without memory no rule helps: the mean is a session, and pre-emption halves it.
	if x := get(Exponential, ByUptime); math.Abs(x.Mean.Minutes()-30) > 6 {
		t.Errorf("exponential by uptime: %+v", x)
	}
	if x := get(Exponential, Preempt); math.Abs(x.Mean.Minutes()-15) > 4 {
		t.Errorf("exponential, pre-emptive: %+v", x)
	}
}

func TestTenureOfOne(t *testing.T) {
	x, err := HeadTenure(1, Exponential, time.Minute, time.Minute, ByUptime, generator(4), func() error { return nil })
	if err != nil || math.Abs(x.Mean.Seconds()-60) > 12 {
		t.Errorf("a city of one: %+v %v", x, err)
	}
}

func small() Config {
	c := DefaultConfig()
	c.Endpoints, c.Cities, c.Lookups = 2_000, 100, 100
	return c
}

func run(t *testing.T, c Config) *Report {
	t.Helper()
	r, err := Run(c, MeasuredCosts(), nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestReport(t *testing.T) {
	r := run(t, small())
	if r.Cluster != 20 || r.Two.Nodes != 100 || r.Flat.Nodes != 2_000 {
		t.Errorf("cluster of %v, %d heads, flat %d", r.Cluster, r.Two.Nodes, r.Flat.Nodes)
	}
	if r.Two.Timeouts >= r.Flat.Timeouts || r.Two.Hops < 1 || r.Put < 20 {
		t.Errorf("two layers %+v, flat %+v, put %v", r.Two, r.Flat, r.Put)
	}
	if len(r.Roles) != 3 || len(r.Tenures) != len(AllRules())*len(AllSessions()) {
		t.Fatalf("%d roles, %d tenures", len(r.Roles), len(r.Tenures))
	}
	// The head's heartbeats, by hand: 12 plain members each 2 s, 7 candidates each second.
	head := r.Roles[1]
	if got := head.Parts[0]; got.What != "heartbeats" || math.Abs(got.Messages-(12/2.0+7)) > 1e-9 ||
		math.Abs(got.Bytes-got.Messages*(135+0.9*83+0.1*362)) > 1e-6 {
		t.Errorf("heartbeats: %+v", got)
	}
	for _, role := range r.Roles {
		bytes, messages := 0.0, 0.0
		for _, p := range role.Parts {
			bytes += p.Bytes
			messages += p.Messages
		}
		if math.Abs(bytes-role.In-role.Out) > 1e-6*bytes || math.Abs(messages-role.Messages) > 1e-6*messages {
			t.Errorf("%s: parts add up to %v and %v, role says %v and %v", role.Name, bytes, messages, role.In+role.Out, role.Messages)
		}
	}
	if !slices.IsSortedFunc(r.Limits, func(a, b Limit) int { return compare(a.At, b.At) }) {
		t.Error("limits are not in order")
	}
	if again := run(t, small()); !reflect.DeepEqual(r, again) {
		t.Error("the seed does not decide")
	}
}

// Where a limit is said to be met, it is met.
func TestLimitIsMetWhereItSays(t *testing.T) {
	r := run(t, small())
	first, ok := r.First()
	if !ok || math.IsInf(first.At, 0) {
		t.Fatalf("first limit: %+v", first)
	}
	c := small()
	c.Endpoints = int(first.At)
	r.Cluster = c.largest()
	r.Roles = c.roles(MeasuredCosts(), r)
	for _, l := range c.used(MeasuredCosts(), r) {
		if l.What == first.What && l.Where == first.Where && math.Abs(l.Share()-1) > 0.001 {
			t.Errorf("%s %s at %d endpoints: %.3f of it is used", l.Where, l.What, c.Endpoints, l.Share())
		}
	}
	// A cost that the operator raises brings the limit nearer.
	costs := MeasuredCosts()
	if err := costs.Set("connection=52428800"); err != nil {
		t.Fatal(err)
	}
	r.Roles = small().roles(costs, r)
	r.Limits = small().limits(costs, r)
	if l, _ := r.First(); l.Where != "head" || l.What != "memory" {
		t.Errorf("with connections of 50 MiB the first limit is %+v", l)
	}
}

// The first limit is the one at the fewest endpoints, not the one that is used most today: what cities alone cost
// is much of a link, and does not grow.
func TestFirstLimitIsTheNearest(t *testing.T) {
	c := small()
	c.Endpoints, c.Cities, c.Session, c.Processor, c.Lookups = 75_000, 25_000, time.Hour, 1, 5
	c.RegistryRate = 4e8
	r := run(t, c)
	first, _ := r.First()
	least := math.Inf(1)
	for _, l := range r.Limits {
		if !l.Soft {
			least = min(least, l.At)
		}
	}
	if first.At != least {
		t.Errorf("first is %s %s at %.3g endpoints, but something is met at %.3g", first.Where, first.What, first.At, least)
	}
}

// More heads than are simulated: the answer is that of the largest network that is.
func TestHeadsBeyondTheSimulation(t *testing.T) {
	for nodes, want := range map[int]int{1: 1, simulatedMost: simulatedMost, simulatedMost + 1: simulatedMost, 1 << 32: simulatedMost} {
		if got := simulated(nodes); got != want {
			t.Errorf("%d nodes are simulated by %d, want %d", nodes, got, want)
		}
	}
}

func TestZipfCity(t *testing.T) {
	c := small()
	c.Zipf = true
	harmonic := 0.0
	for i := 1; i <= 100; i++ {
		harmonic += 1 / float64(i)
	}
	if got := c.largest(); math.Abs(got-2000/harmonic) > 1 {
		t.Errorf("largest city %v", got)
	}
	c.Heads = 4
	if got := c.largest(); math.Abs(got-2000/harmonic/4) > 1 {
		t.Errorf("largest cluster of four %v", got)
	}
}

func TestEdges(t *testing.T) {
	c := DefaultConfig()
	c.Endpoints, c.Cities, c.Lookups = 1, 1, 5
	r := run(t, c)
	if r.Two.Hops != 1 || r.Flat.Hops != 0 {
		t.Errorf("one endpoint: %+v %+v", r.Two, r.Flat)
	}
	for _, p := range r.Roles[1].Parts {
		if p.What == "heartbeats" || p.What == "beacons" {
			t.Errorf("a head alone: %+v", p)
		}
	}
	for _, g := range overlay.Geometries() {
		c := small()
		c.Geometry = overlay.DefaultConfig(g)
		l, err := c.lookup(50, 0.1, func() error { return nil })
		if err != nil || l.Timeouts == 0 || l.Latency <= 0 || l.Found <= 0 || l.Found > 1 {
			t.Errorf("%s: %+v %v", g, l, err)
		}
	}
}

func TestRunStops(t *testing.T) {
	stop := errors.New("stop")
	for _, after := range []int{0, 5, 30} {
		n := 0
		_, err := Run(small(), MeasuredCosts(), func() error {
			if n++; n > after {
				return stop
			}
			return nil
		})
		if !errors.Is(err, stop) {
			t.Errorf("after %d: %v", after, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	for i, spoil := range []func(*Config){
		func(c *Config) { c.Endpoints = 0 }, func(c *Config) { c.Cities = 0 }, func(c *Config) { c.Cities = c.Endpoints + 1 },
		func(c *Config) { c.Heads = 0 }, func(c *Config) { c.Heads = 1 << 30 }, func(c *Config) { c.Refresh = 0 }, func(c *Config) { c.Session = -1 },
		func(c *Config) { c.Session = time.Second }, func(c *Config) { c.PerHour = 1e300 },
		func(c *Config) { c.PerHour = math.NaN() }, func(c *Config) { c.Elsewhere = 2 }, func(c *Config) { c.HeadMemory = 0 },
		func(c *Config) { c.Processor = math.Inf(1) }, func(c *Config) { c.Lookups = 0 }, func(c *Config) { c.Sessions = "x" },
		func(c *Config) { c.Rule = "x" }, func(c *Config) { c.Geometry.K = 0 },
	} {
		c := small()
		spoil(&c)
		if _, err := Run(c, MeasuredCosts(), nil); !errors.Is(err, ErrConfig) && !errors.Is(err, overlay.ErrConfig) {
			t.Errorf("case %d: %v", i, err)
		}
	}
	costs := MeasuredCosts()
	for _, s := range []string{"", "heartbeat-frame", "heartbeat-frame=x", "heartbeat-frame=-1", "heartbeat-frame=NaN", "nothing=1"} {
		if err := costs.Set(s); err == nil {
			t.Errorf("cost %q was taken", s)
		}
	}
	if !reflect.DeepEqual(costs, MeasuredCosts()) {
		t.Error("a refused cost changed something")
	}
}
