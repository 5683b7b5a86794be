package cmd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/cluster/overlay"
	"github.com/spf13/cobra"
)

// Bounds of what can be asked for; beyond them a run takes days or more memory than machines have.
const (
	simMaxNodes   = 1 << 24       // 16 million nodes take some 3 GB
	simMaxLookups = 10_000_000    // of one network: the mean is known to a thousandth long before
	simMaxRuns    = 10_000        // networks of one size
	simMaxWork    = 2_000_000_000 // lookups of all networks together: hours
)

const simOverlayLong = `Build networks of one size after another under several geometries, look random keys up
from random nodes, and print what it costs: hops, messages, size of routing tables,
sizes of zones, load, lookups that still arrive when a share of the nodes is dead and
nobody has noticed, and the same after churn.

Geometries: dbcan (CAN on a de Bruijn graph), can2 and can3 (CAN with 2 and 3
dimensions), koorde (degree 2), chord, kademlia. --join says which zone a newcomer
halves: plain is the owner's of a random key, nbr1 the largest of that one and its
neighbours'; koorde, chord and kademlia have no zones.

Ctrl-C prints what is there so far; rows that miss runs are marked partial.`

// simOverlayOptions are the flags.
type simOverlayOptions struct {
	geometry   []string
	join       []string
	nodes      string
	lookups    int
	runs       int
	seed       uint64
	keyBits    int
	k, alpha   int
	successors int
	dead       string
	churn      float64
	svg        string
	jobs       int
}

func simOverlayCommand(e *env) *cobra.Command {
	var o simOverlayOptions
	var out formatFlags
	c := &cobra.Command{
		Use:   "overlay",
		Short: "Compare routing geometries at any size",
		Long:  simOverlayLong,
		Example: `  peerprobe sim overlay                                     # everything: 256 to 65536 nodes, 20 networks each
  peerprobe sim overlay --geometry kademlia,chord --nodes 1e6 --runs 1
  peerprobe sim overlay --geometry dbcan,can2,can3,koorde --runs 5 --svg figures.svg
  peerprobe sim overlay --geometry dbcan --join plain,nbr1 --nodes 50000 --churn 0.5 -J`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := out.value(c)
			if err != nil {
				return err
			}
			plan, err := o.plan()
			if err != nil {
				return err
			}
			return e.simOverlay(c.Context(), f, plan, o)
		},
	}
	d := overlay.DefaultConfig(overlay.Kademlia)
	fl := c.Flags()
	fl.StringSliceVar(&o.geometry, "geometry", geometryNames(), "which, several with commas")
	fl.StringVar(&o.nodes, "nodes", "256..65536", "sizes: a list (1000,50000), or a range that doubles (256..65536)")
	fl.IntVar(&o.lookups, "lookups", 5000, "lookups in each network")
	fl.IntVar(&o.runs, "runs", 20, "networks of each size; the interval comes from them")
	fl.Uint64Var(&o.seed, "seed", 1, "the same seed gives the same figures")
	fl.StringSliceVar(&o.join, "join", []string{string(overlay.JoinPlain)}, "zone that a join halves: plain, nbr1 or both")
	fl.StringVar(&o.dead, "dead", "5%", "share of the nodes that dies unnoticed for the second series of lookups; 0 leaves it out")
	fl.Float64Var(&o.churn, "churn", 0.5, "departures and joins before the third series, as a share of the nodes; 0 leaves it out")
	fl.IntVar(&o.k, "k", d.K, "kademlia: size of a bucket and of an answer")
	fl.IntVar(&o.alpha, "alpha", d.Alpha, "kademlia: questions under way at a time")
	fl.IntVar(&o.successors, "successors", d.Successors, "chord: successors known for when fingers are dead")
	fl.IntVar(&o.keyBits, "key-bits", overlay.KeyBits, "length of the keys looked up")
	fl.StringVar(&o.svg, "svg", "", "draw the DBCAN paper's figures 2 to 4 from this run into a file")
	fl.IntVar(&o.jobs, "jobs", runtime.GOMAXPROCS(0), "networks built at the same time")
	out.add(c)
	return c
}

func geometryNames() (names []string) {
	for _, g := range overlay.Geometries() {
		names = append(names, string(g))
	}
	return names
}

