package overlay

import (
	"runtime"
	"testing"
)

// BenchmarkLookups is 65,536 nodes and 5,000 lookups, the network built anew each time.
func BenchmarkLookups(b *testing.B) { benchEach(b, Geometries(), 65536) }

// BenchmarkMillion is a million nodes and 5,000 lookups.
func BenchmarkMillion(b *testing.B) { benchEach(b, []Geometry{DBCAN, Chord, Kademlia}, 1_000_000) }

func benchEach(b *testing.B, list []Geometry, nodes int) {
	for _, g := range list {
		b.Run(string(g), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				o := build(b, DefaultConfig(g), 1, nodes)
				rng := generator(2)
				var t Trip
				hops := 0
				for range 5000 {
					if err := o.Route(o.At(rng.IntN(nodes)), RandomKey(rng, KeyBits), &t); err != nil || !t.Found {
						b.Fatalf("%v %+v", err, t)
					}
					hops += t.Hops
				}
				b.ReportMetric(float64(hops)/5000, "hops")
				b.ReportMetric(float64(heap()-before)/float64(nodes), "B/node")
				runtime.KeepAlive(o)
			}
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
