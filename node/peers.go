package node

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

const (
	peerQueue    = 64                     // control messages that wait for one peer; beyond it the oldest goes, as on a lossy link
	peerIdle     = 2 * time.Minute        // a stream nobody wrote to is closed; heartbeats and beacons come far more often
	peerDial     = 2 * time.Second        // as Suspect + ProbeWait: an answer that comes later is no use
	retryDropped = 500 * time.Millisecond // after a failed dial, messages to the peer are dropped for so long
)

// peers sends control messages: one long-lived stream and one goroutine a peer, made on first use.
type peers struct {
	host *p2p.Host
	log  *slog.Logger
	wg   sync.WaitGroup
	mu   sync.Mutex
	byID map[cluster.ID]*sender
	ctx  context.Context
}

func newPeers(host *p2p.Host, log *slog.Logger) *peers {
	return &peers{host: host, log: log, byID: map[cluster.ID]*sender{}}
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
		s = &sender{id: e.To, wake: make(chan struct{}, 1)}
		p.byID[e.To] = s
		p.wg.Go(func() { p.drain(s) })
	}
	s.push(e)
}

// drain writes what is queued for one peer until nothing comes for peerIdle.
func (p *peers) drain(s *sender) {
	var stream *p2p.Stream
	defer func() {
		if stream != nil {
			stream.Close()
		}
	}()
	idle := time.NewTimer(peerIdle)
	defer idle.Stop()
	for {
		select {
		case <-s.wake:
		case <-p.ctx.Done():
			return
		case <-idle.C:
			if p.forget(s) {
				return
			}
		}
		idle.Reset(peerIdle)
		for e, ok := s.pop(); ok; e, ok = s.pop() {
			stream = p.write(s, stream, e)
		}
	}
}

// start lets messages flow until ctx ends.
func (p *peers) start(ctx context.Context) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ctx = ctx
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

// forget removes an idle sender, unless a message came in the meantime.
func (p *peers) forget(s *sender) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !s.empty() {
		return false
	}
	delete(p.byID, s.id)
	return true
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
	ctx, cancel := context.WithTimeout(p.ctx, peerDial)
	defer cancel()
	stream, err := p.host.Open(ctx, cluster.Peer{ID: s.id, Addrs: e.Addrs}, p2p.ProtoMember, cluster.MaxMessage)
	if err != nil {
		s.notBefore.Store(time.Now().Add(retryDropped).UnixNano())
		p.log.Debug("peer not reached", "to", p2p.IDText(s.id), "kind", e.Message.Kind(), "err", err)
		return nil
	}
	return stream
}

// sender is the queue of one peer.
type sender struct {
	id        cluster.ID
	wake      chan struct{} // holds at most one token
	notBefore atomic.Int64  // unix ns: no new dial before this

	mu      sync.Mutex
	queue   []cluster.Envelope
	writing bool            // a popped message is on its way
	idle    []chan struct{} // closed when nothing is queued or being written
}

// written returns a channel that is closed when everything queued has been written; nil: it has been.
func (s *sender) written() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 && !s.writing {
		return nil
	}
	ch := make(chan struct{})
	s.idle = append(s.idle, ch)
	return ch
}

func (s *sender) push(e cluster.Envelope) {
	s.mu.Lock()
	if len(s.queue) == peerQueue {
		s.queue = append(s.queue[:0], s.queue[1:]...)
	}
	s.queue = append(s.queue, e)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sender) pop() (cluster.Envelope, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queue) == 0 {
		s.writing = false
		for _, ch := range s.idle {
			close(ch)
		}
		s.idle = nil
		return cluster.Envelope{}, false
	}
	e := s.queue[0]
	s.queue = s.queue[1:]
	s.writing = true
	return e, true
}

func (s *sender) empty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue) == 0
}
