package probe

import (
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/sys/unix"
)

// wantTTL asks for the TTL (IPv4) or hop limit (IPv6) with every datagram.
func wantTTL(conn *net.UDPConn, v4 bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT
	if v4 {
		level, option = unix.IPPROTO_IP, unix.IP_RECVTTL
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return set
}

// ttlOf finds it; 0: not there.
func ttlOf(oob []byte) int {
	for len(oob) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(oob)
		if err != nil {
			return 0
		}
		v4 := h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TTL
		v6 := h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_HOPLIMIT
		if (v4 || v6) && len(data) >= 4 {
			return int(binary.NativeEndian.Uint32(data))
		}
		oob = rest
	}
	return 0
}

// pause waits in the kernel: some 60 us late where a timer is up to 1 ms.
func (s *udpSocket) pause(d time.Duration) {
	if d <= 0 {
		return
	}
	t := unix.NsecToTimespec(int64(d))
	_ = unix.Nanosleep(&t, nil) // interrupted: the caller looks at the clock
}
