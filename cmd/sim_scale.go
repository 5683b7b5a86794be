package cmd

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/cluster/overlay"
	"github.com/peerprobe/peerprobe/cluster/overlay/scale"
	"github.com/spf13/cobra"
)

const simScaleLong = `Work out what a mesh of so many endpoints in so many cities costs: how far a look-up
goes through the heads and how far it would go in one flat network, messages, bytes,
memory and processor at an endpoint, at the head of the largest cluster and at the
registry, how long heads lead under each rule, and which limit is met first.

What the program itself needs (the bytes of a heartbeat, the memory of a member, ...)
was measured on it: --costs lists these inputs with their dates and the command that
measures them anew; --cost replaces one.`

// simScaleOptions are the flags.
type simScaleOptions struct {
	endpoints, cities string
	zipf              bool
	heads             int
	geometry          string
	k, alpha          int
	refresh, session  durationFlag
	sessions, rule    string
	perHour           float64
	elsewhere         string
	rttCity, rttWorld durationFlag
	timeout           durationFlag
	headMemory        float64
	headMbit          float64
	registryMemory    float64
	registryMbit      float64
	processor         string
	lookups           int
	seed              uint64
	cost              []string
	costs             bool
}

const mebi = 1 << 20

func simScaleCommand(e *env) *cobra.Command {
	d := scale.DefaultConfig()
	o := simScaleOptions{refresh: durationFlag{d.Refresh}, session: durationFlag{d.Session},
		rttCity: durationFlag{d.RTTCity}, rttWorld: durationFlag{d.RTTWorld}, timeout: durationFlag{d.Timeout}}
	var out formatFlags
	c := &cobra.Command{
		Use:   "scale",
		Short: "Plan a mesh of two layers, and find its first limit",
		Long:  simScaleLong,
		Example: `  peerprobe sim scale --endpoints 1e6 --cities 1000
  peerprobe sim scale --endpoints 2e6 --cities 50000 --zipf --sessions exponential
  peerprobe sim scale --geometry chord --refresh 5m -J
  peerprobe sim scale --costs`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := out.value(c)
			if err != nil {
				return err
			}
			return e.simScale(c.Context(), f, &o)
		},
	}
	fl := c.Flags()
	fl.StringVar(&o.endpoints, "endpoints", "1e6", "nodes in all")
	fl.StringVar(&o.cities, "cities", "1000", "cities that they are in")
	fl.BoolVar(&o.zipf, "zipf", false, "the i-th largest city has 1/i of the largest's nodes; else all are equal")
	fl.IntVar(&o.heads, "heads", d.Heads, "heads of each city")
	fl.StringVar(&o.geometry, "geometry", string(d.Geometry.Geometry), "of the layer of heads, and of the flat network beside it")
	fl.IntVar(&o.k, "k", d.Geometry.K, "kademlia: size of a bucket")
	fl.IntVar(&o.alpha, "alpha", d.Geometry.Alpha, "kademlia: questions under way at a time")
	fl.Var(&o.refresh, "refresh", "how often entries of routing tables are checked")
	fl.StringVar(&o.sessions, "sessions", string(d.Sessions), "how long nodes stay: exponential, pareto, lognormal")
	fl.Var(&o.session, "session", "how long on average")
	fl.StringVar(&o.rule, "rule", string(d.Rule), "who leads next: uptime, capacity, or preempt (capacity, and a better one replaces a working head)")
	fl.Float64Var(&o.perHour, "per-hour", d.PerHour, "measurements that an endpoint starts in an hour")
	fl.StringVar(&o.elsewhere, "elsewhere", "90%", "share of them that goes to another city")
	fl.Var(&o.rttCity, "rtt-city", "round trip within a city")
	fl.Var(&o.rttWorld, "rtt-world", "round trip between heads")
	fl.Var(&o.timeout, "timeout", "how long a question to a dead node is waited for")
	fl.Float64Var(&o.headMemory, "head-memory", d.HeadMemory/mebi, "MiB that a head may use")
	fl.Float64Var(&o.headMbit, "head-mbit", d.HeadRate/1e6, "Mbit/s that a head may send")
	fl.Float64Var(&o.registryMemory, "registry-memory", d.RegistryMemory/mebi, "MiB that the registry may use")
	fl.Float64Var(&o.registryMbit, "registry-mbit", d.RegistryRate/1e6, "Mbit/s that the registry may send, and receive")
	fl.StringVar(&o.processor, "processor", "50%", "share of one core that head and registry may use")
	fl.IntVar(&o.lookups, "lookups", d.Lookups, "lookups in the simulated networks")
	fl.Uint64Var(&o.seed, "seed", d.Seed, "the same seed gives the same figures")
	fl.StringArrayVar(&o.cost, "cost", nil, "replace a measured cost: NAME=VALUE (repeatable)")
	fl.BoolVar(&o.costs, "costs", false, "list the measured costs and end")
	out.add(c)
	return c
}

