package node_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

func stages(m *node.Measurement) []string {
	var out []string
	for _, s := range m.Steps {
		out = append(out, s.Stage)
	}
	return out
}

// The whole way: own cluster, table or DHT, remote head, session, result at both ends and at the registry.
func TestMeasureAcrossCities(t *testing.T) {
	m := testMesh(t)
	changsha, wuhan := twoCities(t, m)
	got, err := changsha[1].Measure(testContext(t), quick("武汉"))
	if err != nil {
		t.Fatal(err)
	}
	way := stages(got)
	for _, want := range []string{"head", "own-cluster", "table", "remote-head", "session"} {
		if !slices.Contains(way, want) {
			t.Errorf("the way %v lacks %s", way, want)
		}
	}
	r := got.Results[0]
	if r.Status != probe.StatusFinished || r.Latency.Received != 5 || r.Latency.RTT.Median == nil || *r.Latency.RTT.Median <= 0 {
		t.Errorf("result %+v", r.Latency)
	}
	if r.Initiator.City != "changsha" || r.Target.City != "wuhan" || r.Initiator.Node != status(t, changsha[1]).Node {
		t.Errorf("ends %+v, %+v", r.Initiator, r.Target)
	}
	if head := status(t, wuhan[0]).Node; r.Target.Node == head {
		t.Errorf("the head %s was measured although endpoints are there", head)
	}
	if r.Latency.LossForward == nil || *r.Latency.LossForward != 0 || len(r.Sig.Initiator) == 0 || len(r.Sig.Target) == 0 {
		t.Errorf("the target's account is missing: %+v, %+v", r.Latency, r.Sig)
	}
	target := wuhan[slices.IndexFunc(wuhan, func(n *node.Node) bool { return status(t, n).Node == r.Target.Node })]
	eventually(t, target, "the target keeps its copy", func(node.Status) bool {
		page, err := target.Results(context.Background(), node.ResultQuery{})
		return err == nil && len(page.Results) == 1 && page.Results[0].Key == r.Key
	})
	eventually(t, changsha[1], "the registry releases the spool", func(s node.Status) bool { return s.Spool.Depth == 0 })
	stored := registryResults(t, m)
	if len(stored) != 1 || stored[0].Key != r.Key || *stored[0].Latency.RTT.Median != *r.Latency.RTT.Median {
		t.Errorf("the registry has %+v, want %s", stored, r.Key)
	}
}

