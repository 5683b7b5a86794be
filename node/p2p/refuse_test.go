package p2p

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerprobe/peerprobe/cluster"
)

// The first frame decides; each row is a peer that must not get in.
func TestRefusals(t *testing.T) {
	n, other := newNet("a"), newNet("b")
	protos := []string{ProtoMember, ProtoTask, ProtoSession, ProtoResults, ProtoHello}
	forged := func(h *Host) cluster.Signed { // signed by itself
		return cluster.Sign(cluster.DomainAdmission, cluster.Admission{
			Version: 1, Network: n.trust.Network(), ID: h.ID(), City: "changsha", Class: cluster.ClassOwn,
		}, cluster.SignerOf(seedKey("caller")))
	}
	rows := []struct {
		name  string
		setup func(caller, server *Host)
		want  error
		count func(Counters) uint64
	}{
		{"no admission", func(c, _ *Host) { c.SetTrust(n.trust); c.SetAdmission(cluster.Signed{}) },
			ErrNotAdmitted, func(c Counters) uint64 { return c.NotAdmitted }},
		{"forged admission", func(c, _ *Host) { c.SetTrust(n.trust); c.SetAdmission(forged(c)) },
			ErrNotAdmitted, func(c Counters) uint64 { return c.NotAdmitted }},
		{"another peer's admission", func(c, s *Host) { c.SetTrust(n.trust); c.SetAdmission(n.admission(s.ID())) },
			ErrNotAdmitted, func(c Counters) uint64 { return c.NotAdmitted }},
		{"another network", func(c, _ *Host) { other.admit(c) },
			ErrWrongNetwork, func(c Counters) uint64 { return c.WrongNetwork }},
		{"a server that has joined nothing", func(c, s *Host) { n.admit(c); s.gate.trust.Store(nil) },
			ErrNotAdmitted, func(c Counters) uint64 { return c.NotAdmitted }},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			caller, server := stranger(t, "caller"), n.host(t, "server")
			row.setup(caller, server)
			for _, proto := range protos[:4] {
				server.Handle(proto, HandleOptions{}, func(context.Context, Remote, *Stream) error {
					t.Errorf("%s: the handler saw the stream", proto)
					return nil
				})
			}
			for _, proto := range protos {
				if _, err := ask(t, caller, server, proto, "let me in"); !errors.Is(err, row.want) {
					t.Errorf("%s: %v, want %v", proto, err, row.want)
				}
			}
			if got := row.count(server.Counters()); got != uint64(len(protos)) {
				t.Errorf("counted %d refusals of this kind, want %d: %+v", got, len(protos), server.Counters())
			}
		})
	}
}

func TestHelloOfAnotherVersion(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoTask, HandleOptions{}, echo)
	for _, row := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"version 2", cluster.Marshal(hello{Version: 2, Network: n.trust.Network(), Admission: n.admission(a.ID())}), ErrVersion},
		{"no CBOR", []byte("GET / HTTP/1.1"), ErrRefused},
		{"too long", make([]byte, maxHello+1), ErrFrameTooLarge},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx := t.Context()
			conn, err := a.dial(ctx, b.Self())
			if err != nil {
				t.Fatal(err)
			}
			s, err := a.openOn(ctx, conn, ProtoTask, row.frame, DefaultMaxFrame, patience)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.ReadFrame(); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
	if c := b.Counters(); c.BadHello != 2 || c.TooLarge != 1 || c.Accepted != 0 {
		t.Errorf("counters %+v", c)
	}
}

func TestRegisterProtocolIsOpen(t *testing.T) {
	n := newNet("a")
	caller, server := stranger(t, "caller"), n.host(t, "server")
	server.Handle(ProtoRegister, HandleOptions{Open: true}, func(ctx context.Context, r Remote, s *Stream) error {
		if r.Admission != nil || r.ID != caller.ID() {
			t.Errorf("remote %+v", r)
		}
		return echo(ctx, r, s)
	})
	if got, err := ask(t, caller, server, ProtoRegister, "register me"); err != nil || got != "register me" {
		t.Errorf("register protocol without admission: %q, %v", got, err)
	}
	if _, err := caller.Open(t.Context(), server.Self(), ProtoTask, 0); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("another protocol before a network is joined: %v, want %v", err, ErrNoNetwork)
	}
}

func TestNoSuchProtocol(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	if _, err := ask(t, a, b, ProtoResults, "x"); !errors.Is(err, ErrNoProtocol) {
		t.Errorf("%v, want %v", err, ErrNoProtocol)
	}
}

func TestBarred(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoTask, HandleOptions{}, echo)
	b.Handle(ProtoRegister, HandleOptions{Open: true}, echo)
	if _, err := ask(t, a, b, ProtoTask, "x"); err != nil {
		t.Fatal(err)
	}
	held := open(t, a, b, ProtoTask)
	if err := held.WriteFrame([]byte("y")); err != nil {
		t.Fatal(err)
	}
	if _, err := held.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	b.SetBarred([]cluster.ID{a.ID()})
	if _, err := held.ReadFrame(); err == nil {
		t.Error("a stream of the barred peer outlived the barring")
	}
	eventually(t, "the connection is dropped at both ends", func() bool { return !a.Connected(b.ID()) && !b.Connected(a.ID()) })
	for _, proto := range []string{ProtoTask, ProtoRegister} {
		s, err := a.Open(t.Context(), b.Self(), proto, 0)
		if err == nil { // the connection is closed after the handshake
			_ = s.SetDeadline(time.Now().Add(patience))
			if _, err = s.ReadFrame(); err == nil {
				t.Errorf("%s: the barred peer was answered", proto)
			}
		}
	}
	eventually(t, "no connection of the barred peer lasts", func() bool { return !a.Connected(b.ID()) && !b.Connected(a.ID()) })
	if b.Counters().Barred == 0 {
		t.Error("nothing counted")
	}
	if _, err := b.Open(t.Context(), a.Self(), ProtoTask, 0); !errors.Is(err, ErrBarred) {
		t.Errorf("calling the barred peer: %v, want %v", err, ErrBarred)
	}
	b.SetBarred(nil)
	if _, err := ask(t, a, b, ProtoTask, "x"); err != nil {
		t.Errorf("no longer barred: %v", err)
	}
}

