package probe

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestSummarise(t *testing.T) {
	if summarise(nil) != (Summary{}) {
		t.Error("a summary of nothing")
	}
	s := summarise([]float64{7})
	for what, p := range map[string]*float64{"min": s.Min, "mean": s.Mean, "median": s.Median, "p90": s.P90, "p95": s.P95, "p99": s.P99, "max": s.Max} {
		near(t, what+" of one", p, 7)
	}
	if s.Stddev != nil {
		t.Error("a deviation of one value")
	}
	// 1..10 in disorder: rank ceil(p*10): p90 the 9th, p95 and p99 the 10th;
	// stddev of 1..10 is sqrt(82.5/9).
	s = summarise([]float64{10, 3, 1, 4, 2, 9, 5, 8, 6, 7})
	near(t, "min", s.Min, 1)
	near(t, "mean", s.Mean, 5.5)
	near(t, "median", s.Median, 5.5)
	near(t, "p90", s.P90, 9)
	near(t, "p95", s.P95, 10)
	near(t, "p99", s.P99, 10)
	near(t, "max", s.Max, 10)
	near(t, "stddev", s.Stddev, math.Sqrt(82.5/9))
	v := make([]float64, 200)
	for i := range v {
		v[i] = float64(200 - i)
	}
	s = summarise(v)
	near(t, "p90 of 200", s.P90, 180)
	near(t, "p95 of 200", s.P95, 190)
	near(t, "p99 of 200", s.P99, 198)
	near(t, "median of 200", s.Median, 100.5)
}

func TestSummaryIsOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := rapid.SliceOfN(rapid.Float64Range(-1e6, 1e6), 1, 300).Draw(t, "v")
		s := summarise(slices.Clone(v))
		for _, order := range [][]*float64{
			{s.Min, s.Median, s.P90, s.P95, s.P99, s.Max}, {s.Min, s.Mean, s.Max},
		} {
			for i := 1; i < len(order); i++ {
				if *order[i-1] > *order[i] {
					t.Fatalf("figure %d: %v > %v", i, *order[i-1], *order[i])
				}
			}
		}
		if *s.Min != slices.Min(v) || *s.Max != slices.Max(v) || (len(v) > 1) != (s.Stddev != nil) {
			t.Fatalf("%+v", s)
		}
		slices.Sort(v)
		for _, p := range []float64{50, 90, 95, 99} { // RFC 2330's definition
			x := percentile(v, p)
			below := float64(len(v)-len(slices.DeleteFunc(slices.Clone(v), func(y float64) bool { return y < x }))) / float64(len(v))
			upTo := float64(len(slices.DeleteFunc(slices.Clone(v), func(y float64) bool { return y > x }))) / float64(len(v))
			if upTo < p/100-1e-9 || below >= p/100+1e-9 {
				t.Fatalf("p%v = %v: %v below, %v up to it", p, x, below, upTo)
			}
		}
	})
}

func TestJitters(t *testing.T) {
	nan := math.NaN()
	// RTT 10, 12, 11, lost, 20, 16 in order.
	j := jitters([]float64{10, 12, 11, 20, 16}, []float64{10, 12, 11, nan, 20, 16})
	// A.8: |D| = 2, 1, 9, 4 (arrivals, the loss is skipped):
	// 2/16 = .125; + (1-.125)/16 = .1796875; + (9-.1796875)/16 = .73095703125;
	// + (4-.73095703125)/16 = .935272216796875
	near(t, "rfc3550", j.RFC3550, 0.935272216796875)
	// RFC 3393: pairs (0,1) 2, (1,2) 1, (4,5) 4; not across the loss.
	near(t, "ipdvMeanAbs", j.IPDVMeanAbs, 7.0/3)
	near(t, "ipdvP95", j.IPDVP95, 4)
	// RFC 5481: 0, 2, 1, 10, 6.
	near(t, "pdvP95", j.PDVP95, 10)
	near(t, "pdvP99", j.PDVP99, 10)

	if j := jitters(nil, []float64{nan, nan}); j != (Jitter{}) {
		t.Errorf("jitter of nothing: %+v", j)
	}
	j = jitters([]float64{5}, []float64{nan, 5})
	if j.RFC3550 != nil || j.IPDVMeanAbs != nil || j.PDVP95 == nil || *j.PDVP95 != 0 {
		t.Errorf("jitter of one packet: %+v", j)
	}
	// Order of arrival counts for A.8 only: 10, 14, 12 arriving as 10, 12, 14.
	j = jitters([]float64{10, 12, 14}, []float64{10, 14, 12})
	near(t, "rfc3550 by arrival", j.RFC3550, 2.0/16+(2-2.0/16)/16)
	near(t, "ipdv by sequence", j.IPDVMeanAbs, 3)
}
