package p2p

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	ds "github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/net/swarm"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	quic "github.com/libp2p/go-libp2p/p2p/transport/quic"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/peerprobe/peerprobe/cluster"
)

const (
	// keepAlive and writeTimeout notice a silent peer within 15 s, where yamux's
	// own settings take 40: soon enough that a dead connection is not what the
	// next call gets, seldom enough to cost nothing.
	keepAlive, writeTimeout = 10 * time.Second, 5 * time.Second
	// maxWindow bounds what a stream may have in flight: one frame of results.
	// yamux would go up to 16 MiB, which a slow reader then has to hold.
	maxWindow = MaxResultFrame
	// measureRTT is how often yamux pings only to learn how fast a window should
	// grow: once is enough for windows of this size.
	measureRTT = 24 * time.Hour
)

// Host is a node's one libp2p host.
type Host struct {
	log   *slog.Logger
	p2p   host.Host
	gate  *gate
	peers *peers
	count *counters

	records ds.Batching // of the DHT; outlives it, for a head that comes back

	ctx    context.Context // of handlers
	cancel context.CancelFunc
	mu     sync.Mutex // guards closed, and wg.Add against wg.Wait
	closed bool
	wg     sync.WaitGroup
}

// New opens the sockets of a host and starts it. It fails if any of the
// addresses cannot be listened on.
func New(cfg Config) (*Host, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	count := &counters{}
	g := newGate(count)
	p2p, err := assemble(cfg, g)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &Host{
		log: cfg.Log, p2p: p2p, gate: g, peers: newPeers(g), count: count,
		records: dssync.MutexWrap(ds.NewMapDatastore()),
		ctx:     ctx, cancel: cancel,
	}
	p2p.Network().Notify(&network.NotifyBundle{ConnectedF: h.peers.Connected, DisconnectedF: h.peers.Disconnected})
	h.wg.Go(func() { h.peers.run(ctx) })
	h.Handle(ProtoHello, HandleOptions{MaxFrame: maxHello, Idle: helloTimeout}, h.answerHello)
	return h, nil
}

// assemble makes the libp2p host: TCP, Noise and yamux, QUIC where asked for,
// and nothing else: no relay, no address discovery, no port mapping, no metrics.
func assemble(cfg Config, g *gate) (host.Host, error) {
	key, err := crypto.UnmarshalEd25519PrivateKey(cfg.Key)
	if err != nil {
		return nil, fmt.Errorf("host key: %w", err)
	}
	listen, err := listenAddrs(cfg)
	if err != nil {
		return nil, err
	}
	lim := limitsFor(cfg.Members)
	conns, err := lim.connManager()
	if err != nil {
		return nil, err
	}
	resources, err := lim.resourceManager()
	if err != nil {
		return nil, errors.Join(err, conns.Close())
	}
	opts := []libp2p.Option{
		libp2p.Identity(key),
		libp2p.Transport(tcp.NewTCPTransport, tcpOptions(cfg)...),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, muxer()),
		libp2p.ConnectionManager(conns),
		libp2p.ResourceManager(resources),
		libp2p.ConnectionGater(g),

		libp2p.SwarmOpts(swarm.WithDialRanker(rankDials), swarm.WithDialTimeout(DialTimeout), swarm.WithDialTimeoutLocal(DialTimeout)),
		// A counter of failures must not decide that UDP or IPv6 does not work here.
		libp2p.UDPBlackHoleSuccessCounter(nil), libp2p.IPv6BlackHoleSuccessCounter(nil),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.Ping(false),
		libp2p.DisableIdentifyAddressDiscovery(),
		// Said, not found out: otherwise AutoNAT asks around.
		libp2p.ForceReachabilityPublic(),
		libp2p.UserAgent("peerprobe"), libp2p.ProtocolVersion("peerprobe/1"),
	}
	if cfg.QUIC {
		opts = append(opts, libp2p.Transport(quic.NewTransport))
	}
	// Listening comes after: libp2p.New leaves goroutines behind when a port is taken.
	h, err := libp2p.New(append(opts, libp2p.NoListenAddrs)...)
	if err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	if len(listen) == 0 {
		return h, nil
	}
	err = h.Network().Listen(listen...)
	if err != nil {
		err = fmt.Errorf("listening on %s: %w; the port may be taken, or the address not be of this host: give another one", strings.Join(cfg.Listen, " "), err)
	} else {
		err = listensOnAll(h, listen)
	}
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

func listenAddrs(cfg Config) ([]ma.Multiaddr, error) {
	var out []ma.Multiaddr
	for _, s := range cfg.Listen {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: %w", s, err)
		}
		out = append(out, a)
		if !cfg.QUIC {
			continue
		}
		port, err := a.ValueForProtocol(ma.P_TCP)
		if err != nil {
			return nil, fmt.Errorf("listen address %q: %w", s, err)
		}
		ip, _ := ma.SplitFirst(a)
		udp, err := ma.NewMultiaddr(ip.String() + "/udp/" + port + "/quic-v1")
		if err != nil {
			return nil, fmt.Errorf("QUIC beside %q: %w", s, err)
		}
		out = append(out, udp)
	}
	return out, nil
}

// listensOnAll: libp2p is content when one of several addresses works. Whoever
// asked for a port wants that port, so the missing one is tried again for its
// error. An IPv6 wildcard on a host without IPv6 is forgiven.
func listensOnAll(h host.Host, want []ma.Multiaddr) error {
	if len(h.Network().ListenAddresses()) >= len(want) {
		return nil
	}
	for _, a := range want {
		if slices.ContainsFunc(h.Network().ListenAddresses(), func(b ma.Multiaddr) bool { return sameListener(a, b) }) {
			continue
		}
		err := h.Network().Listen(a)
		if ip, ok := addrIP(a); err != nil && !(ok && ip.Is6() && ip.IsUnspecified()) {
			return fmt.Errorf("listening on %s: %w", a, err)
		}
	}
	return nil
}

