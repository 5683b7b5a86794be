package p2p

import (
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/net/connmgr"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	"github.com/libp2p/go-libp2p/x/rate"
)

// libp2p's defaults stop a city behind one address at its ninth node, admit one
// connection in five seconds after sixteen, and exempt loopback from both, so
// that no test on one machine shows it. Here every limit follows from the number
// of members, and loopback is an address like any other.
const (
	// connsSpare is what the connection manager allows beyond the members: other
	// heads, the registry, initiators of running sessions.
	connsSpare = 64
	// connsPerPeer: two nodes that dial one another at once hold two connections
	// until one is closed, and a restarted node's dead one lingers beside the new.
	connsPerPeer = 2
	// connsOnePeer bounds what a single identity may hold open.
	connsOnePeer = 8
	// streamsPerPeer is the mean over all peers, streamsOnePeer the bound for one:
	// eight a protocol, of eight protocols with identify and the DHT.
	streamsPerPeer, streamsOnePeer = 16, 64
	// streamsProtoPeer is the second wall behind HandleOptions.PerPeer; libp2p
	// counts both directions in it.
	streamsProtoPeer = 4 * DefaultPerPeer
	// streamWindow is what yamux reserves for a stream from the start.
	streamWindow = 256 << 10
	// memorySpare and memoryPerPeer bound what all windows together may reserve.
	memorySpare, memoryPerPeer = 128 << 20, 4 * streamWindow
	// handshakes are connections whose peer is not authenticated yet. At 1.1 ms
	// of processor time each, this many are a second's work of a small machine.
	handshakes = 256
	// connBurst and connRate are new connections from one address, beside those of
	// the members: all of a city may come back at once, strangers may not.
	connBurst, connRate = 64, 8.0
	// connRateAll bounds new connections of all addresses: the handshakes that one
	// core can do in a second, less what else it has to do.
	connRateAll = 500.0
)

// limits is how a host is sized; a value of its own so that tests can look at it.
type limits struct {
	resources  rcmgr.PartialLimitConfig
	ip4, ip6   []rcmgr.ConnLimitPerSubnet
	rates      *rate.Limiter
	low, high  int // watermarks of the connection manager
	graceTrims time.Duration
}

func limitsFor(members int) limits {
	conns := connsPerPeer*members + 2*connsSpare
	streams := streamsPerPeer*members + 8*connsSpare
	memory := int64(memorySpare) + int64(memoryPerPeer)*int64(members)
	both := func(conns, streams int, memory int64) rcmgr.ResourceLimits {
		return rcmgr.ResourceLimits{
			Conns: rcmgr.LimitVal(conns), ConnsInbound: rcmgr.LimitVal(conns), ConnsOutbound: rcmgr.LimitVal(conns),
			FD:      rcmgr.LimitVal(conns),
			Streams: rcmgr.LimitVal(streams), StreamsInbound: rcmgr.LimitVal(streams), StreamsOutbound: rcmgr.LimitVal(streams),
			Memory: rcmgr.LimitVal64(memory),
		}
	}
	// Identify runs once in each direction on each new connection.
	ident := both(conns, connsPerPeer*conns, memory)
	identPeer := both(connsOnePeer, 2*connsOnePeer, 2*connsOnePeer*streamWindow)
	return limits{
		resources: rcmgr.PartialLimitConfig{
			System:              both(conns, streams, memory),
			Transient:           both(handshakes, 4*handshakes, memory),
			ProtocolDefault:     both(conns, streams, memory),
			ProtocolPeerDefault: both(connsOnePeer, streamsProtoPeer, streamsOnePeer*streamWindow),
			PeerDefault:         both(connsOnePeer, streamsOnePeer, streamsOnePeer*streamWindow),
			Service:             map[string]rcmgr.ResourceLimits{identify.ServiceName: ident},
			ServicePeer:         map[string]rcmgr.ResourceLimits{identify.ServiceName: identPeer},
			Protocol: map[protocol.ID]rcmgr.ResourceLimits{
				identify.ID: ident, identify.IDPush: ident,
			},
			ProtocolPeer: map[protocol.ID]rcmgr.ResourceLimits{
				identify.ID: identPeer, identify.IDPush: identPeer,
			},
		},
		// One network may be a whole city behind one NAT.
		ip4: []rcmgr.ConnLimitPerSubnet{{PrefixLength: 32, ConnCount: conns}},
		ip6: []rcmgr.ConnLimitPerSubnet{{PrefixLength: 56, ConnCount: conns}},
		rates: &rate.Limiter{
			GlobalLimit: rate.Limit{RPS: connRateAll, Burst: conns + int(connRateAll)},
			SubnetRateLimiter: rate.SubnetLimiter{
				IPv4SubnetLimits: []rate.SubnetLimit{{PrefixLength: 32, Limit: connsFrom(members)}},
				IPv6SubnetLimits: []rate.SubnetLimit{{PrefixLength: 56, Limit: connsFrom(members)}},
				GracePeriod:      time.Minute,
			},
		},
		high: members + connsSpare, low: members + connsSpare/2,
		// A connection is left alone until its peer has had time to say who it is.
		graceTrims: 2 * helloTimeout,
	}
}

// connsFrom is the rate of new connections from one address.
func connsFrom(members int) rate.Limit {
	return rate.Limit{RPS: connRate + float64(members)/8, Burst: connBurst + connsPerPeer*members}
}

func (l limits) resourceManager() (network.ResourceManager, error) {
	concrete := l.resources.Build(rcmgr.DefaultLimits.AutoScale())
	rm, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(concrete),
		rcmgr.WithMetricsDisabled(),
		rcmgr.WithLimitPerSubnet(l.ip4, l.ip6),
		// Not nil but empty: no prefix is exempt, loopback included.
		rcmgr.WithNetworkPrefixLimit([]rcmgr.NetworkPrefixLimit{}, []rcmgr.NetworkPrefixLimit{}),
		rcmgr.WithConnRateLimiters(l.rates),
	)
	if err != nil {
		return nil, fmt.Errorf("resource manager: %w", err)
	}
	return rm, nil
}

func (l limits) connManager() (*connmgr.BasicConnMgr, error) {
	cm, err := connmgr.NewConnManager(l.low, l.high, connmgr.WithGracePeriod(l.graceTrims))
	if err != nil {
		return nil, fmt.Errorf("connection manager: %w", err)
	}
	return cm, nil
}
