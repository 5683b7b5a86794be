package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// session makes a session with a key that no other test uses.
func session(p Params) SessionInfo {
	s := SessionInfo{Params: p}
	rand.Read(s.ID[:])
	rand.Read(s.Key[:])
	rand.Read(s.TicketHash[:])
	return s
}

func loopback(t testing.TB, addr string) Socket {
	t.Helper()
	s, err := ListenUDP(netip.MustParseAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// startReflector runs a reflector until the returned function is called, which gives
// its statement.
func startReflector(t testing.TB, s SessionInfo, sock Socket) func() *Statement {
	t.Helper()
	ref := NewReflector(s, sock, rand.Reader)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- ref.Run(ctx) }()
	return func() *Statement {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("reflector: %v", err)
		}
		st := ref.Statement()
		return &st
	}
}

func TestLoopback(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(addr, func(t *testing.T) {
			p := DefaultParams()
			p.Count, p.Interval, p.KeepSamples = 50, 2*time.Millisecond, true
			s := session(p)
			a, b := loopback(t, addr), loopback(t, addr)
			finish := startReflector(t, s, b)
			var seen []Sample
			run, err := RunLatency(t.Context(), s, a, b.LocalAddr(), func(x Sample) { seen = append(seen, x) })
			if err != nil {
				t.Fatal(err)
			}
			st := finish()
			if err := Agree(run, st); err != nil {
				t.Fatal(err)
			}
			var r Result
			run.Fill(&r, st)
			l := r.Latency
			if r.Status != StatusFinished || l.Sent != 50 || l.Received != 50 || l.Lost != 0 || *l.LossForward != 0 || *l.LossBackward != 0 {
				t.Fatalf("status %s, %+v, error %v", r.Status, l, r.Error)
			}
			if len(seen) != 50 || len(r.Samples) != 50 {
				t.Errorf("callback got %d samples, the result has %d, want 50", len(seen), len(r.Samples))
			}
			if *l.RTT.Median <= 0 || *l.RTT.Median > 50 {
				t.Errorf("median round trip on loopback is %v ms", *l.RTT.Median)
			}
			if hasTTL && (l.TTL == nil || *l.TTL != 64) {
				t.Errorf("TTL %v, want 64", l.TTL)
			}
			if st.Stopped != StoppedDone || st.Bytes != run.Bytes {
				t.Errorf("target stopped %q with %d bytes, initiator counts %d", st.Stopped, st.Bytes, run.Bytes)
			}
			t.Logf("median %.1f us, p99 %.1f us, send timer p99 %.0f us", *l.RTT.Median*1000, *l.RTT.P99*1000, *l.SendTimerErrUs)
		})
	}
}

// Bound to every address, a result still says which one it was.
func TestWildcardSocket(t *testing.T) {
	for any, far := range map[string]string{"0.0.0.0:0": "127.0.0.1:0", "[::]:0": "[::1]:0"} {
		a, b := loopback(t, any), loopback(t, far)
		p := DefaultParams()
		p.Count = 1
		s := session(p)
		finish := startReflector(t, s, b)
		run, err := RunLatency(t.Context(), s, a, b.LocalAddr(), nil)
		if err != nil {
			t.Fatal(err)
		}
		finish()
		if run.Local.Addr() != b.LocalAddr().Addr() || run.Local.Port() != a.LocalAddr().Port() || run.Err != nil {
			t.Errorf("local %v, socket %v, %v", run.Local, a.LocalAddr(), run.Err)
		}
	}
}

func TestPortTaken(t *testing.T) {
	a := loopback(t, "127.0.0.1:0")
	if _, err := ListenUDP(a.LocalAddr()); err == nil || !strings.Contains(err.Error(), a.LocalAddr().String()) {
		t.Errorf("second socket on %v: %v", a.LocalAddr(), err)
	}
}

