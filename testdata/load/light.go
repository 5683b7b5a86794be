package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/transport"
	"github.com/multiformats/go-multistream"

	"github.com/peerprobe/peerprobe/cluster"
)

// light is one member: the election machine, and as little around it as the others can do with.
type light struct {
	crowd   *crowd
	key     ed25519.PrivateKey
	id      cluster.ID
	public  []byte // as libp2p writes public keys
	upgrade transport.Upgrader
	listen  net.Listener
	addr    []byte // multiaddr of listen
	passed  *cluster.Answer
	hello   []byte // first frame of its streams
	inbox   chan cluster.Input

	mu    sync.Mutex
	links map[cluster.ID][]*link
	outs  map[cluster.ID]*outbox

	joined         chan struct{} // closed with the first heartbeat
	once           sync.Once
	adopted, heard atomic.Int64 // monotonic ns since the crowd was armed; 0: not yet
}

// outbox is what is on its way to one peer.
type outbox struct {
	stream  *stream
	dialing bool
	waiting []*cluster.Message
	again   time.Time // no dial before this
	fails   int       // dials in a row
}

// As in package node.
const (
	inboxSize  = 64
	maxWaiting = 64
	dialAgain  = 500 * time.Millisecond // doubled twice
	dialLimit  = 2 * time.Second
)

// start builds the machine and lets it run until ctx ends.
func (l *light) start(ctx context.Context) error {
	c := l.crowd
	boot := uint64(time.Now().UnixMilli())
	row := cluster.Row{ID: l.id, Addrs: [][]byte{l.addr}, FirstSeen: l.passed.FirstSeen, Boot: boot,
		Admission: l.passed.Admission, Priority: cluster.Priority{Reachable: true}}
	m, err := cluster.New(cluster.Config{Network: c.network, City: c.job.City, Registry: c.registry.ID, Trust: c.trust},
		row, cluster.HardState{Boot: boot}, cluster.SignerOf(l.key), rand.New(rand.NewPCG(boot, rand.Uint64())))
	if err != nil {
		return err
	}
	c.wg.Go(func() { l.accept(ctx) })
	c.wg.Go(func() { l.run(ctx, m) })
	l.put(ctx, cluster.Answered{Kind: cluster.CallRegister, Answer: l.passed})
	return nil
}

func (l *light) put(ctx context.Context, in cluster.Input) {
	select {
	case l.inbox <- in:
	case <-ctx.Done():
	}
}

// run is the machine's loop.
func (l *light) run(ctx context.Context, m *cluster.Machine) {
	now := func() cluster.Instant { return cluster.Instant(monotonic()) }
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		var out cluster.Output
		select {
		case <-ctx.Done():
			return
		case in := <-l.inbox:
			out, _ = m.Step(now(), in) // what is refused is the sender's mistake
		case <-timer.C:
			out = m.Tick(now())
		}
		for _, e := range out.Out {
			l.send(ctx, e)
		}
		for _, e := range out.Events {
			if _, ok := e.(cluster.LeadChanged); ok {
				l.crowd.leads.Add(1)
				l.adopted.CompareAndSwap(0, monotonic())
			}
		}
		if at, ok := m.Deadline(); ok {
			timer.Reset(max(0, time.Duration(at-now())))
		} else {
			timer.Stop()
		}
	}
}

// send writes to the stream that stands, or opens one behind the loop's back.
func (l *light) send(ctx context.Context, e cluster.Envelope) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.outs[e.To]
	if o == nil {
		o = &outbox{}
		l.outs[e.To] = o
	}
	if o.stream != nil && !o.dialing {
		if l.write(o, e) {
			return
		}
		o.stream = nil
	}
	if !o.dialing && time.Now().Before(o.again) && len(l.links[e.To]) == 0 {
		return
	}
	if o.waiting = append(o.waiting, e.Message); len(o.waiting) > maxWaiting {
		o.waiting = o.waiting[1:]
	}
	if !o.dialing {
		o.dialing = true
		l.crowd.wg.Go(func() { l.open(ctx, e, o) })
	}
}

