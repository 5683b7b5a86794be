package scale

import (
	"cmp"
	"math"
	"slices"
	"sort"
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

// limits of this plan, the one at the fewest endpoints first: what is used most today need not be what grows. Those
// that do not depend on endpoints come last.
func (c Config) limits(k Costs, r *Report) []Limit {
	list := c.used(k, r)
	for i := range list {
		list[i].At = math.Inf(1)
		if !list[i].Soft {
			list[i].At = c.metAt(i, k, r)
		}
	}
	slices.SortStableFunc(list, func(a, b Limit) int {
		return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(b.Share(), a.Share()))
	})
	return list
}

// metAt is the number of endpoints at which limit i is reached while cities and all else stay as they are.
func (c Config) metAt(i int, k Costs, r *Report) float64 {
	at := func(endpoints int) Limit {
		grown := c
		grown.Endpoints = endpoints
		other := *r
		other.Cluster = grown.largest()
		other.Roles = grown.roles(k, &other)
		return grown.used(k, &other)[i]
	}
	const most = 1 << 44 // endpoints
	if at(most).Share() < 1 {
		return math.Inf(1)
	}
	return float64(sort.Search(most, func(n int) bool { return at(max(n, 1)).Share() >= 1 }))
}

// used is what is used of each limit, in a fixed order.
func (c Config) used(k Costs, r *Report) (list []Limit) {
	head, registry, m := r.Roles[1], r.Roles[2], r.Cluster
	add := func(where, what string, used, most float64, unit, change string) {
		list = append(list, Limit{Where: where, What: what, Used: used, Most: most, Unit: unit, Change: change})
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
	soft := len(list)
	add("heads", "cities in a head's own table", float64(c.clusters()), maxKnownHeads, "cities", "nothing: the DHT answers for the rest")
	add("heads", "cities in one comparison of tables", float64(c.clusters()), compareDigest, "cities", "nothing: the rest comes in turn")
	add("heads", "mean time of a look-up in the DHT", r.Heads.Latency, findTimeout, "s", "check tables more often, choose heads that last")
	for i := soft; i < len(list); i++ {
		list[i].Soft = true
	}
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
