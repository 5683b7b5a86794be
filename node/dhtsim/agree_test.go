package dhtsim

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/routing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/cluster/overlay"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// What kad-dht does by default: buckets of 20, 10 questions under way, and a lookup that ends when the 3 nearest
// have answered and then asks the rest of the 20 nearest.
const (
	kadK, kadAlpha, kadBeta = 20, 10, 3
)

// heads: 100 meet in about 25 s of processor time, so that the default is less.
var heads = flag.Int("heads", headCount, "heads of the real DHT; the model is compared at any number")

// journey is one lookup, as the real DHT reported it or as the model made it.
type journey struct{ hops, messages float64 }

// TestSimulationAgrees puts records from all heads of a real DHT and compares how deep the referral to the nearest
// head was, and how many heads were asked, with the model of the same ids and keys.
func TestSimulationAgrees(t *testing.T) {
	began := time.Now()
	m := newMesh()
	m.start(t, *heads)
	m.warm(t)
	t.Logf("%d heads after %v", *heads, time.Since(began))
	var tables float64
	for _, h := range m.heads {
		tables += float64(h.dht.TableSize()) / float64(*heads)
	}

	var real journey
	keys := map[int]string{}
	n := 0.0
	for i, h := range m.heads {
		city := cluster.City(fmt.Sprintf("elsewhere-%d", i))
		keys[i] = p2p.HeadKey(m.trust.Network(), city, 0)
		if nearest(m.heads, keys[i]) == i {
			continue // its own record: there is no way to go
		}
		j := watch(t, h, m.lead(city, h.key, h.host.Self().Addrs), city, peer.ID(m.heads[nearest(m.heads, keys[i])].host.ID()))
		real.hops += j.hops
		real.messages += j.messages
		n++
	}
	real.hops /= n
	real.messages /= n

	model, degree := m.model(t, keys)
	t.Logf("real: table %.1f, %.3f hops, %.2f messages; model: table %.1f, %.3f hops, %.2f messages; %v in all",
		tables, real.hops, real.messages, degree, model.hops, model.messages, time.Since(began))
	if d := real.hops - model.hops; d > hopTolerance || d < -hopTolerance {
		t.Errorf("hops: real %.3f, model %.3f: off by more than %.2f", real.hops, model.hops, hopTolerance)
	}
	if r := real.messages / model.messages; r > 1+messageTolerance || r < 1-messageTolerance {
		t.Errorf("messages: real %.2f, model %.2f: off by more than %.0f %%", real.messages, model.messages, 100*messageTolerance)
	}
	if r := tables / degree; r > 1+tableTolerance || r < 1-tableTolerance {
		t.Errorf("tables: real %.1f, model %.1f: off by more than %.0f %%", tables, degree, 100*tableTolerance)
	}
}

// The tolerances: real tables fill as lookups go by, and answers do not come in rounds.
const (
	hopTolerance     = 0.2
	messageTolerance = 0.15
	tableTolerance   = 0.15
)

// warm puts one record from every head, so that tables have been filled by some traffic.
func (m *mesh) warm(t testing.TB) {
	put := func(i int) {
		// Each has its own time: a hundred together take longer than one may, on a busy machine.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		h := m.heads[i]
		if err := h.dht.Put(ctx, m.lead(city(i), h.key, h.host.Self().Addrs), city(i), 0); err != nil {
			t.Errorf("head %d: %v", i, err)
		}
	}
	var wg sync.WaitGroup
	work := make(chan int)
	for range 4 {
		wg.Go(func() {
			for i := range work {
				put(i)
			}
		})
	}
	for i := range m.heads {
		work <- i
	}
	close(work)
	wg.Wait()
}

func kadID(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

// nearest is the head whose id is nearest to the key.
func nearest(heads []head, key string) int {
	best, least := 0, ""
	for i, h := range heads {
		d := kadID(key)
		for j, b := range kadID(string(h.host.ID())) {
			d[j] ^= b
		}
		if least == "" || string(d) < least {
			best, least = i, string(d)
		}
	}
	return best
}

// watch puts a record and follows the lookup by kad-dht's own events.
func watch(t *testing.T, h head, lead cluster.Signed, city cluster.City, owner peer.ID) journey {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	ctx, questions := routing.RegisterForQueryEvents(ctx)
	ctx, updates := dht.RegisterForLookupEvents(ctx)
	var j journey
	var wg sync.WaitGroup
	wg.Go(func() {
		for e := range questions {
			if e.Type == routing.SendingQuery {
				j.messages++
			}
		}
	})
	depth := map[peer.ID]float64{}
	wg.Go(func() {
		for e := range updates {
			if e.Response == nil {
				continue
			}
			from := 0.0 // the node's own table
			if c := e.Response.Cause; c != nil && c.Peer != e.Node.Peer {
				from = depth[c.Peer]
			}
			for _, p := range e.Response.Heard {
				if _, ok := depth[p.Peer]; !ok {
					depth[p.Peer] = from + 1
				}
			}
		}
	})
	err := h.dht.Put(ctx, lead, city, 0)
	cancel()
	wg.Wait()
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	if j.hops = depth[owner]; j.hops == 0 {
		t.Fatalf("the nearest head was never heard of; %d others were", len(depth))
	}
	return j
}

// model is the same network in package overlay, drawn a few times.
func (m *mesh) model(t *testing.T, keys map[int]string) (mean journey, degree float64) {
	t.Helper()
	const draws = 10
	n := 0.0
	for draw := range uint64(draws) {
		c := overlay.DefaultConfig(overlay.Kademlia)
		c.K, c.Alpha, c.Beta, c.Exhaustive = kadK, kadAlpha, kadBeta, true
		o, err := overlay.New(c, rand.New(rand.NewPCG(1, draw)))
		if err != nil {
			t.Fatal(err)
		}
		nodes := make([]overlay.Node, len(m.heads))
		for i, h := range m.heads {
			if nodes[i], err = o.(overlay.Placed).JoinAs(binary.BigEndian.Uint64(kadID(string(h.host.ID())))); err != nil {
				t.Fatal(err)
			}
		}
		var trip overlay.Trip
		for i, from := range nodes {
			if nearest(m.heads, keys[i]) == i {
				continue
			}
			id := kadID(keys[i])
			key := overlay.NewKey(binary.BigEndian.Uint64(id), binary.BigEndian.Uint64(id[8:]))
			if err := o.Route(from, key, &trip); err != nil || !trip.Found {
				t.Fatalf("model: %v %+v", err, trip)
			}
			mean.hops += float64(trip.Hops)
			mean.messages += float64(trip.Messages)
			n++
			out, _ := o.Degree(from)
			degree += float64(out)
		}
	}
	return journey{mean.hops / n, mean.messages / n}, degree / n
}