// write sends one message; false: the stream is broken. Call with the lock held: nobody else waits for it.
func (l *light) write(o *outbox, e cluster.Envelope) bool {
	if err := o.stream.writeFrame(e.Message.Encode()); err != nil {
		return false
	}
	l.crowd.sent.Add(1)
	if e.Message.Heartbeat != nil {
		l.once.Do(func() { close(l.joined) })
		if l.adopted.Load() != 0 {
			l.heard.CompareAndSwap(0, monotonic())
		}
	}
	return true
}

// open makes a stream to a peer and sends what waits for it.
func (l *light) open(ctx context.Context, e cluster.Envelope, o *outbox) {
	dial, cancel := context.WithTimeout(ctx, dialLimit)
	defer cancel()
	s, err := l.openStream(dial, e.To, e.Addrs, protoMember, l.hello)
	l.mu.Lock()
	defer l.mu.Unlock()
	o.dialing, o.stream = false, s
	if err != nil {
		l.crowd.noDial.Add(1)
		wait := dialAgain
		if errors.Is(err, syscall.ECONNRESET) || errors.Is(err, io.EOF) { // turned away: as package node does
			wait <<= min(o.fails, 2)
			wait += wait * time.Duration(l.id[len(l.id)-1]) / 512
			o.fails++
		}
		o.again = time.Now().Add(wait)
	} else {
		o.fails = 0
	}
	for _, msg := range o.waiting {
		if o.stream == nil || !l.write(o, cluster.Envelope{To: e.To, Message: msg}) {
			o.stream = nil
			break
		}
	}
	o.waiting = nil
}

// openStream opens a stream on a connection that stands or on a new one, and sends the first frame.
func (l *light) openStream(ctx context.Context, to cluster.ID, addrs [][]byte, proto string, first []byte) (*stream, error) {
	k, err := l.link(ctx, to, addrs)
	if err != nil {
		return nil, err
	}
	raw, err := k.conn.OpenStream(ctx)
	if err != nil {
		return nil, err
	}
	s := newStream(raw, multistream.NewMSSelect(raw, proto))
	if first != nil {
		if err := s.writeFrame(first); err != nil {
			_ = raw.Reset() // it is broken
			return nil, err
		}
	}
	return s, nil
}

// link returns a connection to the peer.
func (l *light) link(ctx context.Context, to cluster.ID, addrs [][]byte) (*link, error) {
	l.mu.Lock()
	have := l.links[to]
	l.mu.Unlock()
	if len(have) > 0 {
		return have[len(have)-1], nil
	}
	return l.dial(ctx, to, addrs)
}

// enter takes a new connection in; the crowd's end closes it.
func (l *light) enter(raw *net.TCPConn, conn transport.CapableConn, dir network.Direction) *link {
	ctx := l.crowd.ctx // not the dial's
	k := &link{raw: raw, conn: conn, peer: cluster.ID(conn.RemotePeer())}
	l.mu.Lock()
	l.links[k.peer] = append(l.links[k.peer], k)
	first := len(l.links[k.peer]) == 1
	l.mu.Unlock()
	if first {
		l.put(ctx, cluster.Connected{Peer: k.peer})
	}
	l.crowd.wg.Go(func() { l.serve(ctx, k) })
	if dir == network.DirOutbound {
		l.crowd.wg.Go(func() { k.identify(ctx) })
	}
	return k
}

// leave takes a closed connection out.
func (l *light) leave(ctx context.Context, k *link) {
	l.mu.Lock()
	var rest []*link
	for _, other := range l.links[k.peer] {
		if other != k {
			rest = append(rest, other)
		}
	}
	l.links[k.peer] = rest
	if o := l.outs[k.peer]; o != nil && len(rest) == 0 {
		o.stream = nil
	}
	l.mu.Unlock()
	if len(rest) == 0 {
		l.put(ctx, cluster.Disconnected{Peer: k.peer})
	}
}
