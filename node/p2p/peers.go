package p2p

import (
	"context"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/time/rate"

	"github.com/peerprobe/peerprobe/cluster"
)

// peers keeps, for each peer, its connections, its streams by protocol and its
// message budgets, and tells in order who came and who went.
type peers struct {
	gate *gate

	mu    sync.Mutex
	state map[peer.ID]*peerState

	events chan struct{} // something is queued
	queue  []peerEvent   // under mu
	subs   []subscriber  // under mu
}

// peerState exists while the peer has a connection or a stream.
type peerState struct {
	conns map[string]*connState // by connection id
	slots map[string]*slot      // by protocol
}

// connState is what is known about one connection.
type connState struct {
	introduced bool // our admission was shown and accepted on it
}

// slot is a peer's share of one protocol.
type slot struct {
	open   int
	budget *rate.Limiter // nil: none
}

type peerEvent struct {
	id peer.ID
	up bool
}

type subscriber struct{ up, down func(cluster.ID) }

func newPeers(g *gate) *peers {
	return &peers{gate: g, state: make(map[peer.ID]*peerState), events: make(chan struct{}, 1)}
}

// of returns the peer's state, new if need be. Call with the lock held.
func (ps *peers) of(p peer.ID) *peerState {
	st := ps.state[p]
	if st == nil {
		st = &peerState{conns: make(map[string]*connState), slots: make(map[string]*slot)}
		ps.state[p] = st
	}
	return st
}

// tidy drops what is no longer needed. A budget lives as long as the peer is
// connected, so that closing a stream does not refill it. Call with the lock held.
func (ps *peers) tidy(p peer.ID, st *peerState) {
	if len(st.conns) > 0 {
		return
	}
	for proto, s := range st.slots {
		if s.open == 0 {
			delete(st.slots, proto)
		}
	}
	if len(st.slots) == 0 {
		delete(ps.state, p)
		ps.gate.forget(p)
	}
}

// take reserves a stream of the protocol; false when the peer has its share.
func (ps *peers) take(p peer.ID, proto string, opt HandleOptions) (*slot, bool) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	st := ps.of(p)
	s := st.slots[proto]
	if s == nil {
		s = &slot{}
		if opt.Rate > 0 {
			s.budget = rate.NewLimiter(rate.Limit(opt.Rate), opt.Burst)
		}
		st.slots[proto] = s
	}
	if s.open >= opt.PerPeer {
		return nil, false
	}
	s.open++
	return s, true
}

func (ps *peers) release(p peer.ID, s *slot) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	s.open--
	ps.tidy(p, ps.of(p))
}

// setIntroduced notes that the peer accepted our admission on the connection;
// false if the peer has no connection any more.
func (ps *peers) setIntroduced(p peer.ID, conn string) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	st := ps.state[p]
	if st == nil {
		return false
	}
	if c := st.conns[conn]; c != nil {
		c.introduced = true
	}
	return len(st.conns) > 0
}

// budget is the peer's message budget on the protocol; nil: none.
func (ps *peers) budget(p peer.ID, proto string) *rate.Limiter {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if st := ps.state[p]; st != nil && st.slots[proto] != nil {
		return st.slots[proto].budget
	}
	return nil
}

// introduced says whether a living connection exists on which the peer
// accepted our admission: as long as it lives, so does the peer's memory of it.
func (ps *peers) introduced(p peer.ID) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	if st := ps.state[p]; st != nil {
		for _, c := range st.conns {
			if c.introduced {
				return true
			}
		}
	}
	return false
}

func (ps *peers) connected(p peer.ID) bool {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	st := ps.state[p]
	return st != nil && len(st.conns) > 0
}

// Connected and Disconnected come from libp2p, for each connection.

func (ps *peers) Connected(_ network.Network, c network.Conn) {
	p := c.RemotePeer()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	st := ps.of(p)
	st.conns[c.ID()] = &connState{}
	if len(st.conns) == 1 {
		ps.tell(peerEvent{id: p, up: true})
	}
}

func (ps *peers) Disconnected(_ network.Network, c network.Conn) {
	p := c.RemotePeer()
	ps.mu.Lock()
	defer ps.mu.Unlock()
	st := ps.state[p]
	if st == nil || st.conns[c.ID()] == nil {
		return
	}
	delete(st.conns, c.ID())
	if len(st.conns) == 0 {
		ps.tell(peerEvent{id: p})
		ps.tidy(p, st)
	}
}

// tell queues an event. The queue grows no faster than connections are made,
// which the resource manager limits. Call with the lock held.
func (ps *peers) tell(e peerEvent) {
	if len(ps.subs) == 0 {
		return
	}
	ps.queue = append(ps.queue, e)
	select {
	case ps.events <- struct{}{}:
	default:
	}
}

// run hands events to the subscribers, in order, outside of libp2p's goroutines.
func (ps *peers) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-ps.events:
		}
		ps.mu.Lock()
		queue, subs := ps.queue, ps.subs
		ps.queue = nil
		ps.mu.Unlock()
		for _, e := range queue {
			for _, s := range subs {
				switch {
				case e.up && s.up != nil:
					s.up(cluster.ID(e.id))
				case !e.up && s.down != nil:
					s.down(cluster.ID(e.id))
				}
			}
		}
	}
}

// Notify calls connected when the first connection to a peer opens and
// disconnected when the last one has closed, from now on, one call at a time
// and in order. The functions should be quick and must not call Close.
func (h *Host) Notify(connected, disconnected func(cluster.ID)) {
	h.peers.mu.Lock()
	defer h.peers.mu.Unlock()
	h.peers.subs = append(h.peers.subs[:len(h.peers.subs):len(h.peers.subs)], subscriber{up: connected, down: disconnected})
}

// Connected says whether a connection to the peer exists.
func (h *Host) Connected(id cluster.ID) bool { return h.peers.connected(peer.ID(id)) }

// ClosePeer drops all connections to the peer: libp2p would go on handing out a
// dead one until its own keep-alive notices.
func (h *Host) ClosePeer(id cluster.ID) error { return h.p2p.Network().ClosePeer(peer.ID(id)) }

// Protect keeps the connections to the peer when connections have to be
// trimmed; each tag is a reason that is taken back with Unprotect.
func (h *Host) Protect(id cluster.ID, tag string) { h.p2p.ConnManager().Protect(peer.ID(id), tag) }

// Unprotect takes back one Protect.
func (h *Host) Unprotect(id cluster.ID, tag string) {
	h.p2p.ConnManager().Unprotect(peer.ID(id), tag)
}
