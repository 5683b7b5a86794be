package cmd

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/probe"
	"github.com/spf13/cobra"
)

// gateFlags are the conditions under which a measurement counts as good.
type gateFlags struct {
	maxLoss string
	maxRTT  []string
	strict  bool
}

func (g *gateFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&g.maxLoss, "max-loss", "", "exit 2 when more is lost, for example 1%")
	c.Flags().StringSliceVar(&g.maxRTT, "max-rtt", nil, "exit 2 when a figure is above, for example p95=20ms (several with commas; "+strings.Join(rttFigures, ", ")+")")
	c.Flags().BoolVar(&g.strict, "strict", false, "exit 2 also when the result is partial")
}

// rttFigures are the figures that --max-rtt can bound.
var rttFigures = []string{"min", "mean", "median", "p90", "p95", "p99", "max", "stddev"}

func rttFigure(s probe.Summary, name string) *float64 {
	return []*float64{s.Min, s.Mean, s.Median, s.P90, s.P95, s.P99, s.Max, s.Stddev}[slices.Index(rttFigures, name)]
}

// gates are parsed gateFlags.
type gates struct {
	loss   *float64 // percent
	rtt    []rttGate
	strict bool
}

type rttGate struct {
	figure string
	maxMs  float64
}

func (g *gateFlags) parse() (gates, error) {
	out := gates{strict: g.strict}
	if g.maxLoss != "" {
		v, err := parsePercent(g.maxLoss)
		if err != nil {
			return out, fmt.Errorf("--max-loss %w", err)
		}
		out.loss = &v
	}
	for _, s := range g.maxRTT {
		figure, limit, ok := strings.Cut(strings.TrimSpace(s), "=")
		if !ok || !slices.Contains(rttFigures, figure) {
			return out, fmt.Errorf("--max-rtt %q: write figure=duration, for example p95=20ms; figures are %s", s, strings.Join(rttFigures, ", "))
		}
		d, err := time.ParseDuration(limit)
		if err != nil || d <= 0 {
			return out, fmt.Errorf("--max-rtt %q: %q is not a duration above 0, write for example 20ms", s, limit)
		}
		out.rtt = append(out.rtt, rttGate{figure, float64(d) / float64(time.Millisecond)})
	}
	return out, nil
}

// parsePercent reads "1%" and "1".
func parsePercent(s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(s), "%")), 64)
	if err != nil || math.IsNaN(v) || v < 0 || v > 100 {
		return 0, fmt.Errorf("%q is not a percentage: write 0%% to 100%%, for example 1%%", s)
	}
	return v, nil
}

// broken says which gates the results break, each in a sentence. A figure that was not measured breaks
// the gate that asks for it: silence is not good news.
func (g gates) broken(results []probe.Result) []string {
	var out []string
	for _, r := range results {
		l := r.Latency
		if l == nil {
			l = &probe.Latency{}
		}
		if g.loss != nil {
			switch {
			case l.LossPct == nil:
				out = append(out, fmt.Sprintf("gate: loss was not measured, at most %s %% was asked for", trim(*g.loss)))
			case *l.LossPct > *g.loss:
				out = append(out, fmt.Sprintf("gate: loss is %s %%, above %s %%", trim(*l.LossPct), trim(*g.loss)))
			}
		}
		for _, rg := range g.rtt {
			v := rttFigure(l.RTT, rg.figure)
			switch {
			case v == nil:
				out = append(out, fmt.Sprintf("gate: RTT %s was not measured, at most %s ms was asked for", rg.figure, trim(rg.maxMs)))
			case *v > rg.maxMs:
				out = append(out, fmt.Sprintf("gate: RTT %s is %s ms, above %s ms", rg.figure, trim(*v), trim(rg.maxMs)))
			}
		}
	}
	return out
}

// trim prints a figure with at most three digits behind the point.
func trim(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(v, 'f', 3, 64), "0"), ".")
}

// verdict is the exit code for results, and what is to be said about it on stderr.
func (g gates) verdict(results []probe.Result) (int, []string) {
	measured, partial := false, false
	for _, r := range results {
		measured = measured || r.Latency != nil && r.Latency.Received > 0
		partial = partial || r.Status == probe.StatusPartial
	}
	if !measured {
		return exitNothing, []string{"nothing was measured"}
	}
	say := g.broken(results)
	if partial && g.strict {
		say = append(say, "gate: the result is partial, and --strict was given")
	}
	if len(say) > 0 {
		return exitNothing, say
	}
	return exitOK, nil
}
