package scale

import (
	"cmp"
	"math"
	"slices"
)

// Limit is one bound and how much of it is used.
type Limit struct {
	Where  string // endpoint, head, registry, lookups
	What   string
	Used   float64
	Most   float64
	Unit   string
	At     float64 // endpoints at which it is reached, cities and everything else being the same; Inf: at none
	Soft   bool    // beyond it things are slower, not refused
	Change string  // what an operator can do
}

// Share is the used part of the limit.
func (l Limit) Share() float64 { return l.Used / l.Most }

// limits of this plan, the nearest first.
func (c Config) limits(k Costs, r *Report) []Limit {
	head, registry, m := r.Roles[1], r.Roles[2], r.Cluster
	var list []Limit
	// All of these grow in proportion to the endpoints, at least where they come near their bound.
	add := func(where, what string, used, most float64, unit, change string) {
		list = append(list, Limit{Where: where, What: what, Used: used, Most: most, Unit: unit, Change: change, At: float64(c.Endpoints) * most / math.Max(used, 1e-300)})
	}
	fixed := func(where, what string, used, most float64, unit, change string) {
		list = append(list, Limit{Where: where, What: what, Used: used, Most: most, Unit: unit, Change: change, Soft: true, At: math.Inf(1)})
	}
	shards := "several heads for the largest cities (shards)"
	add("head", "members of one head", m, maxMembers, "members", shards)
	add("head", "memory", head.Memory, c.HeadMemory, "B", shards+", or machines with more")
	add("head", "processor", head.Processor, c.Processor, "cores", shards+", or slower timers")
	add("head", "uplink", 8*head.Out, c.HeadRate, "bit/s", shards)
	add("head", "members that come over within an eviction time", m*k.Of("handshake")*1e-6, evict, "s", shards+", or a longer eviction time")
	starts := float64(c.Endpoints) / c.Session.Seconds()
	more := "nodes that stay longer, or a second registry"
	add("registry", "new connections", starts, registryConnRate, "1/s", more)
	add("registry", "processor", registry.Processor, c.Processor, "cores", more)
	add("registry", "memory", registry.Memory, c.RegistryMemory, "B", "a machine with more")
	add("registry", "downlink", 8*registry.In, c.RegistryRate, "bit/s", more)
	add("registry", "uplink", 8*registry.Out, c.RegistryRate, "bit/s", more)
	fixed("heads", "cities in a head's own table", float64(c.clusters()), maxKnownHeads, "cities", "nothing: the DHT answers for the rest")
	fixed("heads", "cities in one comparison of tables", float64(c.clusters()), compareDigest, "cities", "nothing: the rest comes in turn")
	fixed("heads", "mean time of a look-up in the DHT", r.Two.Latency, findTimeout, "s", "check tables more often, choose heads that last")
	slices.SortStableFunc(list, func(a, b Limit) int { return cmp.Compare(b.Share(), a.Share()) })
	return list
}

// First is the hard limit that is met first.
func (r *Report) First() (Limit, bool) {
	for _, l := range r.Limits {
		if !l.Soft {
			return l, true
		}
	}
	return Limit{}, false
}
