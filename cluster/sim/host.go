package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// Settings of a node's process, as of the program that runs in one.
const (
	registerAgain = 5 * time.Second        // an orphan, or a node that was never answered, registers again
	timerLate     = 200 * time.Microsecond // a timer is at most so late
	maxInbox      = 8192                   // what sockets hold for a process that is frozen
	addrsFor      = 15 * time.Minute       // addresses of a peer that was once connected are known for so long
	maxIdleSteps  = 100_000                // steps without any time passing before it counts as spinning
	laterMin      = 20 * time.Millisecond  // Carrier.LatePersist: so much later
	laterMax      = 3 * time.Second
)

// host is a machine with a key, a disk and a clock; a process may run on it.
type host struct {
	n     int
	name  string
	who   identity
	city  cluster.City
	disk  disk
	clock clock
	proc  *proc // nil: none runs
	power bool  // false: the host itself is off or away
	seen  seen
	trait trait
}

// disk is what outlives a process.
type disk struct {
	hard      cluster.HardState
	admission cluster.Signed
	firstSeen int64
	peers     []cluster.Peer
	results   results
	full      bool
	losses    int
}

// trait is what kind of a node it is.
type trait struct {
	priority  cluster.Priority
	transient bool
	liar      liar
	lied      bool // it was a liar at some time: something of it may still be on its way
	gone      bool // it left for good
	twice     bool // its key was in use twice
}

// proc is a running process.
type proc struct {
	h       *host
	m       *cluster.Machine // nil: not admitted yet
	boot    uint64
	began   cluster.Instant
	alarm   alarm
	frozen  bool
	inbox   []action // what waits for a frozen process
	known   map[cluster.ID]cluster.Instant
	conns   map[cluster.ID]int
	link    regLink
	stopped bool
	store   uplink
	idle    int            // steps since time last passed
	status  cluster.Status // after its last step
	rule    rule
}

// alarm is the armed timer of a process.
type alarm struct {
	gen uint64
	at  cluster.Instant // 0: none
}

// rule is a time for which a process leads.
type rule struct {
	led   bool
	since cluster.Instant
	heard map[cluster.ID]cluster.Instant // heartbeats of its term
}

// regLink is a process's stream to the registry: one request at a time.
type regLink struct {
	queue      []cluster.Call
	busy       bool
	registered bool
}

func (w *world) addHost(number int, city cluster.City) *host {
	h := &host{n: len(w.hosts), who: identityOf(number), city: city, power: true}
	h.name = fmt.Sprintf("n%d", h.n)
	h.clock.read = cluster.Instant(w.between(0, 72*time.Hour))
	h.trait.priority = cluster.Priority{Reachable: w.chance(0.8), Capacity: uint8(w.rng.IntN(5))}
	w.hosts = append(w.hosts, h)
	w.byID[h.who.id] = append(w.byID[h.who.id], h)
	w.net.grow(len(w.hosts))
	return h
}

// addrs of a host: everybody finds it by them.
func (h *host) addrs() [][]byte { return [][]byte{fmt.Appendf(nil, "%s%d", addrPrefix, h.n)} }

const addrPrefix = "addr "

func (w *world) hostAt(addr []byte) *host {
	n := 0
	for _, c := range addr[min(len(addr), len(addrPrefix)):] {
		n = 10*n + int(c-'0')
	}
	if n <= 0 || n >= len(w.hosts) {
		return nil
	}
	return w.hosts[n]
}

// boot starts a process.
func (w *world) boot(h *host) {
	if h.proc != nil || h.trait.gone {
		return
	}
	h.power = true
	w.disturb()
	p := &proc{h: h, began: w.now, known: make(map[cluster.ID]cluster.Instant), conns: make(map[cluster.ID]int)}
	h.proc = p
	h.disk.hard.Boot = cluster.NextBoot(h.disk.hard.Boot, h.clock.wallMs(w.now)) // durable before New
	p.boot = h.disk.hard.Boot
	w.log("%s boots, number %d", h.name, p.boot)
	if !h.disk.admission.Empty() {
		w.startMachine(p, nil)
	}
	w.register(p)
}

