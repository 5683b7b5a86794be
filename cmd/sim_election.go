package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/cluster/sim"
	"github.com/spf13/cobra"
)

// Bounds of what can be asked for.
const (
	electionMaxHours  = 24 * 365
	electionMaxTrials = 100_000
)

const simElectionLong = `Live through cities in virtual time, with the very code that elects heads.

Without --schedules: take figures. For each size how fast a head is replaced after each
kind of blow, how fast two halves of a city become one again after a cut, how often a
head that lives is deposed when packets are lost, what the election costs in messages and
bytes, and for how much of the time there is a head while nodes come and go. The registry
is away all that time.

With --schedules: look for mistakes. Each schedule is a short and unkind life that is drawn
from its seed: processes crash, freeze and lose their disks, clocks step, links cut, lose,
double and reorder, candidates lie, the registry forgets. After every step every invariant
is checked. A schedule that breaks one is named with its seed, and
--schedules 1 --seed N --trace tells it.`

// simElectionOptions are the flags.
type simElectionOptions struct {
	nodes     string
	hours     float64
	loss      string
	trials    int
	seed      uint64
	jobs      int
	timers    string
	delay     durationFlag
	file      string
	schedules uint64
	kind      string
	trace     bool
	messages  bool
}

func simElectionCommand(e *env) *cobra.Command {
	d := sim.DefaultCityConfig()
	o := simElectionOptions{delay: durationFlag{d.Delay}}
	var out formatFlags
	c := &cobra.Command{
		Use:   "election",
		Short: "Live through elections: figures, or a search for mistakes",
		Long:  simElectionLong,
		Example: `  peerprobe sim election                                     # figures for 3 to 500 nodes: minutes
  peerprobe sim election --nodes 10 --hours 8 --loss 0,5,20 -J
  peerprobe sim election --schedules 20000
  peerprobe sim election --schedules 1 --seed 4711 --trace`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := out.value(c)
			if err != nil {
				return err
			}
			if o.schedules > 0 {
				return e.simSchedules(c.Context(), f, &o)
			}
			if o.trace || o.messages || o.kind != "" {
				return errors.New("--trace, --messages and --kind are for --schedules: give how many, for example --schedules 1")
			}
			return e.simElection(c.Context(), f, &o)
		},
	}
	fl := c.Flags()
	fl.StringVar(&o.nodes, "nodes", "3,10,50,100,500", "sizes of cities; of the first one of at least 10 the figures with loss are taken")
	fl.Float64Var(&o.hours, "hours", 8, "simulated hours of each life with loss, and with nodes that come and go")
	fl.StringVar(&o.loss, "loss", "0,1,5,20,40", "percent of packets lost")
	fl.IntVar(&o.trials, "trials", 100, "blows and cuts of each kind")
	fl.Uint64Var(&o.seed, "seed", 1, "the same seed gives the same figures; the first of --schedules")
	fl.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "cities, or schedules, at the same time")
	fl.StringVar(&o.timers, "timers", "default", "timers of the city: default, lan or wan")
	fl.Var(&o.delay, "delay", "one-way delay between two nodes; up to as much again comes on top")
	fl.StringVar(&o.file, "json-file", "", "write the JSON document into a file too")
	fl.Uint64Var(&o.schedules, "schedules", 0, "look for mistakes in so many schedules instead")
	fl.StringVar(&o.kind, "kind", "", "with --schedules: the fault that every schedule is about: "+kindNames())
	fl.BoolVar(&o.trace, "trace", false, "with --schedules: tell what happens")
	fl.BoolVar(&o.messages, "messages", false, "with --trace: and what is said")
	out.add(c)
	return c
}

func kindNames() string {
	var names []string
	for _, k := range sim.Kinds() {
		names = append(names, k.String())
	}
	return strings.Join(names, ", ")
}

func timersNamed(name string) (cluster.Timers, error) {
	switch name {
	case "default":
		return cluster.DefaultTimers(), nil
	case "lan":
		return cluster.LANTimers(), nil
	case "wan":
		return cluster.WANTimers(), nil
	}
	return cluster.Timers{}, fmt.Errorf("--timers %q: there is default, lan and wan", name)
}

