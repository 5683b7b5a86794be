package p2p

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerprobe/peerprobe/cluster"
)

// introduceTimeout bounds the exchange of hellos: a dial and a round trip.
const introduceTimeout = DialTimeout + time.Second

// Introduce exchanges hellos with the peer and returns what it showed.
func (h *Host) Introduce(ctx context.Context, to cluster.Peer) (Remote, error) {
	conn, err := h.dial(ctx, to)
	if err != nil {
		return Remote{}, err
	}
	return h.introduceOn(ctx, conn)
}

func (h *Host) introduceOn(ctx context.Context, conn network.Conn) (Remote, error) {
	own, err := h.gate.hello()
	if err != nil {
		return Remote{}, err
	}
	s, err := h.openOn(ctx, conn, ProtoHello, own, maxHello, helloTimeout)
	if err != nil {
		return Remote{}, err
	}
	defer s.Close()
	defer s.ResetOn(ctx)()
	frame, err := s.ReadFrame()
	if err != nil {
		return Remote{}, fmt.Errorf("introduction: %w", err)
	}
	a, err := h.gate.judge(frame, conn.RemotePeer())
	if err != nil {
		h.count.refused(err)
		s.resetWith(codeOf(err))
		return Remote{}, fmt.Errorf("introduction of %s: %w", conn.RemotePeer(), err)
	}
	h.gate.remember(conn.RemotePeer(), a)
	if !h.peers.setIntroduced(conn.RemotePeer(), conn.ID()) {
		h.gate.forget(conn.RemotePeer()) // it has just disconnected
	}
	s.remote.Admission, s.remote.AdmissionRaw = a.admission, a.raw
	return s.remote, nil
}

// answerHello is the handler of ProtoHello; the caller's hello has been judged
// before, as on every stream.
func (h *Host) answerHello(_ context.Context, _ Remote, s *Stream) error {
	own, err := h.gate.hello()
	if err != nil {
		return err
	}
	return s.WriteFrame(own)
}

// gatedHost is what kad-dht gets instead of the host. kad-dht opens its streams
// itself and knows no hello, so each pair of peers exchanges hellos once a
// connection before the first of them, and streams of others are reset.
type gatedHost struct {
	host.Host
	d *DHT
}

// dhtStreams is one peer's share of DHT streams: kad-dht keeps one open and
// opens single ones when that fails. The message budget is spent in DHT.spend.
var dhtStreams = HandleOptions{PerPeer: DefaultPerPeer, Rate: dhtRate, Burst: dhtBurst}

func (g gatedHost) SetStreamHandler(id protocol.ID, inner network.StreamHandler) {
	g.Host.SetStreamHandler(id, func(raw network.Stream) { g.d.serve(raw, inner) })
}

// serve lets kad-dht have the streams of admitted peers.
func (d *DHT) serve(raw network.Stream, inner network.StreamHandler) {
	from := raw.Conn().RemotePeer()
	if !d.h.gate.knows(from) {
		d.h.count.refused(ErrNotAdmitted)
		_ = raw.ResetWithError(codeNotAdmitted)
		return
	}
	slot, ok := d.h.peers.take(from, string(d.proto), dhtStreams)
	if !ok {
		d.h.count.refused(ErrTooManyStreams)
		_ = raw.ResetWithError(codeTooMany)
		return
	}
	defer d.h.peers.release(from, slot)
	// kad-dht waits for a stream's next message for a minute, also when it is
	// closed itself; Close resets what is registered here.
	if !d.enter() {
		_ = raw.Reset()
		return
	}
	defer d.wg.Done()
	defer context.AfterFunc(d.ctx, func() { _ = raw.Reset() })()
	d.h.count.accepted.Add(1)
	inner(raw)
}

func (g gatedHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	if g.d.silent.is(p) {
		return nil, fmt.Errorf("%s: %w", p, errSilent)
	}
	if err := g.d.introduced(ctx, p); err != nil {
		return nil, err
	}
	s, err := g.Host.NewStream(ctx, p, ids...)
	if err != nil {
		return nil, err
	}
	return promptStream{Stream: s, silent: &g.d.silent}, nil
}

// kad-dht waits 10 s for an answer, twice, and asks ten heads at a time: of a
// third of the heads that is silent, ten may be the nearest to a key, and then
// nobody else is asked before the lookup is over.
const (
	// answerTimeout is how long a head may take to answer, as long as it may take
	// to be reached. It leaves a lookup time for others.
	answerTimeout = DialTimeout
	// silentFor is how long a head that did not is not asked again, by any lookup.
	silentFor = 10 * time.Second
	// maxSilent bounds those that are remembered.
	maxSilent = 1024
)

var errSilent = errors.New("did not answer a moment ago")

// promptStream is a stream on which every question has to be answered soon.
type promptStream struct {
	network.Stream
	silent *silentPeers
}

func (s promptStream) Write(b []byte) (int, error) {
	n, err := s.Stream.Write(b)
	if err == nil {
		err = s.Stream.SetReadDeadline(time.Now().Add(answerTimeout))
	}
	return n, err
}

func (s promptStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		s.silent.add(s.Conn().RemotePeer())
	}
	return n, err
}

// silentPeers are those that did not answer lately.
type silentPeers struct {
	mu    sync.Mutex
	until map[peer.ID]time.Time
}

func (q *silentPeers) add(p peer.ID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.until == nil || len(q.until) >= maxSilent {
		q.until = make(map[peer.ID]time.Time)
	}
	q.until[p] = time.Now().Add(silentFor)
}

func (q *silentPeers) is(p peer.ID) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	until, known := q.until[p]
	if known && time.Now().After(until) {
		delete(q.until, p)
		return false
	}
	return known
}

// introduced makes sure that the peer has accepted our admission, and we its.
// Several callers share one exchange, which does not end with the first of them.
func (d *DHT) introduced(ctx context.Context, p peer.ID) error {
	if d.h.peers.introduced(p) && d.h.gate.knows(p) {
		return nil
	}
	done := d.introductions.DoChan(string(p), func() (any, error) {
		if !d.enter() {
			return nil, ErrClosed
		}
		defer d.wg.Done()
		ctx, cancel := context.WithTimeout(d.ctx, introduceTimeout)
		defer cancel()
		_, err := d.h.Introduce(ctx, cluster.Peer{ID: cluster.ID(p)})
		if ctx.Err() != nil {
			d.silent.add(p)
		}
		return nil, err
	})
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}
