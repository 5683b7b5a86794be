package cluster

import (
	"cmp"
	"errors"
	"maps"
	"slices"
	"time"
)

// resultsTerm is the term of a message about results; nil: it is another.
func resultsTerm(msg *Message) *Term {
	switch {
	case msg.ResAck != nil:
		return &msg.ResAck.Term
	case msg.Offer != nil:
		return &msg.Offer.Term
	case msg.Want != nil:
		return &msg.Want.Term
	case msg.Trim != nil:
		return &msg.Trim.Term
	}
	return nil
}

// results is what the callers of the machines do with results, and what must be true of them at any time.
type results struct {
	acked    map[ResultKey]uint            // the highest level that an owner was told
	open     map[ResultKey]bool            // at level 2, and not known to be in the registry
	registry map[ResultKey]int             // how often each came
	led      map[ID]bool                   // has led: its spool is a head's disk
	lost     int                           // disks
	wrong    error                         // the first violation of S5
	dropMove func(ID, *Transfer) bool      // transfers that are lost
	refuse   func(*host, []ResultKey) bool // a table that is full
	fsync    time.Duration
}

// disk of one host.
type disk struct {
	spool, held, kept map[ResultKey]bool
	next              uint64
}

func newResults() results {
	return results{open: make(map[ResultKey]bool), acked: make(map[ResultKey]uint), registry: make(map[ResultKey]int), led: make(map[ID]bool), fsync: 2 * time.Millisecond,
		dropMove: func(ID, *Transfer) bool { return false }, refuse: func(*host, []ResultKey) bool { return false }}
}

func sortedKeys(set map[ResultKey]bool) []ResultKey {
	return slices.SortedFunc(maps.Keys(set), func(a, b ResultKey) int {
		return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Seq, b.Seq))
	})
}

// reload tells a machine that has just started what lies on its disk.
func (n *network) reload(h *host) {
	n.t.Helper()
	if h.disk.held == nil {
		h.disk = disk{map[ResultKey]bool{}, map[ResultKey]bool{}, map[ResultKey]bool{}, 0}
	}
	if keys := sortedKeys(h.disk.held); len(keys) > 0 {
		n.step(h, Stored{From: h.id, Keys: keys})
	}
	if keys := sortedKeys(h.disk.spool); len(keys) > 0 {
		n.step(h, Submitted{Keys: keys})
	}
}

// loseDisk is a disk that comes back empty, but for the identity and the hard state.
func (n *network) loseDisk(h *host) {
	n.results.lost++
	h.disk = disk{next: h.disk.next}
	h.m = nil
	n.boot(h)
}

// measure makes results of a host durable in its spool.
func (n *network) measure(h *host, count int) []ResultKey {
	n.t.Helper()
	var keys []ResultKey
	for range count {
		h.disk.next++
		k := ResultKey{h.id, h.hard.Boot, h.disk.next}
		h.disk.spool[k] = true
		keys = append(keys, k)
	}
	n.step(h, Submitted{Keys: keys})
	return keys
}

// arrive is a transfer at its receiver: a lower term is refused, the rest made durable.
func (n *network) arrive(h *host, from ID, t *Transfer) {
	n.t.Helper()
	n.count["move "+string(t.Kind)] += len(t.Keys)
	st := h.m.Status()
	if t.Term.Compare(st.Term) < 0 {
		n.count["move refused"]++
		n.push(packet{at: n.now.Add(n.delay), to: from, from: h.id, raw: (&Message{Stale: &st.HighRaw}).Encode()})
		return
	}
	if n.refuse(h, t.Keys) {
		n.count["move full"]++
		return
	}
	for _, k := range t.Keys {
		h.disk.held[k] = true
		delete(h.disk.kept, k)
	}
	n.push(packet{at: n.now.Add(n.fsync), to: h.id, in: Stored{From: from, Term: t.Term, Keys: t.Keys}})
}

