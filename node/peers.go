package node

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

const (
	peerQueue    = 64                     // control messages that wait for one peer; beyond it the oldest goes, as on a lossy link
	peerIdle     = 2 * time.Minute        // a stream nobody wrote to is closed; heartbeats and beacons come far more often
	peerSweep    = peerIdle / 4           // how often such streams are looked for
	peerDial     = 2 * time.Second        // as Suspect + ProbeWait: an answer that comes later is no use
	retryDropped = 500 * time.Millisecond // after a failed dial, messages to the peer are dropped for so long,
	retryDoubled = 2                      // doubled so often while it turns this node away: a head whom all call at once does

	// announceDials is how many peers are dialled at a time for what all of them are told. A new head tells ten thousand:
	// at once, each of the handshakes would last longer than peerDial and all would fail. libp2p itself dials 160 at a time.
	announceDials = 128
)

// peers sends control messages: one long-lived stream a peer, made on first use, and a goroutine while there is
// something to write. A head has ten thousand peers, to most of whom it speaks every ten seconds.
type peers struct {
	host  *p2p.Host
	log   *slog.Logger
	wg    sync.WaitGroup
	slots chan struct{} // announceDials of them
	mu    sync.Mutex
	byID  map[cluster.ID]*sender
	ctx   context.Context
}

func newPeers(host *p2p.Host, log *slog.Logger) *peers {
	return &peers{host: host, log: log, byID: map[cluster.ID]*sender{}, slots: make(chan struct{}, announceDials)}
}

// send queues a message and returns at once.
func (p *peers) send(e cluster.Envelope) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ctx == nil || p.ctx.Err() != nil {
		return
	}
	s := p.byID[e.To]
	if s == nil {
		s = &sender{id: e.To, nudge: make(chan struct{}, 1)}
		p.byID[e.To] = s
	}
	if s.push(e) {
		p.wg.Go(func() { p.drain(s) })
	}
}

// drain writes what is queued for one peer.
func (p *peers) drain(s *sender) {
	for e, ok := s.pop(); ok; e, ok = s.pop() {
		if p.ctx.Err() == nil {
			s.stream = p.write(s, s.stream, e)
		}
	}
}

// sweep closes the streams of those who were not written to since before, and forgets them.
func (p *peers) sweep(before time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for id, s := range p.byID {
		if stream, idle := s.retire(before); idle {
			delete(p.byID, id)
			if stream != nil {
				p.wg.Go(func() { stream.Close() }) // it may wait for a peer that is silent
			}
		}
	}
}

// sweepAll sweeps until ctx ends, and then once more: nothing is left open.
func (p *peers) sweepAll(ctx context.Context) {
	tick := time.NewTicker(peerSweep)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			p.sweep(time.Now())
			return
		case now := <-tick.C:
			p.sweep(now.Add(-peerIdle))
		}
	}
}

// start lets messages flow until ctx ends.
func (p *peers) start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
	p.wg.Go(func() { p.sweepAll(ctx) })
}

// flush waits until what is queued now has been written, or ctx ends.
func (p *peers) flush(ctx context.Context) {
	p.mu.Lock()
	var waits []chan struct{}
	for _, s := range p.byID {
		if written := s.written(); written != nil {
			waits = append(waits, written)
		}
	}
	p.mu.Unlock()
	for _, w := range waits {
		select {
		case <-w:
		case <-ctx.Done():
			return
		}
	}
}

// write sends one message, on the stream that stands or on a new one. A message that cannot be sent is
// dropped: the protocol repeats what matters.
func (p *peers) write(s *sender, stream *p2p.Stream, e cluster.Envelope) *p2p.Stream {
	frame := e.Message.Encode()
	for fresh := false; ; fresh = true {
		if stream == nil {
			if stream = p.open(s, e); stream == nil {
				return nil
			}
			fresh = true
		}
		err := stream.WriteFrame(frame)
		if err == nil {
			return stream
		}
		stream.Reset()
		stream = nil
		if fresh {
			p.log.Debug("message not sent", "to", p2p.IDText(s.id), "kind", e.Message.Kind(), "err", err)
			return nil
		}
	}
}

