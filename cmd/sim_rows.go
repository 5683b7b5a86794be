package cmd

import (
	"math"
	"strconv"

	"github.com/peerprobe/peerprobe/cluster/overlay"
)

// overlayDoc is the JSON document of sim overlay.
type overlayDoc struct {
	Seed    uint64       `json:"seed"`
	Lookups int          `json:"lookups"`
	Runs    int          `json:"runs"`
	Partial bool         `json:"partial"`
	Rows    []overlayRow `json:"rows"`
}

// overlayRow is one geometry at one size.
type overlayRow struct {
	Geometry string     `json:"geometry"`
	Join     string     `json:"join,omitempty"`
	Nodes    int        `json:"nodes"`
	Lookups  int        `json:"lookups"`
	Runs     int        `json:"runs"`
	Partial  bool       `json:"partial"`
	Hops     simHops    `json:"hops"`
	Messages float64    `json:"messages"`
	Degree   simDegree  `json:"degree"`
	Zones    *simZones  `json:"zones"`
	Load     simLoad    `json:"load"`
	Dead     *simDead   `json:"dead"`
	Churned  *simChurn  `json:"churned"`
	summary  overlayRaw // for the figures
}

type overlayRaw = overlay.Summary

type simHops struct {
	Mean float64  `json:"mean"`
	Half *float64 `json:"ci95"` // half the width of the 95 % interval; null for one network
	P50  int      `json:"p50"`
	P99  int      `json:"p99"`
	Max  int      `json:"max"`
}

type simDegree struct {
	Mean   float64   `json:"mean"` // entries in a routing table
	P99    int       `json:"p99"`
	Max    int       `json:"max"`
	Links  *float64  `json:"links"`  // with those that hold an entry for the node; null where not known
	Shares []float64 `json:"shares"` // nodes by entries, from 0
}

type simZones struct {
	SAnd2S  float64    `json:"s_and_2s"` // share of the zones of the most frequent size and of its double
	Classes []simClass `json:"classes"`
}

type simClass struct {
	Size  float64 `json:"size"` // as a multiple of the most frequent size
	Share float64 `json:"share"`
}

type simLoad struct {
	MaxShare float64  `json:"max_share"` // largest part of the keys that one node owns, as a multiple of the mean
	Busiest  *float64 `json:"busiest"`   // part of the traffic that the busiest hundredth of the nodes handles; null without traffic
}

type simDead struct {
	Share    float64  `json:"share"`
	Found    float64  `json:"found"`
	Half     *float64 `json:"ci95"`
	Hops     *float64 `json:"hops"` // of those that arrive; null when none does
	Timeouts float64  `json:"timeouts"`
}

type simChurn struct {
	Turnover float64   `json:"turnover"`
	Hops     float64   `json:"hops"`
	Half     *float64  `json:"ci95"`
	Degree   float64   `json:"degree"`
	Zones    *simZones `json:"zones"`
}

// overlayDocument summarizes the samples; experiments without any are left out.
func overlayDocument(plan []overlay.Experiment, results [][]*overlay.Sample, o simOverlayOptions) overlayDoc {
	doc := overlayDoc{Seed: o.seed, Lookups: o.lookups, Runs: o.runs, Rows: []overlayRow{}}
	for i, x := range plan {
		if len(results[i]) == 0 {
			doc.Partial = true
			continue
		}
		s := overlay.Summarize(results[i])
		row := overlayRow{
			Geometry: string(x.Geometry), Nodes: x.Nodes, Lookups: x.Lookups, Runs: s.Runs, Partial: s.Runs < o.runs,
			Hops:     simHops{s.Hops.Mean, half(s.Hops), s.P50, s.P99, s.Max},
			Messages: s.Messages,
			Degree:   simDegree{Mean: s.Degree, P99: s.DegreeP99, Max: s.DegreeMax, Shares: s.DegreeShares},
			Zones:    zonesOf(s.Zones),
			Load:     simLoad{MaxShare: s.MaxShare},
			summary:  s,
		}
		if x.Geometry.Zoned() {
			row.Join = string(x.Join)
		}
		if s.Links > 0 || x.Nodes == 1 {
			row.Degree.Links = &s.Links
		}
		if s.Messages > 0 {
			row.Load.Busiest = &s.BusiestShare
		}
		if s.DeadTried > 0 {
			row.Dead = &simDead{x.Dead, s.DeadFound.Mean, half(s.DeadFound), nil, s.DeadTimeouts}
			if s.DeadFound.Mean > 0 {
				row.Dead.Hops = &s.DeadHops
			}
		}
		if x.Turnover > 0 && x.Nodes > 1 {
			row.Churned = &simChurn{x.Turnover, s.ChurnedHops.Mean, half(s.ChurnedHops), s.ChurnedDegree, zonesOf(s.ChurnedZones)}
		}
		doc.Rows = append(doc.Rows, row)
	}
	return doc
}

