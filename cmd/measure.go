package cmd

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/spf13/cobra"
)

// measureOptions are the flags of `peerprobe measure`.
type measureOptions struct {
	to        string
	params    paramFlags
	out       formatFlags
	explain   bool
	gates     gateFlags
	join      joinFlags // for one measurement, where no node runs
	verbose   bool
	preferDHT bool
}

const measureExample = `  peerprobe measure --to wuhan
  peerprobe measure --to wuhan --count 100 --interval 20ms --explain
  peerprobe measure --to wuhan -J --max-loss 1% --max-rtt p95=20ms   # in a script: see the exit code
  peerprobe measure --to wuhan --rs 192.0.2.1:7400 --city changsha   # no node runs here: join for this one`

func measureCommand(e *env) *cobra.Command {
	var o measureOptions
	c := &cobra.Command{
		Use:     "measure --to PLACE",
		Short:   "Measure from here to a place, from both ends",
		Long:    "Measure the path from the node that runs here to a consenting node of a place.\n\nData goes to stdout, progress and notes to stderr. Ctrl-C ends it early and prints\nwhat was measured until then.",
		Example: measureExample,
		GroupID: "use",
		Args:    placeByFlag,
		RunE:    func(c *cobra.Command, _ []string) error { return e.measure(c, o) },
	}
	fl := c.Flags()
	fl.StringVar(&o.to, "to", "", "where to: a city")
	o.params.add(c)
	o.out.add(c)
	fl.BoolVar(&o.explain, "explain", false, "print the way of the look-up, step by step, with times")
	o.gates.add(c)
	o.join.add(c, "data directory of the node to measure from (default: the one node that runs here)")
	fl.BoolVarP(&o.verbose, "verbose", "v", false, "every packet on stderr as it comes, also where that is no terminal")
	fl.BoolVar(&o.preferDHT, "prefer-dht", false, "look the place up in the DHT even where the own head knows it")
	return c
}

// placeByFlag helps those who write the place where ping has its host.
func placeByFlag(_ *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("measure takes no arguments: write --to %s", args[0])
}

// plan is a checked command line.
type plan struct {
	req     node.Request
	f       format
	gates   gates
	explain bool
}

// check finds everything that is wrong with the flags before anything is asked of anybody.
func (o measureOptions) check(c *cobra.Command) (plan, error) {
	var p plan
	var err error
	if p.f, err = o.out.value(c); err != nil {
		return p, err
	}
	if strings.TrimSpace(o.to) == "" {
		return p, errors.New("measure where to? give --to with a city, for example --to wuhan ('peerprobe clusters' lists the cities)")
	}
	params, err := o.params.params()
	if err != nil {
		return p, err
	}
	if p.gates, err = o.gates.parse(); err != nil {
		return p, err
	}
	p.req = node.Request{To: strings.TrimSpace(o.to), Tool: o.params.tool, Params: params, PreferDHT: o.preferDHT}
	p.explain = o.explain
	return p, nil
}

func (e *env) measure(c *cobra.Command, o measureOptions) error {
	p, err := o.check(c)
	if err != nil {
		return err
	}
	ctx := c.Context()
	a, done, err := e.measureFrom(ctx, c, o)
	if err != nil {
		return err
	}
	defer done()
	if redraw := e.live(e.err); p.f == formatTable && (redraw || o.verbose) {
		view := &liveView{w: e.err, redraw: redraw}
		p.req.OnProgress = view.on
		return e.measureAndPrint(ctx, a, p, view.done)
	}
	return e.measureAndPrint(ctx, a, p, func() {})
}

// measureAndPrint measures, prints what came of it and says which exit code that is. quiet ends the live
// view before anything else is printed.
func (e *env) measureAndPrint(ctx context.Context, a api, p plan, quiet func()) error {
	m, err := a.Measure(ctx, p.req)
	quiet()
	if m == nil || err != nil && len(m.Results) == 0 {
		return e.nothingMeasured(ctx, p, m, err, countNodes(ctx, a))
	}
	if perr := writeMeasurement(e.out, p.f, m, p.explain); perr != nil {
		return fmt.Errorf("printing the result: %w", perr)
	}
	if err != nil {
		fmt.Fprintf(e.err, "note: %s\n", oneLine(err.Error()))
	}
	e.note(ctx, m)
	code, say := p.gates.verdict(m.Results)
	for _, s := range say {
		fmt.Fprintln(e.err, s)
	}
	return silent(code)
}

// note says on stderr what a person should know beside the figures.
func (e *env) note(ctx context.Context, m *node.Measurement) {
	for _, r := range m.Results {
		switch {
		case r.Error != nil:
			fmt.Fprintf(e.err, "note: the result is %s: %s\n", r.Status, printable(r.Error.Message))
		case r.Status == probe.StatusPartial && ctx.Err() != nil:
			fmt.Fprintln(e.err, "note: the result is partial: it was stopped here")
		case r.Status != probe.StatusFinished:
			fmt.Fprintf(e.err, "note: the result is %s\n", r.Status)
		}
	}
	for _, n := range m.Notes {
		fmt.Fprintf(e.err, "note: %s\n", printable(n))
	}
}

// measureError is what is said, and with which code, when there is no result at all.
func (e *env) measureError(ctx context.Context, to string, err error, count counter) error {
	if pe, ok := asPlaceError(err); ok {
		return placeError(to, pe.Alive, count, func(slug string) string { return cityIn(e.err, slug) })
	}
	if ctx.Err() != nil {
		return nothing(fmt.Errorf("stopped before anything was measured to %s", to))
	}
	if err == nil {
		err = errors.New("the node returned no result")
	}
	if errors.Is(err, node.ErrBadRequest) {
		return err
	}
	return nothing(fmt.Errorf("measuring to %s: %w", to, err))
}
