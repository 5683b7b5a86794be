package p2p

import (
	"context"
	"fmt"
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
	h.peers.setIntroduced(conn.RemotePeer(), conn.ID())
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
	h *Host
}

// dhtStreams is one peer's share of DHT streams: kad-dht keeps one open and
// opens single ones when that fails.
var dhtStreams = HandleOptions{PerPeer: DefaultPerPeer}

func (g gatedHost) SetStreamHandler(id protocol.ID, inner network.StreamHandler) {
	g.Host.SetStreamHandler(id, func(raw network.Stream) {
		if !g.h.enter() {
			_ = raw.Reset()
			return
		}
		defer g.h.wg.Done()
		from := raw.Conn().RemotePeer()
		if !g.h.gate.knows(from) {
			g.h.count.refused(ErrNotAdmitted)
			_ = raw.ResetWithError(codeNotAdmitted)
			return
		}
		slot, ok := g.h.peers.take(from, string(id), dhtStreams)
		if !ok {
			g.h.count.refused(ErrTooManyStreams)
			_ = raw.ResetWithError(codeTooMany)
			return
		}
		defer g.h.peers.release(from, slot)
		g.h.count.accepted.Add(1)
		inner(raw)
	})
}

func (g gatedHost) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	if err := g.introduced(ctx, p); err != nil {
		return nil, err
	}
	return g.Host.NewStream(ctx, p, ids...)
}

// introduced makes sure that the peer has accepted our admission, and we its.
// Several callers share one exchange, which does not end with the first of them.
func (g gatedHost) introduced(ctx context.Context, p peer.ID) error {
	if g.h.peers.introduced(p) && g.h.gate.knows(p) {
		return nil
	}
	if !g.h.enter() {
		return ErrClosed
	}
	done := g.h.introductions.DoChan(string(p), func() (any, error) {
		ctx, cancel := context.WithTimeout(g.h.ctx, introduceTimeout)
		defer cancel()
		_, err := g.h.Introduce(ctx, cluster.Peer{ID: cluster.ID(p)})
		return nil, err
	})
	defer g.h.wg.Done()
	select {
	case r := <-done:
		return r.Err
	case <-ctx.Done():
		return ctx.Err()
	}
}
