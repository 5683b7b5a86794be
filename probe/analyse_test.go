package probe

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"
)

// truth is a path that is made up: what happens to each packet.
type truth struct {
	forward, backward time.Duration // delay each way
	lostThere         bool
	lostBack          bool
	dupsThere         int
	dupsBack          int
}

// play makes the stamps that a session over such a path would leave. skew is
// the target's clock minus the initiator's.
func play(path []truth, interval, timeout, skew time.Duration) (*LatencyRun, *Statement) {
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	run := &LatencyRun{
		Params:  Params{Count: len(path), Interval: interval, Size: MinSize, Timeout: timeout},
		Started: start, Timestamps: TimestampsUser,
	}
	st := &Statement{Params: run.Params}
	digest := newStampDigest()
	const proc = 40 * time.Microsecond
	for i, p := range path {
		slot := start.Add(time.Duration(i) * interval)
		run.Sent = append(run.Sent, Sent{Slot: slot, T1: slot.Add(10 * time.Microsecond)})
		if p.lostThere {
			continue
		}
		st.Received++
		st.Replied++
		st.Duplicates += uint64(p.dupsThere)
		t2 := run.Sent[i].T1.Add(p.forward + skew)
		t3 := t2.Add(proc)
		digest.add(uint32(i), t2, t3)
		st.LastReply, st.LastSentNs = uint32(st.Replied), t3.UnixNano()
		if p.lostBack {
			continue
		}
		for n := range p.dupsBack + 1 {
			run.Replies = append(run.Replies, Reply{
				Seq: uint32(i), ReplyNo: uint32(st.Replied), T2: t2, T3: t3, TTL: 60,
				T4: t3.Add(p.backward - skew + time.Duration(n)*time.Microsecond),
			})
		}
	}
	sortByArrival(run.Replies)
	run.Ended = start.Add(time.Duration(len(path))*interval + timeout)
	st.Digest = digest.sum()
	return run, st
}

func sortByArrival(r []Reply) {
	for i := range r { // insertion, stable
		for j := i; j > 0 && r[j].T4.Before(r[j-1].T4); j-- {
			r[j], r[j-1] = r[j-1], r[j]
		}
	}
}

// TestAgainstTruth draws paths and compares every count with what was drawn.
func TestAgainstTruth(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		path := make([]truth, 1+rng.IntN(300))
		var want struct{ there, back, dups, burst, run int }
		for i := range path {
			p := truth{
				forward:   time.Duration(5+rng.IntN(30)) * msec,
				backward:  time.Duration(5+rng.IntN(30)) * msec,
				lostThere: rng.Float64() < 0.1, lostBack: rng.Float64() < 0.05,
			}
			if rng.Float64() < 0.1 {
				p.dupsThere, p.dupsBack = rng.IntN(3), rng.IntN(3)
			}
			path[i] = p
			switch {
			case p.lostThere:
				want.there++
			case p.lostBack:
				want.back++
				want.dups += p.dupsThere
			default:
				want.dups += p.dupsThere + p.dupsBack
			}
			if want.run++; !p.lostThere && !p.lostBack {
				want.run = 0
			}
			want.burst = max(want.burst, want.run)
		}
		skew := time.Duration(rng.IntN(2_000_000)-1_000_000) * time.Microsecond
		run, st := play(path, 10*msec, time.Second, skew)
		if err := Agree(run, st); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		l := Analyse(run, st)
		lost := want.there + want.back
		if l.Sent != len(path) || l.Lost != lost || l.Received != len(path)-lost || *l.LossForward != want.there ||
			*l.LossBackward != want.back || l.Duplicates != want.dups || l.MaxBurst != want.burst || l.Late+l.Pending != 0 {
			t.Fatalf("seed %d: %+v\nwant %+v of %d", seed, l, want, len(path))
		}
		if got, want := l.Reordered, reorderedByHand(path, 10*msec); got != want {
			t.Fatalf("seed %d: %d reordered, want %d", seed, got, want)
		}
		if l.Received == 0 {
			continue
		}
		near(t, "serverProcUs", l.ServerProcUs, 40)
		near(t, "sendTimerErrUs", l.SendTimerErrUs, 10)
		bound := 1500.0
		run.Clock = ClockState{Synchronised: true, ErrorMs: &bound}
		st.Clock = run.Clock
		l = Analyse(run, st)
		least, off := 1e9, ms(skew)
		for _, p := range path {
			if !p.lostThere && !p.lostBack {
				least = min(least, ms(p.forward))
			}
		}
		near(t, "least forward delay", l.Forward.Min, least+off)
	}
}

