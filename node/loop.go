package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/store"
)

// inboxSize is how many inputs wait for the loop. A member stream whose input does not fit waits too,
// which slows its sender down; ten thousand members at one heartbeat a second fill it in 100 ms.
const inboxSize = 1024

// core is the goroutine that owns the election machine. Everybody else sends it inputs, asks it
// questions, or reads the status that it publishes.
type core struct {
	machine *cluster.Machine
	hard    *store.HardFile
	inbox   chan cluster.Input
	asks    chan func(*cluster.Machine, cluster.Instant)
	status  atomic.Pointer[cluster.Status]
	turn    broadcast // the status changed in a way that somebody may wait for
	done    chan struct{}

	// Where outputs go. None of them may block.
	send  func(cluster.Envelope)
	call  func(cluster.Call)
	move  func(cluster.Transfer)
	event func(cluster.Event)
	log   *slog.Logger

	events *eventLog // nil: none
	vitals *vitals   // nil: nobody wants to know how late it is
	clock  func() cluster.Instant
}

func newCore(m *cluster.Machine, hard *store.HardFile, log *slog.Logger) *core {
	c := &core{
		machine: m, hard: hard, log: log, clock: now,
		inbox: make(chan cluster.Input, inboxSize),
		asks:  make(chan func(*cluster.Machine, cluster.Instant)),
		done:  make(chan struct{}),
	}
	c.publish()
	return c
}

// run is the loop. It returns when ctx ends, or when the hard state cannot be made durable: a node that
// cannot keep its word must stop.
func (c *core) run(ctx context.Context) error {
	defer close(c.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var armed cluster.Instant
	for {
		var in cluster.Input
		var out cluster.Output
		select {
		case <-ctx.Done():
			return nil
		case in = <-c.inbox:
			c.vitals.turn(c.late(armed))
			out = c.step(in)
		case ask := <-c.asks:
			ask(c.machine, c.clock())
		case <-timer.C:
			c.vitals.turn(c.late(armed))
			out = c.machine.Tick(c.clock())
		}
		if err := c.carryOut(in, out); err != nil {
			return err
		}
		armed = c.arm(timer)
	}
}

func (c *core) step(in cluster.Input) cluster.Output {
	out, err := c.machine.Step(c.clock(), in)
	if err != nil {
		c.log.Debug("input refused", "input", fmt.Sprintf("%T", in), "err", err)
	}
	return out
}

// carryOut does what the machine asks for on an input (nil: it was time), in the order that it promises its peers.
func (c *core) carryOut(in cluster.Input, out cluster.Output) error {
	if out.Hard != nil {
		began := time.Now()
		if err := c.hard.Save(*out.Hard); err != nil {
			return fmt.Errorf("cannot make the term durable, so this node must not act on it: %w", err)
		}
		c.vitals.saved(time.Since(began))
	}
	c.events.output(c.machine, in, &out)
	for _, e := range out.Out {
		c.send(e)
	}
	for _, t := range out.Moves {
		c.move(t)
	}
	for _, call := range out.Calls {
		c.call(call)
	}
	c.publish()
	for _, e := range out.Events {
		c.event(e)
	}
	return nil
}

// late is how late the loop comes to what is due; below 0: nothing is.
func (c *core) late(armed cluster.Instant) time.Duration {
	if armed == 0 {
		return -1
	}
	return c.clock().Sub(armed)
}

// arm sets the timer for what the machine has to do next, and says when that is; 0: it has nothing to do.
func (c *core) arm(timer *time.Timer) cluster.Instant {
	at, ok := c.machine.Deadline()
	if !ok {
		timer.Stop()
		return 0
	}
	timer.Reset(max(0, at.Sub(c.clock())))
	return at
}

// publish makes the machine's status readable for everybody, and wakes those who wait for a change of
// head, role or membership.
func (c *core) publish() {
	st := c.machine.Status()
	old := c.status.Swap(&st)
	if old == nil || old.Term != st.Term || old.Role != st.Role || old.Members != st.Members || old.Heads != st.Heads ||
		old.Health != st.Health || old.Unsure != st.Unsure {
		c.turn.wake()
	}
}

// timers are those of the highest certificate.
func (c *core) timers() cluster.Timers {
	if st := c.status.Load(); st.Cert != nil {
		return st.Cert.Timers
	}
	return cluster.DefaultTimers()
}

// put hands an input to the loop. It waits while the inbox is full; it returns without it when ctx or the
// loop ends.
func (c *core) put(ctx context.Context, in cluster.Input) {
	select {
	case c.inbox <- in:
	case <-ctx.Done():
	case <-c.done:
	}
}

// ask runs f on the loop and waits for it. False: the loop or ctx ended first, f did not run.
func (c *core) ask(ctx context.Context, f func(*cluster.Machine, cluster.Instant)) bool {
	ran := make(chan struct{})
	wrapped := func(m *cluster.Machine, at cluster.Instant) {
		f(m, at)
		close(ran)
	}
	select {
	case c.asks <- wrapped:
		<-ran
		return true
	case <-ctx.Done():
	case <-c.done:
	}
	return false
}

var errHeadChanged = errors.New("the head has changed")

// whileHeadIs is a context that ends when somebody else leads: a question to a head that died silently is
// then asked again at once. stop joins what it started.
func (c *core) whileHeadIs(ctx context.Context, head cluster.ID) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			changed := c.turn.wait()
			if st := c.status.Load(); st.High == nil || st.High.Head != head {
				cancel(errHeadChanged)
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	})
	return ctx, func() { cancel(nil); wg.Wait() }
}

// broadcast wakes all who wait at the moment.
type broadcast struct {
	mu sync.Mutex
	ch chan struct{}
}

// wait returns a channel that is closed at the next wake.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch == nil {
		b.ch = make(chan struct{})
	}
	return b.ch
}

func (b *broadcast) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ch != nil {
		close(b.ch)
		b.ch = nil
	}
}
