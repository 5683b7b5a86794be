package probe

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// ErrDisagree says that the two ends' accounts of a session do not fit together.
var ErrDisagree = errors.New("the two ends disagree")

// Agree says whether the target's statement can be about this run: what one end
// received, the other must have sent.
func Agree(run *LatencyRun, peer *Statement) error {
	answered := uint64(countAnswered(run))
	switch {
	case peer.Session != run.Session || peer.TicketHash != run.TicketHash:
		return fmt.Errorf("%w: the statement is about another session", ErrDisagree)
	case peer.Params != run.Params:
		return fmt.Errorf("%w: the target states parameters %+v, used were %+v", ErrDisagree, peer.Params, run.Params)
	case peer.Received > uint64(len(run.Sent)):
		return fmt.Errorf("%w: the target states %d packets received, %d were sent", ErrDisagree, peer.Received, len(run.Sent))
	case peer.Replied < answered:
		return fmt.Errorf("%w: the target states %d answers, %d came", ErrDisagree, peer.Replied, answered)
	case peer.Replied > peer.Received:
		return fmt.Errorf("%w: the target states %d answers to %d packets", ErrDisagree, peer.Replied, peer.Received)
	}
	return checkDigest(run, peer)
}

// checkDigest compares the stamps, where the initiator has them all.
func checkDigest(run *LatencyRun, peer *Statement) error {
	replies := slices.Clone(run.Replies)
	slices.SortStableFunc(replies, func(a, b Reply) int { return int(a.ReplyNo) - int(b.ReplyNo) })
	replies = slices.CompactFunc(replies, func(a, b Reply) bool { return a.ReplyNo == b.ReplyNo })
	if uint64(len(replies)) != peer.Replied {
		return nil // some were lost, and their stamps with them
	}
	d := newStampDigest()
	for _, r := range replies {
		if r.ReplyNo == peer.LastReply {
			r.T3 = fromUnixNs(peer.LastSentNs)
		}
		d.add(r.Seq, r.T2, r.T3)
	}
	if d.sum() != peer.Digest {
		return fmt.Errorf("%w: the digest of the target's stamps is not that of the stamps it sent", ErrDisagree)
	}
	return nil
}

func countAnswered(run *LatencyRun) int {
	seen := make([]bool, len(run.Sent))
	n := 0
	for i := range run.Replies {
		if s := run.Replies[i].Seq; int(s) < len(seen) && !seen[s] {
			seen[s] = true
			n++
		}
	}
	return n
}

// answers are the first answers of a run in order of arrival, those in time
// apart from the late ones, and how often each packet was answered again.
type answers struct {
	inTime  []Reply
	late    int
	dups    []uint16 // by sequence number
	allDups int
	fate    []byte // by sequence number
}

const (
	fateNone = iota
	fateInTime
	fateLate
)

func sortAnswers(run *LatencyRun, peer *Statement) answers {
	a := answers{
		inTime: make([]Reply, 0, len(run.Sent)),
		dups:   make([]uint16, len(run.Sent)), fate: make([]byte, len(run.Sent)),
	}
	for _, r := range run.Replies {
		if int(r.Seq) >= len(run.Sent) {
			continue
		}
		if peer != nil && peer.LastReply != 0 && r.ReplyNo == peer.LastReply {
			r.T3 = fromUnixNs(peer.LastSentNs) // no answer came after it to tell
		}
		switch {
		case a.fate[r.Seq] != fateNone:
			a.allDups++
			if a.dups[r.Seq] < math.MaxUint16 {
				a.dups[r.Seq]++
			}
		case r.T4.Sub(run.Sent[r.Seq].T1) > run.Params.Timeout:
			a.fate[r.Seq] = fateLate
			a.late++
		default:
			a.fate[r.Seq] = fateInTime
			a.inTime = append(a.inTime, r)
		}
	}
	return a
}

// pending says whether packet seq was still undecided when the run was cut.
func pending(run *LatencyRun, seq int) bool {
	return run.Err != nil && run.Err.Code != CodeUnreachable && run.Ended.Sub(run.Sent[seq].T1) < run.Params.Timeout
}

