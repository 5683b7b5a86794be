package sim

import (
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

func registryDown(w *world, f *fault) func(w *world) {
	w.rs.stop(w.chance(0.5))
	w.over(f, w.logUniform(2*time.Second, 40*time.Second))
	return func(w *world) { w.rs.startAgain(w) }
}

func registryRestart(w *world, f *fault) func(w *world) {
	w.rs.stop(w.chance(0.5))
	w.over(f, w.logUniform(10*time.Millisecond, 2*time.Second))
	return func(w *world) { w.rs.startAgain(w) }
}

func registryLostDisk(w *world, f *fault) func(w *world) {
	w.rs.stop(false)
	w.rs.disk = cluster.TableState{}
	w.ledger.registryLost(w)
	w.over(f, w.logUniform(10*time.Millisecond, 10*time.Second))
	return func(w *world) { w.rs.startAgain(w) }
}

func registryOldDisk(w *world, f *fault) func(w *world) {
	w.rs.stop(false)
	if n := len(w.rs.old); n > 0 {
		w.rs.disk = w.rs.old[w.rng.IntN(n)]
		w.rs.old = nil
	}
	w.over(f, w.logUniform(10*time.Millisecond, 10*time.Second))
	return func(w *world) { w.rs.startAgain(w) }
}

// startAgain starts the registry unless it runs: two faults may have stopped it.
func (r *registry) startAgain(w *world) {
	if r.table == nil {
		w.log("the registry starts")
		r.start(w)
	}
}

// pair kills head and backup together.
func pair(w *world, _ *fault) func(w *world) {
	h := w.head()
	if h == nil {
		return nil
	}
	silent := w.chance(0.5)
	backup := h.proc.status.Backup
	w.fall(h, silent, w.logUniform(time.Second, 40*time.Second))
	for _, b := range w.byID[backup] {
		if b.proc != nil {
			w.fall(b, silent, w.logUniform(time.Second, 40*time.Second))
		}
	}
	return nil
}

// extinction kills all candidates.
func extinction(w *world, _ *fault) func(w *world) {
	silent := w.chance(0.5)
	for _, c := range w.candidates() {
		w.fall(c, silent, w.logUniform(10*time.Second, 60*time.Second))
	}
	return nil
}

// reshard changes how many heads the city should have.
func reshard(w *world, _ *fault) func(w *world) {
	r, city := &w.rs, w.hosts[1].city
	n := uint(1 + w.rng.IntN(3))
	if r.heads == nil {
		r.heads = make(map[cluster.City]uint)
	}
	r.heads[city] = n
	w.log("the operator wants %d heads", n)
	if r.table == nil {
		return nil
	}
	c, err := r.table.SetHeads(r.clock.wallMs(w.now), city, n)
	if err != nil {
		w.violate("S7", "the registry does not take %d heads: %v", n, err)
		return nil
	}
	r.save(w, c)
	return nil
}

// clonedKey starts a second host with the key and a copy of the disk of another.
func clonedKey(w *world, f *fault) func(w *world) {
	h := w.target()
	if h == nil || h.disk.admission.Empty() {
		return nil
	}
	c := &host{n: len(w.hosts), who: h.who, city: h.city, power: true, disk: h.disk, clock: h.clock, trait: h.trait}
	h.trait.twice = true
	c.name, c.disk.results = h.name+"'", results{} // two with one key would number their results alike
	w.hosts = append(w.hosts, c)
	w.byID[h.who.id] = append(w.byID[h.who.id], c)
	w.net.grow(len(w.hosts))
	w.boot(c)
	w.over(f, w.logUniform(3*time.Second, 40*time.Second))
	return func(w *world) {
		w.kill(c, false)
		c.trait.gone = true
		w.byID[h.who.id] = w.byID[h.who.id][:1]
	}
}

func fullDisk(w *world, f *fault) func(w *world) {
	h := w.target()
	if h == nil {
		return nil
	}
	w.log("the disk of %s is full", h.name)
	h.disk.full = true
	w.over(f, w.logUniform(2*time.Second, 30*time.Second))
	return func(w *world) {
		h.disk.full = false
		w.comeBack(h, 0) // if it ended for that
	}
}

// churn lets nodes join and leave, some of them without good-bye.
func churn(w *world, _ *fault) func(w *world) {
	city := w.hosts[1].city
	for range 2 + w.rng.IntN(4) {
		w.after(w.between(0, 10*time.Second), func(w *world) {
			if w.faults.calm {
				return
			}
			if w.chance(0.5) {
				h := w.addHost(len(w.hosts), city)
				h.trait.transient = w.chance(0.2)
				w.boot(h)
				return
			}
			if h := w.any(w.running()); h != nil && len(w.running()) > 2 {
				w.leave(h)
			}
		})
	}
	return nil
}

// leave stops a node as its user does.
func (w *world) leave(h *host) {
	p := h.proc
	if p == nil || p.m == nil || p.frozen || p.stopped {
		return
	}
	w.log("%s is told to stop%s", h.name, map[bool]string{true: ", leading"}[p.leads()])
	p.stopped = true
	w.step(p, cluster.Stopping{})
	w.after(w.between(10*time.Millisecond, 3*time.Second), func(w *world) {
		if h.proc == p {
			w.kill(h, false)
		}
		if w.chance(0.4) {
			w.comeBack(h, w.between(0, 10*time.Second))
		} else {
			h.trait.gone = true
		}
	})
}

func handOver(w *world, f *fault) func(w *world) {
	h := w.head()
	if h == nil {
		return nil
	}
	if w.chance(0.5) {
		return ail(w, f, h)
	}
	p := h.proc
	w.log("%s is told to stop, leading", h.name)
	p.stopped = true
	w.step(p, cluster.Stopping{})
	w.after(w.between(time.Second, 3*time.Second), func(w *world) {
		if h.proc == p {
			w.kill(h, false)
		}
		w.comeBack(h, w.between(0, 10*time.Second))
	})
	return nil
}

// ail lets a node notice for a while that it should not lead.
func ail(w *world, f *fault, h *host) func(w *world) {
	w.log("%s is not well", h.name)
	w.step(h.proc, cluster.Health{Reason: "slow disk"})
	w.over(f, w.logUniform(2*time.Second, 90*time.Second))
	p := h.proc
	return func(w *world) {
		if h.proc == p {
			w.well(&wellness{p})
		}
	}
}

// wellness is good news on its way in.
type wellness struct{ p *proc }

func (n *wellness) happen(w *world) { w.well(n) }

func (w *world) well(n *wellness) {
	if !n.p.delay(n) {
		w.step(n.p, cluster.Health{})
	}
}

func fifty(w *world, _ *fault) func(w *world) {
	const many, stay = 50, 6
	for i := range many {
		h := w.addHost(1000+len(w.hosts), "many")
		w.boot(h)
		if i >= stay { // most go as they came
			h.trait.gone = true
			w.after(w.between(8*time.Second, 12*time.Second), func(w *world) { w.kill(h, i%2 == 0) })
		}
	}
	return nil
}

func lies(l liar) func(w *world, f *fault) func(w *world) {
	return func(w *world, f *fault) func(w *world) {
		h := w.any(w.candidates())
		if h == nil {
			return nil
		}
		w.log("%s begins to lie", h.name)
		h.trait.liar, h.trait.lied = l, true
		stop := false
		var speak func(w *world)
		speak = func(w *world) {
			if stop || h.proc == nil {
				return
			}
			w.lie(h)
			w.after(w.logUniform(50*time.Millisecond, 3*time.Second), speak)
		}
		speak(w)
		w.over(f, w.logUniform(2*time.Second, 30*time.Second))
		return func(w *world) {
			stop = true
			w.kill(h, false)
			h.trait.liar = honest
			w.comeBack(h, w.between(0, 3*time.Second))
		}
	}
}
