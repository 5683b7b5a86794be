package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
)

// API is what a node offers to people and programs, in this process (Node) or another one (Client).
type API interface {
	Measure(ctx context.Context, req Request) (*Measurement, error)
	Status(ctx context.Context) (Status, error)
	Nodes(ctx context.Context) ([]NodeInfo, error)
	Clusters(ctx context.Context) ([]ClusterInfo, error)
	Results(ctx context.Context, q ResultQuery) (ResultPage, error)
}

var (
	_ API = (*Node)(nil)
	_ API = (*Client)(nil)
)

// ErrNotRunning says that a node was asked before it had joined, or after it had stopped.
var ErrNotRunning = errors.New("the node is not running")

// Node is one peer of the mesh.
type Node struct {
	cfg   Config
	ready chan struct{}
	done  chan struct{} // closed when Run has returned
	err   error         // what Run returned, once done is closed
	stop  context.CancelFunc
	kill  context.CancelFunc
	peer  atomic.Pointer[peer] // what runs; nil before the node has joined
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg, ready: make(chan struct{}), done: make(chan struct{})}, nil
}

// Ready is closed when the node is registered and leads or follows a head.
func (n *Node) Ready() <-chan struct{} { return n.ready }

// Done is closed when Run has returned; Err then says with what.
func (n *Node) Done() <-chan struct{} { return n.done }

// Err is what Run returned, nil before.
func (n *Node) Err() error {
	select {
	case <-n.done:
		return n.err
	default:
		return nil
	}
}

// Run joins the network and stays until ctx ends: it then hands its cluster over, finishes sessions and
// closes, each step bounded. It may be called once.
func (n *Node) Run(ctx context.Context) (err error) {
	defer func() { n.err = err; close(n.done) }()
	run, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	n.kill = kill
	p, err := n.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.join(ctx); err != nil {
		return err
	}
	n.peer.Store(p)
	defer n.peer.Store(nil)
	return p.run(ctx, run, n.ready)
}

// Join runs a node in the background and returns it when it is ready. Close ends it.
func Join(ctx context.Context, cfg Config) (*Node, error) {
	n, err := New(cfg)
	if err != nil {
		return nil, err
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	n.stop = stop
	go n.Run(run)
	select {
	case <-n.Ready():
		return n, nil
	case <-n.Done():
		stop()
		return nil, n.Err()
	case <-ctx.Done():
		stop()
		<-n.Done()
		return nil, errors.Join(fmt.Errorf("join broken off: %w", ctx.Err()), n.Err())
	}
}

// Close ends a node that Join started, and waits until it has left the network.
func (n *Node) Close() error {
	if n.stop != nil {
		n.stop()
	}
	<-n.done
	return n.err
}

// Kill ends the node as a crash would: sockets closed, loop dropped, nobody told. What was acknowledged is
// on disk. It is there for demonstrations and tests of take-over. A node that has not joined is left alone.
func (n *Node) Kill() {
	p := n.peer.Load()
	if p == nil {
		return
	}
	n.kill()
	p.host.Close()
	<-n.done
}

// Changes returns a channel that is closed when the node's role, head, term or number of members next
// changes. Call it before looking at Status, so that no change is missed.
func (n *Node) Changes() <-chan struct{} {
	if p := n.peer.Load(); p != nil {
		return p.core.turn.wait()
	}
	return n.ready
}

// api is what runs, or ErrNotRunning.
func (n *Node) api() (API, error) {
	p := n.peer.Load()
	if p == nil {
		return nil, ErrNotRunning
	}
	return local{p}, nil
}

// Measure finds a node in req.To and measures the path to it from both ends. It returns what was measured
// also when ctx ends midway: the result's Status then says partial. An error says that nothing was
// measured; it wraps one of this package's sentinels where callers would branch.
func (n *Node) Measure(ctx context.Context, req Request) (*Measurement, error) {
	api, err := n.api()
	if err != nil {
		return nil, err
	}
	return api.Measure(ctx, req)
}

// Nodes lists the live nodes of all clusters that this node's head knows.
func (n *Node) Nodes(ctx context.Context) ([]NodeInfo, error) {
	api, err := n.api()
	if err != nil {
		return nil, err
	}
	return api.Nodes(ctx)
}

// Clusters lists the clusters that this node's head knows, its own first.
func (n *Node) Clusters(ctx context.Context) ([]ClusterInfo, error) {
	api, err := n.api()
	if err != nil {
		return nil, err
	}
	return api.Clusters(ctx)
}

// Results pages through the results that this node keeps, as initiator and as target, newest first.
func (n *Node) Results(ctx context.Context, q ResultQuery) (ResultPage, error) {
	api, err := n.api()
	if err != nil {
		return ResultPage{}, err
	}
	return api.Results(ctx, q)
}

// Status is what the node says of itself.
func (n *Node) Status(ctx context.Context) (Status, error) {
	api, err := n.api()
	if err != nil {
		return Status{}, err
	}
	return api.Status(ctx)
}
