package p2p

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerprobe/peerprobe/cluster"
)

func TestDeadAddress(t *testing.T) {
	n := newNet("a")
	a := n.host(t, "a")
	// One that takes connections and then says nothing, one that refuses.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	for name, l := range map[string]net.Listener{"silent": silent, "refusing": gone} {
		t.Run(name, func(t *testing.T) {
			addr, err := ParseAddr("/ip4/127.0.0.1/tcp/" + portOf(l))
			if err != nil {
				t.Fatal(err)
			}
			to := cluster.Peer{ID: cluster.ID(mustPeer(t, name)), Addrs: [][]byte{addr}}
			for range 2 { // again at once: no back-off, the same answer
				start := time.Now()
				_, err = a.Open(t.Context(), to, ProtoTask, 0)
				if !errors.Is(err, ErrUnreachable) {
					t.Errorf("%v, want %v", err, ErrUnreachable)
				}
				if took := time.Since(start); took > DialTimeout+500*time.Millisecond {
					t.Errorf("took %v, limit %v", took, DialTimeout)
				}
			}
		})
	}
}

// A peer that comes back on the same port is reached at once, in spite of the
// failed dials before.
func TestNoBackoff(t *testing.T) {
	n := newNet("a")
	a := n.host(t, "a")
	b := n.host(t, "b")
	self := b.Self()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := a.Open(t.Context(), self, ProtoTask, 0); !errors.Is(err, ErrUnreachable) {
			t.Fatalf("%v, want %v", err, ErrUnreachable)
		}
	}
	back := n.host(t, "b", func(c *Config) { c.Listen = []string{AddrText(self.Addrs[0])} })
	back.Handle(ProtoTask, HandleOptions{}, echo)
	if got, err := ask(t, a, back, ProtoTask, "x"); err != nil || got != "x" {
		t.Errorf("after its return: %q, %v", got, err)
	}
}

func TestBind(t *testing.T) {
	n := newNet("a")
	from, to := netip.MustParseAddr("127.61.187.2"), netip.MustParseAddr("127.61.183.2")
	a := n.host(t, "a", func(c *Config) { c.Listen, c.Bind = []string{"/ip4/127.61.187.2/tcp/0"}, from })
	b := n.host(t, "b", func(c *Config) { c.Listen, c.Bind = []string{"/ip4/127.61.183.2/tcp/0"}, to })
	b.Handle(ProtoTask, HandleOptions{}, func(_ context.Context, r Remote, s *Stream) error {
		return s.WriteFrame([]byte(r.Addr.Addr().String() + " " + r.Local.Addr().String()))
	})
	got, err := ask(t, a, b, ProtoTask, "")
	if want := from.String() + " " + to.String(); err != nil || got != want {
		t.Errorf("the far end sees %q, %v; want %q", got, err, want)
	}
}

func TestNotify(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoTask, HandleOptions{}, echo)
	events := make(chan string, 16)
	a.Notify(func(id cluster.ID) { events <- "up " + IDText(id) }, func(id cluster.ID) { events <- "down " + IDText(id) })
	want := func(text string) {
		t.Helper()
		select {
		case got := <-events:
			if got != text+" "+IDText(b.ID()) {
				t.Errorf("event %q, want %q", got, text)
			}
		case <-time.After(patience):
			t.Fatalf("no event %q", text)
		}
	}
	for range 2 {
		if _, err := ask(t, a, b, ProtoTask, "x"); err != nil {
			t.Fatal(err)
		}
		want("up")
		if !a.Connected(b.ID()) {
			t.Error("not connected after the first stream")
		}
		if err := a.ClosePeer(b.ID()); err != nil {
			t.Fatal(err)
		}
		want("down")
	}
	// The end of a process shows at once.
	if _, err := ask(t, a, b, ProtoTask, "x"); err != nil {
		t.Fatal(err)
	}
	want("up")
	start := time.Now()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	want("down")
	if took := time.Since(start); took > time.Second {
		t.Errorf("the end of the peer showed after %v", took)
	}
}

func TestPortTaken(t *testing.T) {
	a := stranger(t, "a")
	cfg := DefaultConfig()
	cfg.Key = seedKey("b")
	cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0", AddrText(a.Addrs()[0])}
	h, err := New(cfg)
	if err == nil {
		h.Close()
		t.Fatal("two hosts listen on one port")
	}
	if !strings.Contains(err.Error(), AddrText(a.Addrs()[0])) {
		t.Errorf("the error does not name the address: %v", err)
	}
}

// Close ends handlers that wait, and whatever is asked of a closed host fails.
func TestClose(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	var ended atomic.Bool
	b.Handle(ProtoMember, HandleOptions{Idle: NoIdle}, func(ctx context.Context, r Remote, s *Stream) error {
		err := echo(ctx, r, s)
		<-ctx.Done()
		<-time.After(50 * time.Millisecond) // what a handler may have to tidy up
		ended.Store(true)
		return err
	})
	s := open(t, a, b, ProtoMember)
	if err := s.WriteFrame([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if !ended.Load() {
		t.Error("Close returned before the handler")
	}
	if _, err := s.ReadFrame(); err == nil {
		t.Error("a stream outlived its host")
	}
	if _, err := b.Open(t.Context(), a.Self(), ProtoTask, 0); !errors.Is(err, ErrClosed) {
		t.Errorf("opening from a closed host: %v, want %v", err, ErrClosed)
	}
	if err := b.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
}

func TestQUIC(t *testing.T) {
	n := newNet("a")
	quic := func(c *Config) { c.QUIC = true }
	a, b := n.host(t, "a", quic), n.host(t, "b", quic)
	b.Handle(ProtoTask, HandleOptions{}, echo)
	var udp [][]byte
	for _, addr := range b.Addrs() {
		if strings.Contains(AddrText(addr), "/quic-v1") {
			udp = append(udp, addr)
		}
	}
	if len(udp) == 0 {
		t.Fatalf("no QUIC address: %v", PeerText(b.Self()))
	}
	s, err := a.Open(t.Context(), cluster.Peer{ID: b.ID(), Addrs: udp}, ProtoTask, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WriteFrame([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ReadFrame(); err != nil || !bytes.Equal(got, []byte("x")) {
		t.Errorf("%q, %v", got, err)
	}
}

func portOf(l net.Listener) string { _, p, _ := net.SplitHostPort(l.Addr().String()); return p }

func mustPeer(t testing.TB, seed string) peer.ID {
	t.Helper()
	id, err := ParseID(IDText(cluster.IDOf(seedKey(seed).Public().(ed25519.PublicKey))))
	if err != nil {
		t.Fatal(err)
	}
	return peer.ID(id)
}
