package registry

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
)

// The light check: a round trip cannot be faster than light in fibre between
// the two cities. It can disprove a placement and never prove one.
const (
	// lightPairs bounds the pairs of nodes that are remembered (some 20 MB).
	lightPairs = 1 << 17
	// lightWindow is for how long a round trip counts.
	lightWindow = 24 * time.Hour
	// lightSlackMs: a node stands for its city from up to 50 km away, at both ends.
	lightSlackMs = 1.0
	// lightAgree is how many peers have to agree before a node is blamed.
	lightAgree = 3
	// lightHeard bounds the peers that are heard against one node.
	lightHeard = 64
	// lightCities bounds the cities that a mark names.
	lightCities = 3
)

// States of a node whose placement measurements speak against.
const (
	// DoubtOne: a round trip to some peer is faster than light, and it is open
	// which of the two is elsewhere.
	DoubtOne = "doubted"
	// DoubtBlamed: at least three peers that agree say so.
	DoubtBlamed = "disproved"
)

// Doubt is what measurements say against a placement.
type Doubt struct {
	State string `json:"state"` // doubted or disproved
	Peers int    `json:"peers"` // that say so
	Text  string `json:"text"`
}

// mark is a doubt while it holds for a city.
type mark struct {
	Doubt
	city  cluster.City
	brief string // without figures, so that an admission is not signed anew for each
}

type pair [2]cluster.ID // the lower id first

type trip struct {
	ms float64
	at time.Time
}

// light remembers the fastest round trips between nodes, and what follows.
type light struct {
	mu    sync.Mutex
	trips *simplelru.LRU[pair, trip]
	marks map[cluster.ID]mark
	at    func(cluster.City) (locate.Coordinates, bool)
}

func newLight() *light {
	trips, err := simplelru.NewLRU[pair, trip](lightPairs, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &light{trips: trips, marks: make(map[cluster.ID]mark), at: func(c cluster.City) (locate.Coordinates, bool) {
		p, ok := locate.BySlug(string(c))
		return p.At, ok
	}}
}

// saw takes in results. Those of one host with itself say nothing of places.
// A time ahead of this clock counts as now: it would not pass for years.
func (l *light) saw(results []probe.Result) {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range results {
		r := &results[i]
		if r.Latency == nil || r.Latency.RTT.Min == nil || *r.Latency.RTT.Min < 0 || math.IsNaN(*r.Latency.RTT.Min) {
			continue
		}
		if to, err := netip.ParseAddrPort(r.Path.Remote); err == nil && to.Addr().Unmap().IsLoopback() {
			continue
		}
		a, err1 := p2p.ParseID(r.Initiator.Node)
		b, err2 := p2p.ParseID(r.Target.Node)
		if err1 != nil || err2 != nil || a == b {
			continue
		}
		at := r.Started
		if at.After(now) {
			at = now
		}
		key := pair{min(a, b), max(a, b)}
		old, ok := l.trips.Get(key)
		if !ok || *r.Latency.RTT.Min <= old.ms || at.Sub(old.at) > lightWindow {
			l.trips.Add(key, trip{*r.Latency.RTT.Min, at})
		}
	}
}

// doubt is what an admission to a city says; "" where nothing speaks against it.
func (l *light) doubt(id cluster.ID, city cluster.City) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.marks[id]; ok && m.city == city {
		return m.brief
	}
	return ""
}

// of is the doubt about a node, nil if there is none.
func (l *light) of(id cluster.ID, city cluster.City) *Doubt {
	l.mu.Lock()
	defer l.mu.Unlock()
	if m, ok := l.marks[id]; ok && m.city == city {
		return &m.Doubt
	}
	return nil
}

// weigh finds out anew which placements do not hold, and gives the nodes of
// which that differs from what their admissions say. One goroutine calls it.
func (l *light) weigh(nodes map[cluster.ID]member) map[cluster.ID]member {
	l.mu.Lock()
	trips := make(map[pair]trip, l.trips.Len())
	for _, key := range l.trips.Keys() {
		trips[key], _ = l.trips.Peek(key)
	}
	l.mu.Unlock()
	marks := l.judge(trips, nodes, time.Now()) // without the lock: deliveries go on meanwhile
	l.mu.Lock()
	defer l.mu.Unlock()
	before := l.marks
	l.marks = marks
	changed := make(map[cluster.ID]member)
	for id, m := range nodes {
		if marks[id].brief != before[id].brief {
			changed[id] = m
		}
	}
	return changed
}

// against is what one peer says against a node.
type against struct {
	peer cluster.ID
	city cluster.City
	ms   float64
	km   float64
}

