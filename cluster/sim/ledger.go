package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// Settings of results and of the disks that they are on.
const (
	resultEvery = 6 * time.Second // a node has results to deliver about so often
	resultBatch = 3               // at most so many of them
	fsyncMost   = 10 * time.Millisecond
	uplinkEvery = 500 * time.Millisecond // a head ships to the registry so often
	uplinkBatch = 64
)

// results are those on a host's disk.
type results struct {
	spool map[cluster.ResultKey]bool // own, not yet known to be in the registry
	held  map[cluster.ResultKey]bool // of others or as head; true: known to be in the registry
	seq   uint64
	queue []cluster.ResultKey // what a head would have to ship, as it came
}

// keep holds a result for others.
func (r *results) keep(k cluster.ResultKey) {
	if r.held == nil {
		r.held = make(map[cluster.ResultKey]bool)
	}
	if _, known := r.held[k]; !known {
		r.held[k] = false
		if !r.spool[k] {
			r.queue = append(r.queue, k)
		}
	}
}

// uplink is a head's stream of results to the registry.
type uplink struct {
	running bool
	led     bool // this process was a head: its own results are the head's
}

// ledger looks after S5: it knows on which disks each result is.
type ledger struct {
	facts map[cluster.ResultKey]*fact
}

// fact is what is true of one result.
type fact struct {
	owner    *host
	at       cluster.Instant // submitted
	on       map[*host]bool  // whose disks have it
	held     map[*host]bool  // whose disks had it as a head's or a backup's
	registry bool            // has it
	was      bool            // the registry had it at some time
	losses   int             // disks that had it and were lost
	level    uint            // that its owner was told
	acked    cluster.Instant // when level 2 was
	withdrew bool            // its owner's disk is gone: nobody waits for it
}

func (l *ledger) fact(k cluster.ResultKey) *fact {
	if l.facts == nil {
		l.facts = make(map[cluster.ResultKey]*fact)
	}
	f := l.facts[k]
	if f == nil {
		f = &fact{on: make(map[*host]bool), held: make(map[*host]bool)}
		l.facts[k] = f
	}
	return f
}

func (l *ledger) put(h *host, k cluster.ResultKey, held bool) {
	f := l.fact(k)
	f.on[h] = true
	if held {
		f.held[h] = true
	}
}

// lost notes that a host's disk is gone.
func (l *ledger) lost(w *world, h *host) {
	for _, k := range sortedKeys(h.disk.results.spool, h.disk.results.held) {
		f := l.fact(k)
		if f.on[h] {
			delete(f.on, h)
			f.losses++
		}
		f.withdrew = f.withdrew || f.owner == h
		l.survives(w, k, f)
	}
}

// registryLost notes that the registry's disk is gone, or is one of earlier.
func (l *ledger) registryLost(w *world) {
	for _, k := range sortedKeys(w.rs.results) {
		f := l.fact(k)
		if f.registry {
			f.registry = false
			f.losses++
		}
		l.survives(w, k, f)
	}
	w.rs.results = make(map[cluster.ResultKey]bool)
}

// survives is S5: one lost disk does not lose what was acknowledged at level 2.
func (l *ledger) survives(w *world, k cluster.ResultKey, f *fact) {
	if f.level >= 2 && f.losses <= 1 && len(f.on) == 0 && !f.registry {
		w.violate("S5", "result %d of %s was acknowledged at level %d and is nowhere after the loss of %d disks", k.Seq, w.nameOf(k.Node), f.level, f.losses)
	}
}

func sortedKeys(sets ...map[cluster.ResultKey]bool) []cluster.ResultKey {
	var out []cluster.ResultKey
	for _, m := range sets {
		out = append(out, slices.Collect(maps.Keys(m))...)
	}
	slices.SortFunc(out, compareKeys)
	return slices.Compact(out)
}

// produce lets a node have results, now and again.
func (w *world) produce(p *proc) {
	var again call
	again = func(w *world) {
		if p.h.proc != p || p.stopped || len(w.byID[p.h.who.id]) > 1 {
			return
		}
		if !p.frozen && p.m != nil && !p.h.disk.full {
			w.submit(p, 1+w.rng.IntN(resultBatch))
		}
		w.agenda.push(w.now.Add(w.between(resultEvery/2, resultEvery*3/2)), again)
	}
	w.agenda.push(w.now.Add(w.between(0, resultEvery)), again)
}

// submit makes results durable in the spool and hands them to the machine.
func (w *world) submit(p *proc, n int) []cluster.ResultKey {
	r := &p.h.disk.results
	if r.spool == nil {
		r.spool = make(map[cluster.ResultKey]bool)
	}
	var keys []cluster.ResultKey
	for range n {
		r.seq++
		k := cluster.ResultKey{Node: p.h.who.id, Boot: p.boot, Seq: r.seq}
		r.spool[k] = true
		r.queue = append(r.queue, k)
		w.ledger.put(p.h, k, false)
		f := w.ledger.fact(k)
		f.owner, f.at = p.h, w.now
		keys = append(keys, k)
	}
	w.step(p, cluster.Submitted{Keys: keys})
	return keys
}

// resumeResults tells a new process what is on its disk.
func (w *world) resumeResults(p *proc) {
	r := &p.h.disk.results
	if keys := sortedKeys(r.spool); len(keys) > 0 {
		w.step(p, cluster.Submitted{Keys: keys})
	}
	var held []cluster.ResultKey
	for k, released := range r.held {
		if !released {
			held = append(held, k)
		}
	}
	if len(held) > 0 && p.h.proc == p {
		slices.SortFunc(held, compareKeys)
		w.step(p, cluster.Stored{From: p.h.who.id, Keys: held})
	}
	if p.h.proc == p && !w.cfg.measured && len(w.byID[p.h.who.id]) == 1 {
		w.produce(p)
	}
}

