package p2p

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"
	ma "github.com/multiformats/go-multiaddr"
	msmux "github.com/multiformats/go-multistream"
	"golang.org/x/time/rate"

	"github.com/peerprobe/peerprobe/cluster"
)

// Remote is the peer at the other end of a stream.
type Remote struct {
	ID cluster.ID // proved by the connection

	// Admission is what the peer showed as the first frame of this stream; nil on
	// open protocols, and at the opener, who knows whom it asked for.
	Admission    *cluster.Admission
	AdmissionRaw cluster.Signed

	Addr   netip.AddrPort // as seen here: behind a NAT, the NAT's
	Local  netip.AddrPort // this end
	Direct bool           // no relay in between
}

// Stream carries frames. One goroutine may read while another writes; two may
// not do the same at a time. Deadline, close and reset calls may come from anywhere.
type Stream struct {
	raw    network.Stream
	rw     io.ReadWriter // raw, or its negotiation in front of it
	ahead  *bufio.Reader // of rw
	frames msgio.ReadCloser
	max    int
	remote Remote
	ctx    context.Context // ends the wait for the budget
	budget *rate.Limiter   // nil: none
	count  *counters

	mu       sync.Mutex // guards what is below and the order of deadline calls
	idle     time.Duration
	deadline time.Time // the caller's
	reading  bool      // a deadline for reads is set
}

// readAhead holds a heartbeat with its row: one look at the muxer a frame, where a byte at a time would take several.
const readAhead = 512

func newStream(ctx context.Context, raw network.Stream, rw io.ReadWriter, max int, idle time.Duration, count *counters) *Stream {
	c := raw.Conn()
	ahead := bufio.NewReaderSize(rw, readAhead)
	_, noRelay := c.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT)
	return &Stream{
		raw: raw, rw: rw, max: max, idle: idle, ctx: ctx, count: count, ahead: ahead,
		frames: msgio.NewVarintReaderSize(ahead, max),
		remote: Remote{
			ID:   cluster.ID(c.RemotePeer()),
			Addr: addrPort(c.RemoteMultiaddr()), Local: addrPort(c.LocalMultiaddr()),
			Direct: noRelay != nil && !c.Stat().Limited,
		},
	}
}

// Remote says who is at the other end.
func (s *Stream) Remote() Remote { return s.remote }

// ReadFrame returns the next frame; io.EOF after the last one. The slice is the
// caller's. A frame above the limit resets the stream.
func (s *Stream) ReadFrame() ([]byte, error) { return s.readFrame(s.max) }

func (s *Stream) readFrame(max int) ([]byte, error) {
	s.armRead(0)
	n, err := s.frames.NextMsgLen()
	if err != nil {
		return nil, s.readError(err)
	}
	if n < 0 || n > max {
		s.count.tooLarge.Add(1)
		s.resetWith(codeTooLarge)
		return nil, fmt.Errorf("frame of %d bytes from %s, limit %d: %w", n, IDText(s.remote.ID), max, ErrFrameTooLarge)
	}
	if err := s.spend(); err != nil {
		return nil, err
	}
	if s.ahead.Buffered() < n {
		s.armRead(frameTimeout)
	}
	b, err := s.frames.ReadMsg()
	if err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, s.readError(err)
	}
	return b, nil
}

// spend takes one message from the peer's budget and waits while it is used up:
// the sender then feels it as back-pressure, and nobody else does.
func (s *Stream) spend() error {
	if s.budget == nil || s.budget.Allow() {
		return nil
	}
	s.count.throttled.Add(1)
	if err := s.budget.Wait(s.ctx); err != nil {
		return fmt.Errorf("waiting for the message budget of %s: %w", IDText(s.remote.ID), err)
	}
	return nil
}

// WriteFrame sends one frame. It fails when the peer has not taken it within
// 10 seconds; success says that it left, not that it arrived.
func (s *Stream) WriteFrame(b []byte) error {
	if len(b) > s.max {
		return fmt.Errorf("frame of %d bytes to %s, limit %d: %w", len(b), IDText(s.remote.ID), s.max, ErrFrameTooLarge)
	}
	buf := binary.AppendUvarint(make([]byte, 0, binary.MaxVarintLen64+len(b)), uint64(len(b)))
	s.armWrite()
	if _, err := s.rw.Write(append(buf, b...)); err != nil {
		return fmt.Errorf("writing to %s: %w", IDText(s.remote.ID), mapError(err))
	}
	return nil
}

