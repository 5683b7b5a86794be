package probe

import "time"

// fates follows which packets are decided while a run goes on, to tell the
// caller's callback; figures come from Analyse. It allocates nothing once made.
type fates struct {
	decided []bool
	first   int       // all before it are decided
	floats  []float64 // three a packet: what samples point to
}

func newFates(n int) fates {
	return fates{decided: make([]bool, n), floats: make([]float64, 3*n)}
}

// oldest gives when the oldest undecided packet left.
func (f *fates) oldest(run *LatencyRun) (time.Time, bool) {
	for f.first < len(run.Sent) && f.decided[f.first] {
		f.first++
	}
	if f.first >= len(run.Sent) {
		return time.Time{}, false
	}
	return run.Sent[f.first].T1, true
}

// expire calls those lost that left at or before limit.
func (f *fates) expire(run *LatencyRun, limit time.Time, on func(Sample)) {
	for {
		t1, ok := f.oldest(run)
		if !ok || t1.After(limit) {
			return
		}
		f.decided[f.first] = true
		if on != nil {
			on(Sample{Seq: uint32(f.first), SentMs: ms(t1.Sub(run.Started)), Lost: true})
		}
	}
}

// answer decides a packet by its first answer.
func (f *fates) answer(run *LatencyRun, r *Reply, on func(Sample)) {
	if f.decided[r.Seq] {
		return
	}
	f.decided[r.Seq] = true
	if on != nil {
		on(sampleOf(run, r, (*[3]float64)(f.floats[3*r.Seq:])))
	}
}

// sampleOf makes a sample of an answered packet; v is where its delays live.
func sampleOf(run *LatencyRun, r *Reply, v *[3]float64) Sample {
	t1 := run.Sent[r.Seq].T1
	s := Sample{Seq: r.Seq, SentMs: ms(t1.Sub(run.Started)), TTL: r.TTL}
	if r.T4.Sub(t1) > run.Params.Timeout {
		s.Lost, s.Late = true, true
		return s
	}
	if !plausible(t1, r) {
		return s
	}
	v[0], v[1], v[2] = ms(roundTrip(t1, r)), ms(wallSub(r.T2, t1)), ms(wallSub(r.T4, r.T3))
	s.RTT, s.Forward, s.Backward = &v[0], &v[1], &v[2]
	return s
}

// plausible says whether the four stamps can give delays: a target whose clock
// was set between its two stamps cannot.
func plausible(t1 time.Time, r *Reply) bool {
	proc := wallSub(r.T3, r.T2)
	return proc >= 0 && proc <= r.T4.Sub(t1)
}
