package cmd

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/probe"
	"github.com/spf13/cobra"
)

// durationFlag reads "200ms" as Go does, and a bare number as seconds, as ping does.
type durationFlag struct{ d time.Duration }

func (f *durationFlag) String() string { return f.d.String() }
func (f *durationFlag) Type() string   { return "duration" }

func (f *durationFlag) Set(s string) error {
	d, err := parseDuration(s)
	if err != nil {
		return err
	}
	f.d = d
	return nil
}

func parseDuration(s string) (time.Duration, error) {
	if v, err := strconv.ParseFloat(s, 64); err == nil {
		const most = float64(time.Hour/time.Second) * 24 * 365
		if v != v || v < -most || v > most {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		return time.Duration(v * float64(time.Second)), nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration: write 200ms, 1.5s, or seconds as a bare number", s)
	}
	return d, nil
}

// paramFlags are the parameters of a measurement.
type paramFlags struct {
	tool     string
	count    int
	interval durationFlag
	size     int
	timeout  durationFlag
	packets  bool
}

func (p *paramFlags) add(c *cobra.Command) {
	d := probe.DefaultParams()
	p.interval.d, p.timeout.d = d.Interval, d.Timeout
	c.Flags().IntVarP(&p.count, "count", "c", d.Count, "packets to send")
	c.Flags().VarP(&p.interval, "interval", "i", "time between packets: 20ms; a bare number is seconds, as with ping")
	c.Flags().IntVar(&p.size, "size", d.Size, fmt.Sprintf("bytes of UDP payload, at least %d", probe.MinParamSize))
	c.Flags().Var(&p.timeout, "timeout", "an answer later than this is a loss; a bare number is seconds")
	c.Flags().StringVar(&p.tool, "tool", probe.ToolLatency, "what to measure with: "+strings.Join(toolNames(), ", "))
	c.Flags().BoolVar(&p.packets, "packets", false, "keep and print every packet")
	_ = c.RegisterFlagCompletionFunc("tool", cobra.FixedCompletions(toolNames(), cobra.ShellCompDirectiveNoFileComp))
}

// params are the parameters as package probe wants them; the first thing that makes no sense is named
// with the flag that said it.
func (p *paramFlags) params() (probe.Params, error) {
	if _, ok := probe.ToolByName(p.tool); !ok {
		return probe.Params{}, fmt.Errorf("--tool %q is not known: there is %s", p.tool, strings.Join(toolNames(), ", "))
	}
	switch {
	case p.count < 1:
		return probe.Params{}, fmt.Errorf("--count is %d: at least 1 packet is needed", p.count)
	case p.interval.d <= 0:
		return probe.Params{}, fmt.Errorf("--interval is %v: it must be above 0", p.interval.d)
	case p.size < probe.MinParamSize:
		return probe.Params{}, fmt.Errorf("--size is %d: an authenticated STAMP packet has at least %d bytes", p.size, probe.MinParamSize)
	case p.timeout.d <= 0:
		return probe.Params{}, fmt.Errorf("--timeout is %v: it must be above 0", p.timeout.d)
	}
	out := probe.Params{Count: p.count, Interval: p.interval.d, Size: p.size, Timeout: p.timeout.d, KeepSamples: p.packets}
	return out, out.Validate()
}

func toolNames() []string {
	var names []string
	for _, t := range probe.Tools() {
		names = append(names, t.Name)
	}
	return names
}
