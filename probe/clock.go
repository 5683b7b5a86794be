package probe

import "time"

// Sources of ClockState.
const (
	ClockAdjtimex = "adjtimex" // the kernel's own word (Linux)
	ClockUnknown  = "unknown"
)

// offsetMethod names how Clock.OffsetMs is estimated: from the exchange with
// the shortest round trip, as NTP's clock filter does (RFC 5905 sec. 10).
const offsetMethod = "stamp-min-rtt"

// ClockVerdict says whether one-way delays of run mean anything: both ends say
// that they are synchronised, both bounds are known, and what was measured does
// not contradict them. The offset is told in any case when there is an answer
// to estimate it from.
func ClockVerdict(own, peer ClockState, run *LatencyRun) Clock {
	c := Clock{Initiator: own, Target: peer}
	offset, bound, ok := estimateOffset(run)
	if !ok {
		return c
	}
	c.OffsetMs, c.OffsetErrMs, c.Method = &offset, &bound, offsetMethod
	if !own.Synchronised || !peer.Synchronised || own.ErrorMs == nil || peer.ErrorMs == nil {
		return c
	}
	// True offset is within both clocks' bounds, and within bound of offset.
	gap := max(offset, -offset) - bound
	c.OWDValid = gap <= *own.ErrorMs+*peer.ErrorMs
	return c
}

// estimateOffset gives target minus initiator in milliseconds, +- half of the
// shortest round trip.
func estimateOffset(run *LatencyRun) (offset, bound float64, ok bool) {
	var best time.Duration
	for i := range run.Replies {
		r := &run.Replies[i]
		if int(r.Seq) >= len(run.Sent) {
			continue
		}
		t1 := run.Sent[r.Seq].T1
		rtt := roundTrip(t1, r)
		if rtt < 0 || ok && rtt >= best {
			continue
		}
		best, ok = rtt, true
		offset = ms(wallSub(r.T2, t1)+wallSub(r.T3, r.T4)) / 2
		bound = ms(rtt) / 2
	}
	return offset, bound, ok
}

// roundTrip is (t4 - t1) - (t3 - t2): t4 and t1 of one clock, monotonic where
// they carry it, t3 and t2 of the other.
func roundTrip(t1 time.Time, r *Reply) time.Duration {
	return r.T4.Sub(t1) - wallSub(r.T3, r.T2)
}

// wallSub subtracts wall clock readings.
func wallSub(a, b time.Time) time.Duration { return a.Round(0).Sub(b.Round(0)) }