func (p *proc) row() cluster.Row {
	h := p.h
	return cluster.Row{ID: h.who.id, Addrs: h.addrs(), Priority: h.trait.priority, FirstSeen: h.disk.firstSeen, Boot: p.boot, Admission: h.disk.admission}
}

// startMachine starts the machine of an admitted process; answer is the registration that admitted it.
func (w *world) startMachine(p *proc, answer *cluster.Answer) {
	h := p.h
	m, err := cluster.New(cluster.Config{Network: networkPublic(), City: h.city, Trust: w.trust()}, p.row(), h.disk.hard, w.signer(h.who),
		rand.New(rand.NewPCG(w.rng.Uint64(), uint64(h.n))))
	if err != nil {
		w.violate("S7", "%s cannot start from its own disk: %v", h.name, err)
		return
	}
	p.m = m
	w.carry(p, m.Tick(h.clock.local(w.now)))
	if answer != nil {
		w.step(p, cluster.Answered{Kind: cluster.CallRegister, Answer: answer})
	}
	if len(h.disk.peers) > 0 {
		w.step(p, cluster.Learned{Peers: h.disk.peers})
	}
	w.resumeResults(p)
}

// kill ends a process. The kernel closes its sockets, unless the whole host goes silent.
func (w *world) kill(h *host, silent bool) {
	p := h.proc
	if p == nil {
		return
	}
	w.log("%s dies%s%s", h.name, map[bool]string{true: ", and its host with it"}[silent], map[bool]string{true: ", leading"}[p.leads()])
	w.remember(p)
	w.disturb()
	h.proc, h.power = nil, !silent
	w.net.died(w, p, silent)
}

// remember keeps the rows of members, as the program does from time to time.
func (w *world) remember(p *proc) {
	if p.m == nil {
		return
	}
	p.h.disk.peers = nil
	for _, i := range p.m.Members() {
		if i.Row.ID != p.h.who.id {
			p.h.disk.peers = append(p.h.disk.peers, cluster.Peer{ID: i.Row.ID, Addrs: i.Row.Addrs})
		}
	}
}

func (p *proc) leads() bool { return p != nil && p.m != nil && p.status.Leading }

// wipe loses a host's disk.
func (w *world) wipe(h *host) {
	w.log("the disk of %s is lost", h.name)
	w.ledger.lost(w, h)
	h.disk = disk{losses: h.disk.losses + 1}
	h.seen.forget()
}

// freeze stops a process as SIGSTOP does.
func (w *world) freeze(h *host) {
	if h.proc != nil && !h.proc.frozen {
		w.log("%s is frozen", h.name)
		h.proc.frozen = true
		w.disturb()
		h.seen.asleep = w.now
		w.net.impair(w, h)
	}
}

// thaw lets it go on: what its sockets held and its overdue timer come in any order.
func (w *world) thaw(h *host) {
	p := h.proc
	if p == nil || !p.frozen {
		return
	}
	w.log("%s goes on, %d inputs wait", h.name, len(p.inbox))
	p.frozen = false
	w.disturb()
	h.seen.slept(w.now)
	at := w.now
	for _, a := range p.inbox {
		at = at.Add(time.Duration(w.rng.IntN(20_000)))
		w.agenda.push(at, a)
	}
	p.inbox = nil
	w.net.impair(w, h)
	if p.m != nil {
		p.alarm.gen++
		w.agenda.push(w.now.Add(w.between(0, at.Sub(w.now)+time.Microsecond)), timer{p, p.alarm.gen})
	}
}

// timer is an armed timer of a process.
type timer struct {
	p   *proc
	gen uint64
}

func (t timer) happen(w *world) {
	p := t.p
	if t.gen != p.alarm.gen || p.h.proc != p || p.frozen {
		return
	}
	w.note(1, uint64(w.now), uint64(p.h.n))
	p.alarm.at = 0
	w.carry(p, p.m.Tick(p.h.clock.local(w.now)))
}

// delay keeps an action for a frozen process; false: it does not run any more.
func (p *proc) delay(a action) (later bool) {
	if p.h.proc != p {
		return true
	}
	if p.frozen {
		if len(p.inbox) < maxInbox {
			p.inbox = append(p.inbox, a)
		}
		return true
	}
	return p.m == nil
}

