package cmd

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strconv"
)

// Links as the figures name them.
const (
	electionStreams   = "stream"   // what is lost is sent again, in order, as TCP does
	electionDatagrams = "datagram" // what is lost is lost
)

// electionDoc is the JSON document of sim election.
type electionDoc struct {
	Schema    int                `json:"schema"`
	Seed      uint64             `json:"seed"`
	Timers    string             `json:"timers"`
	DelayMs   float64            `json:"delay_ms"`
	Hours     float64            `json:"hours"`
	Trials    int                `json:"trials"`
	TakeOvers []electionTakeOver `json:"takeovers"`
	Heals     []electionHeal     `json:"heals"`
	Loss      []electionLoss     `json:"loss"`
	Traffic   []electionTraffic  `json:"cities"`
}

// electionTakeOver is how fast a head is replaced.
type electionTakeOver struct {
	Nodes    int             `json:"nodes"`
	Fault    string          `json:"fault"`
	Trials   int             `json:"trials"`
	Detected *electionSpread `json:"detected_ms"` // from the blow to the next head's claim; null: nobody was left
	Done     *electionSpread `json:"done_ms"`     // to the last survivor that follows it
}

type electionSpread struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// electionHeal is how fast two halves become one.
type electionHeal struct {
	Nodes   int             `json:"nodes"`
	CutS    float64         `json:"cut_s"`
	Trials  int             `json:"trials"`
	OneHead *electionSpread `json:"one_head_ms"` // from the end of the cut
}

// electionLoss is what loss does to heads that live.
type electionLoss struct {
	Nodes   int     `json:"nodes"`
	Link    string  `json:"link"`
	Percent float64 `json:"loss_percent"`
	Hours   float64 `json:"hours"`
	Deposed int     `json:"deposed"`
	PerHour float64 `json:"deposed_per_hour"`
	Evicted int     `json:"evicted"` // members that lived
}

// electionTraffic is what a city costs, and how available its head is.
type electionTraffic struct {
	Nodes        int     `json:"nodes"`
	Messages     float64 `json:"messages_per_node_s"`
	Bytes        float64 `json:"bytes_per_node_s"`
	HeadMessages float64 `json:"head_messages_per_s"`
	HeadBytes    float64 `json:"head_bytes_per_s"`
	Hours        float64 `json:"hours"`
	TakeOvers    int     `json:"takeovers"`
	Available    float64 `json:"available_percent"` // of the time a majority of the living follows a living head
	Followed     float64 `json:"followed_percent"`  // of the living nodes' time they follow a living head
}

