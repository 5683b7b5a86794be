package probe

import "errors"

// Fill writes into r what the run measured: figures, clock, times, parameters,
// addresses, status and error. A statement that disagrees with the run is not
// used, and said. Key, ends, Path.Mode and Sig (but for Sig.Digest, see
// FiguresDigest) are the caller's.
func (run *LatencyRun) Fill(r *Result, peer *Statement) {
	r.Schema = ResultSchema
	r.Tool, r.ToolVersion = ToolLatency, LatencyVersion
	r.Started, r.Ended = run.Started.Round(0).UTC(), run.Ended.Round(0).UTC()
	r.Params, r.LossTimeoutMs, r.Schedule = run.Params, ms(run.Params.Timeout), SchedulePeriodic
	r.BytesUsed = run.Bytes
	r.Path.Transport = "udp"
	r.Path.Local, r.Path.Remote = run.Local.String(), run.Remote.String()
	r.Path.IPVersion = 6
	if run.Remote.Addr().Is4() {
		r.Path.IPVersion = 4
	}
	r.Error = run.Err
	if peer != nil {
		if err := Agree(run, peer); errors.Is(err, ErrDisagree) {
			peer = nil
			if r.Error == nil {
				r.Error = &Error{StageFinish, CodeDisagree, err.Error()}
			}
		}
	}
	theirs := ClockState{Source: ClockUnknown}
	if peer != nil {
		theirs = peer.Clock
	}
	r.Clock = ClockVerdict(run.Clock, theirs, run)
	l := Analyse(run, peer)
	r.Latency = &l
	switch {
	case l.Received == 0:
		r.Status = StatusFailed
	case r.Error != nil:
		r.Status = StatusPartial
	default:
		r.Status = StatusFinished
	}
	r.Samples = nil
	if run.Params.KeepSamples {
		r.Samples = Samples(run, peer)
	}
}

// Samples gives every decided packet of a run, by sequence number.
func Samples(run *LatencyRun, peer *Statement) []Sample {
	a := sortAnswers(run, peer)
	first := make([]*Reply, len(run.Sent))
	for i := range a.inTime {
		first[a.inTime[i].Seq] = &a.inTime[i]
	}
	out := make([]Sample, 0, len(run.Sent))
	floats := make([]float64, 3*len(run.Sent))
	for seq := range run.Sent {
		s := Sample{Seq: uint32(seq), SentMs: ms(run.Sent[seq].T1.Sub(run.Started)), Lost: true}
		switch {
		case first[seq] != nil:
			s = sampleOf(run, first[seq], (*[3]float64)(floats[3*seq:]))
		case a.fate[seq] == fateLate:
			s.Late = true
		case pending(run, seq):
			continue
		}
		s.Dups = a.dups[seq]
		out = append(out, s)
	}
	return out
}
