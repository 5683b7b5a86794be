package store

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"

	"go.etcd.io/bbolt"
)

// bolt is a bbolt file whose damage comes out as errors: bbolt panics on a damaged page, and the mapped
// memory faults where the file was cut under the process.
type bolt struct {
	path string
	db   *bbolt.DB
	// stuck: a panic left bbolt's locks held, so that any further call would wait for ever. The lock
	// on the file then goes with the process.
	stuck atomic.Bool
}

func (b *bolt) view(fn func(tx *bbolt.Tx) error) error { return b.run(false, fn) }

// update runs fn in one transaction and commits it, durable when it returns nil.
func (b *bolt) update(fn func(tx *bbolt.Tx) error) error { return b.run(true, fn) }

func (b *bolt) run(write bool, fn func(tx *bbolt.Tx) error) error {
	if b.stuck.Load() {
		return corruptError(b.path, "reading it failed before")
	}
	var tx *bbolt.Tx
	panicked, err := b.guard(func() (err error) {
		tx, err = b.db.Begin(write)
		return err
	})
	if err != nil {
		b.stuck.Store(panicked || b.stuck.Load())
		return err
	}
	_, err = b.guard(func() error { return fn(tx) })
	if err == nil && write {
		_, err = b.guard(tx.Commit)
	}
	if err != nil || !write {
		if panicked, _ := b.guard(tx.Rollback); panicked { // an error says only that Commit did it
			b.stuck.Store(true)
		}
	}
	return err
}

// close releases the file.
func (b *bolt) close() error {
	if b.stuck.Load() {
		return corruptError(b.path, "reading it failed before; the lock on it goes with the process")
	}
	_, err := b.guard(b.db.Close)
	return err
}

// guard runs fn and turns a panic into ErrCorrupt.
func (b *bolt) guard(fn func() error) (panicked bool, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			panicked, err = true, corruptError(b.path, fmt.Sprint(p))
		}
	}()
	return false, fn()
}
