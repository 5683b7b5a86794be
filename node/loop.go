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
		var err error
		select {
		case <-ctx.Done():
			return nil
		case in := <-c.inbox:
			at := c.clock()
			c.vitals.turn(late(armed, at))
			err = c.takeIn(at, in)
		case ask := <-c.asks:
			ask(c.machine, c.clock())
		case <-timer.C:
			at := c.clock()
			c.vitals.turn(late(armed, at))
			err = c.carryOut(nil, c.machine.Tick(at))
		}
		if err != nil {
			return err
		}
		c.publish()
		armed = c.arm(timer)
	}
}

// inputsATurn bounds what is taken in before the loop publishes its status, sets its timer and looks who asks: some
// milliseconds' work.
const inputsATurn = 64

// takeIn steps an input and those that wait behind it: under load, most of a turn's cost is not the steps.
func (c *core) takeIn(at cluster.Instant, in cluster.Input) error {
	for n := 1; ; n++ {
		out, err := c.machine.Step(at, in)
		if err != nil {
			c.log.Debug("input refused", "input", fmt.Sprintf("%T", in), "err", err)
		}
		if err := c.carryOut(in, out); err != nil || n == inputsATurn {
			return err
		}
		select {
		case in = <-c.inbox:
			at = c.clock()
		default:
			return nil
		}
	}
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
	if len(out.Events) > 0 {
		c.publish() // whoever hears of it sees it
	}
	for _, e := range out.Events {
		c.event(e)
	}
	return nil
}

// late is how late the loop comes to what was due; below 0: nothing was.
func late(armed, at cluster.Instant) time.Duration {
	if armed == 0 {
		return -1
	}
	return at.Sub(armed)
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
