package probe

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"time"
)

const (
	// linger is how long a run listens after the last packet's fate is known:
	// duplicates follow their original closely.
	linger = 20 * time.Millisecond
	// runGrace is added to what the granted parameters take, for the cookie and
	// slow callbacks: no read outlives it.
	runGrace = time.Minute
	// expirySlack is given to an answer that came in time but is still on its
	// way from the reading goroutine.
	expirySlack = 2 * time.Millisecond
	// maxSendErrors in a row end a run: single ones (no buffer, no route for a
	// moment) are losses like any other.
	maxSendErrors = 16
	// eventBuffer is how many answers may wait while a packet is being sent.
	eventBuffer = 256
	// extraReplies are kept beyond two for each packet; more are counted only.
	extraReplies = 64
)

// helloWaits is how long to wait for the cookie before asking again. The target
// answers three times, so a fourth question is for lost questions only: up to
// 1.9 s of round trip none of the questions goes unanswered for that reason.
var helloWaits = [...]time.Duration{300 * time.Millisecond, 600 * time.Millisecond, time.Second}

const maxHellos = len(helloWaits) + 1

// sender is one run of the latency tool. All of it belongs to the goroutine
// that called RunLatency.
type sender struct {
	info   SessionInfo
	sock   Socket
	remote netip.AddrPort
	on     func(Sample)
	run    *LatencyRun
	seal   *sealer
	packet []byte
	set    tlvSet
	cookie [cookieSize]byte
	known  bool      // the cookie is
	next   time.Time // when the next packet is due, if there is one
	fates  fates
	left   []left // by the reflector's number of the answer, from 1
	failed int    // sends in a row that failed
}

// left is when an answer left, as the answer after it tells; in whichever order
// the two arrive.
type left struct {
	at int32     // index in run.Replies, from 1; 0: has not come
	t3 time.Time // zero: not told
}

// RunLatency sends the granted packets to remote and gathers the answers.
// It returns a run for as much as was measured, also when ctx ends (Err says
// so); an error means that nothing could be sent at all. The socket stays open.
//
// on, if not nil, is called once for every packet when its fate is known, from
// one goroutine; it must not block, or sending slips.
func RunLatency(ctx context.Context, s SessionInfo, sock Socket, remote netip.AddrPort, on func(Sample)) (*LatencyRun, error) {
	if err := s.Params.Validate(); err != nil {
		return nil, err
	}
	s.Params.Size = packetSize(s.Params.Size, maxUDPPayload)
	if err := sock.SetReadDeadline(time.Now().Add(s.Params.Duration() + runGrace)); err != nil {
		return nil, fmt.Errorf("measure latency to %v: %w", remote, err)
	}
	snd := newSender(s, sock, remote, on)
	if err := snd.hello(time.Now()); err != nil {
		return nil, fmt.Errorf("send the first packet to %v: %w", remote, err)
	}
	rcv := startReceiver(s, sock, snd.run.Remote)
	snd.loop(ctx, rcv)
	rcv.stop()
	snd.run.Ended = time.Now()
	for { // what the reader had already stamped
		select {
		case ev := <-rcv.events:
			snd.take(&ev)
			continue
		default:
		}
		break
	}
	snd.run.BadMAC = rcv.bad
	if snd.run.Err == nil && len(snd.run.Replies) == 0 {
		snd.run.Err = &Error{StageRun, CodeUnreachable, fmt.Sprintf(
			"%v answered none of %d packets within %v: a firewall or NAT may drop UDP", snd.run.Remote, len(snd.run.Sent), s.Params.Timeout)}
	}
	return snd.run, nil
}

func newSender(s SessionInfo, sock Socket, remote netip.AddrPort, on func(Sample)) *sender {
	n := s.Params.Count
	clock := ReadClock()
	snd := &sender{
		info: s, sock: sock, on: on, seal: newSealer(s.Key),
		remote: netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port()),
		fates:  newFates(n), left: make([]left, n+1),
	}
	snd.run = &LatencyRun{
		Params: s.Params, Session: s.ID, TicketHash: s.TicketHash,
		Started: time.Now(), Local: localTowards(sock.LocalAddr(), snd.remote), Remote: snd.remote,
		Sent: make([]Sent, 0, n), Replies: make([]Reply, 0, 2*n+extraReplies),
		Clock: clock, Timestamps: TimestampsUser,
	}
	p := SenderPacket{Estimate: errorEstimate(clock), SSID: ssid(s.ID)}
	snd.packet = appendTLVs(p.Append(make([]byte, 0, s.Params.Size), StampAuth), &snd.cookie, s.Params.Size)
	snd.set, _ = parseTLVs(snd.packet)
	return snd
}

// pacer is a Socket whose system can wait more precisely than the runtime's
// timers, which wake up to 1 ms late.
type pacer interface {
	pause(d time.Duration) // may return early
}

// paceSpan is how long before its slot a packet waits with pause.
const paceSpan = 2500 * time.Microsecond

