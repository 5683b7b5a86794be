package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/peerstore"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"

	"github.com/peerprobe/peerprobe/cluster"
)

// HandleOptions bound what a peer may do on one protocol. The zero value of
// each field is its default.
type HandleOptions struct {
	Open     bool          // anyone may call: no hello, no admission (registers)
	Idle     time.Duration // for the next frame; default DefaultIdle, NoIdle for none
	MaxFrame int           // bytes; default DefaultMaxFrame
	PerPeer  int           // streams open at a time; default DefaultPerPeer

	// Rate, if above 0, is how many frames a second all streams of a peer may
	// bring together, after a burst of Burst. Above it the peer is not read.
	Rate  float64
	Burst int
}

func (o HandleOptions) withDefaults() HandleOptions {
	if o.Idle == 0 {
		o.Idle = DefaultIdle
	}
	if o.MaxFrame == 0 {
		o.MaxFrame = DefaultMaxFrame
	}
	if o.PerPeer == 0 {
		o.PerPeer = DefaultPerPeer
	}
	if o.Rate > 0 && o.Burst == 0 {
		o.Burst = max(1, int(o.Rate))
	}
	return o
}

// Handle installs fn as the handler of a protocol. Unless opt.Open, the first
// frame of each stream must be a hello that admits the peer; the stream is reset
// before anything else is read otherwise. fn runs once a stream, in a goroutine
// that Close waits for: it must return when ctx ends, at which the stream fails
// too. Its error resets the stream, nil closes it.
func (h *Host) Handle(proto string, opt HandleOptions, fn func(ctx context.Context, r Remote, s *Stream) error) {
	opt = opt.withDefaults()
	h.p2p.SetStreamHandler(protocol.ID(proto), func(raw network.Stream) {
		if !h.enter() {
			_ = raw.Reset()
			return
		}
		defer h.wg.Done()
		if err := h.serve(raw, proto, opt, fn); err != nil {
			h.log.Debug("stream ended with an error", "protocol", proto, "peer", raw.Conn().RemotePeer(), "err", err)
		}
	})
}

// Unhandle takes the handler of a protocol away; running streams go on.
func (h *Host) Unhandle(proto string) { h.p2p.RemoveStreamHandler(protocol.ID(proto)) }

func (h *Host) serve(raw network.Stream, proto string, opt HandleOptions, fn func(context.Context, Remote, *Stream) error) error {
	from := raw.Conn().RemotePeer()
	slot, ok := h.peers.take(from, proto, opt)
	if !ok {
		h.count.refused(ErrTooManyStreams)
		return errors.Join(ErrTooManyStreams, raw.ResetWithError(codeTooMany))
	}
	defer h.peers.release(from, slot)

	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	s := newStream(ctx, raw, raw, max(opt.MaxFrame, maxHello), opt.Idle, h.count)
	if err := h.welcome(s, from, opt.Open); err != nil {
		h.count.refused(err)
		s.resetWith(codeOf(err))
		return err
	}
	s.max, s.budget = opt.MaxFrame, slot.budget
	h.count.accepted.Add(1)
	if err := fn(ctx, s.remote, s); err != nil {
		h.count.failed.Add(1)
		s.resetWith(codeRefused)
		return err
	}
	return s.Close()
}

// welcome reads the hello of an incoming stream and fills in who came.
func (h *Host) welcome(s *Stream, from peer.ID, open bool) error {
	if open {
		if h.gate.isBarred(from) {
			return ErrBarred
		}
		return nil
	}
	if err := s.SetDeadline(time.Now().Add(helloTimeout)); err != nil {
		return err
	}
	frame, err := s.readFrame(maxHello)
	if err != nil {
		return err
	}
	a, err := h.gate.judge(frame, from)
	if err != nil {
		return err
	}
	h.gate.remember(from, a)
	s.remote.Admission, s.remote.AdmissionRaw = a.admission, a.raw
	return s.SetDeadline(time.Time{})
}

