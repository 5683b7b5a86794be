package cmd

import (
	"bytes"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

func TestLiveViewRedraws(t *testing.T) {
	var b bytes.Buffer
	v := &liveView{w: &b, redraw: true}
	r := sampleResult()
	v.on(node.Progress{Step: &node.Step{Stage: "head"}}) // not shown
	v.on(node.Progress{Start: &node.Start{Initiator: r.Initiator, Target: r.Target, Params: r.Params}})
	for _, s := range r.Samples {
		v.on(node.Progress{Sample: &s})
	}
	v.done()
	screen := render(b.String())
	want := []string{
		"changsha …Changsha 61.187.64.118 -> wuhan …bbbWuhan 61.183.207.49: 3 packets of 172 bytes every 200ms",
		"   seq      rtt ms   ttl",
		"     0      10.000    61",
		"     1        lost     -",
		"     2      15.000    61  1 duplicates",
		"",
	}
	if strings.Join(screen, "\n") != strings.Join(want, "\n") {
		t.Errorf("the terminal shows\n%s", strings.Join(screen, "\n"))
	}
	if !strings.Contains(b.String(), "▁·█  3 of 3, 1 lost") {
		t.Errorf("no sparkline in %q", &b)
	}
}

// render is a terminal that knows newline, carriage return and "clear to the end of the line".
func render(s string) []string {
	lines := []string{""}
	for _, part := range strings.SplitAfter(strings.ReplaceAll(s, "\r\x1b[K", "\x00"), "\n") {
		for i, piece := range strings.Split(part, "\x00") {
			last := &lines[len(lines)-1]
			if i > 0 {
				*last = ""
			}
			*last += strings.TrimSuffix(piece, "\n")
			if strings.HasSuffix(piece, "\n") {
				lines = append(lines, "")
			}
		}
	}
	return lines
}

func TestSparkline(t *testing.T) {
	at := func(v float64) probe.Sample { return probe.Sample{RTT: &v} }
	for _, tc := range []struct {
		in   []probe.Sample
		want string
	}{
		{nil, ""},
		{[]probe.Sample{{Lost: true}}, "·"},
		{[]probe.Sample{at(3), at(3)}, "▁▁"},
		{[]probe.Sample{at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)}, "▁▂▃▄▅▆▇█"},
	} {
		if got := sparkline(tc.in); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.in, got, tc.want)
		}
	}
}

func TestSparklineKeepsToItsWidth(t *testing.T) {
	v := &liveView{w: &bytes.Buffer{}, redraw: true}
	for i := range 10 * sparkWidth {
		v.sample(probe.Sample{Seq: uint32(i), RTT: new(float64(i))})
	}
	if len(v.recent) != sparkWidth {
		t.Errorf("%d packets in the sparkline", len(v.recent))
	}
}