// carry does the caller's duties for results, and checks S5.
func (r *results) carry(n *network, h *host, out Output) {
	n.t.Helper()
	if h.m.leading() {
		r.led[h.id] = true
	}
	for _, t := range out.Moves {
		if len(t.Keys) == 0 || len(t.Keys) > maxKeys || t.To == h.id || t.To == "" {
			n.t.Fatalf("%s moves %d keys to %s", h.name, len(t.Keys), t.To.Short())
		}
		for _, k := range t.Keys {
			if !h.disk.spool[k] && !h.disk.held[k] {
				n.t.Fatalf("%s is to send %s, which it has not (%s)", h.name, describeKey(n, k), t.Kind)
			}
		}
		if !r.dropMove(h.id, &t) && n.rng.Float64() >= n.drop {
			n.push(packet{at: n.now.Add(n.delay), to: t.To, from: h.id, move: &t})
		}
	}
	for _, e := range out.Events {
		switch e := e.(type) {
		case Acked:
			for _, k := range e.Keys {
				if r.acked[k] >= e.Level && k.Boot == h.hard.Boot { // who has booted since knows nothing of it
					n.t.Fatalf("%s was told level %d of a result after %d", h.name, e.Level, r.acked[k])
				}
				r.acked[k] = max(r.acked[k], e.Level)
				if e.Level >= levelBackup {
					r.open[k] = true
				}
				if e.Level == levelRegistry {
					delete(h.disk.spool, k)
				}
			}
		case Trimmed:
			for _, k := range e.Keys {
				if !h.disk.held[k] {
					n.t.Fatalf("%s trims what it has not", h.name)
				}
				delete(h.disk.held, k)
				h.disk.kept[k] = true
			}
		}
	}
	if err := r.durable(n); err != nil && r.wrong == nil {
		r.wrong = err
	}
}

// durable is S5: what was acknowledged at level 2 is on two disks that are not only the owner's, less the disks that
// were lost; or in the registry. Level 3 is in the registry.
func (r *results) durable(n *network) error {
	for k := range r.open {
		level := r.acked[k]
		if r.registry[k] > 0 {
			delete(r.open, k)
			continue
		}
		disks := 0
		for id, h := range n.hosts {
			disks += number(h.disk.held[k] || h.disk.spool[k] && r.led[id])
		}
		if level == levelRegistry || disks < 2-r.lost {
			return errors.New("S5: " + describeKey(n, k) + " is lost")
		}
	}
	return nil
}

func describeKey(n *network, k ResultKey) string {
	return n.hosts[k.Node].name + "/" + string(rune('0'+k.Seq%10))
}

// upload is one round of every head's uplink: what it holds, and its own.
func (n *network) upload() {
	n.t.Helper()
	for _, id := range slices.Sorted(maps.Keys(n.hosts)) {
		h := n.hosts[id]
		if h.m == nil || h.frozen || n.away || !h.m.leading() {
			continue
		}
		all := maps.Clone(h.disk.held)
		maps.Copy(all, h.disk.spool)
		keys := sortedKeys(all)
		if len(keys) == 0 {
			continue
		}
		for _, k := range keys {
			n.results.registry[k]++
			if h.disk.held[k] {
				delete(h.disk.held, k)
				h.disk.kept[k] = true
			}
		}
		n.step(h, Released{Keys: keys})
	}
}

// live lets the city live for d, with uplinks working.
func (n *network) live(d time.Duration) {
	n.t.Helper()
	for end := n.now.Add(d); n.now < end; n.upload() {
		n.run(min(100*time.Millisecond, end.Sub(n.now)))
	}
}

// levels counts keys by the level that their owners know.
func (n *network) levels(keys []ResultKey) (at [4]int) {
	for _, k := range keys {
		at[n.acked[k]]++
	}
	return at
}

// untilLevel waits until all keys are acknowledged at a level.
func (n *network) untilLevel(limit time.Duration, keys []ResultKey, level uint) time.Duration {
	n.t.Helper()
	took := n.until(limit, func() bool { return !slices.ContainsFunc(keys, func(k ResultKey) bool { return n.acked[k] < level }) })
	if took >= limit {
		n.t.Fatalf("not all at level %d after %v: %v %s", level, limit, n.levels(keys), n.describe())
	}
	return took
}

// sound fails where S5 was violated.
func (n *network) sound() {
	n.t.Helper()
	if n.wrong != nil {
		n.t.Fatal(n.wrong)
	}
}
