package sim

import (
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// conn is the streams between two hosts; the ends are numbered in the order of the hosts.
type conn struct {
	end     [2]*proc // whose connection it is; nil: closed at this end
	gen     uint32   // of the connection
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
	slow  cluster.Instant // when something was last sent that takes more than a second
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
			if c != nil && !c.flows(now) {
				return false
			}
		}
	}
	return true
}

func (c *conn) flows(now cluster.Instant) bool {
	if c.end[0] == nil || c.end[1] == nil {
		return true
	}
	for i := range c.dir {
		if len(c.dir[i].stuck) > 0 || c.dir[i].last.Sub(now) > time.Second {
			return false
		}
	}
	return true
}

// breakStalled ends connections whose retransmission would come after minutes.
func (n *network) breakStalled(w *world) {
	for _, row := range n.conns {
		for _, c := range row {
			if c != nil && !c.flows(w.now) {
				w.closeBoth(c, c.gen, c.end)
			}
		}
	}
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
