package cmd

import (
	"context"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/guptarohit/asciigraph"
	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// writeDemoNodes prints the paper's Table 1 for this network.
func writeDemoNodes(ctx context.Context, w io.Writer, d *demoNet) error {
	rows := [][]string{{"registry", demoAddr(demoRegistry), "Changsha", "-", "-"}}
	names := map[string]string{"changsha": "Changsha", "wuhan": "Wuhan"}
	backups := map[string]bool{} // a head knows its backup; the others know only that they are in the succession
	for _, n := range d.nodes {  // heads come first
		st, err := n.Status(ctx)
		if err != nil {
			return fmt.Errorf("status of %s: %w", n.ip, err)
		}
		backups[st.Backup] = true
		role := st.Role
		if role == "candidate" && backups[n.id] {
			role = "backup"
		}
		rows = append(rows, []string{role, n.ip, names[st.City], shortID(n.id), st.Term})
	}
	return writeTable(w, []column{{name: "role"}, {name: "address"}, {name: "city"}, {name: "id"}, {name: "term"}}, rows)
}

// demoParams are about a second of packets: enough to see time pass in the chart.
func demoParams() probe.Params {
	p := probe.DefaultParams()
	p.Count, p.Interval, p.Timeout = 50, 20*time.Millisecond, time.Second
	p.KeepSamples = true
	return p
}

// measureDemo measures to Wuhan and prints the way, the result and the chart. It checks what it shows:
// the target is in Wuhan, is not the dead one, and answered.
func measureDemo(ctx context.Context, w io.Writer, from *demoNode, dead string) error {
	m, err := from.Measure(ctx, node.Request{To: "wuhan", Params: demoParams()})
	if err != nil {
		return fmt.Errorf("measuring to wuhan: %w", err)
	}
	if err := writeSteps(w, m.Steps); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if len(m.Results) == 0 {
		return fmt.Errorf("%w: the measurement has no result", errClaim)
	}
	r := m.Results[0]
	samples := r.Samples
	r.Samples = nil // they are drawn, not listed
	if err := writeSummary(w, r); err != nil {
		return err
	}
	for _, n := range m.Notes {
		fmt.Fprintf(w, "note: %s\n", n)
	}
	fmt.Fprintf(w, "\n%s\n", chart(samples))
	switch {
	case r.Status != probe.StatusFinished:
		return fmt.Errorf("%w: the measurement is %s", errClaim, r.Status)
	case r.Target.City != "wuhan" || r.Initiator.City != "changsha":
		return fmt.Errorf("%w: it went from %q to %q", errClaim, r.Initiator.City, r.Target.City)
	case dead != "" && r.Target.Node == dead:
		return fmt.Errorf("%w: the target is the node that was killed", errClaim)
	case r.Latency == nil || r.Latency.Received == 0:
		return fmt.Errorf("%w: no packet came back", errClaim)
	}
	return nil
}

// Size of the chart: with its axis it fits into 80 columns.
const (
	chartWidth  = 64
	chartHeight = 8
)

// chart draws RTT over time, as the paper's Fig. 8 does. Losses are gaps.
func chart(samples []probe.Sample) string {
	rtt := make([]float64, len(samples))
	last, answered := 0.0, 0
	for i, s := range samples {
		rtt[i], last = math.NaN(), max(last, s.SentMs)
		if s.RTT != nil {
			rtt[i], answered = *s.RTT, answered+1
		}
	}
	if answered < 2 {
		return "too few packets came back to draw a chart"
	}
	return asciigraph.Plot(rtt, asciigraph.Height(chartHeight), asciigraph.Width(chartWidth), asciigraph.Precision(3),
		asciigraph.LowerBound(0), asciigraph.Caption(fmt.Sprintf("RTT in ms over %.0f ms", last)))
}
