package cluster

import "time"

// Durability of results (R9): keys only, the results themselves are the caller's.
//
// Level 1 is on the head, level 2 on head and backup, level 3 in the registry. Only level 3 lets the owner's spool go.
// The owner's own disk counts for none of them.
//
//	owner  --Transfer submit-->  head  --Transfer copy-->  backup
//	owner  <--ResAck 1, 2, 3---  head  <--ReplAck-------   backup
//
// A transfer may be lost, and so may an answer: who does not lead names what he holds to the head with Offer, after
// growing waits, and at once after a change of head; the head answers with what it lacks (Want), what it has (ResAck)
// and what is in the registry (ResAck 3, Trim). So one mechanism covers lost messages, new heads, former heads and
// backups, and partitions that healed. Whoever holds a result of another keeps it until he is told that it is in the
// registry; who cannot take more does not acknowledge.

// Levels of durability.
const (
	levelHead     = 1
	levelBackup   = 2
	levelRegistry = 3
)

// Retention is how long head and backup keep results that are in the registry: it may lose its disk.
const Retention = 24 * time.Hour

// Bounds of the ledger.
const (
	DefaultMaxHeld = 1 << 18 // results held for others, about 250 bytes each: an hour of 70 a second with the registry away
	maxOwn         = 1 << 16 // own results; the caller's spool is no larger
	maxRecent      = 1 << 14 // remembered as being in the registry: answers to late offers
	maxHolders     = 64      // candidates seen in one headship whose copies are told apart
)

// Waits of the ledger. A key is offered after askFirst, then after twice as long, and so on by classes.
const (
	askFirst   = 500 * time.Millisecond
	askClasses = 11                     // 0.5 s to 512 s
	askLost    = 7                      // the last class of what the present head has not acknowledged: 64 s
	askSlow    = 5                      // the first class of what is safe as far as is known: 16 s
	offerWait  = time.Second            // an Offer without an answer
	moveWait   = time.Second            // a transfer of which not everything was acknowledged
	copyWait   = 500 * time.Millisecond // the same to the backup, doubling up to copyMax: then it is sent again
	copyMax    = 16 * time.Second
)

// LedgerStatus counts results by where they are.
type LedgerStatus struct {
	Spooled  int    // own results that are not in the registry
	Level1   int    // of them: on the head
	Level2   int    // of them: on head and backup
	Held     int    // as head: results that are not in the registry yet, own ones included
	Copied   int    // of them: on the backup too
	Copies   int    // not as head: copies of the head's, or what is left of an own headship
	Released uint64 // since the boot: results that this node held and that are in the registry
	Dropped  uint64 // since the boot: own results that were withdrawn before level 2
	Refused  uint64 // since the boot: results not acknowledged because this node holds as many as it may
}

// entry is one result that is not in the registry, as far as this node knows.
type entry struct {
	key   ResultKey
	links [2]link
	in    *chain  // the queue in which it waits; nil: none
	fly   *flight // the transfer that it is part of; nil: none
	due   Instant // in a queue of asks: when it is offered
	on    uint64  // head: which holders have it, too
	best  uint8   // own: the highest level that the caller was told
	level uint8   // head: what it has reached here; others: what the present head has acknowledged
	told  uint8   // head: what the owner was told in this headship
	class uint8   // of the queue of asks that it was last in
	own   bool    // waits in this node's spool
	held  bool    // this node holds it as head, former head or backup
	sent  bool    // own: some head was sent it
}

// flight is one transfer or Offer under way.
type flight struct {
	entries []*entry
	left    int // entries whose outcome is open
	until   Instant
}

// owner is a node with results here: its id once, not once a key.
type owner struct {
	id ID
	n  int
}

// ledger is what a node knows about results that are not in the registry.
type ledger struct {
	rows   map[ResultKey]*entry
	owners map[ID]*owner
	order  chain // all of them, as they came
	queues
	flights
	office
	recent recent
	counts
}

// queues: an entry waits in one of them, or in none.
type queues struct {
	copy   chain             // head: to the backup
	submit chain             // own, to the head
	hand   chain             // held, to the head that wants them
	ask    [askClasses]chain // to be offered to the head
}

type flights struct{ copying, submitting, handing, offering *flight }

// office is what the ledger has while this node leads.
type office struct {
	to       ID   // the backup that gets copies
	tries    uint // copies sent in vain, in a row
	holders  []ID // the bits of entry.on
	withheld bool // acknowledgements wait until this head is sure again
}