func (p *peers) open(s *sender, e cluster.Envelope) *p2p.Stream {
	if time.Now().UnixNano() < s.notBefore.Load() && !p.host.Connected(s.id) {
		return nil
	}
	if announces(e.Message) && !p.host.Connected(s.id) {
		took, ok := p.slot(s)
		if !ok {
			return nil
		}
		if took {
			defer func() { <-p.slots }()
		}
	}
	ctx, cancel := context.WithTimeout(p.ctx, peerDial)
	defer cancel()
	stream, err := p.host.Open(ctx, cluster.Peer{ID: s.id, Addrs: e.Addrs}, p2p.ProtoMember, cluster.MaxMessage)
	if err != nil {
		s.notBefore.Store(time.Now().Add(p.pause(s, err)).UnixNano())
		p.log.Debug("peer not reached", "to", p2p.IDText(s.id), "kind", e.Message.Kind(), "err", err)
		return nil
	}
	s.fails = 0
	return stream
}

// pause is how long a peer is left alone after a dial that failed: longer and longer while it answers, but has no room.
// Nodes differ in that, by their identity, so that those who were turned away together do not come again together. A
// peer that is silent or gone may be back the next moment.
func (p *peers) pause(s *sender, err error) time.Duration {
	if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
		s.fails = 0
		return retryDropped
	}
	wait := retryDropped << min(s.fails, retryDoubled)
	s.fails++
	id := p.host.ID()
	return wait + wait*time.Duration(id[len(id)-1])/512
}

// announces says that the message goes to everybody: the peers dial in as well, when they miss their head.
func announces(m *cluster.Message) bool { return m.Lead != nil || m.Beacon != nil || m.Cert != nil }

// slot waits for its turn to dial. It takes none when the peer has connected in the meantime.
func (p *peers) slot(s *sender) (took, ok bool) {
	for {
		select {
		case p.slots <- struct{}{}:
			return true, true
		case <-s.nudge:
			if p.host.Connected(s.id) {
				return false, true
			}
		case <-p.ctx.Done():
			return false, false
		}
	}
}

// sender is the queue of one peer.
type sender struct {
	id        cluster.ID
	nudge     chan struct{} // a message came while another is on its way; holds at most one token
	stream    *p2p.Stream   // whoever writes has it; nobody does: under mu
	fails     int           // times in a row that it turned this node away; likewise
	notBefore atomic.Int64  // unix ns: no new dial before this

	mu      sync.Mutex
	queue   []cluster.Envelope
	writing bool            // a goroutine pops until nothing is left
	used    time.Time       // when that was last so
	idle    []chan struct{} // closed when nothing is queued or being written
}

// written returns a channel that is closed when everything queued has been written; nil: it has been.
func (s *sender) written() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.writing {
		return nil
	}
	ch := make(chan struct{})
	s.idle = append(s.idle, ch)
	return ch
}

// push queues a message; true: nobody pops yet, and the caller has to see to it.
func (s *sender) push(e cluster.Envelope) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == peerQueue {
		s.queue = append(s.queue[:0], s.queue[1:]...)
	}
	s.queue = append(s.queue, e)
	if !s.writing {
		s.writing = true
		return true
	}
	select {
	case s.nudge <- struct{}{}:
	default:
	}
	return false
}

// pop takes the next message. False: there is none, and the caller writes no more.
func (s *sender) pop() (cluster.Envelope, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.queue, s.writing, s.used = nil, false, time.Now()
		for _, ch := range s.idle {
			close(ch)
		}
		s.idle = nil
		return cluster.Envelope{}, false
	}
	e := s.queue[0]
	s.queue = s.queue[1:]
	return e, true
}

// retire gives the stream back when nothing was written since before.
func (s *sender) retire(before time.Time) (stream *p2p.Stream, idle bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.writing || s.used.After(before) {
		return nil, false
	}
	stream, s.stream = s.stream, nil
	return stream, true
}
