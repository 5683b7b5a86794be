package sim

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// world is one schedule's: hosts, links, a registry, and who looks after them.
type world struct {
	now     cluster.Instant
	rng     *rand.Rand // of nature: links, faults
	agenda  agenda
	hosts   []*host // 0 is the registry's place
	byID    map[cluster.ID][]*host
	net     network
	rs      registry
	cfg     worldConfig
	watch   invariants
	tally   tally
	ledger  ledger
	faults  weather
	broken  *Violation
	figures figures // of a measured world
}

// worldConfig is what stays the same in a schedule.
type worldConfig struct {
	memory   *Memory
	real     bool      // signatures are real
	trace    io.Writer // nil: nobody reads along
	messages bool      // the trace names messages too
	carrier  Carrier
	timers   cluster.Timers
	codec    uint64 // every so many messages one goes through its codec; 0: none
	measured bool   // figures are taken: no fault is drawn, bytes are counted
}

// Carrier are mistakes of the machine's caller, for the tests that see that they are noticed.
type Carrier struct {
	LatePersist bool // the hard state is made durable a while after messages that depend on it were sent
}

// tally counts what happened.
type tally struct {
	steps     uint64
	messages  uint64
	hash      uint64
	takeovers int
	codec     uint64 // messages since the last that went through its codec
	kinds     map[Kind]bool
}

// Violation is an invariant that broke.
type Violation struct {
	Invariant string // its name: "S1" to "S7", "L1" to "L5"
	Step      uint64 // of the schedule
	At        time.Duration
	Text      string
}

// Error says what broke, where.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s at step %d, %v: %s", v.Invariant, v.Step, v.At.Round(time.Microsecond), v.Text)
}

func newWorld(seed uint64, cfg worldConfig) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0x5eed)), byID: make(map[cluster.ID][]*host), cfg: cfg, hosts: []*host{nil}}
	w.tally.hash, w.tally.kinds = 14695981039346656037, make(map[Kind]bool)
	w.watch = newInvariants()
	return w
}

// violate ends the schedule. The first violation counts.
func (w *world) violate(invariant, format string, args ...any) {
	if w.broken == nil {
		w.broken = &Violation{invariant, w.tally.steps, time.Duration(w.now), fmt.Sprintf(format, args...)}
		w.log("VIOLATION of %s: %s", invariant, w.broken.Text)
	}
}

// log writes a line of the trace.
func (w *world) log(format string, args ...any) {
	if w.cfg.trace != nil {
		fmt.Fprintf(w.cfg.trace, "%10.3fs %6d  %s\n", time.Duration(w.now).Seconds(), w.tally.steps, fmt.Sprintf(format, args...))
	}
}

// note adds to the transcript's hash.
func (w *world) note(values ...uint64) {
	h := w.tally.hash
	for _, v := range values {
		h = (h ^ v) * 0x100000001b3
		h ^= h >> 29
	}
	w.tally.hash = h
}

// after plans something.
func (w *world) after(d time.Duration, do func(w *world)) { w.agenda.push(w.now.Add(d), call(do)) }

// run lets the world live until a time, or until something broke.
func (w *world) run(until cluster.Instant) {
	for w.broken == nil {
		at, ok := w.agenda.next()
		if !ok || at > until {
			w.now = max(w.now, until)
			return
		}
		e := w.agenda.pop()
		w.now = max(w.now, e.at)
		e.do.happen(w)
	}
}

// until lets the world live until cond holds, which is looked at every pace; false: it did not within d.
func (w *world) until(d, pace time.Duration, cond func() bool) bool {
	for end := w.now.Add(d); w.broken == nil; {
		if cond() {
			return true
		}
		if w.now >= end {
			return false
		}
		w.run(min(w.now.Add(pace), end))
	}
	return false
}

// between draws a duration.
func (w *world) between(a, b time.Duration) time.Duration {
	if b <= a {
		return a
	}
	return a + time.Duration(w.rng.Int64N(int64(b-a)))
}

// chance is true with a probability.
func (w *world) chance(p float64) bool { return p > 0 && w.rng.Float64() < p }