// writeElection prints the figures.
func (e *env) writeElection(f format, doc *electionDoc) error {
	switch f {
	case formatJSON:
		return writeJSON(e.out, doc)
	case formatNDJSON:
		return writeLines(e.out, []*electionDoc{doc})
	case formatCSV:
		return e.writeElectionCSV(doc)
	}
	msOf := func(s *electionSpread) []string {
		if s == nil {
			return []string{"-", "-", "-", "-"}
		}
		var out []string
		for _, v := range []float64{s.P50, s.P95, s.P99, s.Max} {
			out = append(out, strconv.FormatFloat(v, 'f', 0, 64))
		}
		return out
	}
	right := func(names ...string) (cols []column) {
		for i, n := range names {
			cols = append(cols, column{name: n, right: i > 0})
		}
		return cols
	}
	var blows, heals, loss, cities [][]string
	for _, t := range doc.TakeOvers {
		blows = append(blows, append(append([]string{t.Fault, strconv.Itoa(t.Nodes), strconv.Itoa(t.Trials)}, msOf(t.Detected)...), msOf(t.Done)...))
	}
	for _, h := range doc.Heals {
		heals = append(heals, append([]string{fmt.Sprintf("%.0f s", h.CutS), strconv.Itoa(h.Nodes), strconv.Itoa(h.Trials)}, msOf(h.OneHead)...))
	}
	for _, l := range doc.Loss {
		loss = append(loss, []string{l.Link, strconv.Itoa(l.Nodes), trimFigure(l.Percent) + "%", trimFigure(l.Hours), strconv.Itoa(l.Deposed), trimFigure(l.PerHour), strconv.Itoa(l.Evicted)})
	}
	for _, c := range doc.Traffic {
		cities = append(cities, []string{strconv.Itoa(c.Nodes), fmt.Sprintf("%.2f", c.Messages), amount(c.Bytes, "B/s"), fmt.Sprintf("%.1f", c.HeadMessages), amount(c.HeadBytes, "B/s"),
			trimFigure(c.Hours), strconv.Itoa(c.TakeOvers), fmt.Sprintf("%.4f%%", c.Available), fmt.Sprintf("%.4f%%", c.Followed)})
	}
	fmt.Fprintf(e.out, "timers %s, one-way delay %v to %v ms, seed %d, registry away; times in ms\n\n", doc.Timers, trimFigure(doc.DelayMs), trimFigure(2*doc.DelayMs), doc.Seed)
	errs := []error{writeTable(e.out, right("blow", "nodes", "trials", "claimed p50", "p95", "p99", "max", "followed p50", "p95", "p99", "max"), blows)}
	fmt.Fprintln(e.out)
	errs = append(errs, writeTable(e.out, right("cut", "nodes", "trials", "one head p50", "p95", "p99", "max"), heals))
	fmt.Fprintln(e.out)
	errs = append(errs, writeTable(e.out, right("link", "nodes", "loss", "hours", "heads deposed", "an hour", "members dropped"), loss))
	fmt.Fprintf(e.out, "\nEach node dies once in %v on average and is back after %v.\n", electionLife, electionAway)
	errs = append(errs, writeTable(e.out, right("nodes", "msg/s of a node", "bytes", "msg/s of the head", "bytes", "hours", "take-overs", "available", "followed"), cities))
	return errors.Join(errs...)
}

// writeElectionCSV prints the figures one a line, for spreadsheets.
func (e *env) writeElectionCSV(doc *electionDoc) error {
	w := csv.NewWriter(e.out)
	errs := []error{w.Write([]string{"section", "nodes", "name", "figure", "value"})}
	row := func(section string, nodes int, name, figure string, v float64) {
		errs = append(errs, w.Write([]string{section, strconv.Itoa(nodes), name, figure, strconv.FormatFloat(v, 'g', -1, 64)}))
	}
	spread := func(section string, nodes int, name, figure string, s *electionSpread) {
		if s != nil {
			row(section, nodes, name, figure+"_p50", s.P50)
			row(section, nodes, name, figure+"_p95", s.P95)
			row(section, nodes, name, figure+"_p99", s.P99)
			row(section, nodes, name, figure+"_max", s.Max)
		}
	}
	for _, t := range doc.TakeOvers {
		row("takeover", t.Nodes, t.Fault, "trials", float64(t.Trials))
		spread("takeover", t.Nodes, t.Fault, "detected_ms", t.Detected)
		spread("takeover", t.Nodes, t.Fault, "done_ms", t.Done)
	}
	for _, h := range doc.Heals {
		name := fmt.Sprintf("cut of %.0f s", h.CutS)
		row("heal", h.Nodes, name, "trials", float64(h.Trials))
		spread("heal", h.Nodes, name, "one_head_ms", h.OneHead)
	}
	for _, l := range doc.Loss {
		name := fmt.Sprintf("%s %v%%", l.Link, l.Percent)
		row("loss", l.Nodes, name, "hours", l.Hours)
		row("loss", l.Nodes, name, "deposed", float64(l.Deposed))
		row("loss", l.Nodes, name, "deposed_per_hour", l.PerHour)
		row("loss", l.Nodes, name, "evicted", float64(l.Evicted))
	}
	for _, c := range doc.Traffic {
		for _, f := range []struct {
			name string
			v    float64
		}{{"messages_per_node_s", c.Messages}, {"bytes_per_node_s", c.Bytes}, {"head_messages_per_s", c.HeadMessages}, {"head_bytes_per_s", c.HeadBytes},
			{"hours", c.Hours}, {"takeovers", float64(c.TakeOvers)}, {"available_percent", c.Available}, {"followed_percent", c.Followed}} {
			row("city", c.Nodes, "", f.name, f.v)
		}
	}
	w.Flush()
	return errors.Join(append(errs, w.Error())...)
}
