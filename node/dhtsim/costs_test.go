package dhtsim

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// BenchmarkCosts measures what the plan of a large mesh takes as given. Bytes are counted on the loopback interface,
// so that headers of all layers and acknowledgements are in them; other traffic must be away, in a namespace of its
// own:
//
//	sudo unshare -n sh -c 'ip link set lo up && go test -run xxx -bench Costs -benchtime 1x ./node/dhtsim'
func BenchmarkCosts(b *testing.B) {
	b.Run("frames", func(b *testing.B) {
		for b.Loop() {
			for name, frame := range newMesh().messages() {
				b.ReportMetric(float64(len(frame)), name+"-B")
			}
		}
	})
	b.Run("heartbeat", benchHeartbeat)
	b.Run("dht", benchDHT)
	b.Run("connection", benchConnection)
	b.Run("member", benchMember)
	b.Run("registry", benchRegistry)
}

// loopback is how many bytes and packets this namespace's loopback has carried.
func loopback(b *testing.B) (bytes, packets float64) {
	b.Helper()
	text, err := os.ReadFile("/proc/net/dev")
	if err != nil {
		b.Skip("bytes are counted on Linux only: ", err)
	}
	for line := range strings.Lines(string(text)) {
		if name, rest, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "lo" {
			f := strings.Fields(rest)
			bytes, _ = strconv.ParseFloat(f[0], 64)
			packets, _ = strconv.ParseFloat(f[1], 64)
		}
	}
	return bytes, packets
}

func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapInuse + m.StackInuse)
}

func drain(_ context.Context, _ p2p.Remote, s *p2p.Stream) error {
	for {
		if _, err := s.ReadFrame(); err != nil {
			return nil
		}
	}
}

// heartbeatEvery is long enough that each heartbeat is acknowledged by itself, as once a second: delayed
// acknowledgements take 40 ms.
const heartbeatEvery = 60 * time.Millisecond

func benchHeartbeat(b *testing.B) {
	m := newMesh()
	x, y := m.host(b, "x", 10), m.host(b, "y", 10)
	y.host.Handle(p2p.ProtoMember, p2p.HandleOptions{Idle: p2p.NoIdle}, drain)
	s, err := x.host.Open(context.Background(), y.host.Self(), p2p.ProtoMember, cluster.MaxMessage)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Reset()
	short := m.messages()["heartbeat-frame"]
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	for b.Loop() {
		const n = 60
		<-tick.C
		<-tick.C
		bytes, packets := loopback(b)
		for range n {
			if err := s.WriteFrame(short); err != nil {
				b.Fatal(err)
			}
			<-tick.C
		}
		after, afterPackets := loopback(b)
		b.ReportMetric((after-bytes)/n, "wire-B/heartbeat")
		b.ReportMetric((afterPackets-packets)/n, "packets/heartbeat")
		b.ReportMetric(float64(len(short)), "frame-B/heartbeat")
	}
}

func benchDHT(b *testing.B) {
	m := newMesh()
	m.start(b, *heads)
	m.warm(b)
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	for b.Loop() {
		before, _ := loopback(b)
		for i, h := range m.heads {
			if err := h.dht.Put(ctx, m.lead(city(i), h.key, h.host.Self().Addrs), city(i), 0); err != nil {
				b.Fatal(err)
			}
		}
		after, _ := loopback(b)
		n := float64(len(m.heads))
		b.ReportMetric((after-before)/n, "wire-B/put")
		started := time.Now()
		for i, h := range m.heads {
			if _, _, err := h.dht.Find(ctx, city((i*7+1)%len(m.heads)), 0); err != nil && !errors.Is(err, p2p.ErrNotFound) {
				b.Fatal(err)
			}
		}
		b.ReportMetric(time.Since(started).Seconds()*1000/n, "ms/find")
		found, _ := loopback(b)
		b.ReportMetric((found-after)/n, "wire-B/find")
	}
}

