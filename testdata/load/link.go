package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/sec"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/upgrader"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	pb "github.com/libp2p/go-libp2p/p2p/protocol/identify/pb"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-msgio"
	"github.com/libp2p/go-msgio/pbio"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/multiformats/go-multistream"
	"google.golang.org/protobuf/proto"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// The wire of a light member: libp2p's connections without libp2p's host.

const (
	protoMember   = p2p.ProtoMember
	protoRegister = p2p.ProtoRegister
	writeLimit    = 10 * time.Second // as in package p2p
	maxIdentify   = 8 << 10
)

// link is one connection.
type link struct {
	raw  *net.TCPConn
	conn transport.CapableConn
	peer cluster.ID
}

// stream carries frames.
type stream struct {
	raw    network.MuxedStream
	rw     io.ReadWriter
	frames msgio.ReadCloser
}

func newStream(raw network.MuxedStream, rw io.ReadWriter) *stream {
	return &stream{raw: raw, rw: rw, frames: msgio.NewVarintReaderSize(rw, 4*cluster.MaxMessage)}
}

func (s *stream) writeFrame(b []byte) error {
	if err := s.raw.SetWriteDeadline(time.Now().Add(writeLimit)); err != nil {
		return err
	}
	_, err := s.rw.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...))
	return err
}

// muxer is yamux as package p2p sets it.
func muxer() *yamux.Transport {
	cfg := *yamux.DefaultTransport.Config()
	cfg.KeepAliveInterval, cfg.ConnectionWriteTimeout = 10*time.Second, 5*time.Second
	cfg.MaxStreamWindowSize, cfg.MeasureRTTInterval = p2p.MaxResultFrame, 24*time.Hour
	return (*yamux.Transport)(&cfg)
}

// newUpgrader makes Noise and yamux of a TCP connection, under the member's own key.
func newUpgrader(key crypto.PrivKey, mux *yamux.Transport) (transport.Upgrader, error) {
	muxers := []upgrader.StreamMuxer{{ID: yamux.ID, Muxer: mux}}
	n, err := noise.New(noise.ID, key, muxers)
	if err != nil {
		return nil, err
	}
	return upgrader.New([]sec.SecureTransport{n}, muxers, nil, nil, nil)
}

// dial tries the peer's addresses one after the other.
func (l *light) dial(ctx context.Context, to cluster.ID, addrs [][]byte) (*link, error) {
	errs := []error{fmt.Errorf("%s has no address that answers", to.Short())}
	for _, b := range addrs {
		a, err := ma.NewMultiaddrBytes(b)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		kind, hostPort, err := manet.DialArgs(a)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(l.ip(), 0))}
		raw, err := d.DialContext(ctx, kind, hostPort)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		k, err := l.secure(ctx, raw, network.DirOutbound, peer.ID(to))
		if err == nil {
			return k, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (l *light) ip() netip.Addr {
	return l.listen.Addr().(*net.TCPAddr).AddrPort().Addr()
}

func (l *light) secure(ctx context.Context, raw net.Conn, dir network.Direction, to peer.ID) (*link, error) {
	tcp := raw.(*net.TCPConn)
	_ = tcp.SetLinger(0) // as libp2p: no port stays in TIME-WAIT
	wrapped, err := manet.WrapNetConn(raw)
	if err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	conn, err := l.upgrade.Upgrade(ctx, nil, wrapped, dir, to, &network.NullScope{})
	if err != nil {
		return nil, err
	}
	return l.enter(tcp, conn, dir), nil
}

// accept takes calls until ctx ends.
func (l *light) accept(ctx context.Context) {
	stop := context.AfterFunc(ctx, func() { _ = l.listen.Close() })
	defer stop()
	for {
		raw, err := l.listen.Accept()
		if err != nil {
			return
		}
		l.crowd.wg.Go(func() {
			limited, cancel := context.WithTimeout(ctx, 5*dialLimit)
			defer cancel()
			if _, err := l.secure(limited, raw, network.DirInbound, ""); err != nil {
				l.crowd.noDial.Add(1)
			}
		})
	}
}

// protocols that a light member answers.
var protocols = func() *multistream.MultistreamMuxer[protocol.ID] {
	m := multistream.NewMultistreamMuxer[protocol.ID]()
	for _, p := range []protocol.ID{protoMember, identify.ID, identify.IDPush} {
		m.AddHandler(p, nil)
	}
	return m
}()

// serve answers streams until the connection closes.
func (l *light) serve(ctx context.Context, k *link) {
	stop := context.AfterFunc(ctx, func() { _ = k.conn.Close() })
	defer stop()
	for {
		raw, err := k.conn.AcceptStream()
		if err != nil {
			break
		}
		l.crowd.wg.Go(func() {
			if err := l.answer(ctx, k, raw); err != nil {
				_ = raw.Reset() // whatever it was, it is over
				return
			}
			_ = raw.Close()
		})
	}
	_ = k.conn.Close() // the other side has
	l.leave(ctx, k)
}

func (l *light) answer(ctx context.Context, k *link, raw network.MuxedStream) error {
	name, _, err := protocols.Negotiate(raw)
	if err != nil {
		return err
	}
	switch name {
	case identify.ID:
		return pbio.NewDelimitedWriter(raw).WriteMsg(l.identity(k))
	case identify.IDPush:
		_, err := io.Copy(io.Discard, io.LimitReader(raw, maxIdentify))
		return err
	}
	s := newStream(raw, raw)
	if _, err := s.frames.ReadMsg(); err != nil { // the hello: a light member trusts whom the Noise handshake proved
		return err
	}
	for {
		frame, err := s.frames.ReadMsg()
		if err != nil {
			return err
		}
		msg, err := cluster.DecodeMessage(frame)
		if err != nil {
			return err
		}
		l.crowd.got.Add(1)
		l.put(ctx, cluster.Received{From: k.peer, Message: msg})
	}
}

// identity is what libp2p hosts tell one another about themselves.
func (l *light) identity(k *link) *pb.Identify {
	return &pb.Identify{
		ProtocolVersion: proto.String("peerprobe/1"), AgentVersion: proto.String("peerprobe-load"), PublicKey: l.public,
		ListenAddrs: [][]byte{l.addr}, ObservedAddr: k.conn.RemoteMultiaddr().Bytes(),
		Protocols: []string{protoMember, identify.ID, identify.IDPush},
	}
}

// identify asks the other side who it is, as libp2p does on each new connection.
func (k *link) identify(ctx context.Context) {
	raw, err := k.conn.OpenStream(ctx)
	if err != nil {
		return
	}
	defer raw.Close()
	_ = raw.SetDeadline(time.Now().Add(writeLimit))
	if _, err := io.Copy(io.Discard, io.LimitReader(multistream.NewMSSelect(raw, string(identify.ID)), maxIdentify)); err != nil {
		_ = raw.Reset()
	}
}
