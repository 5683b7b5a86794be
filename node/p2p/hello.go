package p2p

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/libp2p/go-libp2p/core/connmgr"
	"github.com/libp2p/go-libp2p/core/control"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerprobe/peerprobe/cluster"
)

// helloVersion is the version of the first frame that is spoken here.
const helloVersion = 1

// hello is the first frame of a stream: the opener's passport.
type hello struct {
	Version   uint            `cbor:"1,keyasint"`
	Network   cluster.Network `cbor:"2,keyasint"`
	Admission cluster.Signed  `cbor:"3,keyasint"`
}

// admitted is a peer that has shown a valid admission.
type admitted struct {
	admission *cluster.Admission
	raw       cluster.Signed
}

// gate decides who may open streams, and which connections may exist at all.
// Before SetTrust it lets nobody in; connections for the register protocol it allows.
type gate struct {
	trust  atomic.Pointer[cluster.Trust]
	own    atomic.Pointer[cluster.Signed]
	barred atomic.Pointer[map[peer.ID]struct{}]
	count  *counters

	mu    sync.Mutex
	known map[peer.ID]admitted // who has shown an admission; kept as long as connected, at least
}

func newGate(count *counters) *gate {
	return &gate{count: count, known: make(map[peer.ID]admitted)}
}

// hello returns the frame that shows our own admission.
func (g *gate) hello() ([]byte, error) {
	trust, own := g.trust.Load(), g.own.Load()
	if trust == nil || own == nil {
		return nil, ErrNoNetwork
	}
	return cluster.Marshal(hello{Version: helloVersion, Network: trust.Network(), Admission: *own}), nil
}

// judge says whether the frame admits the authenticated peer.
func (g *gate) judge(frame []byte, from peer.ID) (admitted, error) {
	trust := g.trust.Load()
	if trust == nil {
		return admitted{}, fmt.Errorf("%w: this node has joined no network yet", ErrNotAdmitted)
	}
	h, err := decodeHello(frame)
	if err != nil {
		return admitted{}, err
	}
	if h.Network != trust.Network() {
		return admitted{}, fmt.Errorf("%w: %.26q, this is %s", ErrWrongNetwork, h.Network, trust.Network())
	}
	if g.isBarred(from) {
		return admitted{}, ErrBarred
	}
	a, err := trust.Admission(h.Admission)
	if err != nil {
		return admitted{}, fmt.Errorf("%w: %w", ErrNotAdmitted, err)
	}
	if peer.ID(a.ID) != from {
		return admitted{}, fmt.Errorf("%w: the admission shown is of %s", ErrNotAdmitted, IDText(a.ID))
	}
	return admitted{admission: a, raw: h.Admission}, nil
}

func decodeHello(frame []byte) (hello, error) {
	var h hello
	if err := cluster.Unmarshal(frame, &h); err != nil {
		return hello{}, fmt.Errorf("first frame is no hello: %w", err)
	}
	if h.Version != helloVersion {
		return hello{}, fmt.Errorf("%w %d of the hello, this node speaks %d", ErrVersion, h.Version, helloVersion)
	}
	return h, nil
}

// remember notes that the peer has shown its admission. Admissions do not
// expire and the identity is proved by each connection, so it holds until the
// peer is forgotten, or barred.
func (g *gate) remember(p peer.ID, a admitted) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if old, ok := g.known[p]; ok && old.admission.Serial > a.admission.Serial {
		return
	}
	g.known[p] = a
}

func (g *gate) forget(p peer.ID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.known, p)
}

// knows says whether the peer has shown an admission and is not barred.
func (g *gate) knows(p peer.ID) bool {
	if g.isBarred(p) {
		return false
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_, ok := g.known[p]
	return ok
}

func (g *gate) isBarred(p peer.ID) bool {
	set := g.barred.Load()
	if set == nil {
		return false
	}
	_, ok := (*set)[p]
	return ok
}

// SetTrust names the network, once it is known. Before that only the register
// protocol works, in both directions.
func (h *Host) SetTrust(t *cluster.Trust) { h.gate.trust.Store(t) }

// SetAdmission sets the admission that this node shows to others.
func (h *Host) SetAdmission(own cluster.Signed) { h.gate.own.Store(&own) }

// SetBarred replaces the set of peers that may not connect, and drops the
// connections that they have.
func (h *Host) SetBarred(ids []cluster.ID) {
	set := make(map[peer.ID]struct{}, len(ids))
	for _, id := range ids {
		set[peer.ID(id)] = struct{}{}
	}
	h.gate.barred.Store(&set)
	for p := range set {
		h.gate.forget(p)
		_ = h.p2p.Network().ClosePeer(p)
	}
}

// libp2p asks the gate about connections; only barred peers are turned away here.
var _ connmgr.ConnectionGater = (*gate)(nil)

func (g *gate) allow(p peer.ID) bool {
	if g.isBarred(p) {
		g.count.barred.Add(1)
		return false
	}
	return true
}

func (g *gate) InterceptPeerDial(p peer.ID) bool { return g.allow(p) }

func (g *gate) InterceptAddrDial(peer.ID, ma.Multiaddr) bool { return true }

func (g *gate) InterceptAccept(network.ConnMultiaddrs) bool { return true }

func (g *gate) InterceptSecured(_ network.Direction, p peer.ID, _ network.ConnMultiaddrs) bool {
	return g.allow(p)
}

func (g *gate) InterceptUpgraded(network.Conn) (bool, control.DisconnectReason) { return true, 0 }