// Open opens a stream to the peer and sends the hello, except on the register
// protocol. It dials if there is no connection yet, at the given addresses and
// those known from before, and fails with ErrUnreachable within DialTimeout.
// Whether the other side accepts shows at the first read.
//
// Reads wait for 30 s at most, without bound on member and session streams; see
// SetIdle, SetDeadline and ResetOn. The stream is the caller's to close.
func (h *Host) Open(ctx context.Context, to cluster.Peer, proto string, maxFrame int) (*Stream, error) {
	var first []byte
	if proto != ProtoRegister {
		var err error
		if first, err = h.gate.hello(); err != nil {
			return nil, fmt.Errorf("opening %s to %s: %w", proto, IDText(to.ID), err)
		}
	}
	if maxFrame <= 0 {
		maxFrame = DefaultMaxFrame
	}
	conn, err := h.dial(ctx, to)
	if err != nil {
		return nil, err
	}
	idle := DefaultIdle
	if proto == ProtoMember || proto == ProtoSession {
		idle = NoIdle
	}
	return h.openOn(ctx, conn, proto, first, maxFrame, idle)
}

// openOn opens a stream on the connection and sends the first frame, if any.
func (h *Host) openOn(ctx context.Context, conn network.Conn, proto string, first []byte, maxFrame int, idle time.Duration) (*Stream, error) {
	failed := func(err error) error {
		return fmt.Errorf("opening %s to %s: %w", proto, conn.RemotePeer(), mapError(err))
	}
	raw, err := conn.NewStream(ctx)
	if err != nil {
		return nil, failed(err)
	}
	if err := raw.SetProtocol(protocol.ID(proto)); err != nil {
		return nil, failed(errors.Join(err, raw.Reset()))
	}
	s := newStream(h.ctx, raw, newOpening(raw, protocol.ID(proto)), max(maxFrame, len(first)), idle, h.count)
	if first != nil {
		if err := s.WriteFrame(first); err != nil {
			return nil, errors.Join(err, raw.Reset())
		}
	}
	s.max = maxFrame
	return s, nil
}

// dial returns a direct connection to the peer, an existing one if there is.
func (h *Host) dial(ctx context.Context, to cluster.Peer) (network.Conn, error) {
	info := addrInfo(to)
	if h.gate.isBarred(info.ID) {
		return nil, fmt.Errorf("calling %s: %w", IDText(to.ID), ErrBarred)
	}
	// libp2p forgets addresses 15 minutes after a disconnect.
	h.p2p.Peerstore().AddAddrs(info.ID, info.Addrs, peerstore.RecentlyConnectedAddrTTL)
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	// A forced direct dial knows no back-off: a peer that was away a second ago
	// may be what everybody waits for.
	conn, err := h.p2p.Network().DialPeer(network.WithForceDirectDial(ctx, "call"), info.ID)
	if err != nil {
		if h.ctx.Err() != nil {
			return nil, fmt.Errorf("calling %s: %w", IDText(to.ID), ErrClosed)
		}
		return nil, &callError{id: to.ID, err: err}
	}
	return conn, nil
}

// callError is a call that failed. It says what came back from each address in
// one sentence; errors.Is finds ErrUnreachable or ErrIdentity, and the causes.
type callError struct {
	id  cluster.ID
	err error
}

func (e *callError) kind() error {
	if errors.As(e.err, new(sec.ErrPeerIDMismatch)) {
		return ErrIdentity
	}
	return ErrUnreachable
}

func (e *callError) Unwrap() []error { return []error{e.kind(), e.err} }

func (e *callError) Error() string {
	var dial *swarm.DialError
	if !errors.As(e.err, &dial) || len(dial.DialErrors) == 0 {
		return fmt.Sprintf("%s: %v: %v", IDText(e.id), e.kind(), e.err)
	}
	var causes []string
	for _, d := range dial.DialErrors {
		cause := d.Cause
		var mismatch sec.ErrPeerIDMismatch
		var op *net.OpError
		switch {
		case errors.As(cause, &mismatch):
			cause = fmt.Errorf("%s is there", mismatch.Actual)
		case errors.As(cause, &op):
			cause = op.Err // the address stands in front of it
		}
		causes = append(causes, fmt.Sprintf("%s: %v", d.Address, cause))
	}
	return fmt.Sprintf("%s: %v (%s)", IDText(e.id), e.kind(), strings.Join(causes, "; "))
}
