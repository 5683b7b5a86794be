package sim

import (
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// Settings of the streams between processes, as of TCP with the program's own keep-alive.
const (
	rtoFloor   = 200 * time.Millisecond // first retransmission of a lone packet, beside the round trip
	rtoMost    = 2 * time.Minute
	synAgain   = time.Second            // first retransmission of a SYN
	dialFor    = 2 * time.Second        // then a dial failed
	dialPause  = 500 * time.Millisecond // after a failed dial, messages are dropped for so long
	peerQueue  = 64                     // messages that wait for a dial
	aliveMin   = 10 * time.Second       // a keep-alive notices a silent peer after so long
	aliveMax   = 15 * time.Second
	closeSkew  = 3 * time.Millisecond // the sockets of a dead process close one after another
	flights    = 3                    // of a handshake
	maxResends = 12                   // of one packet; then the keep-alive has long closed the connection
)

// network is what lies between hosts. Pairs of hosts are connected by streams; with datagrams, there are none.
type network struct {
	datagrams bool
	silent    bool // no keep-alive: a connection whose other end vanished stays
	delay     time.Duration
	jitter    time.Duration
	spike     time.Duration
	loss      float64
	double    float64
	scramble  time.Duration // datagrams are reordered within this
	of        []float64     // further loss at one host
	cuts      []*cut
	conns     [][]*conn // by the numbers of the hosts, the smaller first
}

// cut is a set of directions in which nothing passes.
type cut struct{ from, to []bool } // by host number; 0 is the registry

func (c *cut) at(from, to int) bool {
	return from < len(c.from) && to < len(c.to) && c.from[from] && c.to[to]
}

func (n *network) grow(hosts int) {
	for len(n.of) < hosts {
		n.of = append(n.of, 0)
		n.conns = append(n.conns, nil)
	}
}

// blocked says that nothing passes from one host to another.
func (n *network) blocked(from, to int) bool {
	for _, c := range n.cuts {
		if c.at(from, to) {
			return true
		}
	}
	return false
}

func (n *network) lossOf(from, to int) float64 {
	return 1 - (1-n.loss)*(1-n.of[from])*(1-n.of[to])
}

// transit draws how long a packet takes, without losses.
func (w *world) transit() time.Duration {
	return w.net.delay + w.net.spike + w.between(0, w.net.jitter)
}

// rto is when a packet is first sent again: a round trip that TCP has measured while nothing was wrong.
func (w *world) rto() time.Duration { return rtoFloor + 2*w.net.delay }

// resent draws how much later a packet arrives because it was lost and sent again.
func (w *world) resent(p float64, rto time.Duration) time.Duration {
	var late time.Duration
	for range maxResends {
		if !w.chance(p) {
			break
		}
		late += rto
		rto = min(2*rto, rtoMost)
	}
	return late
}

// conn is the streams between two hosts; the ends are numbered in the order of the hosts.
type conn struct {
	end     [2]*proc // whose connection it is; nil: closed at this end
	gen     uint32   // of the connection
	dialled uint32   // generation of the dial under way; 0: none
	dials   uint32
	queue   [2][]*cluster.Message
	notTill [2]cluster.Instant
	dir     [2]stream // [0] from end 0 to end 1
	bad     bool      // impaired: the keep-alive will notice
	badGen  uint32
}

// stream is one direction.
type stream struct {
	last  cluster.Instant // arrival of what was sent last
	since cluster.Instant // of the first packet that cannot pass
	stuck []*cluster.Message
}

func (n *network) conn(a, b int) (c *conn, end int) {
	if a > b {
		a, b, end = b, a, 1
	}
	for len(n.conns[a]) <= b {
		n.conns[a] = append(n.conns[a], nil)
	}
	if n.conns[a][b] == nil {
		n.conns[a][b] = &conn{}
	}
	return n.conns[a][b], end
}

// packet is a message on its way over a connection, or a datagram.
type packet struct {
	from, to *proc
	c        *conn // nil: a datagram
	gen      uint32
	m        *cluster.Message
}

func (k *packet) happen(w *world) {
	if k.to.delay(k) {
		return
	}
	if k.c != nil && !k.c.carries(k) {
		return // its connection is closed at this end
	}
	k.to.known[k.from.h.who.id] = w.now
	w.step(k.to, cluster.Received{From: k.from.h.who.id, Message: k.m})
}

// carries says that a packet can still be read at its end.
func (c *conn) carries(k *packet) bool {
	if k.gen == c.gen {
		return c.end[number(k.to.h.n > k.from.h.n)] == k.to
	}
	return k.to.conns[k.from.h.who.id] > 0 // a later connection took its place
}

// send carries a message out.
func (w *world) send(p *proc, e cluster.Envelope) {
	w.tally.messages++
	if w.cfg.messages {
		w.log("  %s says %s to %s", p.h.name, e.Message.Kind(), w.nameOf(e.To))
	}
	if w.cfg.measured {
		w.figures.sent(p, e.Message)
	}
	w.faults.heard(w, p, e)
	m := w.faults.twist(w, p, e)
	if m == nil {
		return
	}
	w.sendTo(p, e.To, e.Addrs, m)
}

func (w *world) sendTo(p *proc, to cluster.ID, addrs [][]byte, m *cluster.Message) {
	w.codec(p, m)
	h := w.route(p, to, addrs)
	switch {
	case h == nil: // nobody knows where that is
	case w.net.datagrams:
		w.datagram(p, h, m)
	default:
		w.stream(p, h, m)
	}
}

// route finds the host of a peer: by a connection that stands, by its addresses, or by those known from before.
func (w *world) route(p *proc, to cluster.ID, addrs [][]byte) *host {
	hosts := w.byID[to]
	if len(hosts) == 0 {
		return nil
	}
	if p.conns[to] > 0 {
		for _, h := range hosts {
			if c, end := w.net.conn(p.h.n, h.n); c.end[end] == p {
				return h
			}
		}
	}
	for _, a := range addrs {
		if h := w.hostAt(a); h != nil && slices.Contains(hosts, h) {
			return h
		}
	}
	if at, ok := p.known[to]; ok && w.now.Sub(at) < addrsFor {
		return hosts[0]
	}
	return nil
}

// datagram reaches whatever process runs on a host by then.
type datagram struct {
	packet
	host *host
}

func (d *datagram) happen(w *world) {
	if d.host.proc != nil {
		d.to = d.host.proc
		d.packet.happen(w)
	}
}

func (w *world) datagram(p *proc, to *host, m *cluster.Message) {
	copies := 1
	if w.chance(w.net.double) {
		copies = 2
	}
	for range copies {
		if w.net.blocked(p.h.n, to.n) || w.chance(w.net.lossOf(p.h.n, to.n)) {
			continue
		}
		d := w.transit() + w.between(0, w.net.scramble)
		w.agenda.push(w.now.Add(d), &datagram{packet{from: p, m: m}, to})
	}
}

// stream sends over the connection that stands, or dials one.
func (w *world) stream(p *proc, to *host, m *cluster.Message) {
	c, end := w.net.conn(p.h.n, to.n)
	if c.end[end] != p {
		w.dial(p, to, c, end, m)
		return
	}
	if peer := c.end[1-end]; peer == nil || to.proc != peer {
		if !w.net.blocked(p.h.n, to.n) && !w.net.blocked(to.n, p.h.n) && to.power { // the other kernel knows nothing of it: a reset comes back
			gen := c.gen
			w.after(2*w.transit(), func(w *world) { w.closeEnd(c, gen, end, p, to) })
		}
		return
	}
	w.transmit(c, end, p, to, m)
}

func (w *world) transmit(c *conn, end int, p *proc, to *host, m *cluster.Message) {
	s := &c.dir[end]
	if len(s.stuck) > 0 || w.net.blocked(p.h.n, to.n) {
		if len(s.stuck) == 0 {
			s.since = w.now
		}
		s.stuck = append(s.stuck, m)
		return
	}
	d := w.transit()
	d += w.resent(w.net.lossOf(p.h.n, to.n), w.rto())
	if s.last = max(s.last+1, w.now.Add(d)); s.last.Sub(w.now) > aliveMax && !w.net.silent {
		gen, ends := c.gen, c.end
		w.after(w.between(aliveMin, aliveMax), func(w *world) { w.closeBoth(c, gen, ends) })
	}
	w.agenda.push(s.last, &packet{p, c.end[1-end], c, c.gen, m})
}

// dial opens a connection for a message.
func (w *world) dial(p *proc, to *host, c *conn, end int, m *cluster.Message) {
	if w.now < c.notTill[end] {
		return
	}
	if q := c.queue[end]; len(q) >= peerQueue {
		c.queue[end] = append(q[:0], q[1:]...)
	}
	c.queue[end] = append(c.queue[end], m)
	if len(c.queue[end]) > 1 {
		return // its dial is under way
	}
	loss := w.net.lossOf(p.h.n, to.n)
	took := w.resent(loss, synAgain)
	for range flights {
		d := w.transit()
		took += d + w.resent(loss, w.rto())
	}
	dead := to.power && to.proc == nil && !w.net.blocked(p.h.n, to.n) && !w.net.blocked(to.n, p.h.n)
	switch {
	case dead:
		took = 2 * w.transit() // refused
	case took > dialFor || !w.reachable(p.h, to):
		took = dialFor
	}
	w.after(took, func(w *world) { w.dialled(p, to, c, end, took < dialFor) })
}

// reachable says that a handshake with a host can go on.
func (w *world) reachable(h, to *host) bool {
	return to.proc != nil && !to.proc.frozen && to.power && !w.net.blocked(h.n, to.n) && !w.net.blocked(to.n, h.n)
}

func (w *world) dialled(p *proc, to *host, c *conn, end int, ok bool) {
	queue := c.queue[end]
	c.queue[end] = nil
	if p.h.proc != p {
		return
	}
	if c.end[end] != p {
		if !ok || p.frozen || !w.reachable(p.h, to) || to.proc.m == nil {
			c.notTill[end] = w.now.Add(dialPause)
			return
		}
		w.open(c, end, p, to.proc)
	}
	for _, m := range queue {
		w.stream(p, to, m)
	}
}

// open connects two processes. Each machine hears of the first connection to a peer.
func (w *world) open(c *conn, end int, p, q *proc) {
	was := c.end
	c.gen++
	c.end[end], c.end[1-end] = p, q
	c.dir = [2]stream{}
	for _, e := range [2]struct {
		p, peer *proc
		was     *proc
	}{{q, p, was[1-end]}, {p, q, was[end]}} {
		id := e.peer.h.who.id
		e.p.known[id] = w.now
		if e.was == e.p {
			continue // the old connection closes unnoticed
		}
		if e.p.conns[id]++; e.p.conns[id] == 1 {
			w.step(e.p, cluster.Connected{Peer: id})
		}
	}
	w.checkConn(c, p.h, q.h)
}

// closing is the end of a connection at one process.
type closing struct {
	c    *conn
	gen  uint32
	end  int
	p    *proc
	peer *host
}

func (k *closing) happen(w *world) { w.closeEnd(k.c, k.gen, k.end, k.p, k.peer) }

func (w *world) closeEnd(c *conn, gen uint32, end int, p *proc, peer *host) {
	if c.gen != gen || c.end[end] != p || p.h.proc != p {
		return
	}
	if p.frozen {
		p.delay(&closing{c, gen, end, p, peer})
		return
	}
	c.end[end] = nil
	c.dir[end].stuck = nil
	id := peer.who.id
	if p.conns[id]--; p.conns[id] == 0 && p.m != nil {
		w.step(p, cluster.Disconnected{Peer: id})
	}
	if q := c.end[1-end]; q != nil && q.h.proc == q { // the other end hears of it, where it can
		if !w.net.blocked(p.h.n, peer.n) {
			w.agenda.push(max(c.dir[end].last, w.now.Add(w.transit()))+1, &closing{c, gen, 1 - end, q, p.h})
		}
	}
}

// died closes the connections of a process that ended.
func (n *network) died(w *world, p *proc, silent bool) {
	n.each(p.h.n, func(c *conn, end int, peer *host) {
		if c.end[end] != p {
			return
		}
		c.end[end] = nil
		c.dir[end].stuck = nil
		q := c.end[1-end]
		if q == nil || q.h.proc != q {
			return
		}
		if !silent && !n.blocked(p.h.n, peer.n) {
			at := max(c.dir[end].last, w.now.Add(w.transit())).Add(w.between(0, closeSkew))
			w.agenda.push(at, &closing{c, c.gen, 1 - end, q, p.h})
			return
		}
		n.keepAlive(w, c, 1-end, q, p.h)
	}, w)
}

// keepAlive lets an end notice after a while that the other is gone.
func (n *network) keepAlive(w *world, c *conn, end int, q *proc, peer *host) {
	if n.silent {
		return
	}
	w.agenda.push(w.now.Add(w.between(aliveMin, aliveMax)), &closing{c, c.gen, end, q, peer})
}

// each calls f for the connections of a host.
func (n *network) each(host int, f func(c *conn, end int, peer *host), w *world) {
	for other := 1; other < len(w.hosts); other++ {
		if other == host {
			continue
		}
		a, b := min(host, other), max(host, other)
		if b < len(n.conns[a]) && n.conns[a][b] != nil {
			f(n.conns[a][b], number(host > other), w.hosts[other])
		}
	}
}

// impair looks again at the connections of a host, because something about it changed.
func (n *network) impair(w *world, h *host) {
	n.each(h.n, func(c *conn, _ int, peer *host) { w.checkConn(c, h, peer) }, w)
}

// impairAll does so for everybody.
func (n *network) impairAll(w *world) {
	for _, h := range w.hosts[1:] {
		n.each(h.n, func(c *conn, _ int, peer *host) {
			if peer.n > h.n {
				w.checkConn(c, h, peer)
			}
		}, w)
	}
}

// checkConn notes whether a connection works, lets the keep-alive notice when it does not, and what was stuck pass.
func (w *world) checkConn(c *conn, h, peer *host) {
	if h.n > peer.n {
		h, peer = peer, h
	}
	there, back := w.net.blocked(h.n, peer.n), w.net.blocked(peer.n, h.n)
	for end, blocked := range [2]bool{there, back} {
		if s := &c.dir[end]; !blocked && len(s.stuck) > 0 {
			w.unstick(c, end, s)
		}
	}
	bad := there || back || h.proc != nil && h.proc.frozen || peer.proc != nil && peer.proc.frozen
	if bad == c.bad {
		return
	}
	c.bad = bad
	c.badGen++
	if !bad || w.net.silent || c.end[0] == nil || c.end[1] == nil {
		return
	}
	gen, was, ends := c.gen, c.badGen, c.end
	w.after(w.between(aliveMin, aliveMax), func(w *world) {
		if c.badGen == was {
			w.closeBoth(c, gen, ends)
		}
	})
}

// closeBoth is what keep-alives do of which neither end gets an answer.
func (w *world) closeBoth(c *conn, gen uint32, ends [2]*proc) {
	w.closeEnd(c, gen, 0, ends[0], ends[1].h)
	w.closeEnd(c, gen, 1, ends[1], ends[0].h)
}

// flows says that nothing waits for a retransmission any more.
func (n *network) flows(now cluster.Instant) bool {
	for _, row := range n.conns {
		for _, c := range row {
			if c == nil || c.end[0] == nil || c.end[1] == nil {
				continue
			}
			for i := range c.dir {
				if len(c.dir[i].stuck) > 0 || c.dir[i].last.Sub(now) > time.Second {
					return false
				}
			}
		}
	}
	return true
}

// unstick sends what could not pass when TCP's timer next runs out.
func (w *world) unstick(c *conn, end int, s *stream) {
	at, rto := s.since, w.rto()
	for at < w.now {
		at = at.Add(rto)
		rto = min(2*rto, rtoMost)
	}
	gen := c.gen
	p, q := c.end[end], c.end[1-end]
	w.agenda.push(at, call(func(w *world) {
		if c.gen != gen || c.end[end] != p || c.end[1-end] != q || p == nil || q == nil || w.net.blocked(p.h.n, q.h.n) {
			return
		}
		stuck := s.stuck
		s.stuck = nil
		for _, m := range stuck {
			w.transmit(c, end, p, q.h, m)
		}
	}))
}

// reset breaks a connection while both ends live, as a router does that forgets it.
func (w *world) reset(a, b *host) {
	c, end := w.net.conn(a.n, b.n)
	p := c.end[end]
	if p != nil {
		w.log("the connection of %s and %s breaks", a.name, b.name)
		w.closeEnd(c, c.gen, end, p, b)
	}
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}
