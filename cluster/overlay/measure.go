package overlay

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
)

// Experiment is what is done to one network after another.
type Experiment struct {
	Config
	Nodes    int     // at least 1
	Lookups  int     // from random nodes for random keys, on the whole network, and again with the dead and after churn
	KeyBits  int     // length of the keys looked up
	Dead     float64 // share of the nodes that dies for the second series; 0: no such series
	Turnover float64 // departures and joins before the third series, as a share of the nodes; 0: none
	Bare     bool    // lookups only: no degrees, zones and shares
	Seed     uint64  // with the rest of the experiment and the run's number this decides everything
}

// DefaultExperiment is 5,000 lookups for 128-bit keys, as in the figures that are to be compared with.
func DefaultExperiment(g Geometry, nodes int) Experiment {
	return Experiment{Config: DefaultConfig(g), Nodes: nodes, Lookups: 5000, KeyBits: KeyBits, Seed: 1}
}

// Validate says what is wrong, if anything, wrapped in ErrConfig or ErrGeometry.
func (e Experiment) Validate() error {
	if err := e.Config.Validate(); err != nil {
		return err
	}
	switch {
	case e.Nodes < 1:
		return fmt.Errorf("%w: %d nodes: at least 1 is needed", ErrConfig, e.Nodes)
	case e.Lookups < 0:
		return fmt.Errorf("%w: %d lookups", ErrConfig, e.Lookups)
	case e.KeyBits < 1 || e.KeyBits > KeyBits:
		return fmt.Errorf("%w: keys of %d bits: choose 1 to %d", ErrConfig, e.KeyBits, KeyBits)
	case !(e.Dead >= 0 && e.Dead < 1):
		return fmt.Errorf("%w: %v of the nodes dead: choose 0 or more, and less than 1", ErrConfig, e.Dead)
	case !(e.Turnover >= 0 && e.Turnover <= maxTurnover):
		return fmt.Errorf("%w: turnover %v: choose 0 to %d", ErrConfig, e.Turnover, maxTurnover)
	}
	return nil
}

// maxTurnover is beyond what changes anything any more: every node has been replaced a hundred times.
const maxTurnover = 100

// Sample is what one network showed.
type Sample struct {
	Whole   Series
	Dead    Series // empty when Experiment.Dead is less than half a node
	Churned Series // empty without Experiment.Turnover

	Degrees        []int // nodes by the size of their routing table; of large networks a sample
	Links          int   // of the nodes in Degrees; 0 where it is not known
	Zones          []int // nodes by the bits of their id, where nodes own zones
	ChurnedZones   []int // the same after churn
	ChurnedDegrees []int
	MaxShare       float64 // largest part of the keys that one node owns, as a multiple of the mean
	BusiestShare   float64 // part of the forwards (questions, under Kademlia) that the busiest hundredth of the nodes handles
}

// Series is a number of lookups.
type Series struct {
	Tried    int
	Hops     []int // lookups that reached the owner, by hops
	Messages int
	Timeouts int
}

// Found is how many lookups reached the owner.
func (s *Series) Found() int { return total(s.Hops) }

// MeanHops is that of the lookups that reached the owner; 0 when none did.
func (s *Series) MeanHops() float64 { return mean(s.Hops) }

func total(histogram []int) (n int) {
	for _, c := range histogram {
		n += c
	}
	return n
}

func mean(histogram []int) float64 {
	n, sum := 0, 0
	for v, c := range histogram {
		n += c
		sum += v * c
	}
	if n == 0 {
		return 0
	}
	return float64(sum) / float64(n)
}

func count(histogram []int, v int) []int {
	for len(histogram) <= v {
		histogram = append(histogram, 0)
	}
	histogram[v]++
	return histogram
}

// between is how many steps pass until the caller is asked whether to go on.
const between = 256

// Run builds network number run and measures it. Now and then it calls step, which may be nil, and ends with its
// error if it returns one.
func (e Experiment) Run(run int, step func() error) (*Sample, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	if step == nil {
		step = func() error { return nil }
	}
	rng := e.generator(run)
	o, err := New(e.Config, rng)
	if err != nil {
		return nil, err
	}
	for i := range e.Nodes {
		if i%between == 0 {
			if err := step(); err != nil {
				return nil, err
			}
		}
		if _, err := o.Join(); err != nil {
			return nil, fmt.Errorf("joining node %d: %w", i+1, err)
		}
	}
	m := measuring{e: e, o: o, rng: rng, step: step}
	return m.all()
}