// sameListener says whether b is what listening on a gave: port 0 became another.
func sameListener(a, b ma.Multiaddr) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		code := a[i].Protocol().Code
		if b[i].Protocol().Code != code {
			return false
		}
		port := (code == ma.P_TCP || code == ma.P_UDP) && a[i].Value() == "0"
		if !port && a[i].Value() != b[i].Value() {
			return false
		}
	}
	return true
}

// tcpOptions turn port reuse off: with it a port that another process of this
// user holds can be listened on again, and connections come from the listening
// port, which a second dial to the same peer then finds in use.
func tcpOptions(cfg Config) []any {
	opts := []any{tcp.WithConnectionTimeout(DialTimeout), tcp.DisableReuseport()}
	if !cfg.Bind.IsValid() {
		return opts
	}
	bound := &net.Dialer{LocalAddr: &net.TCPAddr{IP: cfg.Bind.AsSlice(), Zone: cfg.Bind.Zone()}}
	return append(opts, tcp.WithDialerForAddr(func(to ma.Multiaddr) (tcp.ContextDialer, error) {
		ip, ok := addrIP(to)
		if !ok || ip.Is4() != cfg.Bind.Unmap().Is4() {
			return nil, fmt.Errorf("%s cannot be reached from %s: another address family", to, cfg.Bind)
		}
		return bound, nil
	}))
}

// muxer is yamux with shorter timeouts, in a copy: the default is one for the
// whole process.
func muxer() *yamux.Transport {
	cfg := *yamux.DefaultTransport.Config()
	cfg.KeepAliveInterval, cfg.ConnectionWriteTimeout = keepAlive, writeTimeout
	cfg.MaxStreamWindowSize, cfg.MeasureRTTInterval = maxWindow, measureRTT
	cfg.AcceptBacklog = streamsOnePeer // a slot each is reserved with the connection, and more are not allowed
	return (*yamux.Transport)(&cfg)
}

const (
	// nextAddr is the head start of one TCP address over the next.
	nextAddr = 50 * time.Millisecond
	// quicDelay is the head start of TCP over QUIC: connections that carry the
	// control plane are TCP, because the end of a process shows at once there.
	quicDelay = 300 * time.Millisecond
)

// rankDials orders dials: TCP first, loopback last among equals (it is another
// machine's unless it is ours), QUIC after them.
func rankDials(addrs []ma.Multiaddr) []network.AddrDelay {
	isTCP := func(a ma.Multiaddr) bool { _, err := a.ValueForProtocol(ma.P_TCP); return err == nil }
	var out []network.AddrDelay
	var tcps, others []ma.Multiaddr
	for _, a := range addrs {
		if isTCP(a) {
			tcps = append(tcps, a)
		} else {
			others = append(others, a)
		}
	}
	slices.SortStableFunc(tcps, func(a, b ma.Multiaddr) int { return rankAddr(a) - rankAddr(b) })
	for i, a := range tcps {
		out = append(out, network.AddrDelay{Addr: a, Delay: time.Duration(i) * nextAddr})
	}
	var after time.Duration
	if len(tcps) > 0 {
		after = quicDelay
	}
	for i, a := range others {
		out = append(out, network.AddrDelay{Addr: a, Delay: after + time.Duration(i)*nextAddr})
	}
	return out
}

func rankAddr(a ma.Multiaddr) int {
	switch {
	case manet.IsIPLoopback(a):
		return 2
	case manet.IsPublicAddr(a):
		return 0
	}
	return 1
}

// ID is the node's identity.
func (h *Host) ID() cluster.ID { return cluster.ID(h.p2p.ID()) }

// Addrs are the addresses at which the host listens, binary, without the peer
// id, 8 at most. A wildcard stands for the addresses of all interfaces, then
// without loopback where there is another.
func (h *Host) Addrs() [][]byte {
	all, err := h.p2p.Network().InterfaceListenAddresses()
	if err != nil {
		h.log.Warn("reading the addresses of the interfaces failed", "err", err)
		all = h.p2p.Network().ListenAddresses()
	}
	wild := slices.ContainsFunc(h.p2p.Network().ListenAddresses(), manet.IsIPUnspecified)
	all = slices.DeleteFunc(slices.Clone(all), func(a ma.Multiaddr) bool {
		return manet.IsIPUnspecified(a) || manet.IsIP6LinkLocal(a)
	})
	if wild && slices.ContainsFunc(all, func(a ma.Multiaddr) bool { return !manet.IsIPLoopback(a) }) {
		all = slices.DeleteFunc(all, manet.IsIPLoopback)
	}
	slices.SortStableFunc(all, func(a, b ma.Multiaddr) int { return rankAddr(a) - rankAddr(b) })
	out := make([][]byte, 0, maxAddrs)
	for _, a := range all[:min(len(all), maxAddrs)] {
		out = append(out, a.Bytes())
	}
	return out
}

// Self is the host as a peer: its id and addresses.
func (h *Host) Self() cluster.Peer { return cluster.Peer{ID: h.ID(), Addrs: h.Addrs()} }

// enter counts a goroutine in that Close waits for; false when closed.
func (h *Host) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return false
	}
	h.wg.Add(1)
	return true
}

// Close drops all connections and returns when every handler has. A DHT that
// runs on the host has to be closed before.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	h.cancel()
	err := h.p2p.Close()
	h.wg.Wait()
	return err
}
