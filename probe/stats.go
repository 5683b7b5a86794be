package probe

import (
	"math"
	"slices"
)

// summarise sorts v (milliseconds) and gives its summary; all nil when empty.
func summarise(v []float64) Summary {
	if len(v) == 0 {
		return Summary{}
	}
	slices.Sort(v)
	mean := meanOf(v)
	s := Summary{
		Min: &v[0], Max: &v[len(v)-1], Mean: &mean,
		Median: new(median(v)), P90: new(percentile(v, 90)),
		P95: new(percentile(v, 95)), P99: new(percentile(v, 99)),
	}
	s.Min, s.Max = new(*s.Min), new(*s.Max) // do not keep v alive
	if len(v) > 1 {
		var sq float64
		for _, x := range v {
			sq += (x - mean) * (x - mean)
		}
		s.Stddev = new(math.Sqrt(sq / float64(len(v)-1)))
	}
	return s
}

// meanOf stays within the extremes of v whatever rounding does.
func meanOf(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return min(max(sum/float64(len(v)), slices.Min(v)), slices.Max(v))
}

// percentile p of sorted v: the smallest value that at least p percent do not
// exceed (RFC 2330 sec. 11.3).
func percentile(v []float64, p float64) float64 {
	i := int(math.Ceil(p / 100 * float64(len(v))))
	return v[min(max(i, 1), len(v))-1]
}

// median of sorted v: of an even number, the mean of the two in the middle
// (RFC 2330 sec. 11.3).
func median(v []float64) float64 {
	m := len(v) / 2
	if len(v)%2 == 1 {
		return v[m]
	}
	return v[m-1] + (v[m]-v[m-1])/2
}
