package probe

import (
	"net/netip"
	"time"
)

// Socket is a datagram socket that says when. A Socket belongs to whoever
// opened it: tools never close it.
//
// Stamps that carry a monotonic reading are subtracted with it; wall clock
// readings serve one-way delays.
type Socket interface {
	// WriteTo sends one datagram and says when it left.
	WriteTo(b []byte, to netip.AddrPort) (sent time.Time, err error)
	// ReadFrom gives one datagram, where it came from, its TTL or hop limit
	// (0: not known), and when it came. After the read deadline the error is
	// os.ErrDeadlineExceeded.
	ReadFrom(b []byte) (n int, from netip.AddrPort, ttl int, recv time.Time, err error)
	SetReadDeadline(t time.Time) error
	LocalAddr() netip.AddrPort
	Close() error
}
