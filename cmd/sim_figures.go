package cmd

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"

	"github.com/peerprobe/peerprobe/cluster/overlay"
)

// The DBCAN paper's figures 2 to 4, drawn again. Figures 2 and 3 need networks of the paper's sizes, which are
// built here; figure 4 is what the run measured.

// Sizes in the paper, section 3.
var figure2Sizes = []int{1000, 10000, 100000}

const figure3Size = 50000

// figures draws all three.
func (r *simRun) figures(ctx context.Context, doc overlayDoc, o simOverlayOptions) (string, error) {
	var plan []overlay.Experiment
	add := func(g overlay.Geometry, join overlay.JoinRule, nodes int, turnover float64) {
		x := overlay.DefaultExperiment(g, nodes)
		x.Join, x.Lookups, x.Turnover, x.Seed = join, 1, turnover, o.seed
		plan = append(plan, x)
	}
	for _, n := range figure2Sizes {
		add(overlay.DBCAN, overlay.JoinPlain, n, 0)
	}
	add(overlay.DBCAN, overlay.JoinNeighbours, figure3Size, 0.5)
	add(overlay.CAN2, overlay.JoinPlain, figure3Size, 0)
	add(overlay.DBCAN, overlay.JoinPlain, figure3Size, 0)
	one := newSimRun(r.env, 1, r.jobs)
	results, err := one.all(ctx, plan)
	if err != nil {
		return "", err
	}
	sums := make([]*overlay.Summary, len(plan))
	for i := range plan {
		if len(results[i]) > 0 {
			s := overlay.Summarize(results[i])
			sums[i] = &s
		}
	}
	charts := []svgChart{figure2(sums[:3]), figure3(sums[3:]), figure4(doc)}
	for i := range charts {
		if doc.Partial || slices.Contains(sums, nil) {
			charts[i].title += " (partial: interrupted)"
		}
	}
	return svgDocument(charts), nil
}

// figure2 is the distribution of degrees.
func figure2(sums []*overlay.Summary) svgChart {
	c := svgChart{title: "Figure 2: degree of DBCAN's nodes", xName: "children of a node", yName: "nodes, %"}
	const most = 8 // beyond it are fewer than one in a thousand
	for d := 0; d <= most; d++ {
		c.ticks = append(c.ticks, strconv.Itoa(d))
	}
	means := ""
	for i, s := range sums {
		if s == nil {
			continue
		}
		values := make([]float64, most+1)
		for d := range values {
			if d < len(s.DegreeShares) {
				values[d] = 100 * s.DegreeShares[d]
			}
		}
		c.series = append(c.series, svgSeries{name: fmt.Sprintf("%d nodes", figure2Sizes[i]), values: values, color: svgPalette[i]})
		means += fmt.Sprintf(" %.3f at %d nodes,", s.Degree, figure2Sizes[i])
	}
	if means == "" {
		c.notes = append(c.notes, "not measured")
		return c
	}
	c.notes = append(c.notes, "As in the paper: the curves of all sizes lie on one another. Mean number of children:"+means+" the paper says 2.")
	if s := sums[len(sums)-1]; s != nil {
		c.notes = append(c.notes, fmt.Sprintf("Differs: the paper compares children with CAN's and Koorde's neighbours. Counted alike, children and parents, it is %.2f.", s.Links))
	}
	return c
}

// figure3 is the distribution of areas: DBCAN as the paper must have built it, CAN, DBCAN with CAN's joins.
func figure3(sums []*overlay.Summary) svgChart {
	c := svgChart{title: fmt.Sprintf("Figure 3: areas of the zones of %d nodes", figure3Size), xName: "area (S: the most frequent one)", yName: "zones, %", bars: true}
	const least, most = -4, 3
	for size := least; size <= most; size++ {
		c.ticks = append(c.ticks, sizeName(size))
	}
	names := []string{"DBCAN, nbr1 joins, churned", "CAN (d=2)", "DBCAN, plain joins"}
	said := make([]string, len(sums))
	for i, s := range sums {
		if s == nil {
			said[i] = "not measured"
			continue
		}
		zones := s.Zones
		if i == 0 {
			zones = s.ChurnedZones
		}
		values := make([]float64, most-least+1)
		for _, z := range zones {
			if z.Size >= least && z.Size <= most {
				values[z.Size-least] = 100 * z.Share
			}
		}
		z := zonesOf(zones)
		said[i] = fmt.Sprintf("%.1f %% in %d sizes", 100*z.SAnd2S, z.shown())
		c.series = append(c.series, svgSeries{name: names[i], values: values, color: svgPalette[i]})
	}
	c.notes = []string{
		"S and 2S hold, of DBCAN with nbr1 joins and half a turnover: " + said[0] + " (paper: 93 % in 4); of CAN: " + said[1] + " (paper: 7).",
		"Differs: it is the join rule, not the graph. With CAN's own plain joins DBCAN has CAN's distribution: " + said[2] + ".",
		"Sizes with less than 0.1 % of the zones are not counted.",
	}
	return c
}