func registryResults(t *testing.T, m *mesh) []probe.Result {
	t.Helper()
	page, err := m.reg.Results(store.Query{Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	return page.Results
}

// Heads find one another through the DHT when their tables are passed over.
func TestMeasureThroughDHT(t *testing.T) {
	m := testMesh(t)
	changsha, _ := twoCities(t, m)
	req := quick("wuhan")
	req.PreferDHT = true
	ctx := testContext(t)
	for {
		got, err := changsha[0].Measure(ctx, req)
		if errors.Is(err, node.ErrNoSuchPlace) && ctx.Err() == nil {
			continue // Wuhan's record is still on its way into the DHT
		}
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(got.Steps, func(s node.Step) bool { return s.Stage == "dht" && s.Found })
		if i < 0 {
			t.Errorf("the DHT did not answer: %+v", got.Steps)
		}
		return
	}
}

func TestOwnCluster(t *testing.T) {
	m := testMesh(t)
	changsha, _ := twoCities(t, m)
	got, err := changsha[0].Measure(testContext(t), quick("changsha"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Results[0].Target.Node != status(t, changsha[1]).Node {
		t.Errorf("measured %+v, want the other node of the own city", got.Results[0].Target)
	}
	if slices.Contains(stages(got), "dht") || slices.Contains(stages(got), "remote-head") {
		t.Errorf("the own cluster was looked up elsewhere: %v", stages(got))
	}
}

// The head dies without farewell: somebody else leads in a higher term, everybody follows, and measuring
// goes on, with the registry there and without it.
func TestTakeOver(t *testing.T) {
	for _, away := range []bool{false, true} {
		t.Run(map[bool]string{false: "registry up", true: "registry away"}[away], func(t *testing.T) {
			m := testMesh(t)
			changsha, wuhan := twoCities(t, m)
			before := status(t, wuhan[0])
			if before.Role != "head" {
				t.Fatalf("the first node of Wuhan is %s", before.Role)
			}
			if away {
				if err := m.stopRegistry(); err != nil {
					t.Fatal(err)
				}
			}
			wuhan[0].Kill()
			m.gone(wuhan[0])
			// Two candidates may claim at once; the higher term wins within moments.
			one := eventually(t, wuhan[1], "one new head", func(s node.Status) bool {
				other := status(t, wuhan[2])
				return s.Head != before.Node && s.Head != "" && s.Head == other.Head && s.Term == other.Term
			})
			if one.Term == before.Term {
				t.Errorf("term %s again", one.Term)
			}
			got, err := changsha[1].Measure(testContext(t), quick("wuhan"))
			if err != nil {
				t.Fatal(err)
			}
			if r := got.Results[0]; r.Target.Node == before.Node || r.Latency.Received == 0 {
				t.Errorf("measured %+v", r)
			}
		})
	}
}

// A result that the registry could not take waits in the spool, over a restart of the node, and arrives
// once.
func TestSpoolOutlivesRegistryAndNode(t *testing.T) {
	m := testMesh(t)
	changsha, _ := twoCities(t, m)
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	got, err := changsha[1].Measure(testContext(t), quick("wuhan"))
	if err != nil {
		t.Fatal(err)
	}
	if s := status(t, changsha[1]); s.Spool.Depth != 1 {
		t.Errorf("spool holds %d results, want 1", s.Spool.Depth)
	}
	m.gone(changsha[1])
	if err := changsha[1].Close(); err != nil {
		t.Fatal(err)
	}
	again := m.join(t, "changsha", "c2") // with the registry away: it has been a member before
	if s := status(t, again); s.City != "changsha" || s.Spool.Depth != 1 {
		t.Errorf("after the restart: %+v", s)
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	eventually(t, again, "delivery", func(s node.Status) bool { return s.Spool.Depth == 0 })
	if stored := registryResults(t, m); len(stored) != 1 || stored[0].Key != got.Results[0].Key {
		t.Errorf("the registry has %+v", stored)
	}
}

// Stopping a measurement midway gives what was measured until then.
func TestCancelledMeasurementIsPartial(t *testing.T) {
	m := testMesh(t)
	changsha, _ := twoCities(t, m)
	ctx, cancel := context.WithCancel(testContext(t))
	req := quick("wuhan")
	req.Params.Count, req.Params.Interval = 1000, 10*time.Millisecond
	seen := 0
	req.OnProgress = func(p node.Progress) {
		if p.Sample != nil {
			if seen++; seen == 5 {
				cancel()
			}
		}
	}
	got, err := changsha[1].Measure(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	r := got.Results[0]
	if got.Status != probe.StatusPartial || r.Latency.Received < 5 || r.Latency.Received > 500 || r.Error == nil || r.Error.Code != probe.CodeCancelled {
		t.Errorf("status %s, error %v, %+v", got.Status, r.Error, r.Latency)
	}
	if len(r.Sig.Target) == 0 {
		t.Error("the target's statement is missing although the target lives")
	}
}

// A target that dies midway leaves a partial result that says so.
func TestTargetDiesMidway(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	w := m.join(t, "wuhan", "w1")
	req := quick("wuhan")
	req.Params.Count, req.Params.Interval = 2000, 10*time.Millisecond
	seen := 0
	killed := make(chan struct{})
	req.OnProgress = func(p node.Progress) {
		if p.Sample != nil {
			if seen++; seen == 5 {
				go func() { w.Kill(); close(killed) }()
			}
		}
	}
	got, err := c.Measure(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	<-killed
	m.gone(w)
	r := got.Results[0]
	if got.Status != probe.StatusPartial || r.Error == nil || r.Error.Code != probe.CodePeerGone || r.Latency.Received < 5 {
		t.Errorf("status %s, error %v, %+v", got.Status, r.Error, r.Latency)
	}
	if r.Latency.LossForward != nil {
		t.Error("loss is split by direction without the target's account")
	}
}

// The target's limits win, and the result says so.
func TestTargetGrantsLess(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	cfg := m.config("wuhan", "w1")
	cfg.Limits = probe.DefaultLimits()
	cfg.Limits.MaxCount = 3
	w, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, w)
	got, err := c.Measure(testContext(t), quick("wuhan"))
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Results[0]; r.Params.Count != 3 || r.Latency.Sent != 3 {
		t.Errorf("sent %d packets under %+v, want 3", r.Latency.Sent, r.Params)
	}
	if !strings.Contains(strings.Join(got.Notes, "\n"), "count lowered from 5 to 3") {
		t.Errorf("notes %q do not say that less was granted", got.Notes)
	}
}

func TestUnknownCityNamesTheLiving(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	_, err := c.Measure(testContext(t), quick("atlantis"))
	var place *node.PlaceError
	if !errors.As(err, &place) || !errors.Is(err, node.ErrNoSuchPlace) || !slices.Equal(place.Alive, []string{"changsha"}) {
		t.Errorf("error %v", err)
	}
}

func TestBadRequests(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	for _, bad := range []struct {
		name string
		req  node.Request
		says string
	}{
		{"no place", node.Request{}, "names no place"},
		{"unknown tool", node.Request{To: "wuhan", Tool: "magic"}, `no tool "magic"`},
		{"count 0", node.Request{To: "wuhan", Params: probe.Params{Interval: time.Second, Size: 200, Timeout: time.Second}}, "count is 0"},
		{"negative interval", node.Request{To: "wuhan", Params: probe.Params{Count: 1, Interval: -1, Size: 200, Timeout: time.Second}}, "interval"},
	} {
		if _, err := c.Measure(testContext(t), bad.req); !errors.Is(err, node.ErrBadRequest) || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%s: error %v", bad.name, err)
		}
	}
}

// A city whose nodes are all gone is said to have no head, at once: the own head is not asked for ever.
func TestDesertedCity(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	w := m.join(t, "wuhan", "w1")
	if _, err := c.Measure(testContext(t), quick("wuhan")); err != nil {
		t.Fatal(err)
	}
	w.Kill()
	m.gone(w)
	began := time.Now()
	_, err := c.Measure(testContext(t), quick("wuhan"))
	if !errors.Is(err, node.ErrNoCandidate) || !strings.Contains(err.Error(), "no head of wuhan answers") {
		t.Errorf("error %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

// A city of one is measured too; alone in the own city there is nobody to measure.
func TestNobodyElse(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	if _, err := c.Measure(testContext(t), quick("changsha")); !errors.Is(err, node.ErrNoCandidate) {
		t.Errorf("error %v", err)
	}
}

// The same through the control socket of the node.
func TestClient(t *testing.T) {
	m := testMesh(t)
	changsha, _ := twoCities(t, m)
	client, err := node.Dial(node.ControlPath(m.config("", "c2").Data))
	if err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	samples := 0
	req := quick("wuhan")
	req.OnProgress = func(p node.Progress) {
		if p.Sample != nil {
			samples++
		}
	}
	got, err := client.Measure(ctx, req)
	if err != nil {
		t.Fatal(err)
	}
	if samples != 5 || got.Results[0].Latency.Received != 5 {
		t.Errorf("%d samples, %+v", samples, got.Results[0].Latency)
	}
	if _, err := client.Measure(ctx, quick("atlantis")); !errors.Is(err, node.ErrNoSuchPlace) {
		t.Errorf("error %v", err)
	}
	s, err := client.Status(ctx)
	if err != nil || s.Node != status(t, changsha[1]).Node {
		t.Errorf("status %+v, %v", s, err)
	}
	nodes, err := client.Nodes(ctx)
	if err != nil || len(nodes) < 2 {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	clusters, err := client.Clusters(ctx)
	if err != nil || len(clusters) < 1 || clusters[0].City != "changsha" || !clusters[0].Own || clusters[0].Members != 2 {
		t.Errorf("clusters %+v, %v", clusters, err)
	}
	page, err := client.Results(ctx, node.ResultQuery{To: "wuhan"})
	if err != nil || len(page.Results) != 1 {
		t.Errorf("results %+v, %v", page, err)
	}

	stop, cancel := context.WithCancel(ctx)
	req.Params.Count, req.Params.Interval = 2000, 10*time.Millisecond
	req.OnProgress = func(p node.Progress) {
		if p.Sample != nil && p.Sample.Seq == 4 {
			cancel()
		}
	}
	got, err = client.Measure(stop, req)
	if err != nil || got.Status != probe.StatusPartial || got.Results[0].Latency.Received < 4 {
		t.Errorf("stopped: %+v, %v", got, err)
	}
}

// A host that joins for one measurement from a city without any node asks the other city's head itself.
func TestTransientWithoutHead(t *testing.T) {
	m := testMesh(t)
	w := m.join(t, "wuhan", "w1")
	cfg := m.config("changsha", "once")
	cfg.Transient, cfg.NoControl = true, true
	n, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, n)
	if s := status(t, n); s.Role == "head" || s.City != "changsha" {
		t.Errorf("joined as %s of %s", s.Role, s.City)
	}
	got, err := n.Measure(testContext(t), quick("wuhan"))
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Results[0]; r.Status != probe.StatusFinished || r.Target.Node != status(t, w).Node || r.Initiator.City != "changsha" {
		t.Errorf("%+v", r)
	}
	if !strings.Contains(strings.Join(got.Notes, "\n"), "changsha has no head") {
		t.Errorf("notes %q do not say what becomes of the result", got.Notes)
	}
	if _, err := n.Measure(testContext(t), quick("atlantis")); !errors.Is(err, node.ErrNoSuchPlace) || !strings.Contains(err.Error(), "alive: wuhan") {
		t.Errorf("error %v", err)
	}
}