// step hands an input to the machine and carries the output out.
func (w *world) step(p *proc, in cluster.Input) {
	if p.m == nil || w.broken != nil {
		return
	}
	if r, ok := in.(cluster.Received); ok {
		w.receive(p, r)
		return
	}
	out, err := p.m.Step(p.h.clock.local(w.now), in)
	if err != nil {
		w.violate("S7", "%s refuses %T: %v", p.h.name, in, err)
		return
	}
	w.carry(p, out)
}

// carry does the duties of the machine's caller, in their order, and looks after the invariants.
func (w *world) carry(p *proc, out cluster.Output) {
	w.tally.steps++
	if p.idle++; p.idle > maxIdleSteps {
		w.violate("S7", "%s spins: %d steps at one time", p.h.name, p.idle)
		return
	}
	if out.Hard != nil && !w.persist(p, *out.Hard) {
		return
	}
	w.watch.check(w, p, &out)
	for _, e := range out.Out {
		w.send(p, e)
	}
	for _, c := range out.Calls {
		w.queueCall(p, c)
	}
	for _, t := range out.Moves {
		w.move(p, t)
	}
	for _, e := range out.Events {
		w.event(p, e)
	}
	if p.h.proc == p {
		w.arm(p)
	}
}

// persist makes the hard state durable. A disk that refuses ends the process.
func (w *world) persist(p *proc, hard cluster.HardState) bool {
	h := p.h
	if h.disk.full && w.chance(0.1) {
		w.log("%s cannot make its term durable", h.name)
		w.kill(h, false)
		return false
	}
	if !w.cfg.carrier.LatePersist {
		h.disk.hard = hard
		return true
	}
	w.after(w.between(laterMin, laterMax), func(w *world) {
		if h.proc == p {
			h.disk.hard = hard
		}
	})
	return true
}

// arm sets the process's one timer.
func (w *world) arm(p *proc) {
	at, ok := p.m.Deadline()
	if !ok {
		p.alarm.gen++
		p.alarm.at = 0
		return
	}
	due := max(p.h.clock.when(at), w.now)
	if due == p.alarm.at {
		return
	}
	if due > w.now {
		p.idle = 0
	}
	p.alarm.gen++
	p.alarm.at = due
	w.agenda.push(due.Add(time.Duration(w.rng.IntN(int(timerLate)))), timer{p, p.alarm.gen})
}

// event takes note of what a machine tells.
func (w *world) event(p *proc, e cluster.Event) {
	h := p.h
	switch e := e.(type) {
	case cluster.LeadChanged:
		w.figures.changed(w, p, e)
		w.note(2, uint64(h.n), e.Term.Epoch, e.Term.K)
		if e.Self {
			w.log("%s leads %s (%s)", h.name, e.Term, e.Reason)
			w.watch.claimed(w, p, e)
			w.ship(p)
		} else {
			w.log("%s follows %s in %s", h.name, w.nameOf(e.New.Head), e.Term)
		}
	case cluster.SteppedDown:
		p.rule.led = false
		w.log("%s steps down: %s", h.name, e.Reason)
	case cluster.MemberEvicted:
		w.log("%s drops %s after %v", h.name, w.nameOf(e.ID), e.Silence)
		w.watch.evicted(w, p, e)
	case cluster.Acked:
		w.ledger.acked(w, p, e)
	case cluster.Unsure:
		w.log("%s is unsure: %v after a pause of %v", h.name, e.On, e.Pause)
	case cluster.Alarm:
		w.log("%s raises an alarm: %s", h.name, e.Text)
	}
}

func (w *world) nameOf(id cluster.ID) string {
	if hosts := w.byID[id]; len(hosts) > 0 {
		return hosts[0].name
	}
	return "nobody"
}

// living are the hosts of a city whose process runs and is not frozen.
func (w *world) living(city cluster.City) []*host {
	return slices.DeleteFunc(slices.Clone(w.hosts[1:]), func(h *host) bool {
		return h.city != city || h.proc == nil || h.proc.frozen || h.proc.m == nil || h.proc.stopped
	})
}