func (l *light) judge(trips map[pair]trip, nodes map[cluster.ID]member, now time.Time) map[cluster.ID]mark {
	says := make(map[cluster.ID][]against)
	for key, t := range trips {
		a, okA := nodes[key[0]]
		b, okB := nodes[key[1]]
		if !okA || !okB || a.city == b.city || now.Sub(t.at) > lightWindow {
			continue
		}
		atA, okA := l.at(a.city)
		atB, okB := l.at(b.city)
		km := locate.Km(atA, atB)
		if !okA || !okB || t.ms >= locate.LightMs(km)-lightSlackMs {
			continue
		}
		says[key[0]] = append(says[key[0]], against{key[1], b.city, t.ms, km})
		says[key[1]] = append(says[key[1]], against{key[0], a.city, t.ms, km})
	}
	blamed := blame(says, func(id cluster.ID) string { return witness(id, nodes[id]) })
	marks := make(map[cluster.ID]mark)
	for id, list := range says {
		state := DoubtBlamed
		if !blamed[id] {
			state = DoubtOne
			list = slices.DeleteFunc(slices.Clone(list), func(a against) bool { return blamed[a.peer] }) // that is settled
		}
		if len(list) > 0 {
			marks[id] = newMark(state, nodes[id].city, list)
		}
	}
	return marks
}

// witness counts as one: a node of the operator's own, or all guests of one network.
func witness(id cluster.ID, m member) string {
	if m.class != cluster.ClassOwn {
		if ip, err := netip.ParseAddr(m.observed); err == nil {
			return neighbourhood(ip).String()
		}
	}
	return string(id)
}

// blame finds the nodes that are elsewhere: those against which the most speak,
// at least three that do not speak against one another. What is said by the
// blamed counts no more.
func blame(says map[cluster.ID][]against, witness func(cluster.ID) string) map[cluster.ID]bool {
	c := court{says: says, witness: witness, blamed: make(map[cluster.ID]bool), silent: make(map[cluster.ID]bool), opposed: make(map[pair]bool), weights: make(map[cluster.ID]int)}
	for id, list := range says {
		for _, a := range list {
			c.opposed[pair{id, a.peer}] = true
		}
	}
	for id := range says {
		c.weights[id] = c.weight(id)
	}
	for {
		most := 0
		var top []cluster.ID
		for id, w := range c.weights {
			switch {
			case w > most:
				most, top = w, []cluster.ID{id}
			case w == most:
				top = append(top, id)
			}
		}
		if most < lightAgree {
			return c.blamed
		}
		c.decide(top)
	}
}

// decide blames those of the most weight against whom others than they
// themselves speak. Of the rest nobody knows who is right: they are heard no more.
func (c *court) decide(top []cluster.ID) {
	for _, id := range top {
		c.silent[id] = true
	}
	for _, id := range top {
		delete(c.weights, id)
		c.blamed[id] = c.weight(id) >= lightAgree
	}
	for _, id := range top {
		for _, a := range c.says[id] {
			if !c.silent[a.peer] {
				c.weights[a.peer] = c.weight(a.peer)
			}
		}
	}
}

// court is the state of one blame.
type court struct {
	says    map[cluster.ID][]against
	witness func(cluster.ID) string
	blamed  map[cluster.ID]bool
	silent  map[cluster.ID]bool // whoever was decided on
	opposed map[pair]bool       // both ways
	weights map[cluster.ID]int
}

// weight is how many speak against a node that do not speak against one another:
// those against whom the fewest of the others speak are heard first.
func (c *court) weight(id cluster.ID) int {
	var peers []cluster.ID
	for _, a := range c.says[id] {
		if !c.silent[a.peer] {
			peers = append(peers, a.peer)
		}
	}
	slices.Sort(peers)
	peers = peers[:min(len(peers), lightHeard)]
	quarrels := make(map[cluster.ID]int, len(peers))
	for _, a := range peers {
		for _, b := range peers {
			if c.opposed[pair{a, b}] {
				quarrels[a]++
			}
		}
	}
	slices.SortStableFunc(peers, func(a, b cluster.ID) int { return cmp.Compare(quarrels[a], quarrels[b]) })
	var heard []cluster.ID
	voices := make(map[string]bool)
	for _, a := range peers {
		if !slices.ContainsFunc(heard, func(b cluster.ID) bool { return c.opposed[pair{a, b}] }) {
			heard = append(heard, a)
			voices[c.witness(a)] = true
		}
	}
	return len(voices)
}

func newMark(state string, city cluster.City, list []against) mark {
	fastest := slices.MinFunc(list, func(a, b against) int { return cmp.Compare(a.ms-a.km/100, b.ms-b.km/100) })
	var cities []string
	for _, a := range list {
		cities = append(cities, string(a.city))
	}
	slices.Sort(cities)
	cities = slices.Compact(cities)
	cities = cities[:min(len(cities), lightCities)]
	return mark{city: city, brief: fmt.Sprintf("%s: too near to nodes of %s", state, strings.Join(cities, ", ")), Doubt: Doubt{
		State: state, Peers: len(list),
		Text: fmt.Sprintf("%.2f ms to a node of %s, %.0f km from %s: light needs %.2f ms; %d say so", fastest.ms, fastest.city, fastest.km, city,
			locate.LightMs(fastest.km), len(list)),
	}}
}
