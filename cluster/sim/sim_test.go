package sim

import (
	"flag"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	seedFlag  = flag.Uint64("seed", 1, "first seed of TestSchedules")
	countFlag = flag.Uint64("schedules", 500, "how many schedules TestSchedules lives through")
	wordsFlag = flag.Bool("words", false, "tell messages")
	traceFlag = flag.Bool("tell", false, "tell the schedules")
)

func TestSchedules(t *testing.T) {
	memory := NewMemory()
	began := time.Now()
	var steps, msgs, take uint64
	var united []time.Duration
	bad := map[string]int{}
	for seed := *seedFlag; seed < *seedFlag+*countFlag; seed++ {
		o := Options{Memory: memory}
		if *traceFlag {
			o.Trace, o.Messages = os.Stdout, *seedFlag > 0 && *wordsFlag
		}
		out := Schedule(seed, o)
		steps += out.Steps
		msgs += out.Messages
		united = append(united, out.united)
		take += uint64(out.TakeOvers)
		if out.Violation != nil {
			bad[out.Violation.Invariant]++
			if bad[out.Violation.Invariant] < 6 {
				t.Errorf("seed %d %v: %v", seed, out.Kinds, out.Violation)
			}
		}
	}
	d := time.Since(began)
	slices.Sort(united)
	t.Logf("united p50 %v p90 %v p99 %v p99.9 %v max %v", united[len(united)/2], united[len(united)*9/10], united[len(united)*99/100], united[len(united)*999/1000], united[len(united)-1])
	t.Logf("%d schedules in %v: %.0f/s, %d steps, %d messages, %d takeovers, %v", *countFlag, d, float64(*countFlag)/d.Seconds(), steps, msgs, take, bad)
}