// plan is the list of experiments; what makes no sense is named with its flag.
func (o *simOverlayOptions) plan() ([]overlay.Experiment, error) {
	sizes, err := parseSizes(o.nodes)
	if err != nil {
		return nil, fmt.Errorf("--nodes %w", err)
	}
	dead, err := parsePercent(o.dead)
	if err != nil || dead >= 100 {
		return nil, fmt.Errorf("--dead %q: write 0%% to 99%%: somebody has to be left to ask", o.dead)
	}
	switch {
	case o.lookups < 1 || o.lookups > simMaxLookups:
		return nil, fmt.Errorf("--lookups is %d: choose 1 to %d; the mean of 5000 is good to one in a hundred", o.lookups, simMaxLookups)
	case o.runs < 1 || o.runs > simMaxRuns:
		return nil, fmt.Errorf("--runs is %d: choose 1 to %d", o.runs, simMaxRuns)
	case o.jobs < 1:
		return nil, fmt.Errorf("--jobs is %d: at least 1", o.jobs)
	case len(o.geometry) == 0:
		return nil, fmt.Errorf("--geometry is empty: there is %s", strings.Join(geometryNames(), ", "))
	case len(o.join) == 0:
		return nil, errors.New("--join is empty: there is plain and nbr1")
	}
	var list []overlay.Experiment
	named := map[overlay.Geometry]bool{}
	for _, name := range o.geometry {
		g, err := overlay.ParseGeometry(name)
		if err != nil {
			return nil, fmt.Errorf("--geometry: %w", err)
		}
		if named[g] {
			continue
		}
		named[g] = true
		for i, join := range o.join {
			if !g.Zoned() && i > 0 || slices.Contains(o.join[:i], join) {
				continue
			}
			for _, n := range sizes {
				x := overlay.DefaultExperiment(g, n)
				x.Join = overlay.JoinRule(join)
				x.K, x.Alpha, x.Successors = o.k, o.alpha, o.successors
				x.Lookups, x.KeyBits, x.Seed = o.lookups, o.keyBits, o.seed
				x.Dead, x.Turnover = dead/100, o.churn
				if err := x.Validate(); err != nil {
					return nil, err
				}
				list = append(list, x)
			}
		}
	}
	if work := float64(len(list)) * float64(o.runs) * float64(o.lookups) * o.seriesEach(); work > simMaxWork {
		return nil, fmt.Errorf("--lookups %d in %d networks is %.2g lookups, at most %.2g: ask for fewer sizes, --runs or --lookups",
			o.lookups, len(list)*o.runs, work, float64(simMaxWork))
	}
	return list, nil
}

// seriesEach is how often the lookups are done in each network.
func (o *simOverlayOptions) seriesEach() float64 {
	n := 1.0
	if dead, err := parsePercent(o.dead); err == nil && dead > 0 {
		n++
	}
	if o.churn > 0 {
		n++
	}
	return n
}

// parseSizes reads "256..65536", "1000,50000" and "1e6", ascending and each once.
func parseSizes(s string) ([]int, error) {
	var sizes []int
	for part := range strings.SplitSeq(s, ",") {
		from, to, isRange := strings.Cut(part, "..")
		a, err := parseCount(from, simMaxNodes)
		if err != nil {
			return nil, err
		}
		b := a
		if isRange {
			if b, err = parseCount(to, simMaxNodes); err != nil {
				return nil, err
			}
			if b < a {
				return nil, fmt.Errorf("%q ends before it begins", part)
			}
		}
		for n := a; n < b; n *= 2 {
			sizes = append(sizes, n)
		}
		sizes = append(sizes, b)
	}
	slices.Sort(sizes)
	return slices.Compact(sizes), nil
}

// parseCount reads a whole number of at least 1, also as 1e6.
func parseCount(s string, most int) (int, error) {
	v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	if err != nil || v != math.Trunc(v) {
		return 0, fmt.Errorf("%q is not a whole number: write for example 4096 or 1e6", s)
	}
	if v < 1 || v > float64(most) {
		return 0, fmt.Errorf("%q: choose 1 to %d", s, most)
	}
	return int(v), nil
}

// simOverlay runs the plan, prints, draws, and chooses the exit code.
func (e *env) simOverlay(ctx context.Context, f format, plan []overlay.Experiment, o simOverlayOptions) error {
	var svg *os.File // beside its place, so that a drawing is there whole or not at all
	if o.svg != "" { // before hours of work, not after
		err := replaceable(o.svg)
		if err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
		if svg, err = os.CreateTemp(filepath.Dir(o.svg), filepath.Base(o.svg)+".*"); err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
		defer os.Remove(svg.Name())
		defer svg.Close()
	}
	r := newSimRun(e, o.runs, o.jobs)
	results, err := r.all(ctx, plan)
	if err != nil {
		return err
	}
	doc := overlayDocument(plan, results, o)
	if len(doc.Rows) == 0 {
		return nothing(errors.New("interrupted before the first network was measured"))
	}
	for i := range doc.Rows {
		doc.Partial = doc.Partial || doc.Rows[i].Partial
	}
	if svg != nil {
		if err := r.draw(ctx, svg, doc, o); err != nil {
			return fmt.Errorf("--svg: %w", err)
		}
		fmt.Fprintf(e.err, "figures drawn into %s\n", o.svg)
	}
	if doc.Partial {
		fmt.Fprintf(e.err, "interrupted: %d of %d networks were measured; rows that miss some are marked partial\n", r.finished(), len(plan)*o.runs)
	}
	if f == formatJSON {
		return writeJSON(e.out, doc)
	}
	return overlayListing(o).writeRows(e.out, f, doc.Rows)
}

// replaceable says why there cannot be a drawing of this name: it would take the place of a directory or a device.
func replaceable(name string) error {
	if i, err := os.Stat(name); err == nil && !i.Mode().IsRegular() {
		return fmt.Errorf("%s is no file that could be replaced: name a file, for example figures.svg", name)
	}
	return nil
}

// drawingMode is that of any file of the user's.
const drawingMode = 0o644

// draw writes the figures and puts the file in its place.
func (r *simRun) draw(ctx context.Context, svg *os.File, doc overlayDoc, o simOverlayOptions) error {
	figures, err := r.figures(ctx, doc, o)
	if err != nil {
		return err
	}
	_, err = svg.WriteString(figures)
	if err := errors.Join(err, svg.Chmod(drawingMode), svg.Close()); err != nil {
		return err
	}
	return os.Rename(svg.Name(), o.svg)
}
