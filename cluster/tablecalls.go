package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// SetQuiet begins or ends a quiet window: while it lasts no city gets its first certificate. A registry whose tables may
// be older than what it has signed opens one at its start, so that the heads of living cities show them first.
func (t *Table) SetQuiet(on bool) { t.quiet = on }

// Register admits a node to a city, which the caller has decided from where the node stands; the first
// node of a city that is not transient gets a certificate that names it alone. It is idempotent: asked
// again with the same facts it gives the same admission and certificate.
func (t *Table) Register(nowMs int64, from ID, req *Request, city City, place string, class string) (*Answer, Changes, error) {
	return t.RegisterAt(nowMs, from, req, Placement{City: city, Place: place, Class: class})
}

// RegisterAt is Register with all that is known of where the node is.
func (t *Table) RegisterAt(nowMs int64, from ID, req *Request, at Placement) (*Answer, Changes, error) {
	city := at.City
	if a, err := t.precheck(from, req); a != nil || err != nil {
		return a, Changes{}, err
	}
	if err := city.Validate(); err != nil {
		return nil, Changes{}, fmt.Errorf("register %s: %w", from.Short(), err)
	}
	c := t.begin(nowMs, from)
	c.adoptCert(req.Cert)
	c.adoptLead(req.Lead)
	c.adoptAdmission(req.Admission, req.Self, 0)
	c.admit(req, at)
	rec := t.cities[city]
	first := (rec == nil || rec.cert.cert == nil) && !req.Transient
	if first && !t.quiet {
		c.issue(city, [][]ID{{from}})
	}
	a := c.answer(city, req.HeadsDigest)
	a.Quiet = first && t.quiet
	a.Admission = t.nodes[from].Admission
	return a, c.changes(), nil
}

// admit stores the node and signs a new admission where anything in it changed.
func (c *change) admit(req *Request, at Placement) {
	n := c.t.nodes[c.from]
	if n == nil {
		n = &NodeState{ID: c.from}
		c.t.nodes[c.from] = n
	}
	if n.FirstSeen == 0 || n.City != at.City {
		n.FirstSeen = c.nowMs
	}
	if n.City != "" && n.City != at.City {
		earlier := slices.DeleteFunc(slices.Clone(n.Earlier), func(e City) bool { return e == at.City || e == n.City })
		n.Earlier = slices.Insert(earlier, 0, n.City)
		n.Earlier = n.Earlier[:min(len(n.Earlier), earlierCities)]
	}
	n.LastSeen, n.Addrs = c.nowMs, req.Self.Addrs
	c.nodes[c.from] = true
	if !n.Admission.Empty() && n.City == at.City && n.Place == at.Place && n.Class == at.Class && n.About.same(at.About) &&
		n.Transient == req.Transient && slices.Equal(n.Tags, req.Tags) {
		return
	}
	n.City, n.Place, n.Class, n.Transient, n.Tags, n.About = at.City, at.Place, at.Class, req.Transient, slices.Clone(req.Tags), at.About
	n.Serial = max(n.Serial+1, uint64(max(c.nowMs, 0))) // above what a lost disk had signed
	n.Admission = Sign(DomainAdmission, Admission{
		Version: Version, Network: c.t.trust.Network(), ID: c.from, City: at.City, Place: at.Place, Tags: n.Tags,
		Transient: n.Transient, Class: at.Class, Serial: n.Serial, About: at.About,
	}, c.t.sign)
}

// Propose makes a new certificate: the head, the living that it names, then those of the present list
// that were alive within 24 hours. Only the head of the highest term that the table knows may ask.
func (t *Table) Propose(nowMs int64, from ID, req *Request) (*Answer, Changes, error) {
	c, rec, a, err := t.fromHead(nowMs, from, req)
	if a != nil || err != nil {
		return a, c.changes(), err
	}
	city, old := rec.state.City, rec.cert.cert
	shard := old.shardIn(from)
	lists := slices.Clone(old.Successions)
	lists[shard] = c.succession(rec, shard, req.Living)
	since := nowMs - cmp.Or(rec.listed[shard], old.Issued) // another shard's new list makes this one's no younger
	if full := old.Successions[shard]; !slices.Equal(lists[shard], full) && len(full) >= Slots(len(lists)) && since >= 0 && since < proposeFloor.Milliseconds() {
		a := c.answer(city, req.HeadsDigest).refuse(CodeTooSoon,
			"the succession of %s is full and %v old: propose again after %v", rec.describe(shard), time.Duration(since)*time.Millisecond, proposeFloor)
		return a, c.changes(), nil
	}
	c.renew(rec, lists)
	return c.answer(city, req.HeadsDigest), c.changes(), nil
}

