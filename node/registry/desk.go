package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// errNotStored: the decision was made and could not be made durable, so it does
// not count.
var errNotStored = errors.New("the registry cannot write its tables")

const (
	// deskQueue is how many requests may wait for a decision; more wait on
	// their streams, unread.
	deskQueue = 256
	// deskBatch is how many decisions share one fsync: a city that comes back
	// at once costs a few, and nobody waits for more than a few milliseconds.
	deskBatch = 64
)

// decide is one decision: it may ask and change the table. It must not block.
// changed is nil where nothing changed.
type decide func(nowMs int64, t *cluster.Table) (changed *cluster.Changes, err error)

type decision struct {
	do   decide
	done chan error // buffered: the desk never waits for who asked
	err  error
}

// desk owns the table: one goroutine decides one request after the other,
// makes what changed durable, and only then lets answers go. Decisions that
// wait share one commit.
type desk struct {
	apply   func(cluster.Changes) error // makes changes durable, all or none
	roster  *roster
	rebuild func() (*cluster.Table, error) // the table as it is stored
	changed func(cluster.Changes)
	log     *slog.Logger

	calls chan *decision
	gone  chan struct{} // closed when run has returned
	table *cluster.Table
}

func newDesk(apply func(cluster.Changes) error, r *roster, rebuild func() (*cluster.Table, error), log *slog.Logger) (*desk, error) {
	d := &desk{apply: apply, roster: r, rebuild: rebuild, log: log, calls: make(chan *decision, deskQueue), gone: make(chan struct{})}
	var err error
	d.table, err = rebuild()
	return d, err
}

// ask has do run at the desk and returns when what it changed is durable.
func (d *desk) ask(ctx context.Context, do decide) error {
	c := &decision{do: do, done: make(chan error, 1)}
	select {
	case d.calls <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-d.gone:
		return ErrNotRunning
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-d.gone:
		return ErrNotRunning
	}
}

// run decides until stop is closed. An error means that the table in memory
// could not be brought back to what is stored: the registry has to end.
func (d *desk) run(stop <-chan struct{}) error {
	defer close(d.gone)
	for {
		select {
		case <-stop:
			return nil
		case first := <-d.calls:
			if err := d.serve(d.gather(first)); err != nil {
				return err
			}
		}
	}
}

func (d *desk) gather(first *decision) []*decision {
	batch := []*decision{first}
	for len(batch) < deskBatch {
		select {
		case c := <-d.calls:
			batch = append(batch, c)
		default:
			return batch
		}
	}
	return batch
}

func (d *desk) serve(batch []*decision) error {
	var all cluster.Changes
	for _, c := range batch {
		var changed *cluster.Changes
		changed, c.err = c.do(time.Now().UnixMilli(), d.table)
		if changed == nil {
			continue
		}
		all.Nodes = append(all.Nodes, changed.Nodes...)
		all.Cities = append(all.Cities, changed.Cities...)
		all.Heads = append(all.Heads, changed.Heads...)
		if !changed.Barred.Empty() {
			all.Barred = changed.Barred
		}
	}
	if len(all.Nodes)+len(all.Cities) > 0 || !all.Barred.Empty() {
		if err := d.keep(all); err != nil {
			// What was decided is not on disk: nobody may hear of it, and the
			// table must forget it.
			table, again := d.rebuild()
			if again != nil {
				err = errors.Join(err, again)
			}
			for _, c := range batch {
				c.done <- fmt.Errorf("%w: %w", errNotStored, err)
			}
			if again != nil {
				return fmt.Errorf("%w: %w", errNotStored, err)
			}
			d.table = table
			d.log.Error("tables cannot be written: requests are refused", "err", err)
			return nil
		}
	}
	for _, c := range batch {
		c.done <- c.err
	}
	return nil
}

func (d *desk) keep(c cluster.Changes) error {
	d.roster.keepObserved(c.Nodes)
	if err := d.apply(c); err != nil {
		return err
	}
	d.roster.apply(c)
	if d.changed != nil {
		d.changed(c)
	}
	return nil
}
