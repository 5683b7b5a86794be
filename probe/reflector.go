package probe

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

const (
	// maxCookieReplies a session: the first question or two may be lost, and
	// nobody's address gets more than this unasked.
	maxCookieReplies = 3
	// reflectorGrace is added to what the granted parameters take: starting,
	// asking for the cookie, and slow clocks.
	reflectorGrace = 15 * time.Second
)

// Reflector answers one session, on a socket of its own. It answers nobody
// without the session's key, nobody who has not returned the cookie that was
// sent to his address (but for three packets with cookies), no packet twice, no
// packet beyond the granted count, and never with more bytes than it was sent.
type Reflector struct {
	info   SessionInfo
	sock   Socket
	cookie *cookieMaker
	seal   *sealer
	est    uint16 // RFC 4656 error estimate of the own clock
	now    func() time.Time

	mu      sync.Mutex // over what follows; never held across I/O
	st      Statement
	seen    []uint64 // a bit a sequence number
	fixed   netip.AddrPort
	cookies int // cookie replies sent
	digest  *stampDigest
	prevT3  time.Time // when the answer before this one left
	out     []byte
}

// NewReflector starts nothing. rnd makes the cookie's secret.
func NewReflector(s SessionInfo, sock Socket, rnd io.Reader) *Reflector {
	clock := ReadClock()
	s.Params.Size = packetSize(s.Params.Size, maxUDPPayload)
	r := &Reflector{
		info: s, sock: sock, cookie: newCookieMaker(s.ID, rnd), seal: newSealer(s.Key),
		est: errorEstimate(clock), now: time.Now,
		seen:   make([]uint64, (min(max(s.Params.Count, 0), maxCount)+63)/64), // Run refuses what is beyond
		digest: newStampDigest(), out: make([]byte, 0, min(s.Params.Size, maxUDPPayload)),
	}
	r.st = Statement{
		Version: StatementVersion, Session: s.ID, TicketHash: s.TicketHash,
		Params: s.Params, Clock: clock, Stopped: StoppedRunning,
	}
	return r
}

// Run answers until ctx ends, or until the session has taken longer than its
// parameters allow. The socket stays open.
func (r *Reflector) Run(ctx context.Context) error {
	if r.cookie.err != nil {
		return fmt.Errorf("make a session cookie: %w", r.cookie.err)
	}
	if err := r.info.Params.Validate(); err != nil {
		return err
	}
	if err := r.sock.SetReadDeadline(time.Now().Add(r.info.Params.Duration() + reflectorGrace)); err != nil {
		return fmt.Errorf("answer a session on %v: %w", r.sock.LocalAddr(), err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		r.sock.SetReadDeadline(time.Unix(1, 0))
	})
	err := r.serve()
	if !stop() {
		<-woken
	}
	r.sock.SetReadDeadline(time.Time{})
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil && ctx.Err() == nil:
		r.st.Stopped = StoppedFailed
		return fmt.Errorf("answer a session on %v: %w", r.sock.LocalAddr(), err)
	case r.st.Received >= uint64(r.info.Params.Count):
		r.st.Stopped = StoppedDone
	default:
		r.st.Stopped = StoppedEnded
	}
	return nil
}

// serve reads and answers until the deadline passes.
func (r *Reflector) serve() error {
	buf := make([]byte, r.info.Params.Size+1) // one more shows what is too long
	errs := 0
	for {
		n, from, ttl, recv, err := r.sock.ReadFrom(buf)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				return nil
			}
			if errs++; errors.Is(err, net.ErrClosed) || errs >= maxReadErrors {
				return err
			}
			continue
		}
		errs = 0
		out := r.handle(buf[:n], from, ttl, recv)
		if out == nil {
			continue
		}
		sent, err := r.sock.WriteTo(out, from)
		if err == nil {
			r.sent(out, recv, sent)
		}
	}
}

