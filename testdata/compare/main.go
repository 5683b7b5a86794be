//go:build linux

// Command compare lets peerprobe and well-known libraries lose members on this machine, one after the other, and prints
// what each took to get over it: hashicorp/memberlist, hashicorp/raft and etcd, each with the timers that it comes with.
// It also counts what staying together costs peerprobe's head and a memberlist node, at their network interfaces. Run it
// with `make compare`, as root, on a machine that does nothing else.
//
// Every member is a process of its own: this program again. A fault is timed from the return of kill(2) to the moment
// when the last survivor knows, on one clock. What "knows" means differs with what the systems are for: a new head or
// leader (peerprobe, raft, etcd), or that the member is dead (memberlist, which has no leaders).
//
// It is a module of its own, so that peerprobe depends on none of these.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// settings are what was asked for.
type settings struct {
	trials int
	only   []string
	sizes  []int // of the comparison of costs
	window time.Duration
	costOf string
	out    string
	root   string // of peerprobe's repository
	self   string // this program
	dir    string // scratch
}

// The faults, in the order of the table, as the program testdata/faults names them.
var faults = []struct{ name, what string }{
	{"kill", "kill -9 of the head, the leader or a member"},
	{"stop", "SIGSTOP of it"},
	{"both", "kill -9 of two at once: head and backup, leader and another voter, two members"},
}

// parts that -only may name: the systems, and the cost of staying together.
var parts = []string{"peerprobe", "memberlist", "raft", "etcd", "cost"}

// figures of one system and fault, in seconds.
type figures map[string]float64

// report is what is written as JSON.
type report struct {
	Faults map[string]map[string]figures `json:"faults"` // by system and fault
	Cost   []cost                        `json:"cost"`
}

func main() {
	if role := os.Getenv(actorEnv); role != "" {
		os.Exit(act(role))
	}
	var s settings
	only, sizes := "", ""
	flag.IntVar(&s.trials, "trials", 5, "trials of each fault and system")
	flag.StringVar(&only, "only", strings.Join(parts, ","), "what to do, with commas between")
	flag.StringVar(&sizes, "sizes", "10,50,100", "numbers of nodes of which the cost is counted")
	flag.DurationVar(&s.window, "window", 20*time.Second, "for how long it is counted")
	flag.StringVar(&s.costOf, "cost-of", "peerprobe,memberlist", "systems of which the cost is counted")
	flag.StringVar(&s.out, "o", "", "file for the figures as JSON")
	flag.StringVar(&s.root, "root", "../..", "peerprobe's repository")
	flag.Parse()
	s.only = strings.Split(only, ",")
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, s, sizes); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s settings, sizes string) (err error) {
	for _, name := range s.only {
		if !slices.Contains(parts, name) {
			return fmt.Errorf("-only %s: there is %s", name, strings.Join(parts, ", "))
		}
	}
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n < 3 || n > maxNodes {
			return fmt.Errorf("-sizes %s: numbers from 3 to %d", sizes, maxNodes)
		}
		s.sizes = append(s.sizes, n)
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "ppcompare"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	r := report{Faults: map[string]map[string]figures{}}
	for _, name := range parts[:4] {
		if !slices.Contains(s.only, name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "compare: %s loses members ...\n", name)
		if r.Faults[name], err = s.system(ctx, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if slices.Contains(s.only, "cost") {
		if r.Cost, err = s.costs(ctx); err != nil {
			return err
		}
	}
	r.print()
	if s.out == "" {
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.out, append(text, '\n'), 0o644)
}

// system runs all faults of one system.
func (s settings) system(ctx context.Context, name string) (map[string]figures, error) {
	if name == "peerprobe" {
		return s.peerprobe(ctx)
	}
	all := map[string]figures{}
	g, err := s.start(ctx, name)
	if err != nil {
		return nil, err
	}
	defer g.end()
	for _, f := range faults {
		var took []time.Duration
		for range s.trials {
			d, err := g.trial(ctx, f.name)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", f.what, err)
			}
			fmt.Fprintf(os.Stderr, "compare: %s, %s: %v\n", name, f.name, d)
			took = append(took, d)
		}
		all[f.name] = summary(took)
	}
	return all, nil
}

// peerprobe has a program of its own for these faults.
func (s settings) peerprobe(ctx context.Context) (map[string]figures, error) {
	out := filepath.Join(s.dir, "faults.json")
	var names []string
	for _, f := range faults {
		names = append(names, f.name)
	}
	cmd := exec.CommandContext(ctx, "go", "run", "./testdata/faults", "-trials", strconv.Itoa(s.trials), "-nodes", strconv.Itoa(members),
		"-only", strings.Join(names, ","), "-o", out)
	cmd.Dir, cmd.Stdout, cmd.Stderr = s.root, os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	var all map[string]figures
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	for _, name := range names {
		if all[name] == nil {
			return nil, errors.New("no figures of " + name)
		}
	}
	return all, nil
}

// summary of trials: nearest-rank percentiles, as testdata/faults has them.
func summary(took []time.Duration) figures {
	slices.Sort(took)
	rank := func(p int) float64 { return took[max(0, (p*len(took)+99)/100-1)].Seconds() }
	return figures{"p50": rank(50), "p95": rank(95), "max": rank(100), "n": float64(len(took))}
}

// whoIs says what was measured of each system.
var whoIs = map[string]string{
	"peerprobe":  fmt.Sprintf("%d nodes, registry down", members),
	"memberlist": fmt.Sprintf("%d members, DefaultLANConfig", members),
	"raft":       fmt.Sprintf("%d voters, %d non-voters, DefaultConfig, log on disk", voters, members-voters),
	"etcd":       fmt.Sprintf("%d members, embed.NewConfig", voters),
}

func (r report) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	if len(r.Faults) > 0 {
		fmt.Fprintln(w, "| until the last survivor knows: p50 / p95 / max\t| of\t| kill -9\t| SIGSTOP\t| two at once\t| trials\t|")
		fmt.Fprintln(w, "| ---\t| ---\t| ---\t| ---\t| ---\t| ---\t|")
	}
	for _, name := range parts {
		all, ok := r.Faults[name]
		if !ok {
			continue
		}
		fmt.Fprintf(w, "| %s\t| %s", name, whoIs[name])
		for _, f := range faults {
			v := all[f.name]
			fmt.Fprintf(w, "\t| %.3f / %.3f / %.3f s", v["p50"], v["p95"], v["max"])
		}
		fmt.Fprintf(w, "\t| %.0f\t|\n", all["kill"]["n"])
	}
	w.Flush()
	if len(r.Cost) > 0 {
		if len(r.Faults) > 0 {
			fmt.Println()
		}
		printCosts(r.Cost)
	}
}
