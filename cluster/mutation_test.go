package cluster_test

import (
	"context"
	"slices"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/cluster/sim"
)

// within is how many schedules the simulator may need to notice that a rule is off.
const within = 2000

// caught says by which invariant, and after how many schedules.
func caught(t *testing.T, c sim.RunConfig, by ...string) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	n, seed, text := 0, uint64(0), ""
	first := ""
	c.First, c.Count = 1, within
	if _, err := sim.Run(ctx, c, func(o sim.Outcome) {
		if n++; o.Violation != nil && first == "" {
			first, seed, text = o.Violation.Invariant, o.Seed, o.Violation.Error()
			stop()
		}
	}); err != nil {
		t.Fatal(err)
	}
	switch {
	case first == "":
		t.Errorf("not noticed in %d schedules", n)
	case !slices.Contains(by, first):
		t.Errorf("noticed by %s in seed %d, want %v: %s", first, seed, by, text)
	default:
		t.Logf("noticed by %s after %d schedules, in seed %d: %s", first, n, seed, text)
	}
}

// TestMutations: a rule that is switched off breaks a named invariant soon. With all rules on, the same schedules hold
// (the short run of `make test`).
func TestMutations(t *testing.T) {
	for _, m := range []struct {
		rule string
		by   []string
	}{
		{"fencing", []string{"S4"}},
		{"probe", []string{"L4"}},
		{"pause-guard", []string{"L4"}},
		{"copy-first", []string{"S5"}},
		{"new-term", []string{"S1"}},
	} {
		t.Run(m.rule, func(t *testing.T) {
			defer cluster.SkipRule(m.rule)()
			caught(t, sim.DefaultRunConfig(), m.by...)
		})
	}
	t.Run("persist-first", func(t *testing.T) {
		c := sim.DefaultRunConfig()
		c.Carrier.LatePersist = true
		caught(t, c, "S2")
	})
}
