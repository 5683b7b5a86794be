package cmd

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// fakeNode answers with what it holds, and keeps what it was asked.
type fakeNode struct {
	measurement *node.Measurement
	err         error // of Measure
	interrupt   bool  // Measure is stopped by Ctrl-C when it has begun
	cancel      context.CancelFunc
	asked       node.Request

	status   node.Status
	nodes    []node.NodeInfo
	clusters []node.ClusterInfo
	page     node.ResultPage
	query    node.ResultQuery
	listErr  error

	asks     func() // before each status
	drains   []bool
	drained  func() // what a drain does to the node
	drainErr error
}

func (f *fakeNode) Measure(_ context.Context, req node.Request) (*node.Measurement, error) {
	f.asked = req
	if f.interrupt {
		f.cancel()
	}
	if m := f.measurement; m != nil && req.OnProgress != nil {
		for _, r := range m.Results {
			req.OnProgress(node.Progress{Start: &node.Start{Initiator: r.Initiator, Target: r.Target, Path: r.Path, Params: r.Params,
				Lowered: []string{"count lowered from 100 to 3 packets"}}})
			for _, s := range r.Samples {
				req.OnProgress(node.Progress{Sample: &s})
			}
		}
	}
	return f.measurement, f.err
}

func (f *fakeNode) Status(ctx context.Context) (node.Status, error) {
	if f.asks != nil {
		f.asks()
	}
	return f.status, errors.Join(f.listErr, ctx.Err())
}

func (f *fakeNode) Drain(_ context.Context, on bool) error {
	f.drains = append(f.drains, on)
	if f.drained != nil {
		f.drained()
	}
	return f.drainErr
}

func (f *fakeNode) Nodes(context.Context) ([]node.NodeInfo, error) { return f.nodes, f.listErr }

func (f *fakeNode) Clusters(context.Context) ([]node.ClusterInfo, error) {
	return f.clusters, f.listErr
}

func (f *fakeNode) Results(_ context.Context, q node.ResultQuery) (node.ResultPage, error) {
	f.query = q
	return f.page, f.listErr
}

// joinedAs is what a one-shot asked for.
type joinedAs struct {
	cfg    node.Config
	exists bool // the data directory, while it ran
	left   bool
}

func (r *runner) join(_ context.Context, cfg node.Config) (api, func(), error) {
	_, err := os.Stat(cfg.Data)
	r.joined = append(r.joined, joinedAs{cfg: cfg, exists: err == nil})
	return r.node, func() { r.joined[len(r.joined)-1].left = true }, nil
}

const (
	idA = "12D3KooWAaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaChangsha"
	idB = "12D3KooWBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbWuhan"
	idC = "12D3KooWCcccccccccccccccccccccccccccccccccccccccccThird"
	idD = "12D3KooWDddddddddddddddddddddddddddddddddddddddddFourth"
)

// sampleSuccession is one with a name in each state, as the head of idB knows it.
func sampleSuccession() []node.CandidateInfo {
	f := func(v float64) *float64 { return &v }
	return []node.CandidateInfo{
		{Node: idB, Place: 0, State: "head", SilentMs: f(312)},
		{Node: idA, Place: 1, State: "backup", SilentMs: f(90)},
		{Node: idC, Place: 2, State: "unwell", SilentMs: f(870), Unwell: "slow disk"},
		{Node: idD, Place: 3, State: "silent"},
	}
}

var instant = time.Date(2026, 3, 4, 5, 6, 7, 800_000_000, time.UTC)

