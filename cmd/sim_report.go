package cmd

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"

	"github.com/peerprobe/peerprobe/cluster/overlay/scale"
)

// scaleDoc is the JSON document of sim scale.
type scaleDoc struct {
	Endpoints int           `json:"endpoints"`
	Cities    int           `json:"cities"`
	Cluster   float64       `json:"largest_cluster"`
	Geometry  string        `json:"geometry"`
	Sessions  string        `json:"sessions"`
	SessionS  float64       `json:"session_s"`
	Rule      string        `json:"rule"`
	Heads     scaleLookup   `json:"heads_layer"`
	Two       scaleLookup   `json:"two_layers"`
	Flat      scaleLookup   `json:"flat"`
	Roles     []scaleRole   `json:"roles"`
	Tenures   []scaleTenure `json:"tenures"`
	Limits    []scaleLimit  `json:"limits"`
	First     string        `json:"first_limit"`
	Costs     []scale.Cost  `json:"costs"`
}

type scaleLookup struct {
	Nodes     int     `json:"nodes"`
	Stale     float64 `json:"stale"`
	Hops      float64 `json:"hops"`
	Messages  float64 `json:"messages"`
	Timeouts  float64 `json:"timeouts"`
	Found     float64 `json:"found"`
	LatencyMs float64 `json:"latency_ms"`
}

type scaleRole struct {
	Name      string      `json:"name"`
	Messages  float64     `json:"messages_per_s"`
	In        float64     `json:"in_bytes_per_s"`
	Out       float64     `json:"out_bytes_per_s"`
	Memory    float64     `json:"memory_bytes"`
	Processor float64     `json:"processor"`
	Parts     []scalePart `json:"parts"`
}

type scalePart struct {
	What     string  `json:"what"`
	Messages float64 `json:"messages_per_s"`
	Bytes    float64 `json:"bytes_per_s"`
}

type scaleTenure struct {
	Rule     string  `json:"rule"`
	Sessions string  `json:"sessions"`
	MeanS    float64 `json:"mean_s"`
	MedianS  float64 `json:"median_s"`
	Changes  int     `json:"changes"`
	Days     float64 `json:"days_simulated"`
}

type scaleLimit struct {
	Where  string   `json:"where"`
	What   string   `json:"what"`
	Used   float64  `json:"used"`
	Most   float64  `json:"most"`
	Unit   string   `json:"unit"`
	Share  float64  `json:"share"`
	At     *float64 `json:"at_endpoints"` // null: does not depend on them
	Soft   bool     `json:"soft"`
	Change string   `json:"change"`
}

func scaleDocument(c scale.Config, costs scale.Costs, r *scale.Report) scaleDoc {
	look := func(l scale.Lookup) scaleLookup {
		return scaleLookup{l.Nodes, l.Stale, l.Hops, l.Messages, l.Timeouts, l.Found, 1000 * l.Latency}
	}
	doc := scaleDoc{Endpoints: c.Endpoints, Cities: c.Cities, Cluster: r.Cluster, Geometry: string(c.Geometry.Geometry),
		Sessions: string(c.Sessions), SessionS: c.Session.Seconds(), Rule: string(c.Rule), Heads: look(r.Heads), Two: look(r.Two), Flat: look(r.Flat), Costs: costs.List()}
	for _, x := range r.Roles {
		role := scaleRole{Name: x.Name, Messages: x.Messages, In: x.In, Out: x.Out, Memory: x.Memory, Processor: x.Processor}
		for _, p := range x.Parts {
			role.Parts = append(role.Parts, scalePart(p))
		}
		doc.Roles = append(doc.Roles, role)
	}
	for _, t := range r.Tenures {
		doc.Tenures = append(doc.Tenures, scaleTenure{string(t.Rule), string(t.Sessions), t.Tenure.Mean.Seconds(), t.Tenure.Median.Seconds(), t.Tenure.Changes, t.Tenure.Days})
	}
	for _, l := range r.Limits {
		x := scaleLimit{Where: l.Where, What: l.What, Used: l.Used, Most: l.Most, Unit: l.Unit, Share: l.Share(), Soft: l.Soft, Change: l.Change}
		if !math.IsInf(l.At, 1) {
			x.At = &l.At
		}
		doc.Limits = append(doc.Limits, x)
	}
	if first, ok := r.First(); ok {
		doc.First = first.Where + ": " + first.What
	}
	return doc
}

