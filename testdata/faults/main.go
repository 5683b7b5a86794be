//go:build linux

// Command faults measures how fast a cluster gets over the loss of its head, on this machine: real processes in network
// namespaces, ten nodes of one city, the registry down. Run it with `make faults`, as root, on a machine that does
// nothing else.
//
// A take-over is timed from the return of kill(2) to the last survivor's event-log line of the new term, on one clock.
// Nodes measure all the while; at the end the registry comes back, every result has to arrive, and all logs are
// judged (package trail). It starts its own processes and ends them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

type settings struct {
	trials int
	nodes  int
	timers string
	only   []string
	long   bool
	slow   time.Duration
	out    string
}

func main() {
	var s settings
	only := ""
	flag.IntVar(&s.trials, "trials", 20, "trials of each fault")
	flag.IntVar(&s.nodes, "nodes", 10, "nodes of the city")
	flag.StringVar(&s.timers, "timers", "", "timers of the city: default, lan, wan")
	flag.StringVar(&only, "only", "", "faults to measure, with commas between: "+strings.Join(names(), ","))
	flag.BoolVar(&s.long, "long", false, "heals of cuts of 600 s too")
	flag.DurationVar(&s.slow, "slow", 0, "say what the logs say of trials that took longer than this")
	flag.StringVar(&s.out, "o", "", "file for the figures as JSON; - is standard output, without the table")
	flag.Parse()
	if only != "" {
		s.only = strings.Split(only, ",")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

// figures are of one fault.
type figures map[string]float64

func run(ctx context.Context, s settings) error {
	for _, name := range s.only {
		if !slices.Contains(names(), name) {
			return fmt.Errorf("-only %s: there is %s", name, strings.Join(names(), ", "))
		}
	}
	if why := lab.Missing(); why != "" {
		return errors.New(why)
	}
	b, err := lab.Build(false)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.Dir)
	all, err := measure(ctx, s, b)
	if len(all) == 0 {
		return err
	}
	if s.out != "-" {
		table(s, all)
	}
	if s.out != "" {
		text, _ := json.MarshalIndent(all, "", "  ") // numbers only
		text = append(text, '\n')
		if s.out == "-" {
			_, werr := os.Stdout.Write(text)
			return errors.Join(err, werr)
		}
		err = errors.Join(err, os.WriteFile(s.out, text, 0o644))
	}
	return err
}

func names() (all []string) {
	for _, f := range faults {
		all = append(all, f.name)
	}
	return all
}

func table(s settings, all map[string]figures) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d nodes, registry down\tp50\tp95\tmax\ttrials\taim\n", s.nodes)
	for _, f := range faults {
		if v, ok := all[f.name]; ok {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%.0f\t%s\n", f.what, seconds(v["p50"]), seconds(v["p95"]), seconds(v["max"]), v["n"], f.aim)
		}
	}
	if v, ok := all["results"]; ok {
		fmt.Fprintf(w, "results made, lost\t\t\t\t%.0f, %.0f\t0 lost\n", v["made"], v["lost"])
		fmt.Fprintf(w, "acknowledged on head and backup within 5 s, no fault active\t\t\t\t%.2f %% of %.0f\t99 %%\n", 100*v["within5s"], v["calm"])
		fmt.Fprintf(w, "effects of an old term accepted; other broken promises\t\t\t\t%.0f; %.0f\t0\n", v["stale"], v["broken"])
	}
	w.Flush()
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// summary of trials: nearest-rank percentiles, in seconds.
func summary(took []time.Duration) figures {
	slices.Sort(took)
	rank := func(p int) float64 { return took[max(0, (p*len(took)+99)/100-1)].Seconds() }
	return figures{"p50": rank(50), "p95": rank(95), "p99": rank(99), "max": rank(100), "n": float64(len(took))}
}