// generator differs between experiments, so that their errors are independent.
func (e Experiment) generator(run int) *rand.Rand {
	join := e.Join
	if !e.Geometry.Zoned() {
		join = JoinPlain // there is no other
	}
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%s/%d/%d", e.Geometry, join, e.Nodes, run)
	return rand.New(rand.NewPCG(e.Seed, h.Sum64()))
}

// measuring is one network under measurement.
type measuring struct {
	e    Experiment
	o    Overlay
	rng  *rand.Rand
	step func() error
}

func (m *measuring) all() (*Sample, error) {
	s := &Sample{}
	var err error
	visits := map[Node]int{}
	if s.Whole, err = m.series(visits); err != nil {
		return nil, err
	}
	s.BusiestShare = busiest(visits, m.o.Len())
	if err := m.tables(s); err != nil {
		return nil, err
	}
	if dead := m.kill(); len(dead) > 0 {
		if s.Dead, err = m.series(nil); err != nil {
			return nil, err
		}
		for _, n := range dead {
			m.o.Revive(n)
		}
	}
	if m.e.Turnover > 0 && m.e.Nodes > 1 {
		if err := m.churn(); err != nil {
			return nil, err
		}
		if s.Churned, err = m.series(nil); err != nil {
			return nil, err
		}
		var after Sample
		if err := m.tables(&after); err != nil {
			return nil, err
		}
		s.ChurnedZones, s.ChurnedDegrees = after.Zones, after.Degrees
	}
	return s, nil
}

// degreesOf is of how many nodes, evenly spread, the degree is taken: the mean of so many is good to a hundredth.
const degreesOf = 1 << 16

// tables counts degrees, zones and shares.
func (m *measuring) tables(s *Sample) error {
	if m.e.Bare {
		return nil
	}
	every := (m.o.Len() + degreesOf - 1) / degreesOf
	z, zoned := m.o.(interface{ ID(Node) Key })
	for i := range m.o.Len() {
		if i%between == 0 {
			if err := m.step(); err != nil {
				return err
			}
		}
		n := m.o.At(i)
		if i%every == 0 {
			out, links := m.o.Degree(n)
			s.Degrees = count(s.Degrees, out)
			s.Links += links
		}
		if zoned {
			s.Zones = count(s.Zones, z.ID(n).Len())
		}
		s.MaxShare = max(s.MaxShare, m.o.Share(n)*float64(m.o.Len()))
	}
	return nil
}

// series looks random keys up; sources and owners are alive.
func (m *measuring) series(visits map[Node]int) (s Series, err error) {
	var t Trip
	for s.Tried < m.e.Lookups {
		if s.Tried%between == 0 {
			if err := m.step(); err != nil {
				return s, err
			}
		}
		from, key := m.living(), RandomKey(m.rng, m.e.KeyBits)
		owner, err := m.o.Owner(key)
		if err != nil {
			return s, err
		}
		if !m.o.Alive(owner) {
			continue
		}
		if err := m.o.Route(from, key, &t); err != nil {
			return s, err
		}
		s.Tried++
		s.Messages += t.Messages
		s.Timeouts += t.Timeouts
		if t.Found {
			s.Hops = count(s.Hops, t.Hops)
		}
		if visits != nil {
			for _, n := range t.Path[1:] {
				visits[n]++
			}
		}
	}
	return s, nil
}

func (m *measuring) living() Node {
	for {
		if n := m.o.At(m.rng.IntN(m.o.Len())); m.o.Alive(n) {
			return n
		}
	}
}

// kill makes the share of the nodes deaf that the experiment says, but leaves one.
func (m *measuring) kill() (dead []Node) {
	want := min(int(m.e.Dead*float64(m.o.Len())+0.5), m.o.Len()-1)
	for len(dead) < want {
		n := m.living()
		m.o.Kill(n)
		dead = append(dead, n)
	}
	return dead
}

// churn lets nodes leave in order and others join, one after the other.
func (m *measuring) churn() error {
	for i := range int(m.e.Turnover*float64(m.e.Nodes) + 0.5) {
		if i%between == 0 {
			if err := m.step(); err != nil {
				return err
			}
		}
		if err := m.o.Leave(m.o.At(m.rng.IntN(m.o.Len()))); err != nil {
			return err
		}
		if _, err := m.o.Join(); err != nil {
			return err
		}
	}
	return nil
}

// busiest is the part of all visits that a hundredth of the nodes, rounded up, gets.
func busiest(visits map[Node]int, nodes int) float64 {
	var counts []int
	sum := 0
	for _, c := range visits {
		counts = append(counts, c)
		sum += c
	}
	if sum == 0 {
		return 0
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	most := 0
	for _, c := range counts[:min(len(counts), (nodes+99)/100)] {
		most += c
	}
	return float64(most) / float64(sum)
}
