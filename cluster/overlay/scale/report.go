package scale

import (
	"math/rand/v2"

	"github.com/peerprobe/peerprobe/cluster/overlay"
)

// Report is the answer.
type Report struct {
	Cluster float64  // members of the largest cluster
	Heads   Lookup   // in the layer of heads, from one head to another
	Two     Lookup   // from an endpoint: to its own head, and on through the heads where the target is elsewhere
	Flat    Lookup   // every endpoint in one overlay
	Put     float64  // messages of a put in the layer of heads; 0 where it is not Kademlia
	Tenure  Tenure   // of heads, under the rule assumed
	Roles   []Role   // endpoint, head of the largest cluster, registry
	Limits  []Limit  // the nearest first
	Tenures []Choice // under all rules and distributions
}

// Lookup is the cost of finding who is responsible for a key.
type Lookup struct {
	Nodes    int     // in the overlay that was simulated
	Stale    float64 // share of dead entries in tables
	Hops     float64
	Messages float64
	Timeouts float64
	Found    float64 // share of the lookups that succeed at once
	Latency  float64 // mean, in seconds, of those that succeed
}

// Choice is the tenure under one rule and one distribution.
type Choice struct {
	Rule     Rule
	Sessions Sessions
	Tenure   Tenure
}

// simulatedMost is the largest network that is simulated; hops grow with the logarithm, so that what is above it costs a
// few per cent more.
const simulatedMost = 1 << 20

// simulated is the size of the network that stands for one of so many nodes.
func simulated(nodes int) int { return min(nodes, simulatedMost) }

// Run works the report out. step is called now and then, may be nil, and may end it with an error.
func Run(c Config, costs Costs, step func() error) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if step == nil {
		step = func() error { return nil }
	}
	rng := rand.New(rand.NewPCG(c.Seed, 0x706c616e))
	r := &Report{Cluster: c.largest()}
	var err error
	for _, rule := range AllRules() {
		for _, s := range AllSessions() {
			t, err := HeadTenure(int(r.Cluster), s, c.Session, c.Refresh, rule, rng, step)
			if err != nil {
				return nil, err
			}
			r.Tenures = append(r.Tenures, Choice{rule, s, t})
			if rule == c.Rule && s == c.Sessions {
				r.Tenure = t
			}
		}
	}
	if r.Heads, err = c.lookup(c.clusters(), r.Tenure.Stale, step); err != nil {
		return nil, err
	}
	r.Two = c.throughHeads(r.Heads)
	if r.Flat, err = c.lookup(c.Endpoints, c.Sessions.Stale(c.Session, c.Refresh, rng), step); err != nil {
		return nil, err
	}
	if c.Geometry.Geometry == overlay.Kademlia {
		if r.Put, err = c.put(step); err != nil {
			return nil, err
		}
	}
	r.Roles = c.roles(costs, r)
	r.Limits = c.limits(costs, r)
	return r, nil
}

// throughHeads adds the endpoint's hop to its own head, which knows its own city by itself.
func (c Config) throughHeads(h Lookup) Lookup {
	h.Hops = 1 + c.Elsewhere*h.Hops
	h.Messages = 1 + c.Elsewhere*h.Messages
	h.Timeouts *= c.Elsewhere
	h.Found = 1 - c.Elsewhere*(1-h.Found)
	h.Latency = c.RTTCity.Seconds() + c.Elsewhere*h.Latency
	return h
}

// lookup simulates one overlay in which the share stale is dead.
func (c Config) lookup(nodes int, stale float64, step func() error) (Lookup, error) {
	nodes = simulated(nodes)
	e := overlay.DefaultExperiment(c.Geometry.Geometry, nodes)
	e.Config, e.Lookups, e.Seed, e.Bare = c.Geometry, c.Lookups, c.Seed, true
	e.Dead = min(stale, 0.99)
	s, err := e.Run(0, step)
	if err != nil {
		return Lookup{}, err
	}
	series := s.Whole
	if s.Dead.Tried > 0 {
		series = s.Dead
	}
	tried := float64(series.Tried)
	l := Lookup{
		Nodes: nodes, Stale: stale, Hops: series.MeanHops(), Found: float64(series.Found()) / tried,
		Messages: float64(series.Messages) / tried, Timeouts: float64(series.Timeouts) / tried,
	}
	waits := l.Timeouts
	if c.Geometry.Geometry == overlay.Kademlia {
		waits /= float64(c.Geometry.Alpha) // others are asked meanwhile
	}
	l.Latency = l.Hops*c.RTTWorld.Seconds() + waits*c.Timeout.Seconds()
	return l, nil
}

// put is how many messages a put takes in the layer of heads, as the program does it: the walk and one store each at
// the k nearest.
func (c Config) put(step func() error) (float64, error) {
	e := overlay.DefaultExperiment(overlay.Kademlia, simulated(c.clusters()))
	e.Config, e.Lookups, e.Seed = c.Geometry, min(c.Lookups, 500), c.Seed
	e.Bare = true
	e.Exhaustive, e.Alpha, e.Beta = true, min(10, c.Geometry.K), min(3, c.Geometry.K)
	s, err := e.Run(0, step)
	if err != nil {
		return 0, err
	}
	stores := min(c.Geometry.K, c.clusters()-1)
	return float64(s.Whole.Messages)/float64(s.Whole.Tried) + float64(stores), nil
}
