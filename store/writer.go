package store

import (
	"sync"

	"go.etcd.io/bbolt"
)

const (
	// maxWaiting changes wait for the writer; more callers than that wait at the door.
	maxWaiting = 1024
	// maxCommit changes share one commit: enough to spread an fsync thin, few enough that the
	// transaction's pages fit in memory (a result is a few kilobytes).
	maxCommit = 512
)

// change is one caller's part of a commit.
type change struct {
	// apply writes to the tables. It may run more than once (when another change of the same commit
	// fails), so it sets what it returns and never adds to it.
	apply func(tx *bbolt.Tx) error
	// before runs in the writer just before the commit, in the order in which changes are applied.
	before func()
	// after runs in the writer when the change is durable (nil) or has failed.
	after func(err error)

	done chan error // buffered, one
}

func (c *change) finish(err error) {
	if c.after != nil {
		c.after(err)
	}
	c.done <- err
}

// writer is the one goroutine that writes to a file. One commit is in flight; all that came meanwhile
// is in the next.
type writer struct {
	bolt   *bolt
	queue  chan *change
	quit   chan struct{}
	exited chan struct{}
	once   sync.Once
}

// newWriter starts the goroutine; close joins it.
func newWriter(b *bolt) *writer {
	w := &writer{
		bolt:  b,
		queue: make(chan *change, maxWaiting), quit: make(chan struct{}), exited: make(chan struct{}),
	}
	go w.run()
	return w
}

// do hands the change to the writer and returns when it is durable or has failed.
func (w *writer) do(c *change) error {
	c.done = make(chan error, 1)
	select { // a closed writer refuses even when its queue has room
	case <-w.quit:
		return ErrClosed
	default:
	}
	select {
	case w.queue <- c:
	case <-w.quit:
		return ErrClosed
	}
	select {
	case err := <-c.done:
		return err
	case <-w.exited:
	}
	select {
	case err := <-c.done:
		return err
	default:
		return ErrClosed // it came after the last commit
	}
}

// close commits what is queued and ends the goroutine.
func (w *writer) close() {
	w.once.Do(func() { close(w.quit) })
	<-w.exited
}

func (w *writer) run() {
	defer close(w.exited)
	for {
		select {
		case c := <-w.queue:
			w.commit(w.gather([]*change{c}))
		case <-w.quit:
			for rest := w.gather(nil); len(rest) > 0; rest = w.gather(nil) {
				w.commit(rest)
			}
			return
		}
	}
}

// gather takes what is waiting now, up to a full commit.
func (w *writer) gather(batch []*change) []*change {
	for len(batch) < maxCommit {
		select {
		case c := <-w.queue:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

// commit applies the batch in one transaction. A change that fails leaves the batch and the others
// are applied again; a commit that fails (disk full) fails them all.
func (w *writer) commit(batch []*change) {
	for _, c := range batch {
		if c.before != nil {
			c.before()
		}
	}
	for len(batch) > 0 {
		at := 0
		err := w.bolt.update(func(tx *bbolt.Tx) error {
			for at = 0; at < len(batch); at++ {
				if err := batch[at].apply(tx); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil || at == len(batch) {
			for _, c := range batch {
				c.finish(err)
			}
			return
		}
		failed := batch[at]
		batch = append(batch[:at], batch[at+1:]...)
		failed.finish(err)
	}
}
