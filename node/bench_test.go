package node_test

import (
	"context"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
)

// BenchmarkFirstSample is how long a user waits for the first answer of a measurement, with a running node
// on loopback: look-up through the own head and the remote one, session, first packet.
func BenchmarkFirstSample(b *testing.B) {
	m := &mesh{dir: b.TempDir()}
	if err := m.startRegistry(); err != nil {
		b.Fatal(err)
	}
	defer m.close()
	var last *node.Node
	for _, at := range [][2]string{{"wuhan", "w1"}, {"wuhan", "w2"}, {"changsha", "c1"}, {"changsha", "c2"}} {
		n, err := node.Join(context.Background(), m.config(at[0], at[1]))
		if err != nil {
			b.Fatal(err)
		}
		m.nodes, last = append(m.nodes, n), n
	}
	var first time.Duration
	for b.Loop() {
		began, seen := time.Now(), false
		req := quick("wuhan")
		req.Params.Count, req.Params.Interval = 1, time.Millisecond
		req.OnProgress = func(p node.Progress) {
			if p.Sample != nil && !seen {
				seen, first = true, first+time.Since(began)
			}
		}
		if _, err := last.Measure(context.Background(), req); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(first.Microseconds())/1000/float64(b.N), "ms/first-sample")
}