func TestHugeFrames(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	done := make(chan error, 1)
	b.Handle(ProtoTask, HandleOptions{MaxFrame: 100}, func(_ context.Context, _ Remote, s *Stream) error {
		_, err := s.ReadFrame()
		done <- err
		return err
	})
	for _, row := range []struct {
		name  string
		bytes []byte
	}{
		{"one byte too many", append([]byte{101}, make([]byte, 101)...)},
		{"a length of 2^62", []byte{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x40}},
	} {
		t.Run(row.name, func(t *testing.T) {
			s := open(t, a, b, ProtoTask)
			if _, err := s.rw.Write(row.bytes); err != nil {
				t.Fatal(err)
			}
			if err := <-done; !errors.Is(err, ErrFrameTooLarge) {
				t.Errorf("handler: %v, want %v", err, ErrFrameTooLarge)
			}
			if _, err := s.ReadFrame(); !errors.Is(err, ErrFrameTooLarge) {
				t.Errorf("sender: %v, want %v", err, ErrFrameTooLarge)
			}
		})
	}
	if got := b.Counters().TooLarge; got != 2 {
		t.Errorf("counted %d, want 2", got)
	}
	s := open(t, a, b, ProtoTask)
	if err := s.WriteFrame(make([]byte, DefaultMaxFrame+1)); !errors.Is(err, ErrFrameTooLarge) {
		t.Errorf("own frame above the limit: %v, want %v", err, ErrFrameTooLarge)
	}
}

func TestStreamsPerPeer(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoTask, HandleOptions{PerPeer: 2}, echo)
	b.Handle(ProtoSession, HandleOptions{}, echo)
	hold := func(proto string) (*Stream, error) {
		s := open(t, a, b, proto)
		_ = s.WriteFrame([]byte("x")) // fails if the refusal was faster
		_, err := s.ReadFrame()
		return s, err
	}
	first, err := hold(ProtoTask)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := hold(ProtoTask); err != nil {
		t.Fatal(err)
	}
	if _, err := hold(ProtoTask); !errors.Is(err, ErrTooManyStreams) {
		t.Errorf("third stream: %v, want %v", err, ErrTooManyStreams)
	}
	if _, err := hold(ProtoSession); err != nil {
		t.Errorf("another protocol: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a closed stream gives its place back", func() bool {
		_, err := hold(ProtoTask)
		return err == nil
	})
	if b.Counters().TooMany == 0 {
		t.Error("nothing counted")
	}
}

// Above its budget a peer is not read; closing the stream does not refill it.
func TestMessageBudget(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoTask, HandleOptions{Rate: 20, Burst: 5}, echo)
	start := time.Now()
	for range 2 { // 11 frames with the burst: six have to wait 50 ms each
		s := open(t, a, b, ProtoTask)
		for i := range 6 {
			if err := s.WriteFrame([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
			if _, err := s.ReadFrame(); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < 300*time.Millisecond {
		t.Errorf("12 frames at 20 a second after 5 took %v", took)
	}
	if b.Counters().Throttled == 0 {
		t.Error("nothing counted")
	}
}

func TestProtocolsAreServedToNobodyElse(t *testing.T) {
	a := stranger(t, "a")
	for _, p := range a.p2p.Mux().Protocols() {
		switch p {
		case ProtoHello, "/ipfs/id/1.0.0", "/ipfs/id/push/1.0.0":
		default:
			t.Errorf("a fresh host serves %s", protocol.ID(p))
		}
	}
}

// A taken port is said, and leaves nothing behind (goleak looks after the run).
func TestTakenPort(t *testing.T) {
	n := newNet("a")
	first := n.host(t, "a")
	cfg := DefaultConfig()
	cfg.Key, cfg.Listen = seedKey("b"), []string{AddrText(first.Addrs()[0])}
	h, err := New(cfg)
	if err == nil {
		h.Close()
		t.Fatal("two hosts listen on one port")
	}
	if !strings.Contains(err.Error(), "address already in use") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q", err)
	}
}

// Somebody else at the address is another error than nobody.
func TestAnotherIdentity(t *testing.T) {
	n := newNet("a")
	a, b, c := n.host(t, "a"), n.host(t, "b"), n.host(t, "c")
	_, err := a.Open(t.Context(), cluster.Peer{ID: b.ID(), Addrs: c.Addrs()}, ProtoTask, 0)
	if !errors.Is(err, ErrIdentity) || !strings.Contains(err.Error(), IDText(c.ID())+" is there") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %q, want %v and who is there", err, ErrIdentity)
	}
	addrs := c.Addrs()
	c.Close()
	_, err = a.Open(t.Context(), cluster.Peer{ID: c.ID(), Addrs: addrs}, ProtoTask, 0)
	if !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("error %q, want %v and why", err, ErrUnreachable)
	}
}