type counts struct {
	byBest                     [levelRegistry]int // own
	held, two                  int                // of all: held; at level 2
	released, dropped, refused uint64
}

func newLedger() ledger {
	l := ledger{rows: make(map[ResultKey]*entry), owners: make(map[ID]*owner), recent: newRecent(maxRecent)}
	l.order.by = linkOrder
	return l
}

// add makes an entry.
func (l *ledger) add(k ResultKey) *entry {
	o := l.owners[k.Node]
	if o == nil {
		o = &owner{id: k.Node}
		l.owners[k.Node] = o
	}
	o.n++
	k.Node = o.id
	e := &entry{key: k}
	l.rows[k] = e
	l.order.push(e)
	return e
}

func (l *ledger) setOwn(e *entry, own bool) {
	if e.own != own {
		e.own = own
		l.byBest[e.best] += 2*number(own) - 1
	}
}

func (l *ledger) setHeld(e *entry, held bool) {
	if e.held != held {
		e.held = held
		l.held += 2*number(held) - 1
	}
}

func (l *ledger) setLevel(e *entry, level uint8) {
	l.two += number(level >= levelBackup) - number(e.level >= levelBackup)
	e.level = level
}

// settle removes an entry that nobody here waits for any more.
func (l *ledger) settle(e *entry) {
	if e.own || e.held {
		return
	}
	l.land(e)
	l.dequeue(e)
	l.setLevel(e, 0)
	l.order.remove(e)
	delete(l.rows, e.key)
	o := l.owners[e.key.Node]
	if o.n--; o.n == 0 {
		delete(l.owners, e.key.Node)
	}
}

// land ends an entry's part of a transfer.
func (l *ledger) land(e *entry) {
	if e.fly != nil {
		e.fly.left--
		e.fly = nil
	}
}

func (l *ledger) dequeue(e *entry) {
	if e.in != nil {
		e.in.remove(e)
		e.in = nil
	}
}

func (l *ledger) enqueue(c *chain, e *entry) {
	l.dequeue(e)
	c.push(e)
	e.in = c
}

// askIn offers an entry to the head after the wait of a class.
func (l *ledger) askIn(e *entry, class int, now Instant) {
	l.enqueue(&l.ask[class], e)
	e.class, e.due = uint8(class), now.Add(askFirst<<class)
}

// askSlowly offers an entry only to hear of its release.
func (l *ledger) askSlowly(e *entry, now Instant) {
	if e.in == nil || e.in != &l.ask[e.class] || e.class < askSlow {
		l.askIn(e, askSlow, now)
	}
}

// launch takes up to maxKeys entries off a queue.
func (l *ledger) launch(c *chain, until Instant) *flight {
	f := &flight{until: until}
	for c.first != nil && len(f.entries) < maxKeys {
		e := c.first
		l.dequeue(e)
		l.land(e)
		e.fly = f
		f.entries = append(f.entries, e)
	}
	f.left = len(f.entries)
	return f
}

// abort forgets a flight.
func (l *ledger) abort(f **flight) {
	if *f == nil {
		return
	}
	for _, e := range (*f).entries {
		if e.fly == *f {
			e.fly = nil
		}
	}
	*f = nil
}

func (f *flight) keys() []ResultKey {
	keys := make([]ResultKey, len(f.entries))
	for i, e := range f.entries {
		keys[i] = e.key
	}
	return keys
}

// done says that a queue need not wait for this flight.
func (f *flight) done(now Instant) bool { return f == nil || f.left == 0 || now >= f.until }

// free is how many more results this node may hold for others.
func (m *Machine) free() int { return max(0, m.env.cfg.MaxHeld-m.ledger.held) }

// raise tells the caller that own results have reached a level.
func (m *Machine) raise(entries []*entry, level uint8) {
	l := &m.ledger
	var keys []ResultKey
	for _, e := range entries {
		if e.own && e.best < level {
			l.byBest[e.best]--
			e.best = level
			if level < levelRegistry {
				l.byBest[level]++
			} else {
				e.own = false
			}
			keys = append(keys, e.key)
		}
	}
	if len(keys) > 0 {
		m.event(Acked{Keys: keys, Level: uint(level)})
	}
}

