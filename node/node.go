package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// API is what a node offers to people and programs, in this process (Node) or another one (Client).
type API interface {
	Measure(ctx context.Context, req Request) (*Measurement, error)
	Status(ctx context.Context) (Status, error)
	Nodes(ctx context.Context) ([]NodeInfo, error)
	Clusters(ctx context.Context) ([]ClusterInfo, error)
	Results(ctx context.Context, q ResultQuery) (ResultPage, error)
	Drain(ctx context.Context, on bool) error
}

var (
	_ API = (*Node)(nil)
	_ API = (*Client)(nil)
)

// ErrNotRunning says that a node was asked before it had joined, or after it had stopped.
var ErrNotRunning = errors.New("the node is not running")

// errUsed says that a Node was run a second time: its channels tell of one life.
var errUsed = errors.New("this node has been run or closed before: make another one with New")

// Node is one peer of the mesh.
type Node struct {
	cfg   Config
	ready chan struct{}
	once  sync.Once            // closes ready: a node that moves to another city becomes ready again
	done  chan struct{}        // closed when Run has returned, or will never be called
	err   error                // what Run returned, once done is closed
	used  atomic.Bool          // Run or Close was called
	leave signal               // Close asks the node to go in good order
	crash signal               // Kill drops it
	peer  atomic.Pointer[peer] // what runs; nil before the node has joined
}

// signal is a context that somebody ends, once or more often.
type signal struct {
	ctx  context.Context
	send context.CancelFunc
}

func newSignal() signal {
	ctx, cancel := context.WithCancel(context.Background())
	return signal{ctx: ctx, send: cancel}
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg, ready: make(chan struct{}), done: make(chan struct{}), leave: newSignal(), crash: newSignal()}, nil
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

// Run joins the network and stays until ctx ends or Close is called: it then ends its measurements, hands
// its cluster over and closes, each step bounded. It may be called once. Where the registry moves the node
// to another city, it leaves the old one and joins the new one.
func (n *Node) Run(ctx context.Context) (err error) {
	if n.used.Swap(true) {
		return errUsed
	}
	defer func() { n.err = err; close(n.done) }()
	defer n.crash.send()
	defer n.leave.send()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.leave.ctx, cancel)()
	for {
		err := n.live(ctx)
		moved := new(movedError)
		if !errors.As(err, &moved) || ctx.Err() != nil || n.crash.ctx.Err() != nil {
			return err
		}
		n.cfg.Log.Warn("moved to another city by the registry: joining there", "from", moved.from, "to", moved.to)
	}
}

// live is one life in one city.
func (n *Node) live(ctx context.Context) (err error) {
	p, err := n.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if err := p.join(ctx); ctx.Err() != nil {
		return fmt.Errorf("stopped before it had joined: %w", context.Cause(ctx))
	} else if err != nil {
		return err
	}
	n.peer.Store(p)
	defer n.peer.Store(nil)
	return p.run(ctx, n.crash.ctx, func() { n.once.Do(func() { close(n.ready) }) })
}

// Join runs a node in the background and returns it when it is ready. Close ends it.
func Join(ctx context.Context, cfg Config) (*Node, error) {
	n, err := New(cfg)
	if err != nil {
		return nil, err
	}
	go n.Run(context.WithoutCancel(ctx)) // its error is n.Err
	select {
	case <-n.Ready():
		return n, nil
	case <-n.Done():
		return nil, n.Err()
	case <-ctx.Done():
	}
	stage := "registry " + cfg.RS + " had not answered yet"
	if p := n.peer.Load(); p != nil {
		stage = "admitted to " + string(p.core.status.Load().City) + ", but no head of it has been heard of"
	}
	if err := n.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return nil, err
	}
	return nil, fmt.Errorf("join broken off (%s): %w", stage, ctx.Err())
}

// Close ends a node and waits until it has left the network. Closing twice is harmless. A node that was
// never run stays closed.
func (n *Node) Close() error {
	if !n.used.Swap(true) {
		close(n.done)
	}
	n.leave.send()
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
	n.crash.send()
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

// Drain asks this node not to lead, until it is asked back (on is false) or ends: a head hands over as soon as it has
// a live backup that is up to date and has led for a minute, a candidate goes to the end of the line. Where nobody else
// can lead it goes on leading. Drain returns when the node has taken note.
func (n *Node) Drain(ctx context.Context, on bool) error {
	api, err := n.api()
	if err != nil {
		return err
	}
	return api.Drain(ctx, on)
}

// Status is what the node says of itself.
func (n *Node) Status(ctx context.Context) (Status, error) {
	api, err := n.api()
	if err != nil {
		return Status{}, err
	}
	return api.Status(ctx)
}
