package p2p

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/transport"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerprobe/peerprobe/cluster"
)

// maxFresh bounds the addresses that DialFresh tries: a peer may not make this
// host look through the ports of an address.
const maxFresh = 2

// ErrNotAnnounced: a peer announces no address where it is seen.
var ErrNotAnnounced = errors.New("the peer announces no address at which it is seen")

// Observed is the IP address from which a connected peer is seen: behind a NAT,
// the NAT's. One that the peer came from counts before one that was dialled.
func (h *Host) Observed(id cluster.ID) (netip.Addr, bool) {
	var seen netip.Addr
	for _, c := range h.p2p.Network().ConnsToPeer(peer.ID(id)) {
		_, err := c.RemoteMultiaddr().ValueForProtocol(ma.P_CIRCUIT)
		ip, ok := addrIP(c.RemoteMultiaddr())
		if err == nil || !ok {
			continue // through a relay
		}
		if c.Stat().Direction == network.DirInbound {
			return ip, true
		}
		seen = ip
	}
	return seen, seen.IsValid()
}

// DialFresh finds out whether a peer can be reached from outside: it makes one
// more connection to it, beside those that stand, proves who is there, and drops
// it. Of the announced addresses it tries only those that have the given IP
// address, maxFresh at most, so that nobody can send it elsewhere. ctx bounds it.
func (h *Host) DialFresh(ctx context.Context, to cluster.Peer, at netip.Addr) error {
	swarm, ok := h.p2p.Network().(interface {
		TransportForDialing(ma.Multiaddr) transport.Transport
	})
	if !ok {
		return fmt.Errorf("dialling %s anew: %T has no transports", IDText(to.ID), h.p2p.Network())
	}
	tried := 0
	err := fmt.Errorf("%w (%s)", ErrNotAnnounced, at)
	for _, a := range multiaddrs(to.Addrs) {
		if ip, ok := addrIP(a); !ok || ip != at.Unmap() || tried == maxFresh {
			continue
		}
		t := swarm.TransportForDialing(a)
		if t == nil {
			continue
		}
		tried++
		var conn transport.CapableConn
		if conn, err = t.Dial(ctx, a, peer.ID(to.ID)); err == nil {
			return conn.Close()
		}
		err = fmt.Errorf("%w: %s: %w", ErrUnreachable, a, err)
	}
	return err
}