// simSchedules looks for mistakes.
func (e *env) simSchedules(ctx context.Context, f format, o *simElectionOptions) error {
	c := sim.DefaultRunConfig()
	c.First, c.Count, c.Jobs = o.seed, o.schedules, o.jobs
	if o.kind != "" {
		k, err := sim.ParseKind(o.kind)
		if err != nil {
			return fmt.Errorf("--kind: %w", err)
		}
		c.Kind = &k
	}
	if o.trace || o.messages {
		c.Trace, c.Messages, c.Jobs = e.out, o.messages, 1
		if f != formatTable {
			return errors.New("--trace is for people: leave --output and -J away")
		}
	}
	if err := c.Validate(); err != nil {
		return err
	}
	began, drawn, n := time.Now(), time.Now(), uint64(0)
	show := e.live(e.err) && !o.trace
	r, err := sim.Run(ctx, c, func(out sim.Outcome) {
		n++
		if out.Violation != nil {
			fmt.Fprintf(e.err, "%sseed %d: %v\n  repeat it: %s\n", map[bool]string{true: "\r\x1b[K"}[show], out.Seed, out.Violation, out.Repeat())
		}
		if now := time.Now(); show && now.Sub(drawn) >= progressEvery {
			drawn = now
			fmt.Fprintf(e.err, "\r\x1b[K%d of %d schedules, %.0f a second", n, o.schedules, float64(n)/now.Sub(began).Seconds())
		}
	})
	if show {
		fmt.Fprint(e.err, "\r\x1b[K")
	}
	if err != nil {
		return err
	}
	doc := schedulesDocument(c, r)
	if err := e.writeSchedules(f, doc); err != nil {
		return err
	}
	if err := writeDocument(o.file, doc); err != nil {
		return err
	}
	if r.Schedules < o.schedules {
		fmt.Fprintf(e.err, "interrupted: go on with --seed %d --schedules %d\n", r.Next, o.schedules-(r.Next-o.seed))
	}
	if len(r.Violations) > 0 {
		return nothing(fmt.Errorf("%d of %d schedules broke an invariant", brokenIn(r), r.Schedules))
	}
	return nil
}

func brokenIn(r *sim.Report) (n uint64) {
	for _, b := range r.Broken {
		n += b
	}
	return n
}

// writeDocument writes a JSON document into a file, if there is one.
func writeDocument(name string, doc any) error {
	if name == "" {
		return nil
	}
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("--json-file: %w", err)
	}
	if err := errors.Join(writeJSON(file, doc), file.Close()); err != nil {
		return fmt.Errorf("--json-file: %w", err)
	}
	return nil
}

// schedulesDoc is the JSON document of --schedules.
type schedulesDoc struct {
	Schema    int              `json:"schema"`
	Seed      uint64           `json:"seed"`
	Schedules uint64           `json:"schedules"`
	Next      uint64           `json:"next_seed"`
	Steps     uint64           `json:"steps"`
	Messages  uint64           `json:"messages"`
	TakeOvers uint64           `json:"takeovers"`
	Results   uint64           `json:"results"`
	Late      uint64           `json:"results_late"` // acknowledged after more than five seconds
	Kinds     []schedulesKind  `json:"kinds"`
	Broken    []schedulesBreak `json:"broken"`
}

type schedulesKind struct {
	Kind      string `json:"kind"`
	Schedules uint64 `json:"schedules"`
	Two       uint64 `json:"with_two_takeovers"`
}

type schedulesBreak struct {
	Seed      uint64   `json:"seed"`
	Invariant string   `json:"invariant"`
	Step      uint64   `json:"step"`
	AtS       float64  `json:"at_s"`
	Text      string   `json:"text"`
	Kinds     []string `json:"kinds"`
}

func schedulesDocument(c sim.RunConfig, r *sim.Report) schedulesDoc {
	doc := schedulesDoc{Schema: 1, Seed: c.First, Schedules: r.Schedules, Next: r.Next, Steps: r.Steps, Messages: r.Messages,
		TakeOvers: r.TakeOvers, Results: r.Submitted, Late: r.Late, Kinds: []schedulesKind{}, Broken: []schedulesBreak{}}
	for _, k := range r.Kinds {
		doc.Kinds = append(doc.Kinds, schedulesKind{k.Kind.String(), k.Schedules, k.TwoTakeOvers})
	}
	for _, v := range r.Violations {
		b := schedulesBreak{v.Seed, v.Violation.Invariant, v.Violation.Step, v.Violation.At.Seconds(), v.Violation.Text, []string{}}
		for _, k := range v.Kinds {
			b.Kinds = append(b.Kinds, k.String())
		}
		doc.Broken = append(doc.Broken, b)
	}
	slices.SortFunc(doc.Broken, func(a, b schedulesBreak) int { return int(a.Seed) - int(b.Seed) })
	return doc
}

func (e *env) writeSchedules(f format, doc schedulesDoc) error {
	cells := func(k schedulesKind) []string {
		return []string{k.Kind, strconv.FormatUint(k.Schedules, 10), strconv.FormatUint(k.Two, 10)}
	}
	l := listing[schedulesKind]{
		cols: []column{{name: "fault"}, {name: "schedules", right: true}, {name: "with two take-overs", right: true}},
		row:  cells, csv: []string{"kind", "schedules", "with_two_takeovers"}, rec: cells,
	}
	if f == formatJSON {
		return writeJSON(e.out, doc)
	}
	if err := l.writeRows(e.out, f, doc.Kinds); err != nil || f != formatTable {
		return err
	}
	return writeSchedulesSum(e.out, doc)
}

func writeSchedulesSum(w io.Writer, doc schedulesDoc) error {
	_, err := fmt.Fprintf(w, "\n%d schedules from seed %d on: %d steps, %d messages, %d take-overs, %d of %d results acknowledged late, %d schedules broke an invariant\n",
		doc.Schedules, doc.Seed, doc.Steps, doc.Messages, doc.TakeOvers, doc.Late, doc.Results, len(doc.Broken))
	return err
}
