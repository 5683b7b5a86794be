package probe

import (
	"context"
	"crypto/rand"
	"errors"
	"math"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

const msec = time.Millisecond

// lost delivers nothing.
var lost = []time.Duration{}

// over runs one session over a pair of sockets, inside of a synctest bubble,
// and gives run, statement, samples and the figures.
func over(t *testing.T, p Params, a, b *fakeSocket) (*LatencyRun, *Statement, []Sample, Latency) {
	t.Helper()
	s := session(p)
	ref := NewReflector(s, b, rand.Reader)
	ref.now = func() time.Time { return time.Now().Add(b.skew) }
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- ref.Run(ctx) }()
	var seen []Sample
	run, err := RunLatency(t.Context(), s, a, b.LocalAddr(), func(x Sample) { seen = append(seen, x) })
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	st := ref.Statement()
	if err := Agree(run, &st); err != nil {
		t.Error(err)
	}
	return run, &st, seen, Analyse(run, &st)
}

// near compares milliseconds; nil is NaN.
func near(t *testing.T, what string, got *float64, want float64) {
	t.Helper()
	if got == nil {
		t.Errorf("%s is nil, want %v", what, want)
	} else if math.Abs(*got-want) > 1e-5 {
		t.Errorf("%s is %v, want %v", what, *got, want)
	}
}

func TestInjectedDelayLossAndOrder(t *testing.T) {
	type figures struct {
		received, lost, forward, backward, dups, reordered, late, burst int
	}
	tests := []struct {
		name     string
		there    map[int][]time.Duration // by packet; the usual is 10 ms
		back     map[int][]time.Duration // by answer; the usual is 5 ms
		want     figures
		min, max float64 // round trip
	}{
		{name: "clean", want: figures{received: 10}, min: 15, max: 15},
		{name: "lost there", there: map[int][]time.Duration{4: lost, 5: lost, 8: lost},
			want: figures{received: 7, lost: 3, forward: 3, burst: 2}, min: 15, max: 15},
		{name: "lost back", back: map[int][]time.Duration{4: lost, 9: lost},
			want: figures{received: 8, lost: 2, backward: 2, burst: 1}, min: 15, max: 15},
		{name: "lost both ways", there: map[int][]time.Duration{2: lost}, back: map[int][]time.Duration{2: lost},
			want: figures{received: 8, lost: 2, forward: 1, backward: 1, burst: 2}, min: 15, max: 15},
		{name: "twice there", there: map[int][]time.Duration{3: {10 * msec, 11 * msec}},
			want: figures{received: 10, dups: 1}, min: 15, max: 15},
		{name: "twice back", back: map[int][]time.Duration{3: {5 * msec, 6 * msec, 7 * msec}},
			want: figures{received: 10, dups: 2}, min: 15, max: 15},
		{name: "the last one twice back", back: map[int][]time.Duration{9: {5 * msec, 12 * msec}},
			want: figures{received: 10, dups: 1}, min: 15, max: 15},
		{name: "overtaken", there: map[int][]time.Duration{6: {55 * msec}}, // two later ones pass it
			want: figures{received: 10, reordered: 1}, min: 15, max: 60},
		{name: "late", back: map[int][]time.Duration{5: {1200 * msec}}, // the timeout is 1 s, and 8 more come
			there: map[int][]time.Duration{9: {900 * msec}},
			want:  figures{received: 9, lost: 1, late: 1, burst: 1}, min: 15, max: 905},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := fakePair(nth(10*msec, tt.there), nth(5*msec, tt.back))
				p := Params{Count: 10, Interval: 20 * msec, Size: 200, Timeout: time.Second}
				if tt.name == "late" {
					p.Interval = 100 * msec
				}
				_, st, seen, l := over(t, p, a, b)
				got := figures{l.Received, l.Lost, *l.LossForward, *l.LossBackward, l.Duplicates, l.Reordered, l.Late, l.MaxBurst}
				if got != tt.want {
					t.Errorf("figures %+v\n   want %+v", got, tt.want)
				}
				if l.Sent != 10 || l.Pending != 0 || len(seen) != 10 {
					t.Errorf("sent %d, pending %d, samples %d", l.Sent, l.Pending, len(seen))
				}
				near(t, "min", l.RTT.Min, tt.min)
				near(t, "max", l.RTT.Max, tt.max)
				near(t, "lossPct", l.LossPct, float64(tt.want.lost)*10)
				near(t, "send timer error", l.SendTimerErrUs, 0)
				if st.BadMAC+st.BadCookie != 0 {
					t.Errorf("target refused packets: %+v", st)
				}
			})
		})
	}
}

