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
	if s.last = max(s.last+1, w.now.Add(d)); s.last.Sub(w.now) > time.Second {
		s.slow = w.now
	}
	if s.last.Sub(w.now) > aliveMax && !w.net.silent {
		gen, ends := c.gen, c.end
		w.after(w.between(aliveMin, aliveMax), func(w *world) { w.closeBoth(c, gen, ends) })
	}
	w.agenda.push(s.last, &packet{p, c.end[1-end], c, c.gen, m})
}
