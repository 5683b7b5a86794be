package storetest

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// Start is when the samples start: results follow one another by a minute.
var Start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

var cities = []string{"changsha", "wuhan", "suzhou-anhui"}

// ID is the n-th node's identity.
func ID(n int) cluster.ID {
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(n))
	return cluster.IDOf(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
}

// NodeName is the n-th node's name in results; it has the form of a peer id's text.
func NodeName(n int) string { return fmt.Sprintf("12D3KooW%044d", n) }

// Result is the n-th result, the same at each call: of node n%8, with figures of a session that looks
// like a real one. Every seventh was cut short, every fiftieth failed.
func Result(n int) probe.Result {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	started := Start.Add(time.Duration(n)*time.Minute + time.Duration(rng.IntN(1e9)))
	from, to := n%8, (n+1+n/8%7)%8
	clock := 0.5 + rng.Float64()
	r := probe.Result{
		Schema: probe.ResultSchema, Tool: "latency", ToolVersion: "1",
		Key:     probe.Key{Node: NodeName(from), Boot: 1772366400000 + uint64(from), Seq: uint64(n/8) + 1},
		Started: started, Ended: started.Add(2*time.Second + time.Duration(rng.IntN(1e8))),
		Initiator: probe.End{Node: NodeName(from), City: cities[from%3], ASN: 4134, IP: fmt.Sprintf("61.187.55.%d", 100+from)},
		Target:    probe.End{Node: NodeName(to), City: cities[to%3], IP: fmt.Sprintf("61.183.207.%d", 100+to)},
		Path: probe.Path{Mode: probe.ModeDirect, IPVersion: 4, Local: fmt.Sprintf("61.187.55.%d:%d", 100+from, 40000+rng.IntN(9999)),
			Remote: fmt.Sprintf("61.183.207.%d:%d", 100+to, 40000+rng.IntN(9999)), Transport: "udp"},
		Params: probe.Params{Count: 10, Interval: 200 * time.Millisecond, Size: 172, Timeout: 2 * time.Second}, Status: probe.StatusFinished, BytesUsed: 3440, Schedule: probe.SchedulePeriodic, LossTimeoutMs: 2000,
		Clock: probe.Clock{Initiator: probe.ClockState{Source: "adjtimex", Synchronised: true, ErrorMs: &clock},
			Target: probe.ClockState{Source: "unknown"}, Method: "min-rtt"},
	}
	r.Latency = latency(rng)
	switch {
	case n%50 == 49:
		r.Status, r.Latency = probe.StatusFailed, nil
		r.Error = &probe.Error{Stage: probe.StagePath, Code: probe.CodeUnreachable, Message: "nothing came back from " + r.Path.Remote}
	case n%7 == 6:
		r.Status = probe.StatusPartial
		r.Error = &probe.Error{Stage: probe.StageRun, Code: probe.CodePeerGone, Message: "the far end is gone"}
	}
	digest := sha256.Sum256([]byte(r.Key.String())) // made up: it must not change when results get a new field
	r.Sig.Digest = digest[:16]
	return r
}

func latency(rng *rand.Rand) *probe.Latency {
	ms := func(base float64) *float64 { // whole nanoseconds
		v := float64(int64(base*1e6)+rng.Int64N(3e6)) / 1e6
		return &v
	}
	real := func(base float64) *float64 {
		v := base + rng.Float64()
		return &v
	}
	lost, ttl, pct := rng.IntN(2), 57, 0.0
	pct = float64(lost) * 10
	zero := 0
	return &probe.Latency{
		Sent: 10, Received: 10 - lost, Lost: lost, LossPct: &pct, LossForward: &lost, LossBackward: &zero, MaxBurst: lost,
		RTT:    probe.Summary{Min: ms(18), Mean: real(20), Median: ms(20), P90: ms(24), P95: ms(25), P99: ms(27), Max: ms(30), Stddev: real(1)},
		Jitter: probe.Jitter{RFC3550: real(0.4), IPDVMeanAbs: real(0.6), IPDVP95: ms(2), PDVP95: ms(5), PDVP99: ms(8)},
		TTL:    &ttl, ServerProcUs: ms(12), SendTimerErrUs: ms(60), Timestamps: probe.TimestampsUser,
	}
}

// Results are results from to to-1.
func Results(from, to int) []probe.Result {
	rs := make([]probe.Result, 0, to-from)
	for n := from; n < to; n++ {
		rs = append(rs, Result(n))
	}
	return rs
}

// Record is the n-th result with made-up originals.
func Record(n int) store.ResultRecord {
	return store.ResultRecord{
		Result:     Result(n),
		Statement:  Signed(n),
		Transcript: Signed(n + 1<<20),
		Ticket:     Signed(n + 2<<20),
	}
}

// Signed is the n-th signed object; nothing here verifies it.
func Signed(n int) cluster.Signed {
	return cluster.Signed{Payload: fmt.Appendf(nil, "payload %d", n), Sig: fmt.Appendf(nil, "signature %d", n)}
}

// NodeState is the n-th node as a registry keeps it.
func NodeState(n int) cluster.NodeState {
	return cluster.NodeState{
		ID: ID(n), Addrs: [][]byte{{4, 127, 0, 0, 1, 6, byte(n >> 8), byte(n)}}, City: cluster.City(cities[n%3]),
		Place: "Changsha, CN", Tags: []string{"demo"}, Class: cluster.ClassOwn, Admission: Signed(n), Serial: uint64(n) + 1,
		FirstSeen: Start.UnixMilli(), LastSeen: Start.UnixMilli() + int64(n), Observed: "61.187.55.100",
	}
}
