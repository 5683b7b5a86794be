package cluster

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Settings of the registry's table.
const (
	// keepSilent is how long a silent candidate keeps its place at the tail of a succession: a list that
	// shrinks to the living locks the others out of a partition.
	keepSilent = 24 * time.Hour
	// maxHistory bounds the changes of head kept of one city.
	maxHistory = 128
	// seenGrain is how stale a stored LastSeen may be: every report would rewrite every node otherwise.
	seenGrain = time.Minute
	// proposeFloor is the least time between two certificates of a city whose list is full: a little
	// below the heads' own pace (proposeEvery), so that only a runaway is refused.
	proposeFloor = 25 * time.Second
	// answerBudget is how many bytes of certificates and Leads one answer holds, below MaxMessage.
	answerBudget = 60 << 10
)

// Table is the registry's state: which node is in which city, who may lead it, and who does. It is pure:
// time and randomness come in as arguments, and the caller makes Changes durable before it sends the
// Answer. It is not safe for concurrent use; that its caller serialises calls is what makes one of fifty
// concurrent first nodes the head.
type Table struct {
	trust  *Trust
	sign   Signer
	cfg    TableConfig
	rnd    func() uint16
	nodes  map[ID]*NodeState
	cities map[City]*cityRecord
	barred barredView
	quiet  bool
	began  int64 // unix ms of the first call: since when it has watched who lives
}

// cityRecord is a CityState with its objects verified and decoded.
type cityRecord struct {
	state   CityState
	cert    certView
	leads   map[uint]leadView // the best of each shard
	weighed int64             // unix ms at which the number of shards was last thought over
	listed  map[uint]int64    // unix ms at which this table last changed a shard's list
}

// NewTable loads a table and verifies what it holds. rnd draws the 16 random bits of an epoch.
func NewTable(network ed25519.PublicKey, sign Signer, state TableState, cfg TableConfig, rnd func() uint16) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	trust := cfg.Trust
	if trust == nil {
		trust = NewTrust(network)
	}
	t := &Table{trust: trust, sign: sign, cfg: cfg, rnd: rnd,
		nodes: make(map[ID]*NodeState), cities: make(map[City]*cityRecord)}
	for _, n := range state.Nodes {
		if _, err := t.trust.Admission(n.Admission); err != nil {
			return nil, fmt.Errorf("stored admission of %s: %w; restore the registry's tables from a backup", n.ID.Short(), err)
		}
		t.nodes[n.ID] = &n
	}
	for _, c := range state.Cities {
		rec := newCity(c)
		cert, err := newCertView(t.trust, c.Cert)
		if err != nil {
			return nil, fmt.Errorf("stored certificate of %s: %w; restore the registry's tables from a backup", c.City, err)
		}
		rec.cert = cert
		for _, raw := range c.AllLeads() {
			v, err := newLeadView(t.trust, raw)
			if err != nil {
				return nil, fmt.Errorf("stored Lead of %s: %w; restore the registry's tables from a backup", c.City, err)
			}
			rec.leads[v.lead.Shard] = v
		}
		t.cities[c.City] = rec
	}
	if !state.Barred.Empty() {
		if _, err := t.barred.offer(t.trust, state.Barred); err != nil {
			return nil, fmt.Errorf("stored list of barred nodes: %w; restore the registry's tables from a backup", err)
		}
	}
	return t, nil
}

// change collects what one call changed.
type change struct {
	t      *Table
	nowMs  int64
	from   ID
	nodes  map[ID]bool
	cities map[City]bool
	heads  []CityChange
}

func newCity(s CityState) *cityRecord {
	return &cityRecord{state: s, leads: make(map[uint]leadView), listed: make(map[uint]int64)}
}

func (t *Table) begin(nowMs int64, from ID) *change {
	if t.began == 0 || nowMs < t.began {
		t.began = nowMs
	}
	return &change{t: t, nowMs: nowMs, from: from, nodes: make(map[ID]bool), cities: make(map[City]bool)}
}

func (c *change) changes() Changes {
	var out Changes
	for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
		out.Nodes = append(out.Nodes, *c.t.nodes[id])
	}
	for _, city := range slices.Sorted(maps.Keys(c.cities)) {
		out.Cities = append(out.Cities, c.t.cities[city].copy())
	}
	out.Heads = c.heads
	return out
}

func (r *cityRecord) copy() CityState {
	s := r.state
	s.Leads = slices.Clone(s.Leads)
	s.History = slices.Clone(s.History)
	return s
}