// succession merges what a head proposes with the present list of its shard.
func (c *change) succession(rec *cityRecord, shard uint, living []ID) []ID {
	cert := rec.cert.cert
	old, slots := cert.Successions[shard], Slots(len(cert.Successions))
	list := make([]ID, 0, slots)
	take := func(id ID, ok bool) {
		if ok && len(list) < slots && !slices.Contains(list, id) && !c.t.barred.ids[id] && cert.shardIn(id) == shard {
			list = append(list, id)
		}
	}
	take(c.from, true)
	for _, id := range living {
		n := c.t.nodes[id]
		take(id, n != nil && n.City == rec.state.City && !n.Transient || n == nil && slices.Contains(old, id))
		c.seen(id, rec.state.City)
	}
	for _, id := range old {
		n := c.t.nodes[id] // unknown: the table lost its disk, but it did sign this name
		take(id, n == nil || n.City == rec.state.City && !n.Transient && c.nowMs-n.LastSeen < keepSilent.Milliseconds())
	}
	return list
}

// Takeover stores a higher Lead and answers with the best one and the heads of other cities.
func (t *Table) Takeover(nowMs int64, from ID, req *Request) (*Answer, Changes, error) {
	return t.Report(nowMs, from, req)
}

// Report stores a higher Lead, and which members are alive. Where the city should have other timers or another number
// of shards, the answer brings a new certificate.
func (t *Table) Report(nowMs int64, from ID, req *Request) (*Answer, Changes, error) {
	c, rec, a, err := t.fromHead(nowMs, from, req)
	if a != nil || err != nil {
		return a, c.changes(), err
	}
	for _, id := range req.Living {
		c.seen(id, rec.state.City)
	}
	if nowMs-rec.state.Heard >= seenGrain.Milliseconds() || nowMs < rec.state.Heard {
		rec.state.Heard = nowMs
		c.cities[rec.state.City] = true
	}
	c.renew(rec, c.remaining(rec))
	return c.answer(rec.state.City, req.HeadsDigest), c.changes(), nil
}

// remaining are the present lists without those that have moved to another city, or may not lead for another reason: no
// head can know that, and it would keep them in line for a day. A head itself stays until it has handed over.
func (c *change) remaining(rec *cityRecord) [][]ID {
	out := slices.Clone(rec.cert.cert.Successions)
	for shard, list := range out {
		head := rec.best(uint(shard)).head()
		out[shard] = slices.DeleteFunc(slices.Clone(list), func(id ID) bool { return id != head && !c.mayLead(id, rec.state.City) })
		if len(out[shard]) == 0 {
			out[shard] = list
		}
	}
	return out
}

// fromHead takes in what a head shows. It refuses a caller that does not lead the highest term known.
func (t *Table) fromHead(nowMs int64, from ID, req *Request) (*change, *cityRecord, *Answer, error) {
	c := t.begin(nowMs, from)
	if a, err := t.precheck(from, req); a != nil || err != nil {
		return c, nil, a, err
	}
	shown, err := newLeadView(t.trust, req.Lead)
	if err != nil {
		return c, nil, nil, fmt.Errorf("%s from %s: its Lead: %w", req.Kind, from.Short(), err)
	}
	c.adoptCert(req.Cert)
	rec := c.adoptLead(req.Lead)
	c.adoptAdmission(req.Admission, req.Self, 0)
	for i := range req.Rows {
		if row := &req.Rows[i]; row.ID != from {
			c.adoptAdmission(row.Admission, Peer{row.ID, row.Addrs}, row.FirstSeen)
		}
	}
	best := rec.best(shown.lead.Shard)
	switch {
	case rec.retired(shown):
		return c, rec, c.answer(rec.state.City, req.HeadsDigest).refuse(CodeTooSoon,
			"%s has %d shards now: claim in the newer certificate first", rec.state.City, len(rec.cert.cert.Successions)), nil
	case shown.lead.Head != from || shown.term != best.term:
		return c, rec, c.answer(rec.state.City, req.HeadsDigest).refuse(CodeNotHead,
			"%s does not lead %s: the highest term known is %s of %s", from.Short(), rec.describe(shown.lead.Shard), best.term, best.head().Short()), nil
	case req.Kind == CallPropose && rec.cert.hash != best.cert.hash:
		return c, rec, c.answer(rec.state.City, req.HeadsDigest).refuse(CodeTooSoon,
			"a newer certificate of %s exists: claim in it first", rec.state.City), nil
	}
	c.seen(from, rec.state.City)
	return c, rec, nil, nil
}

// precheck refuses other versions, barred nodes and ids without an Ed25519 key.
func (t *Table) precheck(from ID, req *Request) (*Answer, error) {
	a := &Answer{Version: Version, Barred: t.barred.raw}
	switch {
	case req.Version != Version:
		return a.refuse(CodeVersion, "request of version %d, this registry speaks %d: use the same release on all nodes", req.Version, Version), nil
	case t.barred.ids[from]:
		return a.refuse(CodeBarred, "this network has barred %s: ask who runs it", from), nil
	case req.Self.ID != from:
		return nil, fmt.Errorf("%s names itself %s", from.Short(), req.Self.ID.Short())
	}
	if _, err := from.PublicKey(); err != nil {
		return nil, err
	}
	if err := req.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return nil, nil
}