// writeScale prints the plan for people.
func writeScale(w io.Writer, c scale.Config, r *scale.Report) error {
	fmt.Fprintf(w, "%d endpoints in %d cities; the largest cluster has %.0f; nodes stay %v (%s), heads by %s\n\n",
		c.Endpoints, c.Cities, r.Cluster, c.Session, c.Sessions, c.Rule)
	look := func(name string, l scale.Lookup) []string {
		return []string{name, strconv.Itoa(l.Nodes), fmt.Sprintf("%.2f%%", 100*l.Stale), fmt.Sprintf("%.2f", l.Hops), fmt.Sprintf("%.1f", l.Messages),
			fmt.Sprintf("%.3f", l.Timeouts), fmt.Sprintf("%.1f%%", 100*l.Found), fmt.Sprintf("%.0f ms", 1000*l.Latency)}
	}
	err := writeTable(w, []column{{name: "look-up (" + string(c.Geometry.Geometry) + ")"}, {name: "nodes", right: true}, {name: "stale", right: true}, {name: "hops", right: true},
		{name: "messages", right: true}, {name: "time-outs", right: true}, {name: "found", right: true}, {name: "latency", right: true}},
		[][]string{look("from head to head", r.Heads), look(fmt.Sprintf("two layers, %.0f%% elsewhere", 100*c.Elsewhere), r.Two), look("flat", r.Flat)})
	if err != nil {
		return err
	}
	fmt.Fprintln(w)
	var roles [][]string
	for _, x := range r.Roles {
		roles = append(roles, []string{x.Name, trimFigure(x.Messages), amount(8*x.In, "bit/s"), amount(8*x.Out, "bit/s"), amount(x.Memory, "B"), fmt.Sprintf("%.2f%%", 100*x.Processor)})
	}
	if err := writeTable(w, []column{{name: "role"}, {name: "messages/s", right: true}, {name: "in", right: true}, {name: "out", right: true},
		{name: "memory", right: true}, {name: "core", right: true}}, roles); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := writeTenures(w, r); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return writeLimits(w, c, r)
}

// writeTenures is a row a rule and a column a distribution.
func writeTenures(w io.Writer, r *scale.Report) error {
	cols := []column{{name: "heads lead (mean / median)"}}
	for _, s := range scale.AllSessions() {
		cols = append(cols, column{name: string(s), right: true})
	}
	var rows [][]string
	for _, rule := range scale.AllRules() {
		row := []string{"by " + string(rule)}
		for _, t := range r.Tenures {
			if t.Rule == rule {
				row = append(row, span(t.Tenure.Mean)+" / "+span(t.Tenure.Median))
			}
		}
		rows = append(rows, row)
	}
	return writeTable(w, cols, rows)
}

// span writes a time for people: 40 s, 12 min, 3.1 h, 2.4 d.
func span(d time.Duration) string {
	switch {
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.1f h", d.Hours())
	}
	return fmt.Sprintf("%.1f d", d.Hours()/24)
}

func writeLimits(w io.Writer, c scale.Config, r *scale.Report) error {
	var rows [][]string
	for _, l := range r.Limits {
		at := "-"
		if !math.IsInf(l.At, 1) {
			at = fmt.Sprintf("%.3g", l.At)
		}
		kind := ""
		if l.Soft {
			kind = "soft"
		}
		rows = append(rows, []string{l.Where, l.What, amount(l.Used, l.Unit), amount(l.Most, l.Unit), fmt.Sprintf("%.1f%%", 100*l.Share()), at, kind})
	}
	if err := writeTable(w, []column{{name: "where"}, {name: "limit"}, {name: "used", right: true}, {name: "of", right: true}, {name: "share", right: true},
		{name: "met at endpoints", right: true}, {name: ""}}, rows); err != nil {
		return err
	}
	first, ok := r.First()
	if !ok {
		return nil
	}
	verb := "will be"
	if first.Share() > 1 {
		verb = "is"
	}
	if first.At == 0 {
		_, err := fmt.Fprintf(w, "\nfirst limit: %s, %s: is met by %d cities alone. Then: %s.\n", first.Where, first.What, c.Cities, first.Change)
		return err
	}
	_, err := fmt.Fprintf(w, "\nfirst limit: %s, %s: %s met at %.3g endpoints (%d cities). Then: %s.\n", first.Where, first.What, verb, first.At, c.Cities, first.Change)
	return err
}