// Analyse makes figures of stamps: a pure function of the run and of the
// target's statement, which may be nil. One-way summaries are filled in only
// where ClockVerdict allows.
func Analyse(run *LatencyRun, peer *Statement) Latency {
	a := sortAnswers(run, peer)
	l := Latency{
		Sent: len(run.Sent), Received: len(a.inTime), Late: a.late,
		Duplicates: a.allDups, Timestamps: run.Timestamps,
	}
	burst := 0
	for seq := range run.Sent {
		switch {
		case a.fate[seq] == fateInTime:
			burst = 0
		case a.fate[seq] == fateNone && pending(run, seq):
			l.Pending++
		default:
			l.Lost++
			burst++
			l.MaxBurst = max(l.MaxBurst, burst)
		}
	}
	if n := l.Received + l.Lost; n > 0 {
		l.LossPct = new(100 * float64(l.Lost) / float64(n))
	}
	own, theirs := run.Clock, ClockState{Source: ClockUnknown}
	if peer != nil {
		theirs = peer.Clock
		l.Duplicates += int(min(peer.Duplicates, math.MaxInt32))
		splitLoss(&l, peer)
	}
	l.Reordered = reordered(a.inTime)
	fillDelays(&l, run, a.inTime, ClockVerdict(own, theirs, run).OWDValid)
	return l
}

// splitLoss tells the directions apart by the target's counter: what it never
// got was lost on the way there.
func splitLoss(l *Latency, peer *Statement) {
	if l.Pending > 0 || peer.Received > uint64(l.Sent) {
		return
	}
	forward := l.Sent - int(peer.Received)
	backward := int(peer.Received) - l.Received - l.Late
	if backward >= 0 {
		l.LossForward, l.LossBackward = &forward, &backward
	}
}

// reordered counts by RFC 4737 sec. 3.3: an answer is reordered when one to a
// later packet came before it.
func reordered(inTime []Reply) int {
	n, next := 0, uint32(0)
	for i := range inTime {
		if inTime[i].Seq >= next {
			next = inTime[i].Seq + 1
		} else {
			n++
		}
	}
	return n
}

func fillDelays(l *Latency, run *LatencyRun, inTime []Reply, oneWay bool) {
	var rtts, forward, backward, proc, slots []float64
	bySeq := make([]float64, len(run.Sent))
	for i := range bySeq {
		bySeq[i] = math.NaN()
	}
	for i := range inTime {
		r := &inTime[i]
		t1 := run.Sent[r.Seq].T1
		if r.TTL != 0 {
			l.TTL = new(int(r.TTL))
		}
		if !plausible(t1, r) {
			continue
		}
		rtt := ms(roundTrip(t1, r))
		bySeq[r.Seq] = rtt
		rtts = append(rtts, rtt)
		forward = append(forward, ms(wallSub(r.T2, t1)))
		backward = append(backward, ms(wallSub(r.T4, r.T3)))
		proc = append(proc, us(wallSub(r.T3, r.T2)))
	}
	for i := range run.Sent {
		slots = append(slots, us(run.Sent[i].T1.Sub(run.Sent[i].Slot).Abs()))
	}
	l.Jitter = jitters(rtts, bySeq)
	l.RTT = summarise(rtts)
	l.ServerProcUs = summarise(proc).Median
	l.SendTimerErrUs = summarise(slots).P99
	if oneWay {
		l.Forward, l.Backward = summarise(forward), summarise(backward)
	}
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// jitters of round trips: arrived is in order of arrival, bySeq by sequence
// number with NaN for what has none.
func jitters(arrived, bySeq []float64) Jitter {
	var j Jitter
	if len(arrived) == 0 {
		return j
	}
	if len(arrived) > 1 { // RFC 3550 A.8
		var smooth float64
		for i := 1; i < len(arrived); i++ {
			smooth += (math.Abs(arrived[i]-arrived[i-1]) - smooth) / 16
		}
		j.RFC3550 = &smooth
	}
	var ipdv []float64 // RFC 3393, selection function: consecutive packets
	for i := 1; i < len(bySeq); i++ {
		if d := math.Abs(bySeq[i] - bySeq[i-1]); !math.IsNaN(d) {
			ipdv = append(ipdv, d)
		}
	}
	if len(ipdv) > 0 {
		s := summarise(ipdv)
		j.IPDVMeanAbs, j.IPDVP95 = s.Mean, s.P95
	}
	least := slices.Min(arrived) // RFC 5481 sec. 4.2
	pdv := make([]float64, len(arrived))
	for i, v := range arrived {
		pdv[i] = v - least
	}
	s := summarise(pdv)
	j.PDVP95, j.PDVP99 = s.P95, s.P99
	return j
}
