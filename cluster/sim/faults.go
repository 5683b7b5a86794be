package sim

import (
	"math"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// fault is something that goes wrong at a time.
type fault struct {
	kind Kind
	end  func(w *world) // nil: over
}

// weather is what goes wrong at the moment.
type weather struct {
	active []*fault
	tape   []taped // what was said lately, for those who repeat it
	calm   bool    // nothing goes wrong any more
	dead   []*host // who died, in order
}

type taped struct {
	to cluster.ID
	m  *cluster.Message
}

const tapeLength = 64

// strike begins a fault.
func (w *world) strike(k Kind) {
	if w.broken != nil || w.faults.calm {
		return
	}
	w.tally.kinds[k] = true
	w.log("FAULT %s", k)
	w.note(4, uint64(k))
	f := &fault{kind: k}
	w.unsettle(k)
	f.end = kinds[k].begin(w, f)
	if f.end != nil {
		w.faults.active = append(w.faults.active, f)
	}
}

// over ends a fault after a while, unless the calm has ended it before.
func (w *world) over(f *fault, d time.Duration) {
	w.after(d, func(w *world) { w.cease(f) })
}

func (w *world) cease(f *fault) {
	end := f.end
	if end == nil {
		return
	}
	f.end = nil
	w.faults.active = slices.DeleteFunc(w.faults.active, func(g *fault) bool { return g == f })
	w.log("end of %s", f.kind)
	w.unsettle(f.kind)
	end(w)
}

// logUniform draws a duration: as many short ones as long ones.
func (w *world) logUniform(a, b time.Duration) time.Duration {
	return time.Duration(float64(a) * math.Pow(float64(b)/float64(a), w.rng.Float64()))
}

// running are the hosts with a process that is awake and admitted.
func (w *world) running() []*host {
	var out []*host
	for _, h := range w.hosts[1:] {
		if h.proc != nil && !h.proc.frozen && h.proc.m != nil && !h.proc.stopped {
			out = append(out, h)
		}
	}
	return out
}

// head is a host that leads: of several one at random.
func (w *world) head() *host {
	var heads []*host
	for _, h := range w.running() {
		if h.proc.leads() {
			heads = append(heads, h)
		}
	}
	return w.any(heads)
}

func (w *world) any(hosts []*host) *host {
	if len(hosts) == 0 {
		return nil
	}
	return hosts[w.rng.IntN(len(hosts))]
}

// candidates are the running hosts of the list of the head's certificate, in its order.
func (w *world) candidates() []*host {
	h := w.head()
	if h == nil {
		h = w.any(w.running())
	}
	if h == nil || h.proc.status.Cert == nil {
		return nil
	}
	var out []*host
	for _, list := range h.proc.status.Cert.Successions {
		for _, id := range list {
			for _, c := range w.byID[id] {
				if c.proc != nil && !c.proc.frozen && c.proc.m != nil {
					out = append(out, c)
				}
			}
		}
	}
	return out
}

// target is whom a fault hits: mostly a head, else a candidate, else anybody.
func (w *world) target() *host {
	r := w.rng.Float64()
	if h := w.head(); h != nil && r < 0.65 {
		return h
	}
	if h := w.any(w.candidates()); h != nil && r < 0.9 {
		return h
	}
	return w.any(w.running())
}

// fall kills a host and brings it back after a while, if it comes back.
func (w *world) fall(h *host, silent bool, back time.Duration) {
	if h == nil {
		return
	}
	w.kill(h, silent)
	w.faults.dead = append(w.faults.dead, h)
	if back > 0 {
		w.comeBack(h, back)
	}
}

// comeBack boots a host after a while. Once it is calm the calm has decided who lives.
func (w *world) comeBack(h *host, after time.Duration) {
	w.after(after, func(w *world) {
		if !w.faults.calm {
			w.boot(h)
		}
	})
}

func crash(w *world, _ *fault) func(w *world) {
	w.fall(w.target(), false, 0)
	return nil
}

func restart(w *world, _ *fault) func(w *world) {
	w.fall(w.target(), false, w.logUniform(5*time.Millisecond, 20*time.Second))
	return nil
}

func silentDeath(w *world, _ *fault) func(w *world) {
	back := time.Duration(0)
	if w.chance(0.7) {
		back = w.logUniform(200*time.Millisecond, 30*time.Second)
	}
	w.fall(w.target(), true, back)
	return nil
}

func lostDisk(w *world, _ *fault) func(w *world) {
	h := w.target()
	if h == nil {
		return nil
	}
	w.kill(h, w.chance(0.5))
	w.wipe(h)
	w.comeBack(h, w.logUniform(50*time.Millisecond, 20*time.Second))
	return nil
}

func pause(w *world, f *fault) func(w *world) {
	h := w.target()
	if h == nil {
		return nil
	}
	w.freeze(h)
	w.over(f, w.logUniform(500*time.Millisecond, time.Minute))
	return func(w *world) { w.thaw(h) }
}

// slowLoop lets a process stall again and again, as on a host without processor time.
func slowLoop(w *world, f *fault) func(w *world) {
	h := w.target()
	if h == nil {
		return nil
	}
	stop := false
	var stall func(w *world)
	stall = func(w *world) {
		if stop || w.faults.calm {
			return
		}
		w.freeze(h)
		w.after(w.between(20*time.Millisecond, 1500*time.Millisecond), func(w *world) {
			w.thaw(h)
			if !stop {
				w.after(w.between(10*time.Millisecond, 800*time.Millisecond), stall)
			}
		})
	}
	stall(w)
	w.over(f, w.logUniform(2*time.Second, 20*time.Second))
	return func(w *world) { stop = true; w.thaw(h) }
}

// clockStep sets a wall clock, a registry's too, or lets a monotonic one leap as after a sleep that nobody saw.
func clockStep(w *world, _ *fault) func(w *world) {
	d := w.logUniform(100*time.Millisecond, 24*time.Hour)
	if w.chance(0.5) {
		d = -d
	}
	if w.chance(0.3) {
		w.log("the registry's clock is set by %v", d)
		w.rs.clock.step += d
		return nil
	}
	h := w.target()
	if h == nil {
		return nil
	}
	if w.chance(0.4) {
		w.leap(h, w.logUniform(500*time.Millisecond, time.Minute))
		return nil
	}
	w.log("the clock of %s is set by %v", h.name, d)
	h.clock.step += d
	if w.chance(0.6) {
		w.fall(h, false, w.logUniform(5*time.Millisecond, 5*time.Second))
	}
	return nil
}

// leap moves a monotonic clock forward.
func (w *world) leap(h *host, d time.Duration) {
	w.log("the monotonic clock of %s leaps by %v", h.name, d)
	h.clock.adjust(w.now, h.clock.ppm, d)
	w.rearm(h)
}

func (w *world) rearm(h *host) {
	if p := h.proc; p != nil && p.m != nil && !p.frozen {
		p.alarm.at = 0
		w.arm(p)
	}
}

func clockRate(w *world, f *fault) func(w *world) {
	h := w.target()
	if h == nil {
		return nil
	}
	ppm := int64(w.rng.IntN(200_000)) - 100_000
	w.log("the clock of %s runs %d ppm too fast", h.name, ppm)
	h.clock.adjust(w.now, ppm, 0)
	w.rearm(h)
	w.over(f, w.logUniform(5*time.Second, time.Minute))
	return func(w *world) {
		h.clock.adjust(w.now, 0, 0)
		w.rearm(h)
	}
}

func loss(w *world, f *fault) func(w *world) {
	p := 0.05 + 0.55*w.rng.Float64()
	w.over(f, w.logUniform(2*time.Second, 30*time.Second))
	if h := w.target(); h != nil && w.chance(0.5) {
		w.log("%.0f %% of what %s sends and gets is lost", 100*p, h.name)
		w.net.of[h.n] += p
		return func(w *world) { w.net.of[h.n] = max(0, w.net.of[h.n]-p) }
	}
	was := w.net.loss
	w.net.loss = p
	w.log("%.0f %% of all packets are lost", 100*p)
	return func(w *world) { w.net.loss = was }
}

func delaySpike(w *world, f *fault) func(w *world) {
	d := w.logUniform(50*time.Millisecond, 3*time.Second)
	w.log("packets take %v longer", d)
	w.net.spike = d
	w.over(f, w.logUniform(500*time.Millisecond, 15*time.Second))
	return func(w *world) { w.net.spike = 0 }
}

func duplication(w *world, f *fault) func(w *world) {
	w.net.double = 0.05 + 0.5*w.rng.Float64()
	w.over(f, w.logUniform(5*time.Second, 40*time.Second))
	return func(w *world) { w.net.double = 0 }
}

func reordering(w *world, f *fault) func(w *world) {
	w.net.scramble = w.logUniform(5*time.Millisecond, 2*time.Second)
	w.over(f, w.logUniform(5*time.Second, 40*time.Second))
	return func(w *world) { w.net.scramble = 0 }
}