// plan turns flags into assumptions and costs.
func (o *simScaleOptions) plan() (scale.Config, scale.Costs, error) {
	c, costs := scale.DefaultConfig(), scale.MeasuredCosts()
	for _, s := range o.cost {
		if err := costs.Set(s); err != nil {
			return c, costs, fmt.Errorf("--cost %w", err)
		}
	}
	var err error
	if c.Endpoints, err = parseCount(o.endpoints, scale.MaxEndpoints); err != nil {
		return c, costs, fmt.Errorf("--endpoints %w", err)
	}
	if c.Cities, err = parseCount(o.cities, simMaxNodes); err != nil {
		return c, costs, fmt.Errorf("--cities %w", err)
	}
	elsewhere, err := parsePercent(o.elsewhere)
	if err != nil {
		return c, costs, fmt.Errorf("--elsewhere %w", err)
	}
	processor, err := parsePercent(o.processor)
	if err != nil {
		return c, costs, fmt.Errorf("--processor %w", err)
	}
	g, err := overlay.ParseGeometry(o.geometry)
	if err != nil {
		return c, costs, fmt.Errorf("--geometry: %w", err)
	}
	if o.lookups > simMaxLookups {
		return c, costs, fmt.Errorf("--lookups is %d: choose 1 to %d", o.lookups, simMaxLookups)
	}
	c.Zipf, c.Heads = o.zipf, o.heads
	c.Geometry = overlay.DefaultConfig(g)
	c.Geometry.K, c.Geometry.Alpha = o.k, o.alpha
	c.Refresh, c.Session, c.Sessions, c.Rule = o.refresh.d, o.session.d, scale.Sessions(o.sessions), scale.Rule(o.rule)
	c.PerHour, c.Elsewhere = o.perHour, elsewhere/100
	c.RTTCity, c.RTTWorld, c.Timeout = o.rttCity.d, o.rttWorld.d, o.timeout.d
	c.HeadMemory, c.RegistryMemory = o.headMemory*mebi, o.registryMemory*mebi
	c.HeadRate, c.RegistryRate = o.headMbit*1e6, o.registryMbit*1e6
	c.Processor, c.Lookups, c.Seed = processor/100, o.lookups, o.seed
	return c, costs, c.Validate()
}

// simScale works the plan out and prints it.
func (e *env) simScale(ctx context.Context, f format, o *simScaleOptions) error {
	c, costs, err := o.plan()
	if err != nil {
		return err
	}
	if o.costs {
		return e.simCosts(f, costs)
	}
	began, drawn := time.Now(), time.Now()
	show := e.live(e.err)
	step := func() error {
		if now := time.Now(); show && now.Sub(drawn) >= progressEvery {
			drawn = now
			fmt.Fprintf(e.err, "\r\x1b[Ksimulating, %v", now.Sub(began).Round(time.Second))
		}
		return ctx.Err()
	}
	r, err := scale.Run(c, costs, step)
	if show {
		fmt.Fprint(e.err, "\r\x1b[K")
	}
	switch {
	case ctx.Err() != nil:
		return nothing(errors.New("interrupted: a plan has no useful part"))
	case err != nil:
		return err
	}
	doc := scaleDocument(c, costs, r)
	switch f {
	case formatJSON:
		return writeJSON(e.out, doc)
	case formatNDJSON:
		return writeLines(e.out, []scaleDoc{doc})
	case formatCSV:
		return writeScaleCSV(e, doc)
	}
	return writeScale(e.out, c, r)
}