func TestReflectorRefusesParameters(t *testing.T) {
	b := loopback(t, "127.0.0.1:0")
	for _, p := range []Params{{}, {Count: 1 << 62, Interval: msec, Size: 200, Timeout: msec}, {Count: 1, Interval: msec, Size: 1 << 60, Timeout: msec}} {
		if err := NewReflector(session(p), b, rand.Reader).Run(t.Context()); !errors.Is(err, ErrParams) {
			t.Errorf("%+v: %v", p, err)
		}
	}
}

func TestNobodyAnswers(t *testing.T) {
	p := DefaultParams()
	p.Count, p.Timeout = 2, 50*time.Millisecond
	a, b := loopback(t, "127.0.0.1:0"), loopback(t, "127.0.0.1:0") // b never reads
	run, err := RunLatency(t.Context(), session(p), a, b.LocalAddr(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var r Result
	run.Fill(&r, nil)
	if r.Status != StatusFailed || r.Error == nil || r.Error.Code != CodeUnreachable || r.Latency.Lost != 2 || *r.Latency.LossPct != 100 {
		t.Fatalf("%s %v %+v", r.Status, r.Error, r.Latency)
	}
	if r.Latency.RTT.Min != nil || r.Latency.LossForward != nil {
		t.Errorf("figures of nothing: %+v", r.Latency)
	}
}

func TestSocketClosedMidway(t *testing.T) {
	p := DefaultParams()
	p.Interval = 20 * time.Millisecond
	s := session(p)
	a, b := loopback(t, "127.0.0.1:0"), loopback(t, "127.0.0.1:0")
	finish := startReflector(t, s, b)
	n := 0
	run, err := RunLatency(t.Context(), s, a, b.LocalAddr(), func(Sample) {
		if n++; n == 3 {
			a.Close()
		}
	})
	finish()
	if err != nil || run.Err == nil || run.Err.Code != CodeInternal {
		t.Fatalf("%v, %+v", err, run.Err)
	}
	if l := Analyse(run, nil); l.Received != 3 {
		t.Errorf("received %d, want 3", l.Received)
	}
}

// steady is a session in mid flight without goroutines: what the loops do for
// each packet.
func steady(tb testing.TB) func() {
	p := DefaultParams()
	p.Count = 200_000
	s := session(p)
	a, b := loopback(tb, "127.0.0.1:0"), loopback(tb, "127.0.0.1:0")
	ref := NewReflector(s, b, rand.Reader)
	snd := newSender(s, a, b.LocalAddr(), func(Sample) {})
	rcv := newReceiver(s, a, b.LocalAddr())
	deadline := time.Now().Add(time.Minute)
	a.SetReadDeadline(deadline)
	b.SetReadDeadline(deadline)
	buf := make([]byte, p.Size+1)
	return func() {
		if err := snd.transmit(time.Now()); err != nil {
			tb.Fatal(err)
		}
		n, from, ttl, at, err := b.ReadFrom(buf)
		if err != nil {
			tb.Fatal(err)
		}
		out := ref.handle(buf[:n], from, ttl, at)
		sent, err := b.WriteTo(out, from)
		if err != nil {
			tb.Fatal(err)
		}
		ref.sent(out, at, sent)
		n, from, ttl, at, err = a.ReadFrom(rcv.buf)
		if err != nil {
			tb.Fatal(err)
		}
		ev, ok := rcv.parse(rcv.buf[:n], from, ttl, at)
		if !ok {
			tb.Fatal("answer not accepted")
		}
		snd.take(&ev)
		snd.fates.expire(snd.run, at.Add(-p.Timeout), snd.on)
	}
}

func TestNoAllocationPerPacket(t *testing.T) {
	if raceEnabled {
		t.Log("the race detector allocates; counted without it")
	}
	one := steady(t)
	if n := testing.AllocsPerRun(200, one); n != 0 && !raceEnabled {
		t.Errorf("%v allocations a packet", n)
	}
}

func BenchmarkExchange(b *testing.B) {
	one, n := steady(b), 0
	b.ReportAllocs()
	for b.Loop() {
		if n++; n%100_000 == 0 { // a session has an end
			b.StopTimer()
			one = steady(b)
			b.StartTimer()
		}
		one()
	}
}
