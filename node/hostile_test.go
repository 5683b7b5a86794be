package node_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
)

// pair is an honest node in Changsha, and one in Wuhan that the test makes a liar of. Each leads its city.
func pair(t *testing.T) (*mesh, *node.Node, *node.Node) {
	m := testMesh(t)
	c, w := m.join(t, "changsha", "c1"), m.join(t, "wuhan", "w1")
	lead, _ := w.Lead()
	c.Learn(lead)
	return m, c, w
}

// refusedWith measures and wants an error that names the reason, soon.
func refusedWith(t *testing.T, n *node.Node, says string) {
	t.Helper()
	began := time.Now()
	got, err := n.Measure(testContext(t), quick("wuhan"))
	if err == nil {
		t.Fatalf("measured: %+v", got.Results[0])
	}
	if !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q does not say %q in one line", err, says)
	}
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A target that grants what nobody asked for gets no packet.
func TestLyingGrants(t *testing.T) {
	_, c, w := pair(t)
	var grant node.SessionGrant
	w.Rogue(p2p.ProtoSession, func(_ context.Context, _ p2p.Remote, s *p2p.Stream) error {
		var open node.SessionOpen
		if err := s.ReadMsg(&open); err != nil {
			return err
		}
		return s.WriteMsg(&grant)
	})
	key := slices.Repeat([]byte{7}, 32)
	asked := quick("wuhan").Params
	with := func(change func(*probe.Params)) node.SessionGrant {
		p := asked
		change(&p)
		return node.SessionGrant{Params: p, Key: key, Port: 9}
	}
	for _, lie := range []struct {
		name  string
		grant node.SessionGrant
		says  string
	}{
		{"nothing", node.SessionGrant{}, "nonsense"},
		{"no key", node.SessionGrant{Params: asked, Port: 9}, "without key or port"},
		{"zero key", node.SessionGrant{Params: asked, Key: make([]byte, 32), Port: 9}, "without key or port"},
		{"no port", node.SessionGrant{Params: asked, Key: key}, "without key or port"},
		{"huge count", with(func(p *probe.Params) { p.Count = 1 << 20 }), "more than was asked"},
		{"flood", with(func(p *probe.Params) { p.Interval, p.Timeout = time.Nanosecond, time.Millisecond }), "more than was asked"},
		{"huge packets", with(func(p *probe.Params) { p.Size = 65_000 }), "more than was asked"},
		{"patience", with(func(p *probe.Params) { p.Timeout = time.Hour }), "more than was asked"},
	} {
		t.Run(lie.name, func(t *testing.T) {
			grant = lie.grant
			refusedWith(t, c, lie.says)
		})
	}
}

// What a target says on the session's stream: nothing, too much, something else.
func TestLyingTargets(t *testing.T) {
	_, c, w := pair(t)
	for _, lie := range []struct {
		name  string
		serve func(*p2p.Stream) error
		says  string
	}{
		{"wrong type", func(s *p2p.Stream) error { return s.WriteMsg([]string{"hello"}) }, "no answer"},
		{"huge frame", func(s *p2p.Stream) error { return s.WriteFrame(make([]byte, node.MaxSessionFrame+1)) }, "no answer"},
		{"closes", func(*p2p.Stream) error { return nil }, "no answer"},
		{"resets", func(*p2p.Stream) error { return errors.New("no") }, "no answer"},
	} {
		t.Run(lie.name, func(t *testing.T) {
			w.Host().Handle(p2p.ProtoSession, p2p.HandleOptions{MaxFrame: 1 << 20}, func(_ context.Context, _ p2p.Remote, s *p2p.Stream) error {
				var open node.SessionOpen
				if err := s.ReadMsg(&open); err != nil {
					return err
				}
				return lie.serve(s)
			})
			refusedWith(t, c, lie.says)
		})
	}
}

// A head that answers with candidates of its own choice: each is refused before it is called.
func TestLyingHead(t *testing.T) {
	m, c, w := pair(t)
	other := m.join(t, "beijing", "b1")
	var lie func(*node.Candidate)
	w.Rogue(p2p.ProtoTask, func(ctx context.Context, r p2p.Remote, s *p2p.Stream) error {
		var req node.TaskRequest
		if err := s.ReadMsg(&req); err != nil {
			return err
		}
		answer := w.Honest(ctx, r, &req)
		if answer.Found != nil {
			for i := range answer.Found.Candidates {
				lie(&answer.Found.Candidates[i])
			}
		}
		return s.WriteMsg(answer)
	})
	for _, l := range []struct {
		name string
		lie  func(*node.Candidate)
		says string
	}{
		{"a node of another city", func(c *node.Candidate) {
			c.Peer, c.Admission = other.Host().Self(), other.Admission()
		}, "in beijing"},
		{"another node's admission", func(c *node.Candidate) { c.Admission = other.Admission() }, "in beijing"},
		{"no admission", func(c *node.Candidate) { c.Admission = cluster.Signed{} }, "no valid admission"},
		{"no ticket", func(c *node.Candidate) { c.Ticket = cluster.Signed{} }, "ticket is not valid"},
		{"a ticket for somebody else", func(c *node.Candidate) {
			var k cluster.Ticket
			if err := cluster.Unmarshal(c.Ticket.Payload, &k); err != nil {
				panic(err)
			}
			k.Initiator = other.Host().ID()
			c.Ticket = w.Sign(cluster.DomainTicket, &k)
		}, "its ticket is of the head of wuhan"},
	} {
		t.Run(l.name, func(t *testing.T) {
			lie = l.lie
			refusedWith(t, c, l.says)
		})
	}
}