// submitted takes in own results.
func (m *Machine) submitted(keys []ResultKey) {
	l := &m.ledger
	var fresh []*entry
	for _, k := range keys {
		e := l.rows[k]
		switch {
		case k.Node != m.self.ID || e != nil && e.own:
			continue
		case e == nil && m.ownResults() >= maxOwn:
			l.refused++
			continue
		case e == nil:
			e = l.add(k)
		}
		e.best, e.sent = 0, false
		l.setOwn(e, true)
		fresh = append(fresh, e)
		if !m.leading() && e.in == nil {
			l.enqueue(&l.submit, e)
		}
	}
	if m.leading() {
		m.keep(fresh)
		m.tell(fresh, false)
	}
}

func (m *Machine) ownResults() int {
	return m.ledger.byBest[0] + m.ledger.byBest[1] + m.ledger.byBest[2]
}

// withdrawn lets own results go that nobody is to deliver.
func (m *Machine) withdrawn(keys []ResultKey) {
	l := &m.ledger
	for _, k := range keys {
		if e := l.rows[k]; e != nil && e.own {
			l.dropped += uint64(number(e.best < levelBackup))
			l.setOwn(e, false)
			l.settle(e)
		}
	}
}

// stored takes in what has become durable here.
func (m *Machine) stored(in Stored) {
	l := &m.ledger
	var kept []*entry
	for _, k := range in.Keys {
		e := l.rows[k]
		switch {
		case k.Node == "":
			continue
		case (e == nil || !e.held) && m.free() == 0:
			l.refused++
			continue
		case e == nil:
			e = l.add(k)
		}
		l.setHeld(e, true)
		l.recent.forget(k)
		kept = append(kept, e)
	}
	c := in.Term.Compare(m.high.term)
	ordered := in.From != m.self.ID && c == 0 && in.From == m.high.head() // a copy of the present head
	switch {
	case m.leading():
		m.keep(kept)
	default:
		for _, e := range kept {
			switch {
			case e.in != nil:
			case ordered:
				l.askSlowly(e, m.clock.now)
			default:
				l.askIn(e, 0, m.clock.now)
			}
		}
	}
	switch {
	case in.From == m.self.ID:
	case c < 0:
		m.tellStale(in.From)
	case c > 0:
		m.ask(in.From)
	case m.leading():
		m.ackStored(in.From, kept)
	case ordered:
		m.sendKeys(in.From, keysOf(kept), func(t Term, keys []ResultKey) *Message { return &Message{ReplAck: &ReplAck{Term: t, Results: keys}} })
	}
}

// released takes in that the registry has results.
func (m *Machine) released(keys []ResultKey) {
	l := &m.ledger
	var owners, holders grouped
	for _, k := range keys {
		if k.Node == "" {
			continue
		}
		owners.add(k.Node, k)
		holders.add(l.to, k)
		if e := l.rows[k]; e != nil {
			for i, id := range l.holders {
				if e.on&(1<<i) != 0 && id != l.to {
					holders.add(id, k)
				}
			}
		}
	}
	m.forget(keys)
	if !m.leading() || m.unsure() { // late offers get the answer
		return
	}
	owners.each(func(id ID, keys []ResultKey) { m.sendAck(id, levelRegistry, keys) })
	holders.each(m.sendTrim)
}

// forget ends entries that are in the registry, and says which of them were held.
func (m *Machine) forget(keys []ResultKey) (held []ResultKey) {
	l := &m.ledger
	var mine []*entry
	for _, k := range keys {
		l.recent.add(k)
		e := l.rows[k]
		if e == nil {
			continue
		}
		if e.own {
			mine = append(mine, e)
		}
		if e.held {
			held = append(held, e.key)
		}
	}
	m.raise(mine, levelRegistry)
	for _, k := range keys {
		if e := l.rows[k]; e != nil {
			l.setHeld(e, false)
			l.released++
			l.settle(e)
		}
	}
	return held
}

// ledgerStatus are the figures for people.
func (m *Machine) ledgerStatus() LedgerStatus {
	l := &m.ledger
	s := LedgerStatus{Spooled: m.ownResults(), Level1: l.byBest[levelHead], Level2: l.byBest[levelBackup],
		Released: l.released, Dropped: l.dropped, Refused: l.refused}
	if m.leading() {
		s.Held, s.Copied = len(l.rows), l.two
	} else {
		s.Copies = l.held
	}
	return s
}
