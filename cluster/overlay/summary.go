package overlay

import (
	"math"
	"slices"
)

// Estimate is a mean over networks and half the width of its 95 % interval (Student's t; NaN for one network).
type Estimate struct{ Mean, Half float64 }

// Summary is what the samples of one experiment say together.
type Summary struct {
	Runs                       int
	Hops                       Estimate // over the means of the networks
	P50, P99, Max              int      // of all lookups
	Messages                   float64  // a lookup
	Degree                     float64
	DegreeP99, DegreeMax       int
	Links                      float64 // a node; 0: not known
	MaxShare                   float64 // mean over networks of the largest share, as a multiple of the mean share
	BusiestShare               float64 // mean over networks
	Zones, ChurnedZones        []Class
	DeadFound                  Estimate // share of the lookups that reached the owner
	DeadTried                  int      // lookups with the dead; 0: nobody was dead
	DeadHops, DeadTimeouts     float64  // of those that did, and of all
	ChurnedHops                Estimate
	ChurnedDegree              float64
	DegreeShares, ChurnedShare []float64 // nodes by size of table, as shares of one
	Complete                   []int     // lookups that reached the owner, by hops, of all networks
}

// Class are the zones of one size.
type Class struct {
	Size  int // relative to the most frequent size S as a power of two: 1 is 2S, -2 is S/4
	Share float64
}

// Summarize takes the samples of one experiment together; at least one.
func Summarize(samples []*Sample) Summary {
	s := Summary{Runs: len(samples)}
	var hops, found, churned []float64
	var degrees, churnedDegrees, zones, churnedZones, deadHops []int
	messages, tried, deadTimeouts, links := 0, 0, 0, 0
	for _, x := range samples {
		hops = append(hops, x.Whole.MeanHops())
		s.Complete = add(s.Complete, x.Whole.Hops)
		messages += x.Whole.Messages
		tried += x.Whole.Tried
		degrees, churnedDegrees = add(degrees, x.Degrees), add(churnedDegrees, x.ChurnedDegrees)
		zones, churnedZones = add(zones, x.Zones), add(churnedZones, x.ChurnedZones)
		links += x.Links
		s.MaxShare += x.MaxShare / float64(len(samples))
		s.BusiestShare += x.BusiestShare / float64(len(samples))
		if x.Dead.Tried > 0 {
			found = append(found, float64(x.Dead.Found())/float64(x.Dead.Tried))
			deadHops = add(deadHops, x.Dead.Hops)
			s.DeadTried += x.Dead.Tried
			deadTimeouts += x.Dead.Timeouts
		}
		if x.Churned.Tried > 0 {
			churned = append(churned, x.Churned.MeanHops())
		}
	}
	s.Hops, s.DeadFound, s.ChurnedHops = estimate(hops), estimate(found), estimate(churned)
	s.P50, s.P99, s.Max = Quantile(s.Complete, 0.5), Quantile(s.Complete, 0.99), Quantile(s.Complete, 1)
	s.Messages = ratio(messages, tried)
	s.Degree, s.DegreeP99, s.DegreeMax = mean(degrees), Quantile(degrees, 0.99), Quantile(degrees, 1)
	s.Links = ratio(links, total(degrees))
	s.ChurnedDegree = mean(churnedDegrees)
	s.DegreeShares, s.ChurnedShare = shares(degrees), shares(churnedDegrees)
	s.Zones, s.ChurnedZones = classes(zones), classes(churnedZones)
	s.DeadHops, s.DeadTimeouts = mean(deadHops), ratio(deadTimeouts, s.DeadTried)
	return s
}

func ratio(a, b int) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}

func add(a, b []int) []int {
	for len(a) < len(b) {
		a = append(a, 0)
	}
	for i, c := range b {
		a[i] += c
	}
	return a
}

func shares(histogram []int) []float64 {
	out := make([]float64, len(histogram))
	for i, c := range histogram {
		out[i] = ratio(c, total(histogram))
	}
	return out
}

// Quantile is the smallest value that at least the share q of a histogram does not exceed; 0 of an empty one.
func Quantile(histogram []int, q float64) int {
	need := max(1, int(math.Ceil(q*float64(total(histogram))-1e-9)))
	for v, c := range histogram {
		if need -= c; need <= 0 {
			return v
		}
	}
	return 0
}

// classes counts zones by size, from small to large.
func classes(byBits []int) (out []Class) {
	if len(byBits) == 0 {
		return nil
	}
	most := slices.Index(byBits, slices.Max(byBits))
	for bits := len(byBits) - 1; bits >= 0; bits-- {
		if byBits[bits] > 0 {
			out = append(out, Class{Size: most - bits, Share: ratio(byBits[bits], total(byBits))})
		}
	}
	return out
}

// student is the 97.5 % quantile of Student's t by degrees of freedom from 1; beyond them it is near 1.96.
var student = []float64{12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145,
	2.131, 2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042}

func estimate(values []float64) Estimate {
	n := float64(len(values))
	if n == 0 {
		return Estimate{}
	}
	e := Estimate{Half: math.NaN()}
	for _, v := range values {
		e.Mean += v
	}
	e.Mean /= n
	if len(values) == 1 {
		return e
	}
	squares := 0.0
	for _, v := range values {
		squares += (v - e.Mean) * (v - e.Mean)
	}
	t := 1.96
	if i := len(values) - 2; i < len(student) {
		t = student[i]
	}
	e.Half = t * math.Sqrt(squares/(n-1)/n)
	return e
}