// Nodes are all nodes, by id.
func (t *Table) Nodes() []NodeState {
	out := make([]NodeState, 0, len(t.nodes))
	for _, id := range slices.Sorted(maps.Keys(t.nodes)) {
		out = append(out, *t.nodes[id])
	}
	return out
}

// Cities are all cities, by name.
func (t *Table) Cities() []CityState {
	out := make([]CityState, 0, len(t.cities))
	for _, city := range slices.Sorted(maps.Keys(t.cities)) {
		out = append(out, t.cities[city].copy())
	}
	return out
}

// Bar replaces the list of barred nodes by one with a higher serial.
func (t *Table) Bar(ids []ID) Changes {
	b := Barred{Version: Version, Network: t.trust.Network(), Serial: t.barred.serial + 1, IDs: slices.Sorted(slices.Values(ids))}
	raw := Sign(DomainBarred, b, t.sign)
	t.barred = newBarredView(raw, &b)
	return Changes{Barred: raw}
}

// adoptCert takes a certificate that a caller shows when it is this network's own and higher. So a lost
// disk heals from the field.
func (c *change) adoptCert(raw Signed) *cityRecord {
	if raw.Empty() {
		return nil
	}
	shown, err := newCertView(c.t.trust, raw)
	if err != nil {
		return nil
	}
	rec := c.t.cities[shown.cert.City]
	if rec == nil {
		rec = newCity(CityState{City: shown.cert.City})
		c.t.cities[shown.cert.City] = rec
	}
	if shown.compare(rec.cert) > 0 {
		rec.cert, rec.state.Cert = shown, raw
		maps.DeleteFunc(rec.leads, func(_ uint, v leadView) bool { return rec.retired(v) })
		rec.keepLeads()
		c.cities[shown.cert.City] = true
	}
	return rec
}

// retired says that a Lead is of a shard that the city does not have any more.
func (r *cityRecord) retired(v leadView) bool {
	return v.lead.Shard >= uint(len(r.cert.cert.Successions)) && v.cert.compare(r.cert) < 0
}

// keepLeads brings what is stored up to date with the Leads of all shards.
func (r *cityRecord) keepLeads() {
	r.state.Lead, r.state.Leads = Signed{}, nil
	for _, shard := range slices.Sorted(maps.Keys(r.leads)) {
		if raw := r.leads[shard].raw; shard == 0 {
			r.state.Lead = raw
		} else {
			r.state.Leads = append(r.state.Leads, raw)
		}
	}
}

// best is the highest Lead that is known of a shard; without a Lead in it: none.
func (r *cityRecord) best(shard uint) leadView { return r.leads[shard] }

// adoptLead takes a Lead that a caller shows when it is valid and higher.
func (c *change) adoptLead(raw Signed) *cityRecord {
	if raw.Empty() {
		return nil
	}
	shown, err := newLeadView(c.t.trust, raw)
	if err != nil {
		return nil
	}
	rec := c.adoptCert(shown.lead.Certificate)
	if rec.retired(shown) {
		c.record(rec, shown, true)
		return rec
	}
	best := rec.best(shown.lead.Shard)
	up := shown.term.Compare(best.term)
	if up < 0 || up == 0 && shown.lead.Seq <= best.lead.Seq {
		if up < 0 {
			c.record(rec, shown, true)
		}
		return rec
	}
	rec.leads[shown.lead.Shard] = shown
	rec.keepLeads()
	c.cities[shown.lead.City] = true
	if up > 0 {
		c.record(rec, shown, false)
	}
	if shown.term.K >= lateK && shown.cert.compare(rec.cert) == 0 {
		return c.issue(shown.lead.City, rec.cert.cert.Successions)
	}
	return rec
}

// lateK: from so many take-overs in one epoch on a new epoch begins with the same names. No city comes to it by itself;
// a candidate that claims the last numbers of an epoch would leave none for anybody else.
const lateK = MaxK / 2

// record puts a change of head into the history of its city. A take-over of which the registry hears late, after a
// higher one, counts too, if it is of the time that the history spans.
func (c *change) record(rec *cityRecord, v leadView, late bool) {
	if late {
		older := false
		for _, h := range rec.state.History {
			if h.Term == v.term {
				return
			}
			older = older || h.Term.Shard == v.term.Shard && h.Term.Compare(v.term) < 0
		}
		if !older && len(rec.state.History) >= maxHistory {
			return // what is older than the history was forgotten, not missed
		}
	}
	change := HeadChange{Term: v.term, Head: v.lead.Head, At: c.nowMs, Reason: v.lead.Reason, Late: late}
	h := append(rec.state.History, change)
	rec.state.History = h[max(0, len(h)-maxHistory):]
	c.cities[rec.state.City] = true
	c.heads = append(c.heads, CityChange{rec.state.City, change})
}