// loop sends and takes until every packet's fate is known, or ctx ends.
func (s *sender) loop(ctx context.Context, rcv *receiver) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var end time.Time // when lingering is over
	for {
		for len(rcv.events) > 0 {
			ev := <-rcv.events
			s.take(&ev)
		}
		now := time.Now()
		if !s.next.IsZero() && !now.Before(s.next) {
			s.send()
			continue
		}
		s.fates.expire(s.run, now.Add(-s.info.Params.Timeout-expirySlack), s.on)
		wake := s.next
		if due, ok := s.fates.oldest(s.run); ok {
			wake = earlier(wake, due.Add(s.info.Params.Timeout+expirySlack))
		} else if s.next.IsZero() {
			if end.IsZero() {
				end = now.Add(linger)
			}
			if !now.Before(end) {
				return
			}
			wake = end
		}
		wait := wake.Sub(now)
		if p, ok := s.sock.(pacer); ok && wake.Equal(s.next) {
			if wait <= paceSpan && ctx.Err() == nil {
				p.pause(wait)
				continue
			}
			wait -= paceSpan / 2
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
			s.run.Err = stopped(context.Cause(ctx))
			return
		case err := <-rcv.failed:
			s.run.Err = &Error{StageRun, CodeInternal, "the socket failed while receiving: " + err.Error()}
			return
		case ev := <-rcv.events:
			s.take(&ev)
		case <-timer.C:
		}
		if s.run.Err != nil {
			return
		}
	}
}

// stopped says why a context ended.
func stopped(cause error) *Error {
	code := CodeCancelled
	switch {
	case errors.Is(cause, ErrPeerGone):
		code = CodePeerGone
	case errors.Is(cause, context.DeadlineExceeded):
		code = CodeTimeout
	}
	return &Error{StageRun, code, "stopped before the end: " + cause.Error()}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || b.Before(a) {
		return b
	}
	return a
}

// send puts the next packet on the wire and plans the one after it.
func (s *sender) send() {
	slot := s.next
	if !s.known {
		s.book(s.hello(slot))
		return
	}
	err := s.transmit(slot)
	s.next = time.Time{}
	if len(s.run.Sent) < s.info.Params.Count {
		s.next = slot.Add(s.info.Params.Interval) // absolute: errors do not add up
	}
	s.book(err)
}

// book counts sends in a row that failed.
func (s *sender) book(err error) {
	if err == nil {
		s.failed = 0
		return
	}
	if s.failed++; s.failed >= maxSendErrors {
		s.run.Err = &Error{StageRun, CodeInternal, fmt.Sprintf("%d packets in a row could not be sent to %v", s.failed, s.remote)}
	}
}

// hello sends a packet without cookie, and plans the next one for the case that
// none comes.
func (s *sender) hello(slot time.Time) error {
	err := s.transmit(slot)
	s.next = time.Time{}
	if n := len(s.run.Sent); n < min(maxHellos, s.info.Params.Count) {
		s.next = slot.Add(helloWaits[n-1])
	}
	return err
}

func (s *sender) transmit(slot time.Time) error {
	seq := uint32(len(s.run.Sent))
	now := time.Now()
	binary.BigEndian.PutUint32(s.packet, seq)
	binary.BigEndian.PutUint64(s.packet[16:], toNTP(now))
	copy(s.packet[s.set.cookie:], s.cookie[:])
	s.seal.seal(s.packet, s.set)
	sent, err := s.sock.WriteTo(s.packet, s.remote)
	if err != nil {
		sent = now
	} else {
		s.run.Bytes += uint64(len(s.packet))
	}
	s.run.Sent = append(s.run.Sent, Sent{Slot: slot, T1: sent})
	return err
}

// take books one answer.
func (s *sender) take(ev *event) {
	r := ev.reply
	if int(r.Seq) >= len(s.run.Sent) || r.ReplyNo == 0 || int64(r.ReplyNo) >= int64(len(s.left)) {
		s.run.Dropped++
		return
	}
	s.run.Bytes += uint64(ev.size)
	if int64(ev.prevNo) < int64(len(s.left)) {
		l := &s.left[ev.prevNo]
		if l.t3 = ev.prevT3; l.at > 0 {
			s.run.Replies[l.at-1].T3 = l.t3
		}
	}
	if len(s.run.Replies) == cap(s.run.Replies) {
		s.run.Dropped++
		return
	}
	l := &s.left[r.ReplyNo]
	if !l.t3.IsZero() {
		r.T3 = l.t3
	}
	s.run.Replies = append(s.run.Replies, r)
	if l.at == 0 {
		l.at = int32(len(s.run.Replies))
	}
	s.fates.answer(s.run, &r, s.on)
	if !s.known {
		s.known, s.cookie = true, ev.cookie
		s.next = time.Time{}
		if len(s.run.Sent) < s.info.Params.Count {
			s.next = time.Now().Add(randomOffset(s.info.ID, s.info.Params.Interval))
		}
	}
}

// randomOffset is where in the first interval the periodic schedule begins
// (RFC 3432 sec. 4), drawn from the session's id, which is random.
func randomOffset(id [16]byte, interval time.Duration) time.Duration {
	be := binary.BigEndian
	rng := rand.New(rand.NewPCG(be.Uint64(id[:]), be.Uint64(id[8:])))
	return time.Duration(rng.Int64N(int64(cmp.Or(interval, 1))))
}