// handle gives the answer to one datagram, or nil. The answer is valid until
// the next call.
func (r *Reflector) handle(b []byte, from netip.AddrPort, ttl int, recv time.Time) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.fixed.IsValid() && from != r.fixed {
		r.st.BadCookie++
		return nil
	}
	var p SenderPacket
	set, ok := r.accept(b, &p)
	if !ok {
		r.st.BadMAC++
		return nil
	}
	if set.cookie == 0 || set.followUp == 0 {
		r.st.BadCookie++
		return nil
	}
	given := b[set.cookie : set.cookie+cookieSize]
	mine := r.cookie.make(from, r.sock.LocalAddr())
	hello := isZero(given)
	if !hello && subtle.ConstantTimeCompare(given, mine) != 1 {
		r.st.BadCookie++
		return nil
	}
	word, bit := p.Seq/64, uint64(1)<<(p.Seq%64)
	if r.seen[word]&bit != 0 {
		r.st.Duplicates++
		return nil
	}
	r.seen[word] |= bit
	r.st.Received++
	r.st.Bytes += uint64(len(b))
	if hello {
		if r.cookies >= maxCookieReplies {
			return nil
		}
		r.cookies++
	} else {
		r.fixed = from
	}
	return r.answer(b, &p, set, mine, ttl, recv)
}

// accept says whether a datagram is a question of this session: the HMACs, the
// size, the number, and zeros where an answer has its receive stamp.
func (r *Reflector) accept(b []byte, p *SenderPacket) (tlvSet, bool) {
	if len(b) < MinSize || len(b) > r.info.Params.Size || p.Parse(b, StampAuth) != nil {
		return tlvSet{}, false
	}
	set, ok := parseTLVs(b)
	if !ok || !r.seal.check(b, set) {
		return tlvSet{}, false
	}
	return set, p.SSID == ssid(r.info.ID) && int64(p.Seq) < int64(r.info.Params.Count) && isZero(b[28:macOffset])
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

func (r *Reflector) answer(b []byte, p *SenderPacket, set tlvSet, cookie []byte, ttl int, recv time.Time) []byte {
	a := ReflectorPacket{
		Seq: uint32(r.st.Replied), Estimate: r.est, SSID: p.SSID,
		ReceiveTime: toNTP(recv), SenderSeq: p.Seq, SenderTime: p.Time,
		SenderEstimate: p.Estimate, SenderTTL: uint8(min(max(ttl, 0), 255)),
	}
	out := append(a.Append(r.out[:0], StampAuth), b[authSize:]...)
	answerFlags(out)
	copy(out[set.cookie:], cookie)
	putFollowUp(out[set.followUp:], r.st.LastReply-1, r.prevT3)
	binary.BigEndian.PutUint64(out[16:], toNTP(r.now()))
	r.seal.seal(out, set)
	r.out = out
	return out
}

// sent books an answer that left.
func (r *Reflector) sent(out []byte, t2, t3 time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.st.Replied++
	r.st.Bytes += uint64(len(out))
	r.prevT3 = t3
	r.st.LastReply, r.st.LastSentNs = uint32(r.st.Replied), t3.UnixNano()
	r.digest.add(binary.BigEndian.Uint32(out[48:]), t2, t3)
}

// Statement says what was seen so far.
func (r *Reflector) Statement() Statement {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.st
	s.Digest = r.digest.sum()
	return s
}

// cookieMaker makes cookies: HMAC-SHA-256 under a secret of this session's own
// over session, and both addresses and ports, cut to 128 bits.
type cookieMaker struct {
	h   hash.Hash
	sum [sha256.Size]byte
	in  [52]byte
	err error
}

func newCookieMaker(id [16]byte, rnd io.Reader) *cookieMaker {
	var secret [32]byte
	c := &cookieMaker{}
	_, c.err = io.ReadFull(rnd, secret[:])
	c.h = hmac.New(sha256.New, secret[:])
	copy(c.in[:], id[:])
	return c
}

func (c *cookieMaker) make(from, local netip.AddrPort) []byte {
	src, dst := from.Addr().As16(), local.Addr().As16()
	copy(c.in[16:], src[:])
	binary.BigEndian.PutUint16(c.in[32:], from.Port())
	copy(c.in[34:], dst[:])
	binary.BigEndian.PutUint16(c.in[50:], local.Port())
	c.h.Reset()
	c.h.Write(c.in[:])
	cookie := c.h.Sum(c.sum[:0])[:cookieSize]
	cookie[0] |= 1 // never all zero, which asks for one
	return cookie
}