// ReadMsg reads one frame into v, as cluster.Unmarshal does.
func (s *Stream) ReadMsg(v any) error {
	b, err := s.ReadFrame()
	if err != nil {
		return err
	}
	if err := cluster.Unmarshal(b, v); err != nil {
		return fmt.Errorf("message from %s: %w", IDText(s.remote.ID), err)
	}
	return nil
}

// WriteMsg sends v as one frame, encoded by cluster.Marshal.
func (s *Stream) WriteMsg(v any) error { return s.WriteFrame(cluster.Marshal(v)) }

// SetDeadline bounds everything from now on, beside the deadlines of single
// frames, and wakes whoever waits. The zero time takes the bound away.
func (s *Stream) SetDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deadline, s.reading = t, !t.IsZero()
	return s.raw.SetDeadline(t)
}

// SetIdle sets how long a read may wait for the next frame; NoIdle: for ever.
func (s *Stream) SetIdle(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle = d
}

// ResetOn resets the stream when ctx ends. Call stop when done, always.
func (s *Stream) ResetOn(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() { _ = s.raw.Reset() })
}

// armRead sets the deadline of a read: the idle time, or d if that is given.
func (s *Stream) armRead(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d == 0 {
		d = s.idle
	}
	t := s.earliest(d)
	if t.IsZero() && !s.reading {
		return
	}
	s.reading = !t.IsZero()
	_ = s.raw.SetReadDeadline(t)
}

func (s *Stream) armWrite() {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.raw.SetWriteDeadline(s.earliest(frameTimeout))
}

func (s *Stream) earliest(d time.Duration) time.Time {
	if d <= 0 {
		return s.deadline
	}
	t := time.Now().Add(d)
	if !s.deadline.IsZero() && s.deadline.Before(t) {
		return s.deadline
	}
	return t
}

// CloseWrite says that no more frames will come from here; reading goes on.
func (s *Stream) CloseWrite() error {
	if l, ok := s.rw.(*opening); ok {
		_ = l.lazy.Flush() // the other end may not have heard yet which protocol this is
	}
	return s.raw.CloseWrite()
}

// Close ends the stream; frames already written still arrive.
func (s *Stream) Close() error {
	if l, ok := s.rw.(*opening); ok {
		_ = s.raw.SetReadDeadline(time.Now().Add(closeTimeout))
		return l.lazy.Close()
	}
	return s.raw.Close()
}

// Reset drops the stream and what was not delivered yet.
func (s *Stream) Reset() error { return s.raw.ResetWithError(codeRefused) }

func (s *Stream) resetWith(code network.StreamErrorCode) { _ = s.raw.ResetWithError(code) }

func (s *Stream) readError(err error) error {
	if err == io.EOF {
		return err
	}
	return fmt.Errorf("reading from %s: %w", IDText(s.remote.ID), mapError(err))
}

// mapError puts the sentinel that the other side meant in front of libp2p's error.
func mapError(err error) error {
	var se *network.StreamError
	if errors.As(err, &se) && se.Remote {
		for _, c := range codes {
			if c.code == se.ErrorCode {
				return fmt.Errorf("%w (%w)", c.err, network.ErrReset)
			}
		}
		switch se.ErrorCode { // libp2p's own
		case network.StreamProtocolNegotiationFailed:
			return fmt.Errorf("%w: %w", ErrNoProtocol, err)
		case network.StreamResourceLimitExceeded:
			return fmt.Errorf("%w: %w", ErrTooManyStreams, err)
		}
	}
	var none msmux.ErrNotSupported[protocol.ID]
	if errors.As(err, &none) {
		return fmt.Errorf("%w: %w", ErrNoProtocol, err)
	}
	return err
}

// opening sends the protocol's name together with the first frame, so that a
// new stream costs no round trip of its own.
type opening struct {
	raw  network.Stream
	lazy msmux.LazyConn
}

func newOpening(raw network.Stream, proto protocol.ID) *opening {
	return &opening{raw: raw, lazy: msmux.NewMSSelect(raw, proto)}
}

func (o *opening) Read(b []byte) (int, error)  { return o.lazy.Read(b) }
func (o *opening) Write(b []byte) (int, error) { return o.lazy.Write(b) }
