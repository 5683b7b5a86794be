package probe

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// maxReadErrors in a row say that a socket is broken: single ones are echoes of
// ICMP messages (Windows reports those of packets sent before).
const maxReadErrors = 16

// event is one authenticated answer.
type event struct {
	reply  Reply
	cookie [cookieSize]byte
	prevNo uint32 // the answer before this one left at prevT3; 0: not said
	prevT3 time.Time
	size   int
}

// receiver stamps and checks what comes from the target of a run. It runs in a
// goroutine of its own, so that no send delays a stamp.
type receiver struct {
	info   SessionInfo
	sock   Socket
	remote netip.AddrPort
	seal   *sealer
	buf    []byte
	events chan event
	failed chan error
	quit   chan struct{}
	done   sync.WaitGroup
	bad    uint64 // of the goroutine until stop returned
}

func newReceiver(s SessionInfo, sock Socket, remote netip.AddrPort) *receiver {
	return &receiver{
		info: s, sock: sock, remote: remote, seal: newSealer(s.Key),
		buf:    make([]byte, s.Params.Size+1), // one more shows what is too long
		events: make(chan event, eventBuffer), failed: make(chan error, 1),
		quit: make(chan struct{}),
	}
}

func startReceiver(s SessionInfo, sock Socket, remote netip.AddrPort) *receiver {
	r := newReceiver(s, sock, remote)
	r.done.Go(r.read)
	return r
}

// stop ends the goroutine and waits for it; the socket can be used again.
func (r *receiver) stop() {
	close(r.quit)
	r.sock.SetReadDeadline(time.Unix(1, 0))
	r.done.Wait()
	r.sock.SetReadDeadline(time.Time{})
}

func (r *receiver) read() {
	errs := 0
	for {
		n, from, ttl, recv, err := r.sock.ReadFrom(r.buf)
		if err != nil {
			select {
			case <-r.quit:
				return
			default:
			}
			if errs++; errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded) || errs >= maxReadErrors {
				r.failed <- err
				return
			}
			continue
		}
		errs = 0
		ev, ok := r.parse(r.buf[:n], from, ttl, recv)
		if !ok {
			continue
		}
		select {
		case r.events <- ev:
		case <-r.quit:
			return
		}
	}
}

// parse checks one datagram and gives what it says.
func (r *receiver) parse(b []byte, from netip.AddrPort, ttl int, recv time.Time) (event, bool) {
	var p ReflectorPacket
	if from != r.remote {
		return event{}, false // anybody can send here
	}
	if len(b) > r.info.Params.Size || p.Parse(b, StampAuth) != nil {
		r.bad++
		return event{}, false
	}
	set, ok := parseTLVs(b)
	// A receive stamp tells an answer from a question of our own that somebody
	// sends back to us.
	if !ok || set.cookie == 0 || set.followUp == 0 || p.ReceiveTime == 0 || p.Time == 0 ||
		p.SSID != ssid(r.info.ID) || !r.seal.check(b, set) {
		r.bad++
		return event{}, false
	}
	ev := event{size: len(b), cookie: [cookieSize]byte(b[set.cookie:])}
	ev.reply = Reply{
		Seq: p.SenderSeq, ReplyNo: p.Seq + 1,
		T2: fromNTP(p.ReceiveTime), T3: fromNTP(p.Time), T4: recv,
		TTL: uint8(min(max(ttl, 0), 255)),
	}
	if no, at, ok := getFollowUp(b[set.followUp:]); ok {
		ev.prevNo, ev.prevT3 = no+1, at
	}
	return ev, true
}
