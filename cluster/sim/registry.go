package sim

import (
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// Settings of the registry's process and of calls to it.
const (
	callFor     = 5 * time.Second      // then a call to the registry failed
	diskTime    = 2 * time.Millisecond // an fsync
	rebirthDial = 3 * time.Second      // how long a list is dialled in vain
	keepDisks   = 8                    // old states of the disk that a careless operator may restore
)

var (
	errAway    = errors.New("the registry does not answer")
	errRefused = errors.New("the registry's host refuses the connection")
)

// registry is the registry's process and its disk.
type registry struct {
	table   *cluster.Table // nil: it does not run
	gen     int            // of its process
	began   cluster.Instant
	clock   clock
	disk    cluster.TableState
	old     []cluster.TableState
	heard   map[cluster.ID]int64 // unix ms; memory, not disk
	dialled map[cluster.City]bool
	results map[cluster.ResultKey]bool
	epochs  map[cluster.City]map[uint64][32]byte // S6: of all that was ever signed
	rng     *rand.Rand
	heads   map[cluster.City]uint // as the operator set it
	unclean bool                  // the disk may be older than what was signed
}

func (r *registry) start(w *world) {
	r.gen++
	r.began, r.heard, r.dialled = w.now, make(map[cluster.ID]int64), make(map[cluster.City]bool)
	if r.rng == nil {
		r.rng = rand.New(rand.NewPCG(w.rng.Uint64(), 0xca11))
		r.results, r.epochs = make(map[cluster.ResultKey]bool), make(map[cluster.City]map[uint64][32]byte)
	}
	cfg := cluster.DefaultTableConfig()
	if w.cfg.timers != (cluster.Timers{}) {
		cfg.Timers = w.cfg.timers
	}
	cfg.Trust = w.trust()
	r.tableConfig(&cfg)
	t, err := cluster.NewTable(networkPublic(), w.networkSigner(), r.disk, cfg, func() uint16 { return uint16(r.rng.Uint32()) })
	if err != nil {
		w.violate("S7", "the registry cannot start from its own disk: %v", err)
		return
	}
	r.table = t
	r.opened(w)
}

// stop ends the process, cleanly or not.
func (r *registry) stop(clean bool) {
	r.table, r.unclean = nil, r.unclean || !clean
	r.gen++
}

// save makes changes durable.
func (r *registry) save(w *world, c cluster.Changes) {
	if !c.Barred.Empty() {
		r.disk.Barred = c.Barred
	}
	for _, n := range c.Nodes {
		i := slices.IndexFunc(r.disk.Nodes, func(o cluster.NodeState) bool { return o.ID == n.ID })
		if i < 0 {
			r.disk.Nodes = append(r.disk.Nodes, n)
		} else {
			r.disk.Nodes[i] = n
		}
	}
	for _, c := range c.Cities {
		r.signed(w, c)
		i := slices.IndexFunc(r.disk.Cities, func(o cluster.CityState) bool { return o.City == c.City })
		if i < 0 {
			r.disk.Cities = append(r.disk.Cities, c)
		} else {
			r.disk.Cities[i] = c
		}
	}
}

// signed looks after S6.
func (r *registry) signed(w *world, c cluster.CityState) {
	if c.Cert.Empty() {
		return
	}
	cert, err := w.trust().Certificate(c.Cert)
	if err != nil {
		w.violate("S6", "the registry keeps a certificate of %s that does not verify: %v", c.City, err)
		return
	}
	if r.epochs[c.City] == nil {
		r.epochs[c.City] = make(map[uint64][32]byte)
	}
	hash := c.Cert.Hash()
	if was, ok := r.epochs[c.City][cert.Epoch]; ok && was != hash {
		w.violate("S6", "two certificates of %s have epoch %x", c.City, cert.Epoch)
	} else if !ok {
		w.log("registry: epoch %06x of %s: %s", cert.Epoch&0xffffff, c.City, w.names(cert.Successions))
	}
	r.epochs[c.City][cert.Epoch] = hash
}

func (w *world) names(lists [][]cluster.ID) (out string) {
	for i, list := range lists {
		if i > 0 {
			out += " | "
		}
		for j, id := range list {
			if j > 0 {
				out += " "
			}
			out += w.nameOf(id)
		}
	}
	return out
}

// snapshot keeps a copy of the disk, for an operator who restores one.
func (r *registry) snapshot() {
	s := cluster.TableState{Nodes: slices.Clone(r.disk.Nodes), Cities: slices.Clone(r.disk.Cities), Barred: r.disk.Barred}
	r.old = append(r.old, s)
	r.old = r.old[max(0, len(r.old)-keepDisks):]
}

// ask carries a request to the registry and its answer back.
func (w *world) ask(p *proc, req *cluster.Request, done func(w *world, a *cluster.Answer, err error)) {
	finished := false
	finish := func(w *world, a *cluster.Answer, err error) {
		if !finished && p.h.proc == p {
			finished = true
			done(w, a, err)
		}
	}
	if w.net.blocked(p.h.n, 0) {
		w.after(callFor, func(w *world) { finish(w, nil, errAway) })
		return
	}
	loss := w.net.lossOf(p.h.n, 0)
	d := w.transit()
	there := d + w.resent(loss, w.rto())
	w.after(there, func(w *world) {
		if w.rs.table == nil {
			w.after(w.transit(), func(w *world) { finish(w, nil, errRefused) })
			return
		}
		w.serve(p.h, req, func(w *world, a *cluster.Answer, err error) {
			if w.net.blocked(0, p.h.n) {
				return
			}
			d := w.transit()
			w.after(diskTime+d+w.resent(loss, w.rto()), func(w *world) { finish(w, a, err) })
		})
	})
	w.after(callFor, func(w *world) { finish(w, nil, errAway) })
}

// serve is the registry's side of a request.
func (w *world) serve(h *host, req *cluster.Request, reply func(w *world, a *cluster.Answer, err error)) {
	r, id := &w.rs, h.who.id
	now := r.clock.wallMs(w.now)
	r.heard[id] = now
	var a *cluster.Answer
	var c cluster.Changes
	var err error
	switch req.Kind {
	case cluster.CallRegister:
		a, c, err = r.table.Register(now, id, req, h.city, string(h.city), cluster.ClassOwn)
	case cluster.CallPropose:
		a, c, err = r.table.Propose(now, id, req)
	case cluster.CallTakeover:
		a, c, err = r.table.Takeover(now, id, req)
	case cluster.CallReport:
		a, c, err = r.table.Report(now, id, req)
	}
	if err != nil {
		if !h.trait.lied {
			w.violate("S7", "the registry takes %s of %s for malformed: %v", req.Kind, h.name, err)
		}
		reply(w, nil, err)
		return
	}
	for _, alive := range req.Living {
		if req.Kind != cluster.CallRegister && a.Error == nil {
			r.heard[alive] = now
		}
	}
	r.save(w, c)
	if req.Kind == cluster.CallRegister && req.CutOffMs > 0 {
		w.rebirth(h, req, a, reply)
		return
	}
	reply(w, a, nil)
}

func (r *registry) sight(w *world, unreached map[cluster.ID]bool) cluster.Sight {
	return cluster.Sight{Up: w.now.Sub(r.began), Heard: func(id cluster.ID) int64 { return r.heard[id] }, Unreached: unreached}
}

// rebirth dials the list of a city that seems to be deserted, and names the caller when nobody answers.
func (w *world) rebirth(h *host, req *cluster.Request, a *cluster.Answer, reply func(w *world, a *cluster.Answer, err error)) {
	r := &w.rs
	names, err := r.table.Deserted(r.clock.wallMs(w.now), h.who.id, req, r.sight(w, nil))
	if err != nil || r.dialled[h.city] {
		reply(w, a, nil)
		return
	}
	r.dialled[h.city] = true
	gen := r.gen
	w.after(rebirthDial, func(w *world) {
		if r.gen != gen {
			return
		}
		delete(r.dialled, h.city)
		unreached := make(map[cluster.ID]bool)
		for _, p := range names {
			if w.dialledByRegistry(p) {
				r.heard[p.ID] = r.clock.wallMs(w.now)
			} else {
				unreached[p.ID] = true
			}
		}
		if b, c, err := r.table.Rebirth(r.clock.wallMs(w.now), h.who.id, req, r.sight(w, unreached)); err == nil {
			w.log("registry: %s is reborn with %s", h.city, h.name)
			r.save(w, c)
			a = b
		}
		reply(w, a, nil)
	})
}

func (w *world) dialledByRegistry(p cluster.Peer) bool {
	for _, h := range w.byID[p.ID] {
		if h.proc != nil && !h.proc.frozen && h.power && !w.net.blocked(0, h.n) && !w.net.blocked(h.n, 0) {
			return true
		}
	}
	return false
}

// register sends a registration, and again every so often while the process has no head or was never answered.
func (w *world) register(p *proc) {
	w.registerOnce(p)
	var again call
	again = func(w *world) {
		if p.h.proc != p || p.stopped {
			return
		}
		if !p.frozen && (p.m == nil || !p.link.registered || p.status.Role == cluster.RoleOrphan) {
			w.registerOnce(p)
		}
		w.agenda.push(w.now.Add(registerAgain), again)
	}
	w.agenda.push(w.now.Add(registerAgain), again)
}

func (w *world) registerOnce(p *proc) {
	w.queueCall(p, cluster.Call{Kind: cluster.CallRegister})
}

// registration is a fresh Register.
func (p *proc) registration() *cluster.Request {
	h := p.h
	req := &cluster.Request{Version: cluster.Version, Kind: cluster.CallRegister, Self: cluster.Peer{ID: h.who.id, Addrs: h.addrs()}, City: h.city,
		Transient: h.trait.transient, Admission: h.disk.admission, Cert: h.disk.hard.Cert, Lead: h.disk.hard.High}
	if p.m != nil {
		st := p.status
		req.Lead, req.Cert, req.CutOffMs = st.HighRaw, st.CertRaw, uint64(st.CutOff.Milliseconds())
	}
	return req
}

// queueCall lets a call wait for its turn.
func (w *world) queueCall(p *proc, c cluster.Call) {
	const most = 16
	if l := &p.link; len(l.queue) < most && (c.Kind != cluster.CallRegister || !slices.ContainsFunc(l.queue, func(q cluster.Call) bool { return q.Kind == c.Kind })) {
		l.queue = append(l.queue, c)
	}
	w.nextCall(p)
}

func (w *world) nextCall(p *proc) {
	l := &p.link
	if l.busy || len(l.queue) == 0 {
		return
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	l.busy = true
	req := c.Request
	if req == nil {
		req = p.registration()
	}
	w.ask(p, req, func(w *world, a *cluster.Answer, err error) { w.answered(&reply{p, c.Kind, a, err}) })
}

// reply is an answer on its way into a process.
type reply struct {
	p    *proc
	kind cluster.RegistryCall
	a    *cluster.Answer
	err  error
}

func (r *reply) happen(w *world) { w.answered(r) }

func (w *world) answered(r *reply) {
	p := r.p
	if p.h.proc != p || p.frozen && p.delay(r) {
		return
	}
	p.link.busy = false
	if r.err == nil && r.kind == cluster.CallRegister && r.a.Error == nil {
		p.link.registered = true
		p.h.disk.admission, p.h.disk.firstSeen = r.a.Admission, r.a.FirstSeen
	}
	switch {
	case p.m != nil:
		w.step(p, cluster.Answered{Kind: r.kind, Answer: r.a, Err: r.err})
	case r.err == nil && r.a.Error == nil && !p.h.disk.admission.Empty():
		w.startMachine(p, r.a)
	}
	w.nextCall(p)
}