// adoptAdmission learns a node from an admission that this network signed.
func (c *change) adoptAdmission(raw Signed, peer Peer, firstSeen int64) {
	a, err := c.t.trust.Admission(raw)
	if err != nil || a.ID != peer.ID || a.Class == ClassRegistry {
		return
	}
	n := c.t.nodes[a.ID]
	if n != nil && n.Serial >= a.Serial {
		if len(peer.Addrs) > 0 && !slices.EqualFunc(n.Addrs, peer.Addrs, slices.Equal) {
			n.Addrs = peer.Addrs
			c.nodes[a.ID] = true
		}
		return
	}
	if firstSeen <= 0 || firstSeen > c.nowMs {
		firstSeen = c.nowMs
	}
	observed, earlier, evidence := "", []City(nil), []byte(nil)
	if n != nil {
		observed, earlier, evidence = n.Observed, n.Earlier, n.Evidence
	}
	c.t.nodes[a.ID] = &NodeState{ID: a.ID, Addrs: peer.Addrs, City: a.City, Place: a.Place, Tags: a.Tags, Class: a.Class,
		Transient: a.Transient, Admission: raw, Serial: a.Serial, FirstSeen: firstSeen, LastSeen: c.nowMs, Observed: observed,
		About: a.About, Earlier: earlier, Evidence: evidence}
	c.nodes[a.ID] = true
}

// seen notes that a node of a city is alive.
func (c *change) seen(id ID, city City) {
	if n := c.t.nodes[id]; n != nil && n.City == city && c.nowMs-n.LastSeen >= seenGrain.Milliseconds() {
		n.LastSeen = c.nowMs
		c.nodes[id] = true
	}
}

// issue signs a certificate with the given successions, one a shard.
func (c *change) issue(city City, lists [][]ID) *cityRecord {
	rec := c.t.cities[city]
	var last uint64
	var old [][]ID
	if rec != nil && rec.cert.cert != nil {
		last, old = rec.cert.cert.Epoch, rec.cert.cert.Successions
	}
	raw := Sign(DomainCert, Certificate{
		Version: Version, Network: c.t.trust.Network(), City: city, Epoch: NextEpoch(last, c.nowMs, c.t.rnd()),
		Successions: lists, Timers: c.t.cfg.Timers, Issued: c.nowMs,
	}, c.t.sign)
	rec = c.adoptCert(raw)
	for shard, list := range lists {
		if shard >= len(old) || !slices.Equal(old[shard], list) {
			rec.listed[uint(shard)] = c.nowMs
		}
	}
	return rec
}

// answer fills in the best that the table knows for a caller of a city.
func (c *change) answer(city City, digest []HeadRef) *Answer {
	a := &Answer{Version: Version, Barred: c.t.barred.raw}
	left := answerBudget
	if rec := c.t.cities[city]; rec != nil {
		a.Cert = rec.state.Cert
		a.Leads = rec.state.AllLeads()
		left -= sizeOf(a.Cert)
		for _, raw := range a.Leads {
			left -= sizeOf(raw)
		}
	}
	if n := c.t.nodes[c.from]; n != nil {
		a.FirstSeen = n.FirstSeen
	}
	a.Heads = c.t.headsFor(city, digest, left)
	return a
}

func sizeOf(s Signed) int { return len(s.Payload) + len(s.Sig) + 8 }

// headsFor are the heads of other cities that the digest lacks, those heard last first, as many as fit.
func (t *Table) headsFor(city City, digest []HeadRef, left int) []Signed {
	known := make(map[headKey]HeadRef, len(digest))
	for _, r := range digest {
		known[r.key()] = r
	}
	type entry struct {
		leadView
		heard int64
	}
	var news []entry
	for _, rec := range t.cities {
		if rec.state.City == city {
			continue
		}
		for _, v := range rec.leads {
			if r, ok := known[v.key()]; !ok || refOf(v).compare(r) > 0 {
				news = append(news, entry{v, rec.state.Heard})
			}
		}
	}
	slices.SortFunc(news, func(a, b entry) int {
		return cmp.Or(cmp.Compare(b.heard, a.heard), a.key().compare(b.key()))
	})
	var out []Signed
	for _, e := range news[:min(len(news), MaxAnswerHeads)] {
		if left -= sizeOf(e.raw); left < 0 {
			break // the next answer has them: the caller's digest has grown
		}
		out = append(out, e.raw)
	}
	return out
}

func (a *Answer) refuse(code, format string, args ...any) *Answer {
	a.Error = &WireError{Code: code, Message: fmt.Sprintf(format, args...)}
	return a
}