// A Lead that verifies may have no addresses in it: nobody who lists clusters or nodes falls over it.
func TestLeadWithoutAddresses(t *testing.T) {
	_, c, w := pair(t)
	_, lead := w.Lead()
	bare := *lead
	bare.Addrs, bare.Seq = nil, bare.Seq+1000
	raw := w.Sign(cluster.DomainLead, &bare)
	c.Learn(raw)
	clusters, err := c.Clusters(testContext(t))
	if err != nil || len(clusters) != 2 {
		t.Fatalf("clusters %+v, %v", clusters, err)
	}
	if _, err := c.Nodes(testContext(t)); err != nil {
		t.Error(err)
	}
	if _, err := c.Measure(testContext(t), quick("wuhan")); err != nil {
		t.Logf("measure: %v", err) // its addresses may be known from before, or not
	}
}

// A head whose view never ends, or names strangers: the list ends, and has none of them.
func TestLyingView(t *testing.T) {
	_, c, w := pair(t)
	var asked atomic.Int64
	w.Rogue(p2p.ProtoTask, func(_ context.Context, _ p2p.Remote, s *p2p.Stream) error {
		var req node.TaskRequest
		if err := s.ReadMsg(&req); err != nil {
			return err
		}
		asked.Add(1)
		return s.WriteMsg(&node.TaskAnswer{View: &node.ViewAnswer{More: true, Total: 1 << 30,
			Members: []node.ViewMember{{Peer: cluster.Peer{ID: w.Host().ID()}}}}})
	})
	began := time.Now()
	nodes, err := c.Nodes(testContext(t))
	if err != nil || slices.ContainsFunc(nodes, func(n node.NodeInfo) bool { return n.City == "wuhan" }) {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	if n := asked.Load(); n < 1 || n > 2 || time.Since(began) > 2*time.Second {
		t.Errorf("asked %d times in %v", n, time.Since(began))
	}
}

// What an initiator may not do at a target, and what it may not leave there.
func TestLyingInitiator(t *testing.T) {
	m, c, w := pair(t)
	ctx := testContext(t)
	leadRaw, _ := c.Lead()
	ask := func() *node.TaskAnswer {
		answer := new(node.TaskAnswer)
		exchange(t, c, w, p2p.ProtoTask, &node.TaskRequest{Version: 1,
			Ask: &node.AskRequest{Task: "t", Lead: leadRaw, Initiator: c.Admission(), City: "wuhan", Tool: probe.ToolLatency}}, answer)
		return answer
	}
	answer := ask()
	if answer.Error != nil {
		t.Fatal(answer.Error)
	}
	ticket := answer.Found.Candidates[0].Ticket
	open := func(ticket cluster.Signed) *node.SessionGrant {
		grant := new(node.SessionGrant)
		exchange(t, c, w, p2p.ProtoSession, &node.SessionOpen{Version: 1, Ticket: ticket, Tool: probe.ToolLatency, Params: quick("").Params}, grant)
		return grant
	}
	if g := open(ticket); g.Error != nil {
		t.Fatal(g.Error)
	}
	if g := open(ticket); g.Error == nil || !strings.Contains(g.Error.Message, "was begun before") {
		t.Errorf("a replayed ticket: %+v", g)
	}
	if g := open(cluster.Signed{}); g.Error == nil {
		t.Errorf("no ticket: %+v", g)
	}

	// A receipt of another session stays out of the target's store.
	s, err := c.Host().Open(ctx, w.Host().Self(), p2p.ProtoSession, node.MaxSessionFrame)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	grant, statement := new(node.SessionGrant), new(node.SessionStatement)
	for _, step := range []func() error{
		func() error {
			return s.WriteMsg(&node.SessionOpen{Version: 1, Ticket: ask().Found.Candidates[0].Ticket, Tool: probe.ToolLatency, Params: quick("").Params})
		},
		func() error { return s.ReadMsg(grant) },
		func() error { return s.WriteMsg(&node.SessionDone{}) },
		func() error { return s.ReadMsg(statement) },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	r := probe.Result{Schema: probe.ResultSchema, Tool: probe.ToolLatency, Key: probe.Key{Node: status(t, c).Node, Boot: 1, Seq: 99}, Started: time.Now().UTC(), Ended: time.Now().UTC(),
		Status: probe.StatusFinished, Initiator: probe.End{Node: status(t, c).Node, City: "changsha"}, Target: probe.End{Node: status(t, w).Node, City: "wuhan"}, Latency: &probe.Latency{}}
	transcript := probe.Transcript{Version: probe.StatementVersion, Key: r.Key, Figures: r.FiguresDigest()}
	if err := s.WriteMsg(&node.SessionReceipt{Result: probe.EncodeResult(&r), Transcript: c.Sign(cluster.DomainResult, &transcript)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadFrame(); err == nil {
		t.Error("the target answers a receipt")
	}
	page, err := w.Results(ctx, node.ResultQuery{})
	if err != nil || len(page.Results) != 0 {
		t.Errorf("the target keeps %+v, %v", page.Results, err)
	}
	_ = m
}

// exchange sends one frame and reads one.
func exchange(t *testing.T, from, to *node.Node, proto string, req, answer any) {
	t.Helper()
	s, err := from.Host().Open(testContext(t), to.Host().Self(), proto, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	if err := s.WriteMsg(req); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadMsg(answer); err != nil {
		t.Fatal(err)
	}
}