func TestFirstPacketsLost(t *testing.T) {
	for _, tt := range []struct {
		name        string
		there, back map[int][]time.Duration
		lost        int
	}{
		{"two questions", map[int][]time.Duration{0: lost, 1: lost}, nil, 2},
		{"two cookies", nil, map[int][]time.Duration{0: lost, 1: lost}, 2},
		{"slow path", map[int][]time.Duration{0: {900 * msec}, 1: {900 * msec}, 2: {900 * msec}}, nil, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := fakePair(nth(10*msec, tt.there), nth(5*msec, tt.back))
				run, _, _, l := over(t, Params{Count: 8, Interval: 50 * msec, Size: 172, Timeout: 2 * time.Second}, a, b)
				if l.Sent != 8 || l.Lost != tt.lost || run.Err != nil {
					t.Errorf("sent %d, lost %d, want 8 and %d; %v", l.Sent, l.Lost, tt.lost, run.Err)
				}
			})
		})
	}
}

func TestClockOffset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := fakePair(always(10*msec), nth(10*msec, map[int][]time.Duration{3: lost}))
		b.skew = 250 * msec
		run, st, _, l := over(t, DefaultParams(), a, b)
		near(t, "median round trip", l.RTT.Median, 20)
		near(t, "max round trip", l.RTT.Max, 20)
		run.Clock = ClockState{Source: "test"}
		c := ClockVerdict(run.Clock, st.Clock, run)
		near(t, "offset", c.OffsetMs, 250)
		near(t, "offset error", c.OffsetErrMs, 10)
		if c.OWDValid || Analyse(run, st).Forward != (Summary{}) {
			t.Error("one-way delays with clocks that are not synchronised")
		}
		bound := 300.0
		run.Clock = ClockState{Source: "test", Synchronised: true, ErrorMs: &bound}
		st.Clock = run.Clock
		l = Analyse(run, st)
		near(t, "forward", l.Forward.Median, 260)
		near(t, "backward", l.Backward.Median, -240)
		bound = 100 // then 250 ms between them cannot be
		if ClockVerdict(run.Clock, st.Clock, run).OWDValid {
			t.Error("clocks 250 ms apart that both claim 100 ms were believed")
		}
	})
}

// One-way delays need all four: both ends synchronised, both bounds known.
func TestOWDNeedsBothClocks(t *testing.T) {
	run, _ := play([]truth{{forward: 10 * msec, backward: 10 * msec}}, msec, time.Second, 0)
	good := ClockState{Source: "test", Synchronised: true, ErrorMs: new(1.0)}
	if !ClockVerdict(good, good, run).OWDValid {
		t.Fatal("two good clocks refused")
	}
	for name, bad := range map[string]ClockState{
		"not synchronised": {Source: "test", ErrorMs: new(1.0)},
		"no bound":         {Source: "test", Synchronised: true},
		"unknown":          {Source: ClockUnknown},
	} {
		if ClockVerdict(bad, good, run).OWDValid || ClockVerdict(good, bad, run).OWDValid {
			t.Errorf("%s: one-way delays called valid", name)
		}
	}
	if c := ClockVerdict(good, good, &LatencyRun{}); c.OWDValid || c.OffsetMs != nil {
		t.Errorf("verdict without an answer: %+v", c)
	}
}

