//go:build linux

package e2e

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/probe"
)

// packets of one measurement: enough that losing one would show as what it is, one of ten.
const packets = 10

// answer is what `peerprobe measure -J --explain` prints, as far as the experiment looks at it.
type answer struct {
	Status  string
	Explain []step
	Results []struct {
		Result struct {
			Status  string
			Timings []struct{ RTT *float64 }
			Latency probe.Latency
			Path    probe.Path
			Sig     probe.Signatures
		}
		Peer struct{ NodeID, City, IP string }
	}
}

// measure runs the paper's measurement from its initiator.
func (m *mesh) measure(t *testing.T, flags ...string) answer {
	t.Helper()
	var a answer
	args := append([]string{"measure", "--to", "wuhan", "--explain", "--packets", "--count", fmt.Sprint(packets), "--interval", "20ms"}, flags...)
	if err := m.ask(&a, args...); err != nil {
		t.Fatal(err)
	}
	m.checkWay(t, a)
	return a
}

type step struct {
	Stage, Text  string
	AtMs, TookMs float64
	Found        bool
}

// way lists the steps that answered the question, in order.
func (a answer) way() (stages []string) {
	for _, s := range a.Explain {
		if s.Found {
			stages = append(stages, s.Stage)
		}
	}
	return stages
}

// checkWay asserts the two-phase look-up: the initiator's own cluster, then its head's table of heads or, where
// that does not know the city, the DHT; then the remote head, then a session with one of its candidates.
func (m *mesh) checkWay(t *testing.T, a answer) {
	t.Helper()
	at := 0.0
	for _, s := range a.Explain {
		t.Logf("%8.1f ms  %-12s found %-5v %s", s.AtMs, s.Stage, s.Found, s.Text)
		if s.AtMs < at {
			t.Errorf("step %s began at %.1f ms, before the step above it", s.Stage, s.AtMs)
		}
		at = s.AtMs
	}
	way := strings.Join(slices.DeleteFunc(a.way(), func(stage string) bool { return stage == "queue" || stage == "head" }), " ")
	if !slices.Contains([]string{"table remote-head session", "dht remote-head session"}, way) {
		t.Errorf("the way was %q: first the table of heads or the DHT has to answer, then the remote head, then one of its candidates", way)
	}
	if !slices.ContainsFunc(a.Explain, func(s step) bool { return s.Stage == "own-cluster" && !s.Found }) {
		t.Error("the initiator's own cluster was not asked first")
	}
}

// checkTarget asserts real figures of the path to an endpoint of Wuhan, through the router. The head is the last
// that its own list of candidates offers, so it is none of the endpoints measured here.
func (m *mesh) checkTarget(t *testing.T, a answer, head string) {
	t.Helper()
	if a.Status != probe.StatusFinished || len(a.Results) != 1 {
		t.Fatalf("the measurement is %q with %d results", a.Status, len(a.Results))
	}
	r := a.Results[0]
	if p := m.nodes[r.Peer.IP]; p == nil || cityOf(r.Peer.IP) != "wuhan" || r.Peer.City != "wuhan" || r.Peer.NodeID != m.ids[r.Peer.IP] {
		t.Fatalf("measured to %+v, that is no node of Wuhan", r.Peer)
	}
	if r.Peer.IP == head {
		t.Errorf("measured to the head %s while endpoints were idle", head)
	}
	if !strings.HasPrefix(r.Result.Path.Local, initiatorAddr+":") || !strings.HasPrefix(r.Result.Path.Remote, r.Peer.IP+":") || r.Result.Path.Mode != "direct" {
		t.Errorf("the path is %+v", r.Result.Path)
	}
	checkFigures(t, r.Result.Latency)
	if len(r.Result.Timings) != packets {
		t.Errorf("%d packets are listed", len(r.Result.Timings))
	}
	if len(r.Result.Sig.Initiator) == 0 || len(r.Result.Sig.Target) == 0 {
		t.Error("the result lacks a signature of one of its ends")
	}
	t.Logf("%s -> %s: RTT min %.3f median %.3f max %.3f ms", initiatorAddr, r.Peer.IP,
		*r.Result.Latency.RTT.Min, *r.Result.Latency.RTT.Median, *r.Result.Latency.RTT.Max)
}

func checkFigures(t *testing.T, l probe.Latency) {
	t.Helper()
	if l.Sent != packets || l.Received != packets || l.Lost != 0 || l.LossPct == nil || *l.LossPct != 0 {
		t.Errorf("sent %d, received %d, lost %d of %d packets on a path that loses none", l.Sent, l.Received, l.Lost, packets)
	}
	if l.LossForward == nil || l.LossBackward == nil || *l.LossForward != 0 || *l.LossBackward != 0 {
		t.Error("loss by direction: the target's signed count is missing or says something else")
	}
	if l.TTL == nil || *l.TTL != ttlThroughRouter {
		t.Errorf("the TTL is not %d: the packets did not pass one router", ttlThroughRouter)
	}
	s := l.RTT
	for _, v := range []*float64{s.Min, s.Mean, s.Median, s.P90, s.P95, s.P99, s.Max, s.Stddev, l.Jitter.RFC3550, l.Jitter.IPDVMeanAbs} {
		if v == nil || math.IsNaN(*v) || *v < 0 {
			t.Fatalf("a figure is missing: RTT %+v, jitter %+v", s, l.Jitter)
		}
	}
	// A veth path takes microseconds; what takes longer than the loss time-out would have been a loss.
	if *s.Min <= 0 || *s.Min > *s.Median || *s.Median > *s.P95 || *s.P95 > *s.Max || *s.Max > 2000 {
		t.Errorf("RTT min %v median %v p95 %v max %v ms", *s.Min, *s.Median, *s.P95, *s.Max)
	}
	if *s.Stddev == 0 {
		t.Error("ten packets took exactly the same time: nothing was measured")
	}
}

// checkArchive waits until the registry has this many results of the path, each once.
func (m *mesh) checkArchive(t *testing.T, want int) {
	t.Helper()
	took := eventually(t, "results at the registry", func() error {
		var page struct{ Results []probe.Result }
		if err := m.lab.Get(registryAddr, "http://127.0.0.1:7402/api/v1/results", &page); err != nil {
			return err
		}
		keys := map[string]bool{}
		for _, r := range page.Results {
			if r.Initiator.City != "changsha" || r.Target.City != "wuhan" {
				return fmt.Errorf("a result from %s to %s", r.Initiator.City, r.Target.City)
			}
			keys[r.Key.String()] = true
		}
		if len(page.Results) != want || len(keys) != want {
			return fmt.Errorf("%d results under %d keys, expected %d", len(page.Results), len(keys), want)
		}
		return nil
	})
	t.Logf("the registry has %d results after %v", want, took)
	eventually(t, "an empty spool", func() error {
		var s struct{ Spool struct{ Depth int } }
		if err := m.ask(&s, "status"); err != nil {
			return err
		}
		if s.Spool.Depth != 0 {
			return fmt.Errorf("%d results still wait", s.Spool.Depth)
		}
		return nil
	})
}