// benchConnection is memory at one end of a member's connection with its stream, and processor time at one end for
// a heartbeat, each on its own connection.
func benchConnection(b *testing.B) {
	const members = 100
	m := newMesh()
	to := m.host(b, "head", members)
	var received atomic.Int64
	to.host.Handle(p2p.ProtoMember, p2p.HandleOptions{Idle: p2p.NoIdle}, func(_ context.Context, _ p2p.Remote, s *p2p.Stream) error {
		for {
			if _, err := s.ReadFrame(); err != nil {
				return nil
			}
			received.Add(1)
		}
	})
	var from []head
	for i := range members {
		from = append(from, m.host(b, fmt.Sprintf("member %d", i), 10))
	}
	frame := m.messages()["heartbeat-frame"]
	for b.Loop() {
		idle := heap()
		var streams []*p2p.Stream
		opening := processorTime(b)
		for _, h := range from {
			s, err := h.host.Open(context.Background(), to.host.Self(), p2p.ProtoMember, cluster.MaxMessage)
			if err != nil {
				b.Fatal(err)
			}
			defer s.Reset()
			if err := s.WriteFrame(frame); err != nil {
				b.Fatal(err)
			}
			streams = append(streams, s)
		}
		b.ReportMetric((processorTime(b)-opening)/members/2*1e6, "us-cpu/handshake-end")
		b.ReportMetric((heap()-idle)/members/2/1024, "KiB/connection-end")
		// Ten heartbeats a second on each connection, each by itself, as in a large city.
		const rounds = 30
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		want := received.Load() + rounds*members
		cpu := processorTime(b)
		for range rounds {
			for _, s := range streams {
				if err := s.WriteFrame(frame); err != nil {
					b.Fatal(err)
				}
			}
			<-tick.C
		}
		eventually(b, "all heartbeats arrive", func() bool { return received.Load() >= want })
		b.ReportMetric((processorTime(b)-cpu)/rounds/members/2*1e6, "us-cpu/heartbeat-end")
	}
}

// benchMember is what a member costs a head's election machine: memory, and time for a heartbeat.
func benchMember(b *testing.B) {
	const members = 5000
	m := newMesh()
	for b.Loop() {
		before := heap()
		x := m.leading(b)
		term := x.Status().Term
		now := cluster.Instant(time.Minute)
		var ids []cluster.ID
		for i := range members {
			row := m.row(i)
			ids = append(ids, row.ID)
			hb := &cluster.Heartbeat{Term: term, Boot: row.Boot, Seq: 1, Priority: row.Priority, Row: &row}
			if _, err := x.Step(now, cluster.Received{From: row.ID, Message: &cluster.Message{Heartbeat: hb}}); err != nil {
				b.Fatal(err)
			}
		}
		runtime.KeepAlive(x)
		if x.Status().Members != members+1 {
			b.Fatalf("%d members", x.Status().Members)
		}
		b.ReportMetric((heap()-before)/members, "B/member")
		started := time.Now()
		for _, id := range ids {
			hb := &cluster.Heartbeat{Term: term, Boot: 1_700_000_000_000, Seq: 2}
			if _, err := x.Step(now.Add(time.Second), cluster.Received{From: id, Message: &cluster.Message{Heartbeat: hb}}); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(time.Since(started).Seconds()*1e6/members, "us/heartbeat-step")
	}
}

// leading is the machine of a head of changsha.
func (m *mesh) leading(t testing.TB) *cluster.Machine {
	t.Helper()
	row := m.row(-1)
	hard := cluster.HardState{Cert: m.certificate("changsha", row.ID), Boot: row.Boot}
	x, err := cluster.New(cluster.Config{Network: m.key.Public().(ed25519.PublicKey), City: "changsha"}, row, hard,
		cluster.SignerOf(seedKey("member -1")), rand.New(rand.NewPCG(1, 2)))
	if err != nil {
		t.Fatal(err)
	}
	for now := cluster.Instant(0); !x.Status().Leading; now = now.Add(100 * time.Millisecond) {
		if now > cluster.Instant(time.Minute) {
			t.Fatal("the machine does not claim")
		}
		x.Tick(now)
	}
	return x
}

// benchRegistry is what a node costs the registry's table: memory, and time for a registration. The disk is not in it.
func benchRegistry(b *testing.B) {
	const nodes, cities = 5000, 50
	m := newMesh()
	var ids []cluster.ID
	for i := range nodes {
		ids = append(ids, m.row(i).ID)
	}
	for b.Loop() {
		before := heap()
		x, err := cluster.NewTable(m.key.Public().(ed25519.PublicKey), cluster.SignerOf(m.key), cluster.TableState{}, cluster.DefaultTableConfig(), func() uint16 { return 7 })
		if err != nil {
			b.Fatal(err)
		}
		started := time.Now()
		for i, id := range ids {
			req := &cluster.Request{Version: cluster.Version, Kind: cluster.CallRegister, Self: cluster.Peer{ID: id, Addrs: addrs(i)}}
			answer, _, err := x.Register(int64(i), id, req, city(i%cities), "Changsha, CN", cluster.ClassOwn)
			if err != nil || answer.Error != nil {
				b.Fatal(err, answer)
			}
		}
		b.ReportMetric(time.Since(started).Seconds()*1e6/nodes, "us/registration")
		b.ReportMetric((heap()-before)/nodes, "B/node")
		runtime.KeepAlive(x)
	}
}
