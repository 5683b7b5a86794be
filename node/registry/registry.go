package registry

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// Errors on which callers branch; those of package store come through as well
// (store.ErrLocked, store.ErrNewerSchema, store.ErrCorrupt).
var (
	// ErrNotRunning: the call needs a registry that runs.
	ErrNotRunning = errors.New("the registry does not run")
	// ErrRanAlready: a Registry runs once.
	ErrRanAlready = errors.New("the registry has run already: make another one")
)

// Registry is one registry host.
type Registry struct {
	cfg     Config
	started atomic.Bool
	ready   chan struct{}

	mu  sync.Mutex // guards srv, and is not held across I/O
	srv *server    // while it runs
	inf Info

	reload chan struct{} // asks the running registry to read its files again; holds one
}

// New checks the configuration. It opens nothing and starts nothing.
func New(cfg Config) (*Registry, error) {
	if cfg.Log == nil {
		cfg.Log = DefaultConfig().Log
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Registry{cfg: cfg, ready: make(chan struct{}), reload: make(chan struct{}, 1)}, nil
}

// Run opens files and sockets, serves until ctx ends, closes everything and
// returns when all that it started has ended: nil if it was ctx that ended it.
func (r *Registry) Run(ctx context.Context) error {
	if r.started.Swap(true) {
		return ErrRanAlready
	}
	s, err := open(ctx, r.cfg)
	if err != nil {
		return err
	}
	s.places.asked = r.reload
	r.mu.Lock()
	r.srv, r.inf = s, s.info
	r.mu.Unlock()
	err = s.run(ctx, func() { close(r.ready) })
	r.mu.Lock()
	r.srv = nil
	r.mu.Unlock()
	return err
}

// Ready is closed when the registry serves.
func (r *Registry) Ready() <-chan struct{} { return r.ready }

// Info says where the registry is; complete once Ready is closed.
func (r *Registry) Info() Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.inf
}

func (r *Registry) server() (*server, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.srv == nil {
		return nil, ErrNotRunning
	}
	return r.srv, nil
}