// sampleResult is a result with every field set.
func sampleResult() probe.Result {
	f := func(v float64) *float64 { return &v }
	n := func(v int) *int { return &v }
	sum := func(k float64) probe.Summary {
		return probe.Summary{Min: f(10 * k), Mean: f(12.5 * k), Median: f(12 * k), P90: f(14 * k), P95: f(15 * k), P99: f(15 * k), Max: f(15 * k), Stddev: f(1.25 * k)}
	}
	return probe.Result{
		Schema: probe.ResultSchema, Key: probe.Key{Node: idA, Boot: 1772600767800, Seq: 7},
		Tool: probe.ToolLatency, ToolVersion: probe.LatencyVersion, Started: instant, Ended: instant.Add(2 * time.Second),
		Initiator: probe.End{Node: idA, City: "changsha", IP: "61.187.64.118"},
		Target:    probe.End{Node: idB, City: "wuhan", IP: "61.183.207.49", ASN: 4134},
		Path:      probe.Path{Mode: probe.ModeDirect, IPVersion: 4, Local: "61.187.64.118:40001", Remote: "61.183.207.49:40002", Transport: "udp"},
		Params:    probe.Params{Count: 3, Interval: 200 * time.Millisecond, Size: 172, Timeout: 2 * time.Second, KeepSamples: true},
		Status:    probe.StatusFinished, BytesUsed: 860, Schedule: probe.SchedulePeriodic, LossTimeoutMs: 2000,
		Clock: probe.Clock{
			Initiator: probe.ClockState{Source: "adjtimex", Synchronised: true, ErrorMs: f(0.5)},
			Target:    probe.ClockState{Source: "adjtimex", ErrorMs: nil},
			OffsetMs:  f(-0.25), OffsetErrMs: f(5), Method: "ntp-like",
		},
		Latency: &probe.Latency{Sent: 3, Received: 2, Lost: 1, LossPct: f(100. / 3), LossForward: n(1), LossBackward: n(0), Duplicates: 1, MaxBurst: 1,
			RTT: sum(1), Jitter: probe.Jitter{RFC3550: f(0.25), IPDVMeanAbs: f(1.5), IPDVP95: f(2), PDVP95: f(5), PDVP99: f(5)},
			TTL: n(61), ServerProcUs: f(18.5), SendTimerErrUs: f(70), Timestamps: probe.TimestampsUser},
		Samples: []probe.Sample{{Seq: 0, SentMs: 0, RTT: f(10), TTL: 61}, {Seq: 1, SentMs: 200, Lost: true}, {Seq: 2, SentMs: 400, RTT: f(15), TTL: 61, Dups: 1}},
		Sig:     probe.Signatures{Initiator: []byte("i"), Target: []byte("t"), TicketHash: []byte("h"), Digest: []byte("d")},
	}
}

func sampleMeasurement() *node.Measurement {
	return &node.Measurement{ID: "00112233445566778899aabb", To: "wuhan", Tool: probe.ToolLatency, Status: probe.StatusFinished,
		Created: instant, Updated: instant.Add(2 * time.Second), Results: []probe.Result{sampleResult()},
		Notes: []string{"candidate 12D3KooWX passed over: it is busy"},
		Steps: []node.Step{
			{Stage: "head", Text: "asked own head …Changsha (term 1a2b/0)", AtMs: 0.1, TookMs: 9.5, Found: true},
			{Stage: "table", Text: "武汉 is not in the head's table", AtMs: 0.4, TookMs: 0.1},
			{Stage: "dht", Text: "found the Lead of wuhan", AtMs: 0.5, TookMs: 7.25, Found: true},
		}}
}

// sampleStatus is the status of a backup.
func sampleStatus() node.Status {
	f := func(v float64) *float64 { return &v }
	line := sampleSuccession()
	line[1].Self, line[1].SilentMs, line[2].SilentMs = true, nil, nil
	return node.Status{Node: idA, Network: "n7f3a", City: "changsha", Place: "changsha (by address)", Role: "backup", Term: "1a2b/0", Head: idB, Backup: idA,
		Shards: 1, Succession: line, InLine: 1, Watches: idB, ClaimsAfterMs: 1750, HeadAddr: "/ip4/61.187.55.100/tcp/7001",
		Change:   &node.HeadChange{At: instant, From: idD, To: idB, Term: "1a2b/0", Reason: "the head is silent"},
		Vitals:   node.VitalsStatus{Capacity: 6, CPU: 7, SyncMs: f(2.5), LateMs: f(0.125)},
		Attested: &node.AttestedInfo{At: instant, Reachable: true, Capacity: 5, Prefix: "61.187.64.0/24"},
		Members:  5, Heads: 1, LastChange: "the head is silent", Addrs: []string{"/ip4/127.61.187.118/tcp/40001"}, Started: instant,
		Registry: node.RegistryStatus{Address: "127.61.187.7:7400", ID: idB, Last: instant, Error: "connection refused"},
		Sessions: node.SessionStatus{Serving: 1, Served: 12, Started: 3, MaxAtOnce: 8}, Spool: node.SpoolStatus{Depth: 5, Dropped: 1, Level1: 2, Level2: 1, Aside: 1},
		Held:    node.HeldStatus{Copies: 3, Kept: 20, Bytes: 34_500},
		Refused: map[string]uint64{"ticket": 2, "busy": 1}, Cache: node.CacheStatus{Hits: 30, Misses: 4}, Data: "/var/lib/peerprobe", Control: "/var/lib/peerprobe/control.sock",
		PID: 4711, Version: "v0.1.0"}
}
