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
	maxHistory = 64
	// seenGrain is how stale a stored LastSeen may be: every report would rewrite every node otherwise.
	seenGrain = time.Minute
	// proposeFloor is the least time between two certificates of a city whose list is full: a little
	// below the heads' own pace (proposeEvery), so that only a runaway is refused.
	proposeFloor = 25 * time.Second
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
}

// cityRecord is a CityState with its objects verified and decoded.
type cityRecord struct {
	state CityState
	cert  certView
	lead  leadView
}

// NewTable loads a table and verifies what it holds. rnd draws the 16 random bits of an epoch.
func NewTable(network ed25519.PublicKey, sign Signer, state TableState, cfg TableConfig, rnd func() uint16) (*Table, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	t := &Table{trust: NewTrust(network), sign: sign, cfg: cfg, rnd: rnd,
		nodes: make(map[ID]*NodeState), cities: make(map[City]*cityRecord)}
	for _, n := range state.Nodes {
		if _, err := t.trust.Admission(n.Admission); err != nil {
			return nil, fmt.Errorf("stored admission of %s: %w; restore the registry's tables from a backup", n.ID.Short(), err)
		}
		t.nodes[n.ID] = &n
	}
	for _, c := range state.Cities {
		rec := &cityRecord{state: c}
		cert, err := newCertView(t.trust, c.Cert)
		if err != nil {
			return nil, fmt.Errorf("stored certificate of %s: %w; restore the registry's tables from a backup", c.City, err)
		}
		rec.cert = cert
		if !c.Lead.Empty() {
			if rec.lead, err = newLeadView(t.trust, c.Lead); err != nil {
				return nil, fmt.Errorf("stored Lead of %s: %w; restore the registry's tables from a backup", c.City, err)
			}
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
}

func (t *Table) begin(nowMs int64, from ID) *change {
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
	return out
}

func (r *cityRecord) copy() CityState {
	s := r.state
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
		rec = &cityRecord{state: CityState{City: shown.cert.City}}
		c.t.cities[shown.cert.City] = rec
	}
	if shown.compare(rec.cert) > 0 {
		rec.cert, rec.state.Cert = shown, raw
		c.cities[shown.cert.City] = true
	}
	return rec
}

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
	up := shown.term.Compare(rec.lead.term)
	if up < 0 || up == 0 && shown.lead.Seq <= rec.lead.lead.Seq {
		return rec
	}
	rec.lead, rec.state.Lead = shown, raw
	c.cities[shown.lead.City] = true
	if up > 0 {
		h := append(rec.state.History, HeadChange{Term: shown.term, Head: shown.lead.Head, At: c.nowMs, Reason: shown.lead.Reason})
		rec.state.History = h[max(0, len(h)-maxHistory):]
	}
	return rec
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
	observed := ""
	if n != nil {
		observed = n.Observed
	}
	c.t.nodes[a.ID] = &NodeState{ID: a.ID, Addrs: peer.Addrs, City: a.City, Place: a.Place, Tags: a.Tags, Class: a.Class,
		Transient: a.Transient, Admission: raw, Serial: a.Serial, FirstSeen: firstSeen, LastSeen: c.nowMs, Observed: observed}
	c.nodes[a.ID] = true
}

// seen notes that a node of a city is alive.
func (c *change) seen(id ID, city City) {
	if n := c.t.nodes[id]; n != nil && n.City == city && c.nowMs-n.LastSeen >= seenGrain.Milliseconds() {
		n.LastSeen = c.nowMs
		c.nodes[id] = true
	}
}

// issue signs a certificate with the given succession.
func (c *change) issue(city City, list []ID) *cityRecord {
	rec := c.t.cities[city]
	var last uint64
	if rec != nil && rec.cert.cert != nil {
		last = rec.cert.cert.Epoch
	}
	raw := Sign(DomainCert, Certificate{
		Version: Version, Network: c.t.trust.Network(), City: city, Epoch: NextEpoch(last, c.nowMs, c.t.rnd()),
		Successions: [][]ID{list}, Timers: c.t.cfg.Timers, Issued: c.nowMs,
	}, c.t.sign)
	return c.adoptCert(raw)
}

// answer fills in the best that the table knows for a caller of a city.
func (c *change) answer(city City, digest []HeadRef) *Answer {
	a := &Answer{Version: Version, Barred: c.t.barred.raw}
	if rec := c.t.cities[city]; rec != nil {
		a.Cert = rec.state.Cert
		if !rec.state.Lead.Empty() {
			a.Leads = []Signed{rec.state.Lead}
		}
	}
	if n := c.t.nodes[c.from]; n != nil {
		a.FirstSeen = n.FirstSeen
	}
	a.Heads = c.t.headsFor(city, digest)
	return a
}

// headsFor are the heads of other cities that the digest lacks, those heard last first.
func (t *Table) headsFor(city City, digest []HeadRef) []Signed {
	known := make(map[City]HeadRef, len(digest))
	for _, r := range digest {
		known[r.City] = r
	}
	var news []*cityRecord
	for _, rec := range t.cities {
		if rec.state.City == city || rec.lead.lead == nil {
			continue
		}
		if r, ok := known[rec.state.City]; !ok || refOf(rec.lead).compare(r) > 0 {
			news = append(news, rec)
		}
	}
	slices.SortFunc(news, func(a, b *cityRecord) int {
		return cmp.Or(cmp.Compare(b.state.Heard, a.state.Heard), cmp.Compare(a.state.City, b.state.City))
	})
	var out []Signed
	for _, rec := range news[:min(len(news), MaxAnswerHeads)] {
		out = append(out, rec.state.Lead)
	}
	return out
}

func (a *Answer) refuse(code, format string, args ...any) *Answer {
	a.Error = &WireError{Code: code, Message: fmt.Sprintf(format, args...)}
	return a
}
