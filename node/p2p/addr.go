package p2p

import (
	"fmt"
	"net/netip"
	"strconv"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/peerprobe/peerprobe/cluster"
)

// maxAddrs bounds the addresses that a host shows of itself and that it takes
// of a peer for one dial: a claim to lead carries those of four nodes in 2 KiB.
const maxAddrs = 8

// IDText is the usual text of an id: "12D3KooW...".
func IDText(id cluster.ID) string { return peer.ID(id).String() }

// ParseID is the inverse of IDText. Only ids of Ed25519 keys are accepted.
func ParseID(s string) (cluster.ID, error) {
	p, err := peer.Decode(s)
	if err != nil {
		return "", fmt.Errorf("peer id %q: %w; expected something like 12D3KooW", s, err)
	}
	id := cluster.ID(p)
	if _, err := id.PublicKey(); err != nil {
		return "", fmt.Errorf("peer id %q: %w", s, err)
	}
	return id, nil
}

// AddrText is the text of a binary multiaddr: "/ip4/192.0.2.1/tcp/7401". Bytes
// that are none come out as such, in hexadecimal.
func AddrText(b []byte) string {
	a, err := ma.NewMultiaddrBytes(b)
	if err != nil {
		return fmt.Sprintf("(invalid address %x)", b)
	}
	return a.String()
}

// ParseAddr is the inverse of AddrText.
func ParseAddr(s string) ([]byte, error) {
	a, err := ma.NewMultiaddr(s)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w; expected something like /ip4/192.0.2.1/tcp/7401", s, err)
	}
	return a.Bytes(), nil
}

// AddrIP is the IP address in a binary multiaddr; false if there is none.
func AddrIP(b []byte) (netip.Addr, bool) {
	a, err := ma.NewMultiaddrBytes(b)
	if err != nil {
		return netip.Addr{}, false
	}
	return addrIP(a)
}

func addrIP(a ma.Multiaddr) (netip.Addr, bool) {
	ip, err := manet.ToIP(a)
	if err != nil {
		return netip.Addr{}, false
	}
	addr, ok := netip.AddrFromSlice(ip)
	return addr.Unmap(), ok
}

// addrPort is the IP address and TCP or UDP port of a connection's end.
func addrPort(a ma.Multiaddr) netip.AddrPort {
	ip, ok := addrIP(a)
	if !ok {
		return netip.AddrPort{}
	}
	text, err := a.ValueForProtocol(ma.P_TCP)
	if err != nil {
		if text, err = a.ValueForProtocol(ma.P_UDP); err != nil {
			return netip.AddrPort{}
		}
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ip, uint16(port))
}

// ParsePeer reads an address that names a peer: "/ip4/192.0.2.1/tcp/7401/p2p/12D3KooW...".
func ParsePeer(s string) (cluster.Peer, error) {
	info, err := peer.AddrInfoFromString(s)
	if err != nil {
		return cluster.Peer{}, fmt.Errorf("peer address %q: %w; expected something like /ip4/192.0.2.1/tcp/7401/p2p/12D3KooW", s, err)
	}
	id := cluster.ID(info.ID)
	if _, err := id.PublicKey(); err != nil {
		return cluster.Peer{}, fmt.Errorf("peer address %q: %w", s, err)
	}
	if len(info.Addrs) == 0 {
		return cluster.Peer{}, fmt.Errorf("peer address %q names a peer and no address", s)
	}
	p := cluster.Peer{ID: id}
	for _, a := range info.Addrs {
		p.Addrs = append(p.Addrs, a.Bytes())
	}
	return p, nil
}

// PeerText is the inverse of ParsePeer, one line for each address.
func PeerText(p cluster.Peer) []string {
	var out []string
	for _, b := range p.Addrs {
		out = append(out, AddrText(b)+"/p2p/"+IDText(p.ID))
	}
	return out
}

// multiaddrs decodes what can be decoded, maxAddrs at most: one bad address of
// a peer must not hide its good ones.
func multiaddrs(binary [][]byte) []ma.Multiaddr {
	var out []ma.Multiaddr
	for _, b := range binary {
		a, err := ma.NewMultiaddrBytes(b)
		if err != nil || len(a) == 0 {
			continue
		}
		if out = append(out, a); len(out) == maxAddrs {
			break
		}
	}
	return out
}

func addrInfo(p cluster.Peer) peer.AddrInfo {
	return peer.AddrInfo{ID: peer.ID(p.ID), Addrs: multiaddrs(p.Addrs)}
}