// parcel is results on their way to another disk.
type parcel struct {
	from, to *proc
	t        cluster.Transfer
}

// move carries a transfer out.
func (w *world) move(p *proc, t cluster.Transfer) {
	h := w.route(p, t.To, t.Addrs)
	if w.cfg.messages {
		w.log("  %s -> %s %s of %d", p.h.name, w.nameOf(t.To), t.Kind, len(t.Keys))
	}
	if h == nil || !w.reachable(p.h, h) {
		return
	}
	for _, k := range t.Keys {
		if f := w.ledger.fact(k); !f.on[p.h] {
			w.violate("S5", "%s is to send result %d of %s, which is not on its disk", p.h.name, k.Seq, w.nameOf(k.Node))
			return
		}
	}
	loss := w.net.lossOf(p.h.n, h.n)
	d := 3 * w.transit()
	w.agenda.push(w.now.Add(d+w.resent(loss, w.rto())), &parcel{p, h.proc, t})
}

func (k *parcel) happen(w *world) {
	p := k.to
	if p.delay(k) || w.net.blocked(k.from.h.n, p.h.n) || p.h.disk.full || p.stopped {
		return
	}
	if k.t.Term.Compare(p.status.Term) < 0 {
		return // whoever knows a higher term refuses
	}
	w.after(w.between(0, fsyncMost), func(w *world) {
		if p.h.proc != p {
			return
		}
		for _, key := range k.t.Keys {
			p.h.disk.results.keep(key)
			w.ledger.put(p.h, key, true)
		}
		w.stored(&stored{p, cluster.Stored{From: k.from.h.who.id, Term: k.t.Term, Keys: k.t.Keys}})
	})
}

// stored is a Stored on its way to the machine.
type stored struct {
	p  *proc
	in cluster.Input
}

func (s *stored) happen(w *world) { w.stored(s) }

func (w *world) stored(s *stored) {
	if !s.p.delay(s) {
		w.step(s.p, s.in)
	}
}

// ship lets a head send to the registry what it holds, one batch at a time.
func (w *world) ship(p *proc) {
	p.store.led = true
	if p.store.running {
		return
	}
	p.store.running = true
	var again call
	again = func(w *world) {
		if p.h.proc != p {
			return
		}
		if p.m == nil || !p.leads() && !p.frozen {
			p.store.running = false
			return
		}
		w.agenda.push(w.now.Add(uplinkEvery), again)
		if p.frozen || w.rs.table == nil || w.net.blocked(p.h.n, 0) || w.net.blocked(0, p.h.n) {
			return
		}
		r := &p.h.disk.results
		r.queue = slices.DeleteFunc(r.queue, func(k cluster.ResultKey) bool {
			released, held := r.held[k]
			return released || !held && !r.spool[k]
		})
		keys := slices.Clone(r.queue[:min(len(r.queue), uplinkBatch)])
		if len(keys) > 0 {
			gen := w.rs.gen
			w.after(2*w.transit(), func(w *world) {
				if w.rs.gen == gen {
					w.collect(p, keys)
				}
			})
		}
	}
	w.agenda.push(w.now.Add(w.between(0, uplinkEvery)), again)
}

// collect makes results durable in the registry and tells who sent them.
func (w *world) collect(p *proc, keys []cluster.ResultKey) {
	for _, k := range keys {
		w.rs.results[k] = true
		f := w.ledger.fact(k)
		f.registry, f.was = true, true
	}
	w.after(w.transit(), func(w *world) { w.released(&released{p, keys}) })
}

// released is an answer of the registry on its way in.
type released struct {
	p    *proc
	keys []cluster.ResultKey
}

func (r *released) happen(w *world) { w.released(r) }

func (w *world) released(r *released) {
	p := r.p
	if p.delay(r) {
		return
	}
	for _, k := range r.keys {
		if _, ok := p.h.disk.results.held[k]; ok {
			p.h.disk.results.held[k] = true
		}
	}
	w.step(p, cluster.Released{Keys: r.keys})
}

// acked looks after S5 when an owner is told a level, and lets its spool go at level 3.
func (l *ledger) acked(w *world, p *proc, e cluster.Acked) {
	for _, k := range e.Keys {
		f := l.fact(k)
		if e.Level >= 2 && !f.was {
			disks := len(f.held)
			if p.store.led && !f.held[p.h] { // its owner was a head
				disks++
			}
			if disks < 2 {
				w.violate("S5", "result %d of %s was acknowledged at level %d, and was on the disks of %d heads and backups only", k.Seq, p.h.name, e.Level, disks)
			}
		}
		if e.Level >= 3 && !f.was {
			w.violate("S5", "result %d of %s was acknowledged at level 3, and was never in the registry", k.Seq, p.h.name)
		}
		f.level = max(f.level, e.Level)
		if e.Level >= 2 && f.acked == 0 {
			f.acked = w.now
		}
		if e.Level >= 3 {
			r := &p.h.disk.results
			delete(r.spool, k)
			if _, also := r.held[k]; also || p.store.led { // head and backup keep it for a day
				r.keep(k)
				r.held[k] = true
			} else {
				delete(f.on, p.h)
			}
		}
		l.survives(w, k, f)
	}
}

func compareKeys(a, b cluster.ResultKey) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Seq, b.Seq))
}