func half(e overlay.Estimate) *float64 {
	if math.IsNaN(e.Half) {
		return nil
	}
	return &e.Half
}

func zonesOf(classes []overlay.Class) *simZones {
	if len(classes) == 0 {
		return nil
	}
	z := &simZones{}
	for _, c := range classes {
		if c.Size == 0 || c.Size == 1 {
			z.SAnd2S += c.Share
		}
		z.Classes = append(z.Classes, simClass{math.Ldexp(1, c.Size), c.Share})
	}
	return z
}

// shownClass is the share from which a class of zones counts as one: a thousandth.
const shownClass = 0.001

func (z *simZones) shown() (n int) {
	for _, c := range z.Classes {
		if c.Share >= shownClass {
			n++
		}
	}
	return n
}

// overlayListing is the table and the CSV of sim overlay.
func overlayListing(o simOverlayOptions) listing[overlayRow] {
	return listing[overlayRow]{
		cols: []column{
			{name: "geometry"}, {name: "join"}, {name: "nodes", right: true}, {name: "runs", right: true},
			{name: "hops", right: true}, {name: "±95%", right: true}, {name: "p99", right: true}, {name: "messages", right: true},
			{name: "table", right: true}, {name: "links", right: true}, {name: "S+2S", right: true}, {name: "sizes", right: true},
			{name: "largest", right: true}, {name: "busiest", right: true}, {name: "found at " + o.dead + " dead", right: true}, {name: "churned", right: true},
			{name: "S+2S", right: true}, {name: ""},
		},
		row: overlayCells,
		csv: []string{"geometry", "join", "nodes", "lookups", "runs", "partial", "hops_mean", "hops_ci95", "hops_p50", "hops_p99", "hops_max",
			"messages", "degree_mean", "degree_p99", "degree_max", "links", "zones_s_and_2s", "zones_classes", "load_max_share", "load_busiest",
			"dead_share", "dead_found", "dead_hops", "dead_timeouts", "turnover", "churned_hops", "churned_degree", "churned_s_and_2s"},
		rec: overlayRecord,
	}
}

func overlayCells(r overlayRow) []string {
	fixed := func(v float64, digits int) string { return strconv.FormatFloat(v, 'f', digits, 64) }
	percent := func(v float64) string { return fixed(100*v, 1) + "%" }
	cells := []string{
		r.Geometry, dash(r.Join), strconv.Itoa(r.Nodes), strconv.Itoa(r.Runs), fixed(r.Hops.Mean, 2), "-", strconv.Itoa(r.Hops.P99),
		fixed(r.Messages, 1), fixed(r.Degree.Mean, 2), "-", "-", "-", fixed(r.Load.MaxShare, 1) + "x", "-", "-", "-", "-", "",
	}
	if r.Hops.Half != nil {
		cells[5] = fixed(*r.Hops.Half, 2)
	}
	if r.Degree.Links != nil {
		cells[9] = fixed(*r.Degree.Links, 2)
	}
	if r.Zones != nil {
		cells[10], cells[11] = percent(r.Zones.SAnd2S), strconv.Itoa(r.Zones.shown())
	}
	if r.Load.Busiest != nil {
		cells[13] = percent(*r.Load.Busiest)
	}
	if r.Dead != nil {
		cells[14] = percent(r.Dead.Found)
	}
	if r.Churned != nil {
		cells[15] = fixed(r.Churned.Hops, 2)
		if r.Churned.Zones != nil {
			cells[16] = percent(r.Churned.Zones.SAnd2S)
		}
	}
	if r.Partial {
		cells[17] = "partial"
	}
	return cells
}

func overlayRecord(r overlayRow) []string {
	f := func(v float64) string { return num(&v) }
	rec := []string{
		r.Geometry, r.Join, strconv.Itoa(r.Nodes), strconv.Itoa(r.Lookups), strconv.Itoa(r.Runs), strconv.FormatBool(r.Partial),
		f(r.Hops.Mean), num(r.Hops.Half), strconv.Itoa(r.Hops.P50), strconv.Itoa(r.Hops.P99), strconv.Itoa(r.Hops.Max),
		f(r.Messages), f(r.Degree.Mean), strconv.Itoa(r.Degree.P99), strconv.Itoa(r.Degree.Max), num(r.Degree.Links),
		"", "", f(r.Load.MaxShare), num(r.Load.Busiest), "", "", "", "", "", "", "", "",
	}
	if r.Zones != nil {
		rec[16], rec[17] = f(r.Zones.SAnd2S), strconv.Itoa(r.Zones.shown())
	}
	if d := r.Dead; d != nil {
		rec[20], rec[21], rec[22], rec[23] = f(d.Share), f(d.Found), num(d.Hops), f(d.Timeouts)
	}
	if c := r.Churned; c != nil {
		rec[24], rec[25], rec[26] = f(c.Turnover), f(c.Hops), f(c.Degree)
		if c.Zones != nil {
			rec[27] = f(c.Zones.SAnd2S)
		}
	}
	return rec
}
