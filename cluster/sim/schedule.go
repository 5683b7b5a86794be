package sim

import (
	"io"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// Options of a schedule.
type Options struct {
	Kind     *Kind     // the fault that must occur; nil: by the seed
	Trace    io.Writer // where the schedule is told; nil: nowhere
	Messages bool      // the trace names messages too
	Carrier  Carrier
	Memory   *Memory // shared by schedules of one goroutine; nil: its own
}

// Outcome of a schedule.
type Outcome struct {
	Seed      uint64
	Hash      uint64 // of the transcript: the same seed gives the same
	Steps     uint64
	Messages  uint64
	TakeOvers int
	Kinds     []Kind
	Lived     time.Duration // virtual time
	Violation *Violation    // nil: every invariant held
	united    time.Duration // how long the calm took
	submitted int
	late      int
}

// codecEvery: so many messages go through the codec that each kind does in every schedule.
const codecEvery = 32

// Schedule lives through the schedule of a seed.
func Schedule(seed uint64, o Options) Outcome {
	if o.Memory == nil {
		o.Memory = NewMemory()
	}
	primary := Kind(seed % uint64(kindCount))
	if o.Kind != nil {
		primary = *o.Kind
	}
	w := newWorld(seed, worldConfig{memory: o.Memory, real: seed%realEvery == 0, trace: o.Trace, messages: o.Messages, carrier: o.Carrier, codec: codecEvery})
	w.live(primary)
	out := Outcome{Seed: seed, Hash: w.tally.hash, Steps: w.tally.steps, Messages: w.tally.messages, TakeOvers: w.tally.takeovers,
		Lived: time.Duration(w.now), Violation: w.broken, united: w.watch.live.united, submitted: w.watch.live.submitted, late: w.watch.live.late}
	for k := range kindCount {
		if w.tally.kinds[k] {
			out.Kinds = append(out.Kinds, k)
		}
	}
	return out
}

// live is a whole schedule: a city comes to be, faults strike it, and it comes to rest.
func (w *world) live(primary Kind) {
	w.settle(primary)
	n := w.nodes()
	w.log("%d nodes, %v links of %v, %v loss", n, map[bool]string{true: "datagram", false: "stream"}[w.net.datagrams], w.net.delay, w.net.loss)
	for i := range n {
		h := w.addHost(i, "main")
		w.after(w.between(0, time.Second), func(w *world) { w.boot(h) })
	}
	w.until(8*time.Second, 200*time.Millisecond, func() bool { return len(w.living("main")) == n && w.united("main") })
	w.sessions()
	w.storm(primary)
	w.rest()
}

// settle draws links and timers.
func (w *world) settle(primary Kind) {
	w.net.datagrams = w.chance(0.35) || primary == Duplication || primary == Reordering
	w.net.silent = w.chance(0.1)
	if w.chance(0.3) {
		w.net.loss = 0.05 * w.rng.Float64()
	}
	w.cfg.timers = cluster.DefaultTimers()
	switch r := w.rng.Float64(); {
	case r < 0.15:
		w.cfg.timers = cluster.LANTimers()
	case r < 0.2:
		w.cfg.timers = cluster.WANTimers()
	}
	w.net.delay = w.logUniform(100*time.Microsecond, w.cfg.timers.ProbeWait/6) // with jitter an answer takes two thirds of the wait for it
	w.net.jitter = w.between(0, w.net.delay)
	w.rs.start(w)
}

// nodes draws how many there are.
func (w *world) nodes() int {
	switch r := w.rng.Float64(); {
	case r < 0.03:
		return 1
	case r < 0.10:
		return 2
	case r < 0.9:
		return 3 + w.rng.IntN(5)
	}
	return 8 + w.rng.IntN(5)
}

// storm lets faults strike: the kind that this schedule is about, some others, and what deposes heads.
func (w *world) storm(primary Kind) {
	length := w.between(12*time.Second, 24*time.Second)
	switch primary {
	case HandOver: // a head hands over only after a tenure
		if w.chance(0.6) {
			w.run(w.now.Add(time.Minute))
		}
	case Extinction: // the registry names another head only after a while
		length += w.between(40*time.Second, 80*time.Second)
	}
	plan := []Kind{primary}
	for range 1 + w.rng.IntN(2) {
		plan = append(plan, Kind(w.rng.IntN(int(Fifty))))
	}
	if w.chance(0.025) { // dear: fifty nodes
		plan = append(plan, Fifty)
	}
	for range 1 + w.rng.IntN(3) {
		plan = append(plan, [...]Kind{Crash, Restart, Pause, SilentDeath}[w.rng.IntN(4)])
	}
	for _, k := range plan {
		w.after(w.between(0, length), func(w *world) { w.strike(k) })
	}
	w.after(w.between(0, length), func(w *world) { w.rs.snapshot() })
	w.run(w.now.Add(length))
}
