package sim

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

func never() error { return nil }

func quantile(all []time.Duration, q float64) time.Duration {
	all = slices.Sorted(slices.Values(all))
	return all[int(q*float64(len(all)-1))]
}

// TestTakeOversAreInTime: ten nodes, the registry away, default timers.
func TestTakeOversAreInTime(t *testing.T) {
	c := DefaultCityConfig()
	for _, b := range []struct {
		blow        Blow
		median, p95 time.Duration
	}{
		{BlowKill, 200 * time.Millisecond, 800 * time.Millisecond},
		{BlowSilent, 2600 * time.Millisecond, 2600 * time.Millisecond},
		{BlowFreeze, 2600 * time.Millisecond, 2600 * time.Millisecond},
		{BlowPair, 3600 * time.Millisecond, 3600 * time.Millisecond},
		{BlowRestart, 500 * time.Millisecond, 500 * time.Millisecond},
		{BlowHandOver, 100 * time.Millisecond, 100 * time.Millisecond},
	} {
		all, err := c.TakeOvers(b.blow, blowTrials, never)
		if err != nil || len(all) != blowTrials {
			t.Fatalf("%s: %d trials, %v", b.blow, len(all), err)
		}
		var done []time.Duration
		for _, o := range all {
			if o.Detected <= 0 || o.Done < o.Detected {
				t.Errorf("%s: claimed after %v, followed after %v", b.blow, o.Detected, o.Done)
			}
			done = append(done, o.Done)
		}
		if m, p := quantile(done, 0.5), quantile(done, 0.95); m > b.median || p > b.p95 {
			t.Errorf("%s: median %v, p95 %v; want %v and %v (seed %d)", b.blow, m, p, b.median, b.p95, c.Seed)
		}
	}
}

// TestHealsAreInTime: one head below four seconds after the end of a cut, at p99, as seen from the first moment on.
func TestHealsAreInTime(t *testing.T) {
	c := DefaultCityConfig()
	for _, n := range []int{2, 3, 10} {
		for _, d := range []time.Duration{5 * time.Second, 30 * time.Second, 600 * time.Second} {
			c.Nodes = n
			all, err := c.Heals(d, blowTrials, never)
			if err != nil || len(all) != blowTrials {
				t.Fatalf("%d nodes, cut of %v: %d trials, %v", n, d, len(all), err)
			}
			if p := quantile(all, 1); p >= 4*time.Second {
				t.Errorf("%d nodes, cut of %v: one head after up to %v (seed %d)", n, d, p, c.Seed)
			}
		}
	}
}

// TestNobodyIsDeposedAtFivePercent: none in eight hours, whether what is lost is sent again or not.
func TestNobodyIsDeposedAtFivePercent(t *testing.T) {
	c := DefaultCityConfig()
	c.Loss = 0.05
	for _, c.Datagrams = range []bool{false, true} {
		p, err := c.Peace(peaceHours*time.Hour, never)
		if err != nil {
			t.Fatal(err)
		}
		if p.Deposed > 0 || p.Evicted > 0 {
			t.Errorf("datagrams %v: %d heads deposed, %d members dropped in %v (seed %d)", c.Datagrams, p.Deposed, p.Evicted, p.Lived, c.Seed)
		}
		if p.Messages < 1 || p.Messages > 10 || p.Bytes < 50 || p.HeadMessages < p.Messages {
			t.Errorf("datagrams %v: %+v", c.Datagrams, p)
		}
	}
}

// TestLossIsNoticed: the figures see a head that is deposed without need.
func TestLossIsNoticed(t *testing.T) {
	c := DefaultCityConfig()
	c.Loss, c.Datagrams = 0.6, true
	p, err := c.Peace(30*time.Minute, never)
	if err != nil {
		t.Fatal(err)
	}
	if p.Deposed == 0 {
		t.Errorf("no head was deposed at 60 %% loss: %+v", p)
	}
}

func TestAvailability(t *testing.T) {
	c := DefaultCityConfig()
	a, err := c.Availability(Turnover{20 * time.Minute, 30 * time.Second}, 2*time.Hour, never)
	if err != nil {
		t.Fatal(err)
	}
	if a.TakeOvers == 0 || a.Head < 0.998 || a.Head >= 1 || a.Node < 0.998 || a.Node >= 1 {
		t.Errorf("%+v (seed %d)", a, c.Seed)
	}
}

func TestAStepEndsAMeasurement(t *testing.T) {
	stop := errors.New("stop")
	c := DefaultCityConfig()
	if _, err := c.Peace(time.Hour, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("peace: %v", err)
	}
	if _, err := c.TakeOvers(BlowKill, 5, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("take-overs: %v", err)
	}
	if _, err := c.Heals(time.Second, 5, func() error { return stop }); !errors.Is(err, stop) {
		t.Errorf("heals: %v", err)
	}
}

func TestCityConfigIsValidated(t *testing.T) {
	for name, change := range map[string]func(*CityConfig){
		"no nodes": func(c *CityConfig) { c.Nodes = 0 }, "too many": func(c *CityConfig) { c.Nodes = MaxNodes + 1 },
		"all lost": func(c *CityConfig) { c.Loss = 1 }, "negative": func(c *CityConfig) { c.Delay = -1 }, "timers": func(c *CityConfig) { c.Timers = cluster.Timers{} },
	} {
		c := DefaultCityConfig()
		change(&c)
		if c.Validate() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := DefaultCityConfig().Validate(); err != nil {
		t.Error(err)
	}
}
