package cmd

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// liveView shows a measurement while it runs: a line a packet, and on a terminal a sparkline of the round
// trips below them that is drawn again with each.
type liveView struct {
	w       io.Writer
	redraw  bool
	recent  []probe.Sample // the last of them, for the sparkline
	count   int            // packets asked for; 0: not known yet
	decided int            // packets answered or lost
	lost    int
}

// sparkWidth is how many packets the sparkline shows: with its counts it fits into 80 columns.
const sparkWidth = 48

func (v *liveView) on(p node.Progress) {
	switch {
	case p.Start != nil:
		v.start(*p.Start)
	case p.Sample != nil:
		v.sample(*p.Sample)
	}
}

func (v *liveView) start(s node.Start) {
	v.count = s.Params.Count
	v.clear()
	fmt.Fprintf(v.w, "%s -> %s: %d packets of %d bytes every %v\n", endName(v.w, s.Initiator), endName(v.w, s.Target), s.Params.Count, s.Params.Size, s.Params.Interval)
	for _, l := range s.Lowered {
		fmt.Fprintf(v.w, "note: the target grants less: %s\n", printable(l))
	}
	fmt.Fprintf(v.w, "%6s  %10s  %4s\n", "seq", "rtt ms", "ttl")
}

func (v *liveView) sample(s probe.Sample) {
	v.decided++
	if s.Lost {
		v.lost++
	}
	v.recent = append(v.recent, s)
	if len(v.recent) > sparkWidth {
		v.recent = v.recent[1:]
	}
	v.clear()
	fmt.Fprintln(v.w, sampleLine(s))
	if v.redraw {
		fmt.Fprintf(v.w, "%s  %d of %d, %d lost", sparkline(v.recent), v.decided, v.count, v.lost)
	}
}

// clear takes the sparkline away, so that what follows stands in its place.
func (v *liveView) clear() {
	if v.redraw {
		fmt.Fprint(v.w, "\r\x1b[K")
	}
}

// done takes the sparkline away for good.
func (v *liveView) done() {
	v.clear()
}

// sampleLine is one packet for people, as wide as the header of start.
func sampleLine(s probe.Sample) string {
	ttl := "-"
	if s.TTL > 0 {
		ttl = fmt.Sprint(s.TTL)
	}
	rtt := ms(s.RTT)
	if s.Lost {
		rtt = "lost"
	}
	line := fmt.Sprintf("%6d  %10s  %4s", s.Seq, rtt, ttl)
	if s.Late {
		line += "  late"
	}
	if s.Dups > 0 {
		line += fmt.Sprintf("  %d duplicates", s.Dups)
	}
	return line
}

var sparks = []rune("▁▂▃▄▅▆▇█")

// sparkline draws round trips between the lowest and the highest of them; a loss is a gap.
func sparkline(samples []probe.Sample) string {
	low, high := math.Inf(1), math.Inf(-1)
	for _, s := range samples {
		if s.RTT != nil {
			low, high = min(low, *s.RTT), max(high, *s.RTT)
		}
	}
	var b strings.Builder
	for _, s := range samples {
		switch {
		case s.RTT == nil:
			b.WriteRune('·')
		case high <= low:
			b.WriteRune(sparks[0])
		default:
			b.WriteRune(sparks[int((*s.RTT-low)/(high-low)*float64(len(sparks)-1)+0.5)])
		}
	}
	return b.String()
}

// endName is one end for who reads w: city, node, address.
func endName(w io.Writer, e probe.End) string {
	return printable(strings.TrimSpace(fmt.Sprintf("%s %s %s", dash(cityIn(w, e.City)), shortID(e.Node), e.IP)))
}