// The true send stamp of an answer travels in the one after it, or in the
// statement; whichever of the two answers comes first.
func TestSendStampsFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := fakePair(always(10*msec), nth(5*msec, map[int][]time.Duration{3: {50 * msec}, 6: {5 * msec, 6 * msec}}))
		b.lag = msec // what the reflector cannot know when it writes its stamp
		run, _, _, l := over(t, Params{Count: 10, Interval: 20 * msec, Size: 200, Timeout: time.Second}, a, b)
		near(t, "min", l.RTT.Min, 14)
		near(t, "p90", l.RTT.P90, 14)
		near(t, "max", l.RTT.Max, 59)
		near(t, "serverProcUs", l.ServerProcUs, 1000)
		if l := Analyse(run, nil); *l.RTT.P90 != 15 {
			t.Errorf("p90 without the statement, which has the last stamp, is %v, want 15", *l.RTT.P90)
		}
	})
}

// A send that takes long does not shift the schedule.
func TestAbsoluteDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := fakePair(always(msec), always(msec))
		n := 0
		a.slow = func() error {
			if n++; n%3 == 0 {
				time.Sleep(7 * msec)
			}
			return nil
		}
		run, _, _, l := over(t, Params{Count: 20, Interval: 5 * msec, Size: 200, Timeout: time.Second}, a, b)
		for i := 2; i < len(run.Sent); i++ {
			if d := run.Sent[i].Slot.Sub(run.Sent[i-1].Slot); d != 5*msec {
				t.Errorf("slot %d is %v after the one before", i, d)
			}
		}
		near(t, "send timer error", l.SendTimerErrUs, 2000)
	})
}

func TestSendsThatFail(t *testing.T) {
	for _, tt := range []struct {
		name     string
		from, to int // of these sends, counted from 0
		every    int // only each of so many
		sent     int
		received int
		failed   bool
	}{
		{"for a moment", 5, 9, 1, 40, 36, false},
		{"every other one", 5, 1000, 2, 40, 23, false}, // 17 times, never in a row
		{"for good", 5, 1000, 1, 5 + maxSendErrors, 5, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := fakePair(always(msec), always(msec))
				n := -1
				a.slow = func() error {
					if n++; n >= tt.from && n < tt.to && n%tt.every == 0 {
						return errors.New("no route to host")
					}
					return nil
				}
				run, _, _, l := over(t, Params{Count: 40, Interval: 5 * msec, Size: 200, Timeout: 50 * msec}, a, b)
				if l.Sent != tt.sent || l.Received != tt.received || (run.Err != nil) != tt.failed {
					t.Errorf("%+v, %v", l, run.Err)
				}
				if tt.failed && run.Err.Code != CodeInternal {
					t.Errorf("code %s", run.Err.Code)
				}
			})
		})
	}
}

// Reading errors that pass are no end; those that stay are.
func TestReadErrors(t *testing.T) {
	for errs, want := range map[int]string{maxReadErrors - 1: "", maxReadErrors: CodeInternal} {
		synctest.Test(t, func(t *testing.T) {
			a, b := fakePair(always(msec), always(msec))
			p := Params{Count: 5, Interval: 5 * msec, Size: 200, Timeout: 50 * msec}
			s := session(p)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- NewReflector(s, b, rand.Reader).Run(ctx) }()
			run, err := RunLatency(t.Context(), s, &failingSocket{Socket: a, left: errs}, b.LocalAddr(), nil)
			cancel()
			if err := errors.Join(err, <-done); err != nil {
				t.Fatal(err)
			}
			if got := run.Err; (got == nil) != (want == "") || got != nil && got.Code != want {
				t.Errorf("after %d errors: %v", errs, got)
			}
		})
	}
}

// failingSocket fails to read for a while.
type failingSocket struct {
	Socket
	left int
}

func (s *failingSocket) ReadFrom(b []byte) (int, netip.AddrPort, int, time.Time, error) {
	if s.left--; s.left >= 0 {
		return 0, netip.AddrPort{}, 0, time.Time{}, errors.New("connection refused")
	}
	return s.Socket.ReadFrom(b)
}