// reorderedByHand: RFC 4737 by its words: an arrival with a smaller number than
// some arrival before it.
func reorderedByHand(path []truth, interval time.Duration) int {
	at := func(i int) time.Duration {
		return time.Duration(i)*interval + path[i].forward + path[i].backward
	}
	n := 0
	for i, p := range path {
		if p.lostThere || p.lostBack {
			continue
		}
		for j := i + 1; j < len(path); j++ {
			if !path[j].lostThere && !path[j].lostBack && at(j) < at(i) {
				n++
				break
			}
		}
	}
	return n
}

func TestAnalyseWithoutStatement(t *testing.T) {
	run, _ := play([]truth{{forward: 5 * msec, backward: 7 * msec}, {lostThere: true}, {lostBack: true}}, 10*msec, time.Second, 0)
	l := Analyse(run, nil)
	if l.LossForward != nil || l.LossBackward != nil || l.Lost != 2 || l.Forward != (Summary{}) || l.Backward != (Summary{}) {
		t.Errorf("%+v", l)
	}
	near(t, "rtt", l.RTT.Min, 12)
	near(t, "lossPct", l.LossPct, 200.0/3)
	if l := Analyse(&LatencyRun{}, nil); l.LossPct != nil || l.SendTimerErrUs != nil {
		t.Errorf("figures of nothing: %+v", l)
	}
}

// A target whose clock is set between its two stamps gives no delays.
func TestImplausibleStamps(t *testing.T) {
	run, st := play([]truth{{forward: msec, backward: msec}, {forward: msec, backward: msec}}, 10*msec, time.Second, 0)
	run.Replies[0].T3 = run.Replies[0].T2.Add(-time.Hour)
	st.LastReply = 0
	l := Analyse(run, st)
	if l.Received != 2 || *l.RTT.Max != 2 {
		t.Errorf("received %d, max %v", l.Received, *l.RTT.Max)
	}
	run.Replies[0].T3 = run.Replies[0].T2.Add(time.Hour)
	if l := Analyse(run, st); *l.RTT.Min != 2 {
		t.Errorf("min %v", *l.RTT.Min)
	}
}

func TestAgree(t *testing.T) {
	path := []truth{{forward: msec, backward: msec}, {lostThere: true}, {forward: msec, backward: msec}}
	lies := map[string]func(*Statement){
		"another session":      func(s *Statement) { s.Session[0]++ },
		"another ticket":       func(s *Statement) { s.TicketHash[0]++ },
		"other parameters":     func(s *Statement) { s.Params.Count++ },
		"more than was sent":   func(s *Statement) { s.Received = 4 },
		"fewer than answered":  func(s *Statement) { s.Replied = 1 },
		"more than it got":     func(s *Statement) { s.Replied = 3 },
		"another digest":       func(s *Statement) { s.Digest[0]++ },
		"another last reply":   func(s *Statement) { s.LastSentNs++ },
		"absurd":               func(s *Statement) { s.Received, s.Replied = 1<<63, 1<<63 },
		"duplicates and nones": func(s *Statement) { s.Duplicates, s.Replied = 1<<63, 0 },
	}
	for name, lie := range lies {
		run, st := play(path, 10*msec, time.Second, 0)
		lie(st)
		if err := Agree(run, st); !errors.Is(err, ErrDisagree) {
			t.Errorf("%s: %v", name, err)
		}
		var r Result
		run.Fill(&r, st)
		if r.Status != StatusPartial || r.Error == nil || r.Error.Code != CodeDisagree || r.Latency.LossForward != nil {
			t.Errorf("%s: status %s, error %v", name, r.Status, r.Error)
		}
		Analyse(run, st) // whatever it says, no panic
	}
}

func TestSamples(t *testing.T) {
	run, st := play([]truth{
		{forward: 3 * msec, backward: 4 * msec, dupsBack: 2}, {lostThere: true}, {forward: 900 * msec, backward: 900 * msec},
	}, 10*msec, time.Second, 0)
	got := Samples(run, st)
	if len(got) != 3 {
		t.Fatalf("%d samples", len(got))
	}
	near(t, "rtt", got[0].RTT, 7)
	near(t, "forward", got[0].Forward, 3)
	near(t, "backward", got[0].Backward, 4)
	near(t, "sent", &got[1].SentMs, 10.01)
	if got[0].Dups != 2 || got[0].TTL != 60 || got[0].Lost || !got[1].Lost || got[1].Late || got[1].RTT != nil || !got[2].Lost || !got[2].Late || got[2].RTT != nil {
		t.Errorf("%+v", got)
	}
}
