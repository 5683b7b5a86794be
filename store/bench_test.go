package store

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
)

// sampleResults look like those of eight nodes that measure one another every minute.
func sampleResults(count int) []probe.Result {
	rng := rand.New(rand.NewPCG(1, 2))
	start := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ms := func(base float64) *float64 {
		v := float64(int64(base*1e6)+rng.Int64N(3e6)) / 1e6
		return &v
	}
	mean := func(base float64) *float64 {
		v := base + rng.Float64()
		return &v
	}
	rs := make([]probe.Result, count)
	for n := range rs {
		from, to, zero, ttl, pct := n%8, (n+1)%8, 0, 57, 0.0
		started := start.Add(time.Duration(n)*7*time.Second + time.Duration(rng.IntN(1e9)))
		end := func(i int) probe.End {
			return probe.End{Node: fmt.Sprintf("12D3KooW%044d", i), City: []string{"changsha", "wuhan"}[i%2], IP: fmt.Sprintf("61.187.55.%d", i)}
		}
		rs[n] = probe.Result{
			Schema: 1, Tool: "latency", ToolVersion: "1", Key: probe.Key{Node: end(from).Node, Boot: 1772366400000, Seq: uint64(n/8) + 1},
			Started: started, Ended: started.Add(2*time.Second + time.Duration(rng.IntN(1e7))), Initiator: end(from), Target: end(to),
			Path: probe.Path{Mode: "direct", IPVersion: 4, Transport: "udp", Local: fmt.Sprintf("61.187.55.%d:%d", from, 32768+rng.IntN(28000)),
				Remote: fmt.Sprintf("61.187.55.%d:%d", to, 32768+rng.IntN(28000))},
			Params: probe.DefaultParams(), Status: "finished", BytesUsed: 3440, Schedule: "periodic", LossTimeoutMs: 2000,
			Clock: probe.Clock{Initiator: probe.ClockState{Source: "adjtimex", Synchronised: true, ErrorMs: ms(1)}, Target: probe.ClockState{Source: "adjtimex"},
				OffsetMs: ms(0), OffsetErrMs: ms(10), Method: "min-rtt"},
			Latency: &probe.Latency{Sent: 10, Received: 10, LossPct: &pct, LossForward: &zero, LossBackward: &zero,
				RTT:    probe.Summary{Min: ms(18), Mean: mean(20), Median: ms(20), P90: ms(24), P95: ms(25), P99: ms(27), Max: ms(30), Stddev: mean(1)},
				Jitter: probe.Jitter{RFC3550: mean(0), IPDVMeanAbs: mean(1), IPDVP95: ms(2), PDVP95: ms(5), PDVP99: ms(8)},
				TTL:    &ttl, ServerProcUs: ms(12), SendTimerErrUs: ms(60), Timestamps: "user"},
		}
		digest := rs[n].FiguresDigest()
		rs[n].Sig.Digest = digest[:]
	}
	return rs
}

// BenchmarkAddResult: durable results a second from 1 and 64 callers at once.
func BenchmarkAddResult(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			db := openTest(b)
			one := sampleResults(1)[0]
			var seq atomic.Uint64
			b.SetParallelism(max(1, callers/runtime.GOMAXPROCS(0)))
			if callers == 1 {
				for b.Loop() {
					one.Key.Seq++
					if err := db.AddResult(ResultRecord{Result: one}, true); err != nil {
						b.Fatal(err)
					}
				}
			} else {
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						r := one
						r.Key.Seq = seq.Add(1)
						if err := db.AddResult(ResultRecord{Result: r}, true); err != nil {
							b.Error(err)
						}
					}
				})
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "results/s")
		})
	}
}

// BenchmarkIngest: results a second by size of the batch.
func BenchmarkIngest(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint("batch=", size), func(b *testing.B) {
			r, err := OpenRegistry(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer r.Close()
			rs := sampleResults(size)
			n := 0
			for b.Loop() {
				for i := range rs {
					rs[i].Key.Seq = uint64(n*size + i)
				}
				n++
				if added, _, err := r.Ingest(cluster.ID("head"), rs); err != nil || added != size {
					b.Fatal(added, err)
				}
			}
			b.ReportMetric(float64(n*size)/b.Elapsed().Seconds(), "results/s")
		})
	}
}

func BenchmarkHardSave(b *testing.B) {
	h, err := OpenHard(b.TempDir() + "/hard.db")
	if err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	var s cluster.HardState
	for b.Loop() {
		s.Boot++
		if err := h.Save(s); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkResult(b *testing.B) {
	db := openTest(b)
	rs := sampleResults(100)
	for _, r := range rs {
		if err := db.AddResult(ResultRecord{Result: r}, false); err != nil {
			b.Fatal(err)
		}
	}
	for name, cold := range map[string]bool{"hit": false, "miss": true} {
		b.Run(name, func(b *testing.B) {
			n := 0
			for b.Loop() {
				key := rs[n%len(rs)].Key
				n++
				if cold {
					db.cache.drop(tableResults + "\x00" + string(appendKey(nil, key)))
				}
				if _, err := db.Result(key); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkQuery reads the newest page of 100,000 index entries that do not match but for a few.
func BenchmarkQuery(b *testing.B) {
	r, err := OpenRegistry(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	rs := sampleResults(10_000)
	for i := 0; i < len(rs); i += 2000 {
		if _, _, err := r.Ingest("head", rs[i:i+2000]); err != nil {
			b.Fatal(err)
		}
	}
	for name, q := range map[string]Query{"newest": {Limit: 20}, "nothing": {Tool: "none"}} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := r.Results(q); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkEncodeBatch(b *testing.B) {
	rs := sampleResults(1000)
	js, err := json.Marshal(rs)
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	for b.Loop() {
		if out, err = EncodeBatch(rs); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(out))/float64(len(rs)), "B/result")
	b.ReportMetric(float64(len(js))/float64(len(rs)), "JSON-B/result")
	b.ReportMetric(float64(len(js))/float64(len(out)), "JSON/batch")
}

func BenchmarkDecodeBatch(b *testing.B) {
	in, err := EncodeBatch(sampleResults(1000))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := DecodeBatch(in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHold: durable results a second at a head, in batches as members send them, from 1 and 16 members at once.
func BenchmarkHold(b *testing.B) {
	for _, members := range []int{1, 16} {
		for _, size := range []int{1, 64, 512} {
			b.Run(fmt.Sprint("members=", members, "/batch=", size), func(b *testing.B) {
				db := openTest(b)
				one := sampleResults(1)[0]
				var seq atomic.Uint64
				b.SetParallelism((members + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						recs := make([]ResultRecord, size)
						for i := range recs {
							recs[i].Result = one
							recs[i].Result.Key.Seq = seq.Add(1)
						}
						if _, err := db.Hold("changsha", recs); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "results/s")
			})
		}
	}
}
