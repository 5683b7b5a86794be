package p2p

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerprobe/peerprobe/cluster"
)

func TestStreamBetweenAdmittedPeers(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	seen := make(chan Remote, 1)
	b.Handle(ProtoTask, HandleOptions{}, func(ctx context.Context, r Remote, s *Stream) error {
		seen <- r
		return echo(ctx, r, s)
	})
	s := open(t, a, b, ProtoTask)
	for _, text := range []string{"", "x", strings.Repeat("y", DefaultMaxFrame)} {
		if err := s.WriteFrame([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := s.ReadFrame()
		if err != nil || string(got) != text {
			t.Fatalf("echo of %d bytes: %d bytes, %v", len(text), len(got), err)
		}
	}
	r := <-seen
	if r.ID != a.ID() || r.Admission == nil || r.Admission.ID != a.ID() || r.AdmissionRaw.Empty() || !r.Direct {
		t.Errorf("remote as seen by the handler: %+v", r)
	}
	if r.Addr != s.Remote().Local || r.Local != s.Remote().Addr || !r.Addr.IsValid() || !r.Local.IsValid() {
		t.Errorf("ends do not agree: %v %v here, %v %v there", s.Remote().Local, s.Remote().Addr, r.Local, r.Addr)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadFrame(); err != io.EOF {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := b.Counters().Accepted; got != 1 {
		t.Errorf("accepted %d streams, want 1", got)
	}
}

func TestMessages(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoTask, HandleOptions{}, echo)
	s := open(t, a, b, ProtoTask)
	want := cluster.Ticket{Version: 1, Tool: "latency", Initiator: a.ID()}
	if err := s.WriteMsg(want); err != nil {
		t.Fatal(err)
	}
	var got cluster.Ticket
	if err := s.ReadMsg(&got); err != nil || got.Tool != want.Tool || got.Initiator != want.Initiator {
		t.Errorf("message came back as %+v, %v", got, err)
	}
	if err := s.WriteFrame([]byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadMsg(&got); err == nil {
		t.Error("two bytes that are no CBOR were read as a message")
	}
}

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

// A reader that does not read must not hold a writer for ever, and must not
// make the other side keep more than the stream's window.
func TestSlowReader(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	release := make(chan struct{})
	defer close(release)
	b.Handle(ProtoTask, HandleOptions{}, func(ctx context.Context, _ Remote, s *Stream) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	s := open(t, a, b, ProtoTask)
	if err := s.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	frame, sent := make([]byte, DefaultMaxFrame), 0
	var err error
	for err == nil {
		if err = s.WriteFrame(frame); err == nil {
			sent += len(frame)
		}
		if sent > 16*maxWindow {
			t.Fatalf("%d bytes went to a peer that reads nothing", sent)
		}
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("writing to a peer that reads nothing: %v, want a timeout", err)
	}
	if sent > maxWindow {
		t.Errorf("%d bytes in flight, the window is %d", sent, maxWindow)
	}
}

func TestIdleStreamEnds(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	done := make(chan error, 1)
	b.Handle(ProtoTask, HandleOptions{Idle: 50 * time.Millisecond}, func(ctx context.Context, r Remote, s *Stream) error {
		err := echo(ctx, r, s)
		done <- err
		return err
	})
	s := open(t, a, b, ProtoTask)
	var timeout net.Error
	if err := <-done; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("idle stream: %v, want a timeout", err)
	}
	if _, err := s.ReadFrame(); !errors.Is(err, ErrRefused) {
		t.Errorf("opener: %v, want %v", err, ErrRefused)
	}
}

// Every frame has a deadline of its own, from its first byte on: trickling does
// not hold a stream, and neither does a peer that does not read.
func TestFrameDeadlines(t *testing.T) {
	within := func(what string, got time.Time, want time.Duration) {
		t.Helper()
		if left := time.Until(got); left > want || left < want-time.Minute/20 {
			t.Errorf("%s: deadline in %v, want %v", what, left, want)
		}
	}
	in := &fakeStream{r: bytes.NewReader([]byte{1, 'x', 1})}
	s := newStream(t.Context(), in, in, 100, time.Minute, &counters{})
	if _, err := s.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	within("the first byte", in.reads[0], time.Minute)
	within("the rest of a frame", in.reads[1], frameTimeout)
	if err := s.WriteFrame([]byte("x")); err != nil {
		t.Fatal(err)
	}
	within("a frame to be written", in.writes[0], frameTimeout)
	s.SetIdle(NoIdle)
	if _, err := s.ReadFrame(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that breaks off: %v", err)
	}
	if !in.reads[2].IsZero() {
		t.Errorf("no idle time, but a deadline in %v", time.Until(in.reads[2]))
	}
	within("the rest of a frame, without idle time", in.reads[3], frameTimeout)
	soon := time.Now().Add(time.Second)
	if err := s.SetDeadline(soon); err != nil {
		t.Fatal(err)
	}
	_ = s.WriteFrame(nil)
	if !in.writes[1].Equal(soon) {
		t.Error("the caller's earlier deadline was put off")
	}
}

func TestDeadlineWakesReader(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoMember, HandleOptions{Idle: NoIdle}, echo)
	s := open(t, a, b, ProtoMember)
	_ = s.SetDeadline(time.Time{})
	got := make(chan error, 1)
	go func() { _, err := s.ReadFrame(); got <- err }()
	eventually(t, "the stream arrives", func() bool { return b.Counters().Accepted == 1 })
	_ = s.SetDeadline(time.Now())
	select {
	case err := <-got:
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v, want a timeout", err)
		}
	case <-time.After(patience):
		t.Fatal("the reader sleeps on")
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

func portOf(l net.Listener) string { _, p, _ := net.SplitHostPort(l.Addr().String()); return p }

func mustPeer(t testing.TB, seed string) peer.ID {
	t.Helper()
	id, err := ParseID(IDText(cluster.IDOf(seedKey(seed).Public().(ed25519.PublicKey))))
	if err != nil {
		t.Fatal(err)
	}
	return peer.ID(id)
}