// simCosts lists the measured inputs.
func (e *env) simCosts(f format, costs scale.Costs) error {
	if f == formatJSON {
		return writeJSON(e.out, costs.List())
	}
	cells := func(c scale.Cost) []string {
		return []string{c.Name, strconv.FormatFloat(c.Value, 'g', 6, 64), c.Unit, c.Date, c.What}
	}
	l := listing[scale.Cost]{
		cols: []column{{name: "cost"}, {name: "value", right: true}, {name: "unit"}, {name: "measured"}, {name: "what"}},
		row:  cells, csv: []string{"name", "value", "unit", "date", "what"}, rec: cells,
	}
	if f == formatTable {
		fmt.Fprintln(e.err, "measured by: "+scale.CostCommand)
	}
	return l.writeRows(e.out, f, costs.List())
}

// writeScaleCSV prints the figures one a line, for spreadsheets.
func writeScaleCSV(e *env, doc scaleDoc) error {
	w := csv.NewWriter(e.out)
	row := func(section, name, figure string, v float64) error {
		return w.Write([]string{section, name, figure, strconv.FormatFloat(v, 'g', -1, 64)})
	}
	errs := []error{w.Write([]string{"section", "name", "figure", "value"})}
	for _, l := range []struct {
		name string
		l    scaleLookup
	}{{"heads", doc.Heads}, {"two-layers", doc.Two}, {"flat", doc.Flat}} {
		errs = append(errs, row("lookup", l.name, "nodes", float64(l.l.Nodes)), row("lookup", l.name, "stale", l.l.Stale), row("lookup", l.name, "hops", l.l.Hops),
			row("lookup", l.name, "messages", l.l.Messages), row("lookup", l.name, "timeouts", l.l.Timeouts), row("lookup", l.name, "found", l.l.Found), row("lookup", l.name, "latency_ms", l.l.LatencyMs))
	}
	for _, r := range doc.Roles {
		errs = append(errs, row("role", r.Name, "messages_per_s", r.Messages), row("role", r.Name, "in_bytes_per_s", r.In), row("role", r.Name, "out_bytes_per_s", r.Out),
			row("role", r.Name, "memory_bytes", r.Memory), row("role", r.Name, "processor", r.Processor))
	}
	for _, t := range doc.Tenures {
		errs = append(errs, row("tenure", t.Rule+"/"+t.Sessions, "mean_s", t.MeanS), row("tenure", t.Rule+"/"+t.Sessions, "median_s", t.MedianS))
	}
	for _, l := range doc.Limits {
		errs = append(errs, row("limit", l.Where+": "+l.What, "used_share", l.Share))
		if l.At != nil {
			errs = append(errs, row("limit", l.Where+": "+l.What, "endpoints", *l.At))
		}
	}
	w.Flush()
	return errors.Join(append(errs, w.Error())...)
}

// amount writes a figure with its unit for people: 512 MiB, 3.4 kbit/s, 0.2 cores.
func amount(v float64, unit string) string {
	if unit == "B" {
		for _, u := range []string{"B", "KiB", "MiB", "GiB"} {
			if math.Abs(v) < 1024 || u == "GiB" {
				return trimFigure(v) + " " + u
			}
			v /= 1024
		}
	}
	if unit == "bit/s" || unit == "B/s" {
		for _, u := range []string{"", "k", "M", "G"} {
			if math.Abs(v) < 1000 || u == "G" {
				return trimFigure(v) + " " + u + unit
			}
			v /= 1000
		}
	}
	return strings.TrimSpace(trimFigure(v) + " " + unit)
}

// trimFigure keeps three digits of what is small and all of what is large.
func trimFigure(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}
