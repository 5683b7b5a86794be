package probe

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"
)

// fakeSocket is a Socket in memory. For each datagram the sender's path says
// when its copies arrive; none: lost. Queues are bounded, and drop when full.
type fakeSocket struct {
	addr    netip.AddrPort
	skew    time.Duration // of this host's clock
	lag     time.Duration // sends are stamped this much later
	slow    func() error  // called by every send
	ttl     int
	path    func(b []byte) []time.Duration
	peers   map[netip.AddrPort]*fakeSocket
	in      chan datagram
	closed  chan struct{}
	mu      sync.Mutex
	limit   time.Time
	changed chan struct{}
}

type datagram struct {
	b    []byte
	from netip.AddrPort
}

// fakePair joins two sockets; path a is from the first to the second.
func fakePair(ab, ba func(b []byte) []time.Duration) (a, b *fakeSocket) {
	peers := map[netip.AddrPort]*fakeSocket{}
	a = newFake("192.0.2.1:1000", ab, peers)
	b = newFake("198.51.100.1:2000", ba, peers)
	return a, b
}

func newFake(addr string, path func(b []byte) []time.Duration, peers map[netip.AddrPort]*fakeSocket) *fakeSocket {
	s := &fakeSocket{
		addr: netip.MustParseAddrPort(addr), path: path, peers: peers, ttl: 57,
		in: make(chan datagram, 1024), closed: make(chan struct{}), changed: make(chan struct{}),
	}
	peers[s.addr] = s
	return s
}

func (s *fakeSocket) WriteTo(b []byte, to netip.AddrPort) (time.Time, error) {
	select {
	case <-s.closed:
		return time.Time{}, net.ErrClosed
	default:
	}
	stamp := time.Now().Add(s.skew + s.lag)
	if s.slow != nil {
		if err := s.slow(); err != nil {
			return time.Time{}, err
		}
	}
	far, ok := s.peers[to]
	if !ok {
		return stamp, nil
	}
	for _, d := range s.path(b) {
		m := datagram{slices.Clone(b), s.addr}
		time.AfterFunc(d, func() {
			select {
			case far.in <- m:
			default:
			}
		})
	}
	return stamp, nil
}

func (s *fakeSocket) ReadFrom(b []byte) (int, netip.AddrPort, int, time.Time, error) {
	for {
		s.mu.Lock()
		limit, changed := s.limit, s.changed
		s.mu.Unlock()
		var expired <-chan time.Time
		if !limit.IsZero() {
			t := time.NewTimer(time.Until(limit))
			defer t.Stop()
			expired = t.C
			if !time.Now().Before(limit) {
				return 0, netip.AddrPort{}, 0, time.Time{}, os.ErrDeadlineExceeded
			}
		}
		select {
		case m := <-s.in:
			return copy(b, m.b), m.from, s.ttl, time.Now().Add(s.skew), nil
		case <-expired:
			return 0, netip.AddrPort{}, 0, time.Time{}, os.ErrDeadlineExceeded
		case <-s.closed:
			return 0, netip.AddrPort{}, 0, time.Time{}, net.ErrClosed
		case <-changed:
		}
	}
}

func (s *fakeSocket) SetReadDeadline(t time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = t
	close(s.changed)
	s.changed = make(chan struct{})
	return nil
}

func (s *fakeSocket) LocalAddr() netip.AddrPort { return s.addr }

func (s *fakeSocket) Close() error {
	close(s.closed)
	return nil
}

// always delivers once after d.
func always(d time.Duration) func([]byte) []time.Duration {
	return func([]byte) []time.Duration { return []time.Duration{d} }
}

// nth treats the numbered datagrams (from 0) otherwise.
func nth(d time.Duration, special map[int][]time.Duration) func([]byte) []time.Duration {
	n := -1
	return func([]byte) []time.Duration {
		n++
		if s, ok := special[n]; ok {
			return s
		}
		return []time.Duration{d}
	}
}
