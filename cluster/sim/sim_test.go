package sim

import (
	"context"
	"flag"
	"os"
	"slices"
	"testing"
	"time"
)

var (
	seed      = flag.Uint64("seed", 1, "first seed")
	schedules = flag.Uint64("schedules", fewSchedules, "how many schedules TestSchedules lives through")
	tell      = flag.Bool("tell", false, "TestOne: tell what happens")
	words     = flag.Bool("words", false, "TestOne: and what is said")
)

// shortRun is as long as that of `make test`: from then on each kind of fault must be frequent.
const shortRun = 20_000

// TestSchedules is a part of the short run of `make test`, which has its own step for the whole of it.
func TestSchedules(t *testing.T) {
	c := DefaultRunConfig()
	c.First, c.Count = *seed, *schedules
	var calm []time.Duration
	began := time.Now()
	r, err := Run(t.Context(), c, func(o Outcome) { calm = append(calm, o.united) })
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range r.Violations {
		t.Errorf("seed %d %v: %v\nrepeat it: %s", o.Seed, o.Kinds, o.Violation, o.Repeat())
	}
	if r.Late*100 > r.Submitted {
		t.Errorf("L5: %d of %d results were acknowledged after more than %v", r.Late, r.Submitted, ackedIn)
	}
	for _, k := range r.Kinds {
		if enough := *schedules / 20; *schedules >= shortRun && (k.Schedules < enough || 2*k.TwoTakeOvers < k.Schedules) {
			t.Errorf("%s occurred in %d schedules, %d of them with two take-overs: want %d, and half of them", k.Kind, k.Schedules, k.TwoTakeOvers, enough)
		}
		t.Logf("%-20s %6d schedules, %6d with two take-overs", k.Kind, k.Schedules, k.TwoTakeOvers)
	}
	slices.Sort(calm)
	t.Logf("calm after p50 %v p90 %v p99 %v max %v", calm[len(calm)/2], calm[len(calm)*9/10], calm[len(calm)*99/100], calm[len(calm)-1])
	d := time.Since(began)
	t.Logf("%d schedules, %.0f/s, %d steps, %d messages, %d take-overs, %d of %d results late, %v", r.Schedules,
		float64(r.Schedules)/d.Seconds(), r.Steps, r.Messages, r.TakeOvers, r.Late, r.Submitted, r.Broken)
}

// TestOne lives through the schedule of -seed; with -tell it says what happens.
func TestOne(t *testing.T) {
	o := Options{Messages: *words}
	if *tell {
		o.Trace = os.Stdout
	}
	out := Schedule(*seed, o)
	if out.Violation != nil {
		t.Errorf("seed %d %v: %v", out.Seed, out.Kinds, out.Violation)
	}
}

// TestTheSameSeedIsTheSameSchedule: step by step, in whatever order schedules are lived through and whatever they share.
func TestTheSameSeedIsTheSameSchedule(t *testing.T) {
	memory := NewMemory()
	hashes := make(map[uint64]uint64)
	for s := uint64(1); s <= 40; s++ {
		hashes[s] = Schedule(s, Options{Memory: memory}).Hash
	}
	for s := uint64(40); s > 0; s-- {
		o := Schedule(s, Options{})
		if o.Hash != hashes[s] {
			t.Errorf("seed %d: transcript %x, and %x before", s, o.Hash, hashes[s])
		}
		if s > 1 && o.Hash == hashes[s-1] {
			t.Errorf("seeds %d and %d have one transcript", s, s-1)
		}
	}
}

// TestARunIsResumed: an interrupted run says where to go on, and two halves are the whole.
func TestARunIsResumed(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c := RunConfig{First: 1, Count: 12, Jobs: 2}
	n := 0
	first, err := Run(ctx, c, func(Outcome) {
		if n++; n == 5 {
			stop()
		}
	})
	if err != nil || first.Schedules >= 12 || first.Next != first.Schedules+1 {
		t.Fatalf("%v: %+v", err, first)
	}
	whole, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	c.First, c.Count = first.Next, 13-first.Next
	rest, err := Run(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	if first.Steps+rest.Steps != whole.Steps || whole.Next != 13 {
		t.Errorf("%d and %d steps in two parts, %d at once", first.Steps, rest.Steps, whole.Steps)
	}
}