func TestCancelled(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause error
		code  string
	}{
		{"user", nil, CodeCancelled},
		{"target died", ErrPeerGone, CodePeerGone},
		{"time", context.DeadlineExceeded, CodeTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := fakePair(always(30*msec), nth(30*msec, map[int][]time.Duration{2: lost}))
				s := session(Params{Count: 100, Interval: 50 * msec, Size: 172, Timeout: 200 * msec, KeepSamples: true})
				ctx, cancel := context.WithCancelCause(t.Context())
				ref := NewReflector(s, b, rand.Reader)
				done := make(chan error, 1)
				refCtx, stop := context.WithCancel(t.Context())
				go func() { done <- ref.Run(refCtx) }()
				time.AfterFunc(1010*msec, func() { cancel(tt.cause) })
				began := time.Now()
				run, err := RunLatency(ctx, s, a, b.LocalAddr(), nil)
				if err != nil {
					t.Fatal(err)
				}
				if d := time.Since(began); d != 1010*msec {
					t.Errorf("returned %v after its start", d)
				}
				stop()
				if err := <-done; err != nil {
					t.Error(err)
				}
				var r Result
				st := ref.Statement()
				run.Fill(&r, &st)
				l := r.Latency
				if r.Status != StatusPartial || r.Error == nil || r.Error.Code != tt.code {
					t.Errorf("status %s, error %v", r.Status, r.Error)
				}
				if l.Sent < 15 || l.Lost != 1 || l.Pending < 1 || l.Pending > 2 || l.Sent != l.Received+l.Lost+l.Pending {
					t.Errorf("counts %+v", l)
				}
				if l.LossForward != nil {
					t.Error("losses split by direction while packets were in flight")
				}
				if len(r.Samples) != l.Received+l.Lost {
					t.Errorf("%d samples of %d", len(r.Samples), l.Received+l.Lost)
				}
				if st.Stopped != StoppedEnded {
					t.Errorf("target stopped %q", st.Stopped)
				}
			})
		})
	}
}

func TestTargetDiesMidway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := fakePair(always(10*msec), always(10*msec))
		s := session(Params{Count: 20, Interval: 50 * msec, Size: 172, Timeout: 100 * msec})
		ref := NewReflector(s, b, rand.Reader)
		done := make(chan error, 1)
		go func() { done <- ref.Run(t.Context()) }()
		time.AfterFunc(400*msec, func() { b.Close() })
		run, err := RunLatency(t.Context(), s, a, b.LocalAddr(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err == nil || ref.Statement().Stopped != StoppedFailed {
			t.Errorf("reflector on a closed socket: %v, %q", err, ref.Statement().Stopped)
		}
		l := Analyse(run, nil)
		if l.Sent != 20 || l.Received < 6 || l.Received > 9 || l.MaxBurst != 20-l.Received {
			t.Errorf("%+v", l)
		}
	})
}

func TestReflectorEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, b := fakePair(always(0), always(0))
		p := DefaultParams()
		ref := NewReflector(session(p), b, rand.Reader)
		began := time.Now()
		if err := ref.Run(t.Context()); err != nil {
			t.Fatal(err)
		}
		if d := time.Since(began); d != p.Duration()+reflectorGrace {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestSendErrors(t *testing.T) {
	a, _ := fakePair(always(0), always(0))
	a.Close()
	if _, err := RunLatency(t.Context(), session(DefaultParams()), a, a.addr, nil); err == nil {
		t.Error("nothing could be sent, and no error")
	}
	p := DefaultParams()
	p.Count = 0
	if _, err := RunLatency(t.Context(), session(p), a, a.addr, nil); !errors.Is(err, ErrParams) {
		t.Errorf("count 0: %v", err)
	}
}

// The offset within the first interval differs from session to session.
func TestRandomOffset(t *testing.T) {
	seen := map[time.Duration]bool{}
	for range 20 {
		d := randomOffset(session(DefaultParams()).ID, time.Second)
		if d < 0 || d >= time.Second {
			t.Fatalf("offset %v", d)
		}
		seen[d] = true
	}
	if len(seen) < 10 {
		t.Errorf("%d different offsets of 20 sessions", len(seen))
	}
}
