package probe

import (
	"fmt"
	"net"
	"net/netip"
	"time"
)

// udpSocket stamps in user space, right before the send call and right after
// the receive call. One goroutine may read while another writes.
type udpSocket struct {
	conn  *net.UDPConn
	local netip.AddrPort
	v4    bool
	oob   []byte // control messages of the reader
}

// oobSize holds a TTL and a hop limit with their headers, with room to spare.
const oobSize = 128

// ListenUDP opens a socket on local; port 0 takes a free one. It asks for the
// TTL of what comes in, where the system gives it (Linux).
func ListenUDP(local netip.AddrPort) (Socket, error) {
	network := "udp4"
	if local.Addr().Is6() && !local.Addr().Is4In6() {
		network = "udp6"
	}
	conn, err := net.ListenUDP(network, net.UDPAddrFromAddrPort(local))
	if err != nil {
		return nil, fmt.Errorf("open a UDP socket on %v: %w", local, err)
	}
	s := &udpSocket{conn: conn, v4: network == "udp4", oob: make([]byte, oobSize)}
	bound := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	s.local = netip.AddrPortFrom(bound.Addr().Unmap(), bound.Port())
	if err := wantTTL(conn, s.v4); err != nil {
		conn.Close()
		return nil, fmt.Errorf("ask for TTLs on %v: %w", local, err)
	}
	return s, nil
}

func (s *udpSocket) WriteTo(b []byte, to netip.AddrPort) (time.Time, error) {
	if s.v4 {
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	}
	sent := time.Now()
	_, err := s.conn.WriteToUDPAddrPort(b, to)
	return sent, err
}

func (s *udpSocket) ReadFrom(b []byte) (int, netip.AddrPort, int, time.Time, error) {
	n, oobn, _, from, err := s.conn.ReadMsgUDPAddrPort(b, s.oob)
	recv := time.Now()
	if err != nil {
		return 0, netip.AddrPort{}, 0, recv, err
	}
	return n, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), ttlOf(s.oob[:oobn]), recv, nil
}

func (s *udpSocket) SetReadDeadline(t time.Time) error { return s.conn.SetReadDeadline(t) }
func (s *udpSocket) LocalAddr() netip.AddrPort         { return s.local }
func (s *udpSocket) Close() error                      { return s.conn.Close() }

// localTowards is the address that packets to remote leave from, where local
// names none. It sends nothing.
func localTowards(local, remote netip.AddrPort) netip.AddrPort {
	if !local.Addr().IsUnspecified() {
		return local
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(remote))
	if err != nil {
		return local
	}
	defer conn.Close()
	from := conn.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
	return netip.AddrPortFrom(from, local.Port())
}
