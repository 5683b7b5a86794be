package sim

import (
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// Bounds of liveness, beside the timers of the certificate.
const (
	slack       = 1500 * time.Millisecond // handshakes, retransmissions and late timers between two steps of the protocol
	unitedIn    = 75 * time.Second        // L2: Orphan, a round of calls to the evicted, Evict, and a new list
	rebornIn    = 130 * time.Second       // where all who may lead are gone: see cluster.RebirthTimes
	flowsIn     = 20 * time.Second        // by then keep-alives have closed what is stuck in TCP; without them somebody else must
	steadyFor   = ackedIn + 200*time.Millisecond
	ackedIn     = 5 * time.Second // L5
	mostPerBeat = 14              // L3: messages of a node in a heartbeat interval, on average
	calmLoss    = 0.05
)

// liveness is what L1 to L5 are told from.
type liveness struct {
	disturbed cluster.Instant // when something last went wrong that may silence a head
	steady    bool            // nothing may be deposed or evicted
	submitted int             // L5
	late      int
	united    time.Duration // how long it took
}

// benign faults leave a head within reach of a majority of its candidates.
func (k Kind) benign() bool {
	switch k {
	case Blink, Reset, RegistryDown, RegistryRestart, RegistryLostDisk, RegistryOldDisk:
		return true
	}
	return false
}

// disturb notes that somebody may be silent for a reason.
func (w *world) disturb() { w.watch.live.disturbed = w.now }

func (w *world) unsettle(k Kind) {
	if !k.benign() {
		w.disturb()
	}
}

// undisturbed says that for a while nothing went wrong but what must not depose a head.
func (w *world) undisturbed() bool {
	n := &w.net
	if n.loss > 0 || n.spike > 0 || n.scramble > 0 || len(n.cuts) > 2 || slices.ContainsFunc(n.of, func(p float64) bool { return p > 0 }) {
		return false
	}
	if slices.ContainsFunc(w.faults.active, func(f *fault) bool { return !f.kind.benign() }) {
		return false
	}
	return w.now.Sub(w.watch.live.disturbed) > 4*w.cfg.timers.Suspect
}

// claimed counts take-overs, and looks after L4: a head that reaches its candidates is not deposed.
func (v *invariants) claimed(w *world, p *proc, e cluster.LeadChanged) {
	if !p.rule.led {
		p.rule = rule{since: w.now}
	}
	p.rule.led = true
	at := place{p.h.city, e.Term.Shard}
	was := v.leads[at]
	v.leads[at] = p.h.who.id
	if was == "" || was == p.h.who.id {
		return
	}
	w.tally.takeovers++
	w.figures.takeovers++
	if e.Old == nil || e.Old.Head == p.h.who.id || len(w.byID[e.Old.Head]) != 1 {
		return
	}
	old := w.byID[e.Old.Head][0]
	if e.Reason != "the head is silent" && e.Reason != "the connection to the head closed" || !old.proc.leads() ||
		old.proc.frozen || old.proc.stopped || old.proc.status.High != e.Old && old.proc.status.Term.Compare(e.Term) >= 0 {
		return
	}
	w.figures.deposed++
	if w.cfg.measured {
		return
	}
	if v.live.steady && w.net.loss == 0 || w.undisturbed() && w.reaches(old, p.h) && !w.stalled(old, p.h) {
		w.violate("L4", "%s deposes %s, which lives and reaches the other candidates: %s", p.h.name, old.name, e.Reason)
	}
}

// stallFor is how long a stream may have waited for its retransmission for the wait to be a blink's.
const stallFor = 4 * time.Second

// stalled says that what a head sends to another still waits in TCP for an older reason.
func (w *world) stalled(head, other *host) bool {
	c, end := w.net.conn(head.n, other.n)
	s := &c.dir[end]
	return len(s.stuck) > 0 && w.now.Sub(s.since) > stallFor || s.slow > 0 && w.now.Sub(s.slow) < 3*stallFor
}

// reaches says that a head has a living candidate beside the one that claims, and not many dead ones.
func (w *world) reaches(head, claimer *host) bool {
	st := head.proc.status
	living, dead := 0, 0
	for _, id := range st.Cert.Successions[st.Shard] {
		h := w.byID[id][0]
		switch {
		case h == head || h == claimer:
		case h.proc == nil || h.proc.frozen || h.proc.m == nil || h.proc.status.High == nil || h.proc.status.High.Head != head.who.id:
			dead++
		default:
			living++
		}
	}
	return living > 0 && dead < 2
}

// heartbeatHeard notes when a head last got a heartbeat of its term.
func (w *world) heartbeatHeard(p *proc, r cluster.Received) {
	if hb := r.Message.Heartbeat; hb != nil && p.rule.led && hb.Term == p.status.Term {
		if p.rule.heard == nil {
			p.rule.heard = make(map[cluster.ID]cluster.Instant)
		}
		p.rule.heard[r.From] = w.now
	}
}

// evicted looks after L4: a head counts only the silence that it was awake for.
func (v *invariants) evicted(w *world, p *proc, e cluster.MemberEvicted) {
	h := w.byID[e.ID][0]
	if h.proc != nil && !h.proc.frozen {
		w.figures.evicted++
	}
	if e.Silence == 0 || h.trait.twice || h.trait.lied || h.disk.losses > 0 || w.cfg.measured {
		return // what is left of it may count as an older boot
	}
	if v.live.steady && w.net.loss == 0 {
		if h.proc != nil && !h.proc.frozen {
			w.violate("L4", "%s drops %s, which lives", p.h.name, h.name)
		}
	}
	t := w.cfg.timers
	since := max(p.rule.heard[e.ID], p.rule.since)
	awake := w.now.Sub(since)
	for _, n := range p.h.seen.naps {
		if d := time.Duration(max(0, min(w.now, n.to)-max(since, n.from))); d > t.Suspect/2+t.Beacon {
			awake -= d
		}
	}
	if awake < t.Evict*6/10 {
		w.violate("L4", "%s drops %s after %v, of which it was awake for %v only", p.h.name, w.nameOf(e.ID), e.Silence, awake)
	}
}

// division is how a city is divided by the highest certificate that anybody alive knows.
func (w *world) division(city cluster.City) *cluster.Certificate {
	var best *cluster.Certificate
	for _, h := range w.living(city) {
		if c := h.proc.status.Cert; c != nil && (best == nil || c.Epoch > best.Epoch) {
			best = c
		}
	}
	return best
}

// parts are the living of each shard.
func (w *world) parts(city cluster.City, c *cluster.Certificate) [][]*host {
	out := make([][]*host, len(c.Successions))
	for _, h := range w.living(city) {
		s := cluster.ShardOf(h.who.id, uint(len(c.Successions)))
		out[s] = append(out[s], h)
	}
	return out
}

// united says that each shard with anybody alive has one head, which all follow, and which knows exactly the living.
func (w *world) united(city cluster.City) bool {
	c := w.division(city)
	if c == nil {
		return len(w.living(city)) == 0
	}
	for _, hosts := range w.parts(city, c) {
		if len(hosts) > 0 && w.oneHead(hosts) == nil {
			return false
		}
	}
	return true
}

func (w *world) oneHead(hosts []*host) *host {
	var head *host
	for _, h := range hosts {
		if h.proc.leads() {
			if head != nil {
				return nil
			}
			head = h
		}
	}
	if head == nil {
		return nil
	}
	st := head.proc.status
	if st.Members != len(hosts) || st.Unsure {
		return nil
	}
	for _, h := range hosts {
		if h.proc.status.Term != st.Term {
			return nil
		}
	}
	return head
}

// leaderless are the shards with a living candidate and no head.
func (w *world) leaderless(city cluster.City) (n int) {
	c := w.division(city)
	if c == nil {
		return 0
	}
	for s, hosts := range w.parts(city, c) {
		leads := slices.ContainsFunc(hosts, func(h *host) bool { return h.proc.leads() })
		candidate := slices.ContainsFunc(hosts, func(h *host) bool {
			st := h.proc.status
			return st.Cert != nil && st.Cert.Epoch == c.Epoch && slices.Contains(c.Successions[s], h.who.id)
		})
		n += number(candidate && !leads)
	}
	return n
}

// deserted says that some shard has nobody alive who may lead it: then only the registry can help.
func (w *world) deserted(city cluster.City) bool {
	c := w.division(city)
	if c == nil {
		return true
	}
	for s, hosts := range w.parts(city, c) {
		if slices.ContainsFunc(hosts, func(h *host) bool { return h.proc.status.Term.K >= cluster.MaxK-cluster.MaxSuccession }) {
			return true // no take-over is left in this epoch
		}
		if len(hosts) > 0 && !slices.ContainsFunc(hosts, func(h *host) bool { return slices.Contains(c.Successions[s], h.who.id) }) {
			return true
		}
	}
	return false
}

func (w *world) cities() []cluster.City {
	var out []cluster.City
	for _, h := range w.hosts[1:] {
		if !slices.Contains(out, h.city) {
			out = append(out, h.city)
		}
	}
	return out
}

// claimWithin is the time that the timers promise to the candidate at distance d.
func (w *world) claimWithin(d int) time.Duration {
	t := w.cfg.timers
	return t.Suspect + time.Duration(d-1)*t.Stagger + t.ProbeWait + t.Beacon + 2*t.Suspect + slack + 6*(w.net.delay+w.net.jitter)
}

// rest ends all faults, and looks after L1 to L5.
func (w *world) rest() {
	w.calmDown()
	for _, city := range w.cities() {
		if w.broken == nil {
			w.comeToRest(city)
		}
	}
	if w.broken == nil {
		w.steady()
	}
	if w.broken == nil {
		w.lastBlow()
	}
}

// calmDown ends all faults; of the dead most come back.
func (w *world) calmDown() {
	w.log("CALM")
	for len(w.faults.active) > 0 {
		w.cease(w.faults.active[0])
	}
	w.faults.calm = true
	w.net.loss = min(w.net.loss, calmLoss)
	w.rs.startAgain(w)
	for _, h := range w.hosts[1:] {
		w.thaw(h)
		if h.proc != nil && (h.proc.stopped || h.trait.gone) {
			w.kill(h, false)
		}
		if h.trait.gone || h.proc != nil {
			continue
		}
		if h.trait.gone = w.chance(0.25); !h.trait.gone {
			w.after(w.between(0, 2*time.Second), func(w *world) { w.boot(h) })
		}
	}
	w.run(w.now.Add(2500 * time.Millisecond))
	if !w.until(flowsIn, time.Second, func() bool { return w.net.flows(w.now) }) {
		w.net.breakStalled(w)
	}
}

// comeToRest looks after L1 and L2.
func (w *world) comeToRest(city cluster.City) {
	if !slices.ContainsFunc(w.living(city), func(h *host) bool { return !h.trait.transient }) {
		return // nobody is left who may lead
	}
	const pace = 250 * time.Millisecond
	began := w.now
	limit := unitedIn
	if w.deserted(city) {
		limit = rebornIn
	} else if within := w.claimWithin(cluster.MaxSuccession) + w.cfg.timers.Suspect; !w.until(within, pace, func() bool { return w.leaderless(city) == 0 }) && w.broken == nil {
		w.violate("L1", "%s has living candidates and no head after %v", city, within)
		return
	}
	if !w.until(limit, pace, func() bool { return w.united(city) }) && w.broken == nil && !w.ledTwice(city) {
		w.violate("L2", "%s is not one after %v:%s", city, limit, w.describe(city))
	}
	w.watch.live.united = max(w.watch.live.united, w.now.Sub(began))
}

// ledTwice says that two processes with one key have led the term that somebody leads: those who know the other's Lead
// look for its address, which is later in that term. Nothing but the alarm is promised then.
func (w *world) ledTwice(city cluster.City) bool {
	living := w.living(city)
	for _, h := range living {
		if st := &h.proc.status; st.Leading && h.trait.twice && slices.ContainsFunc(living, func(o *host) bool {
			return o.proc.status.Term == st.Term && o.proc.status.High.Boot != st.High.Boot
		}) {
			return true
		}
	}
	return false
}

// steady looks after L3 to L5 while nothing happens.
func (w *world) steady() {
	w.run(w.now.Add(2*w.cfg.timers.Beacon + time.Second)) // copies, lists, acknowledgements
	for _, city := range w.cities() {
		if !w.united(city) {
			return // a new certificate is on its way
		}
	}
	v := &w.watch.live
	if !w.net.flows(w.now) {
		return
	}
	v.steady = true
	before, n := w.tally.messages, len(w.running())
	var results []cluster.ResultKey
	for _, h := range w.running() {
		if len(w.living(h.city)) > 1 {
			results = append(results, w.submit(h.proc, 1)...)
		}
	}
	w.run(w.now.Add(steadyFor))
	v.steady = false
	if w.broken != nil || n == 0 {
		return
	}
	beats := float64(steadyFor) / float64(w.cfg.timers.Heartbeat)
	if each := float64(w.tally.messages-before) / float64(n) / beats; each > mostPerBeat {
		w.violate("L3", "%.1f messages of a node in a heartbeat interval", each)
	}
	for _, k := range results {
		f := w.ledger.fact(k)
		v.submitted++
		if f.acked == 0 || f.acked.Sub(f.at) > ackedIn {
			v.late++
			if w.net.loss == 0 {
				w.violate("L5", "result %d of %s has reached level %d only after %v", k.Seq, w.nameOf(k.Node), f.level, w.now.Sub(f.at))
			}
		}
	}
}

// lastBlow kills a head in a calm city: the next in line takes over within the time that the timers promise (L1).
func (w *world) lastBlow() {
	city := w.hosts[1].city
	c := w.division(city)
	if c == nil {
		return
	}
	for s, hosts := range w.parts(city, c) {
		head := w.oneHead(hosts)
		if head == nil {
			continue
		}
		st := head.proc.status
		list := c.Successions[s]
		d, ok := 0, false
		for i := range list {
			next := list[(int(st.Term.K)+1+i)%len(list)]
			if d++; slices.ContainsFunc(hosts, func(h *host) bool { return h != head && h.who.id == next }) {
				ok = true
				break
			}
		}
		if !ok || st.Cert.Epoch != c.Epoch || len(list) < 2 {
			continue
		}
		w.kill(head, w.chance(0.5))
		if !w.until(w.claimWithin(d), 50*time.Millisecond, func() bool {
			return slices.ContainsFunc(hosts, func(h *host) bool { return h.proc.leads() })
		}) && w.broken == nil {
			w.violate("L1", "%s has no head %v after the death of %s, with a candidate at distance %d", city, w.claimWithin(d), head.name, d)
		}
		return
	}
}

// describe is a city at a glance.
func (w *world) describe(city cluster.City) (out string) {
	for _, h := range w.hosts[1:] {
		if h.city != city {
			continue
		}
		switch p := h.proc; {
		case p == nil:
			out += " " + h.name + " dead;"
		case p.m == nil:
			out += " " + h.name + " not admitted;"
		default:
			st := p.status
			out += " " + h.name + " " + st.Role + " of " + st.Term.String()
			if st.Leading {
				out += " with " + itoa(st.Members)
			}
			out += ";"
		}
	}
	return out
}
