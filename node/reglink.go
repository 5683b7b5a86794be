package node

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

const (
	registryDial   = 5 * time.Second // first contact crosses the world and two handshakes
	registryAnswer = 5 * time.Second // an fsync on a busy disk, and the way back
	registryRetry  = 5 * time.Second // an orphan, or a node that started without the registry, asks again
	registerPeriod = time.Hour       // a node that was not reached when it should register again does so by itself
	callQueue      = 16              // calls that wait; one of each kind is enough, the newest wins
	maxRegistryMsg = 256 << 10       // an answer with 32 Leads of 2 kB, and the caller's own objects
)

// registryLink talks to the registry: one stream, one request at a time, never in the way of the loop.
type registryLink struct {
	host  *p2p.Host
	peers []cluster.Peer // the registries of the network, tried in order
	log   *slog.Logger
	calls chan cluster.Call
	in    func(cluster.Input)
	anew  func() *cluster.Request     // a Register request as it is now
	asked chan struct{}               // the registry has asked for it; holds one
	again func() *cluster.Request     // a fresh Register request while this node has no head; nil: nothing to ask
	admit func(*cluster.Answer) error // keeps the admission that a later registration brings

	rng    *rand.Rand // only the goroutine of run
	mu     sync.Mutex
	status RegistryStatus

	stream *p2p.Stream // only the goroutine of run, and register before it
}

// do sends one request and reads the answer. The error says that the registry was not reached; a refusal
// is in Answer.Error.
func (r *registryLink) do(ctx context.Context, req *cluster.Request) (*cluster.Answer, error) {
	answer, err := r.try(ctx, req)
	if err != nil && ctx.Err() == nil {
		answer, err = r.try(ctx, req) // the stream may have been closed while it was idle
	}
	r.note(err)
	if err == nil && req.Kind == cluster.CallRegister {
		r.noteQuiet(answer.Error == nil && answer.Quiet)
	}
	return answer, err
}

// noteQuiet says once that this node waits for the end of the registry's quiet window: it asks again by itself.
func (r *registryLink) noteQuiet(quiet bool) {
	r.mu.Lock()
	was := r.status.Quiet
	r.status.Quiet = quiet
	r.mu.Unlock()
	if quiet && !was {
		r.log.Warn("the registry has just started and waits for the heads of living cities to show themselves; "+
			"this node's city is not among them yet, and it asks again", "every", registryRetry)
	}
}

func (r *registryLink) try(ctx context.Context, req *cluster.Request) (*cluster.Answer, error) {
	if r.stream == nil {
		if err := r.open(ctx); err != nil {
			return nil, err
		}
	}
	answer := new(cluster.Answer)
	r.stream.SetDeadline(time.Now().Add(registryAnswer))
	stop := r.stream.ResetOn(ctx)
	err := r.stream.WriteMsg(req)
	if err == nil {
		err = r.stream.ReadMsg(answer)
	}
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		r.close()
		return nil, fmt.Errorf("no answer to %s: %w", req.Kind, err)
	}
	return answer, nil
}

func (r *registryLink) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, registryDial)
	defer cancel()
	var errs []error
	for _, peer := range r.peers {
		stream, err := r.openTo(ctx, peer)
		if err == nil {
			r.host.Protect(peer.ID, "registry")
			r.stream = stream
			return nil
		}
		errs = append(errs, err) // it names the registry's id
	}
	return joined(errs)
}

// openTo prefers IPv4, and takes what there is.
func (r *registryLink) openTo(ctx context.Context, peer cluster.Peer) (*p2p.Stream, error) {
	if v4, both := overIPv4(peer); both {
		first, cancel := context.WithTimeout(ctx, registryDial/2)
		defer cancel()
		if stream, err := r.host.Open(first, v4, p2p.ProtoRegister, maxRegistryMsg); err == nil {
			return stream, nil
		}
	}
	return r.host.Open(ctx, peer, p2p.ProtoRegister, maxRegistryMsg)
}

func (r *registryLink) close() {
	if r.stream != nil {
		r.stream.Reset()
		r.stream = nil
	}
}

// note keeps what status shows of the registry.
func (r *registryLink) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.Up = err == nil
	if err == nil {
		r.status.Last, r.status.Error = time.Now(), ""
	} else {
		r.status.Error = err.Error()
	}
}

func (r *registryLink) state() RegistryStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.status
}

// call queues a call of the machine. It never blocks: when the queue is full the call is dropped, which the
// machine takes for a failure after ten seconds.
func (r *registryLink) call(c cluster.Call) {
	select {
	case r.calls <- c:
	default:
		r.log.Debug("registry call dropped: the registry is slow", "kind", c.Kind)
	}
}

// run carries out calls until ctx ends.
func (r *registryLink) run(ctx context.Context) {
	defer r.close()
	tick := time.NewTicker(registryRetry)
	defer tick.Stop()
	anew := time.NewTimer(r.nextTime())
	defer anew.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-r.calls:
			r.answer(ctx, c.Kind, c.Request)
		case <-r.asked:
			r.answer(ctx, cluster.CallRegister, r.anew())
		case <-anew.C:
			r.answer(ctx, cluster.CallRegister, r.anew())
			anew.Reset(r.nextTime())
		case <-tick.C:
			if req := r.again(); req != nil {
				r.answer(ctx, cluster.CallRegister, req)
			}
		}
	}
}

// nextTime is when a node registers again without being asked: not all at once after a power cut.
func (r *registryLink) nextTime() time.Duration {
	return registerPeriod - time.Duration(r.rng.Int64N(int64(registerPeriod/4)))
}

// recalled takes a registry's request to register again. Nobody else may ask.
func (r *registryLink) recalled(_ context.Context, from p2p.Remote, s *p2p.Stream) error {
	if !slices.ContainsFunc(r.peers, func(p cluster.Peer) bool { return p.ID == from.ID }) {
		return fmt.Errorf("%s is no registry of this network", p2p.IDText(from.ID))
	}
	var msg p2p.RecallMsg
	if err := s.ReadMsg(&msg); err != nil {
		return err
	}
	select {
	case r.asked <- struct{}{}:
	default: // it is about to
	}
	return s.WriteMsg(&msg)
}

// overIPv4 is a peer with its IPv4 addresses alone, if it has others beside them: a node is placed by its IPv4
// address, because what is known of IPv6 addresses for free is poor.
func overIPv4(p cluster.Peer) (cluster.Peer, bool) {
	v4 := cluster.Peer{ID: p.ID}
	for _, a := range p.Addrs {
		if ip, ok := p2p.AddrIP(a); ok && ip.Is4() {
			v4.Addrs = append(v4.Addrs, a)
		}
	}
	return v4, len(v4.Addrs) > 0 && len(v4.Addrs) < len(p.Addrs)
}

func (r *registryLink) answer(ctx context.Context, kind cluster.RegistryCall, req *cluster.Request) {
	answer, err := r.do(ctx, req)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		r.log.Debug("registry not reached", "kind", kind, "err", err)
	} else if answer.Error != nil {
		level := slog.LevelWarn
		if answer.Error.Code == cluster.CodeNotHead || answer.Error.Code == cluster.CodeTooSoon {
			level = slog.LevelDebug // in the course of things: a term or a registry that is just new
		}
		r.log.Log(ctx, level, "registry refused", "kind", kind, "code", answer.Error.Code, "why", answer.Error.Message)
	} else if kind == cluster.CallRegister {
		if err := r.admit(answer); err != nil {
			r.log.Error("registry's answer not taken", "err", err)
			r.note(err)
			return
		}
	}
	r.in(cluster.Answered{Kind: kind, Answer: answer, Err: err})
}