func sizeName(size int) string {
	switch {
	case size < 0:
		return "S/" + strconv.Itoa(1<<-size)
	case size == 0:
		return "S"
	}
	return strconv.Itoa(1<<size) + "S"
}

// figure4 is the length of paths.
func figure4(doc overlayDoc) svgChart {
	c := svgChart{title: "Figure 4: length of paths", xName: "nodes (sizes evenly spaced)", yName: "hops, mean"}
	var sizes []int
	for _, r := range doc.Rows {
		sizes = append(sizes, r.Nodes)
	}
	slices.Sort(sizes)
	sizes = slices.Compact(sizes)
	for _, n := range sizes {
		c.ticks = append(c.ticks, shortCount(n))
	}
	index := map[string]int{}
	for _, r := range doc.Rows {
		name := r.Geometry
		if r.Join != "" && r.Join != string(overlay.JoinPlain) {
			name += ", " + r.Join
		}
		i, ok := index[name]
		if !ok {
			i = len(c.series)
			index[name] = i
			values := make([]float64, len(sizes))
			for j := range values {
				values[j] = math.NaN()
			}
			extra := r.Geometry == string(overlay.Chord) || r.Geometry == string(overlay.Kademlia)
			c.series = append(c.series, svgSeries{name: name, values: values, color: svgPalette[i%len(svgPalette)], dashed: extra})
		}
		c.series[i].values[slices.Index(sizes, r.Nodes)] = r.Hops.Mean
	}
	c.notes = append(c.notes, figure4Notes(c, sizes, index)...)
	return c
}

func figure4Notes(c svgChart, sizes []int, index map[string]int) (notes []string) {
	values := func(g overlay.Geometry) []float64 {
		if i, ok := index[string(g)]; ok {
			return c.series[i].values
		}
		return nil
	}
	dbcan := values(overlay.DBCAN)
	if dbcan == nil {
		return []string{"Without dbcan there is nothing of the paper's to compare with."}
	}
	for _, g := range []overlay.Geometry{overlay.CAN2, overlay.Koorde} {
		if v := values(g); v != nil {
			longer := 0
			for i := range sizes {
				if v[i] > dbcan[i] {
					longer++
				}
			}
			notes = append(notes, fmt.Sprintf("%s is longer than dbcan at %d of %d sizes (paper: at all).", g, longer, len(sizes)))
		}
	}
	if can3 := values(overlay.CAN3); can3 != nil {
		said := "does not cross dbcan at these sizes"
		if n := crossing(sizes, dbcan, can3); n > 0 {
			said = fmt.Sprintf("crosses dbcan at about %.0f nodes", n)
		}
		notes = append(notes, "can3 "+said+" (paper: shorter up to 4K, longer above).")
	}
	for _, s := range c.series {
		if s.dashed {
			return append(notes, "Dashed: not in the paper. Kademlia's hops are the depth of the referral to the owner, not forwards.")
		}
	}
	return notes
}

// crossing is the size at which b grows beyond a, on a straight line between sizes; 0: nowhere.
func crossing(sizes []int, a, b []float64) float64 {
	for i := 1; i < len(sizes); i++ {
		before, after := b[i-1]-a[i-1], b[i]-a[i]
		if before < 0 && after >= 0 {
			x, y := float64(sizes[i-1]), float64(sizes[i])
			return x + (y-x)*before/(before-after)
		}
	}
	return 0
}

// shortCount writes sizes as the paper does: 256, 1K, 64K.
func shortCount(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return strconv.Itoa(n/1024) + "K"
	}
	return strconv.Itoa(n)
}
