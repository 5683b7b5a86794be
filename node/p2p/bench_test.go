package p2p

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// Looking up another head's city, all heads in one process on loopback. Above
// 20 heads not every head holds every record. Nothing is cached between rounds
// but connections.
func BenchmarkFind2(b *testing.B)   { benchFind(b, 2) }
func BenchmarkFind20(b *testing.B)  { benchFind(b, 20) }
func BenchmarkFind100(b *testing.B) { benchFind(b, 100) }

func benchFind(b *testing.B, count int) {
	all := newNet("bench").heads(b, count)
	ctx := context.Background()
	for i, from := range all { // so that connections exist
		if _, _, err := from.dht.Find(ctx, all[(i+1)%count].city, 0); err != nil {
			b.Fatal(err)
		}
	}
	var longest time.Duration
	i := 0
	for b.Loop() {
		from, to := all[i%count], all[(i*7+1+i%count)%count]
		i++
		start := time.Now()
		got, _, err := from.dht.Find(ctx, to.city, 0)
		if err != nil || !same(got, to.lead) {
			b.Fatalf("round %d: %v", i, err)
		}
		longest = max(longest, time.Since(start))
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/1000/float64(i), "ms/find")
	b.ReportMetric(float64(longest.Microseconds())/1000, "ms-longest")
}

// What a host costs that nobody talks to.
func BenchmarkHostMemory(b *testing.B) {
	const count = 50
	n := newNet("bench")
	for b.Loop() {
		before := heap()
		hosts := make([]*Host, 0, count)
		for i := range count {
			cfg := DefaultConfig()
			cfg.Key, cfg.Listen = seedKey(numbered("host", i)), []string{"/ip4/127.0.0.1/tcp/0"}
			h, err := New(cfg)
			if err != nil {
				b.Fatal(err)
			}
			n.admit(h)
			hosts = append(hosts, h)
		}
		b.ReportMetric(float64(heap()-before)/count/1024, "KiB/host")
		for _, h := range hosts {
			if err := h.Close(); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapInuse + m.StackInuse
}

// A request and its answer on a new stream of an existing connection: what the
// steps of a measurement are made of.
func BenchmarkRequest(b *testing.B) {
	n := newNet("bench")
	x, y := n.host(b, "x"), n.host(b, "y")
	y.Handle(ProtoTask, HandleOptions{}, echo)
	ctx := context.Background()
	to := y.Self()
	for b.Loop() {
		s, err := x.Open(ctx, to, ProtoTask, 0)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.WriteMsg(cluster.Ticket{Tool: "latency"}); err != nil {
			b.Fatal(err)
		}
		if _, err := s.ReadFrame(); err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// One frame on a long-lived stream, answered: a heartbeat's share.
func BenchmarkFrame(b *testing.B) {
	n := newNet("bench")
	x, y := n.host(b, "x"), n.host(b, "y")
	y.Handle(ProtoMember, HandleOptions{Idle: NoIdle}, echo)
	s := open(b, x, y, ProtoMember)
	frame := make([]byte, 200)
	for b.Loop() {
		if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
			b.Fatal(err)
		}
		if err := s.WriteFrame(frame); err != nil {
			b.Fatal(err)
		}
		if _, err := s.ReadFrame(); err != nil {
			b.Fatal(err)
		}
	}
}
