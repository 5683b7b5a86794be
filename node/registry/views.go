package registry

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
)

// onlineWithin is how recently a node must have been heard of to count as
// online: heads report every 10 s, and one report may be missed.
const onlineWithin = 25 * time.Second

// Roles of a node, as far as the registry knows.
const (
	RoleHead      = "head"
	RoleCandidate = "candidate"
	RoleEndpoint  = "endpoint"
)

// Node is one admitted node as the registry knows it. Nodes that joined for one
// measurement are not listed.
type Node struct {
	ID        string    `json:"id"`
	City      string    `json:"city"`
	Place     string    `json:"place"` // the city with its evidence
	Role      string    `json:"role"`
	Online    bool      `json:"online"` // registered or reported alive by its head a moment ago
	IP        string    `json:"ip"`     // from which it last registered
	Country   string    `json:"country,omitempty"`
	ASN       uint32    `json:"asn,omitempty"`     // number of the network that announces the address
	Network   string    `json:"network,omitempty"` // its name
	Where     Where     `json:"where"`             // why it is in that city
	Addrs     []string  `json:"addrs"`
	Tags      []string  `json:"tags"`
	Class     string    `json:"class"`
	FirstSeen time.Time `json:"firstSeen"`
	LastSeen  time.Time `json:"lastSeen"`
}

// Where is why a node is in its city: what it declared, what its address says,
// which of the two decided, and what measurements say against it.
type Where struct {
	Source   string `json:"source"`             // operator, map, geoip, china, world, declared, none
	Declared string `json:"declared,omitempty"` // city, as a slug; "" if none, or no city
	Observed string `json:"observed,omitempty"` // city of the address; "" if no table has one
	By       string `json:"by,omitempty"`       // the table that says Observed
	Conflict bool   `json:"conflict,omitempty"` // these do not say the same
	Note     string `json:"note,omitempty"`     // for people
	Doubt    *Doubt `json:"doubt,omitempty"`    // nil: no measurement speaks against it
}

// Cluster is one city as the registry knows it. Head, term and reason are of
// shard 0; a city with several heads has them in Shards.
type Cluster struct {
	City       string    `json:"city"`
	Head       string    `json:"head"`   // "" while nobody has claimed to lead
	HeadIP     string    `json:"headIp"` // from which it last registered
	Term       string    `json:"term"`
	Reason     string    `json:"reason"` // why it leads
	Members    int       `json:"members"`
	Online     int       `json:"online"`
	Succession []string  `json:"succession"` // of the newest certificate, the head first
	Heard      time.Time `json:"heard"`      // when the head last called; 0001 while there is none
	Changes    []Change  `json:"changes"`    // of head in any shard, oldest first
	Heads      int       `json:"heads"`      // that the city should have, where enough nodes live in it
	Shards     []Shard   `json:"shards"`     // as the newest certificate divides it
}

// Shard is one shard of a city.
type Shard struct {
	Shard      int      `json:"shard"`
	Head       string   `json:"head"` // "" while nobody has claimed to lead it
	HeadIP     string   `json:"headIp"`
	Term       string   `json:"term"`
	Reason     string   `json:"reason"`
	Members    int      `json:"members"`
	Online     int      `json:"online"`
	Succession []string `json:"succession"`
}

// Change is one change of head.
type Change struct {
	Term   string    `json:"term"`
	Head   string    `json:"head"`
	At     time.Time `json:"at"` // when the registry learned of it
	Reason string    `json:"reason"`
	Shard  int       `json:"shard"`
	Late   bool      `json:"late,omitempty"` // a higher term was known already
}

// Nodes lists the nodes, by city and then by id. The registry has to run.
func (r *Registry) Nodes(ctx context.Context) ([]Node, error) {
	s, err := r.server()
	if err != nil {
		return nil, err
	}
	return s.nodes(ctx)
}

// Clusters lists the cities by name. The registry has to run.
func (r *Registry) Clusters(ctx context.Context) ([]Cluster, error) {
	s, err := r.server()
	if err != nil {
		return nil, err
	}
	return s.clusters(ctx)
}

// Results answers a query over stored results. The registry has to run.
func (r *Registry) Results(q store.Query) (store.Page, error) {
	s, err := r.server()
	if err != nil {
		return store.Page{}, err
	}
	return s.store.Results(q)
}

// Audit returns the last n audit lines, newest first. The registry has to run.
func (r *Registry) Audit(n int) ([]store.AuditEntry, error) {
	s, err := r.server()
	if err != nil {
		return nil, err
	}
	return s.store.AuditTail(n)
}

// snapshot reads the table at the desk.
func (s *server) snapshot(ctx context.Context) (nodes []cluster.NodeState, cities []cluster.CityState, now int64, err error) {
	type copied struct {
		nodes  []cluster.NodeState
		cities []cluster.CityState
		now    int64
	}
	got := make(chan copied, 1) // the desk may still answer after ctx has ended
	err = s.desk.ask(ctx, func(now int64, t *cluster.Table) (*cluster.Changes, error) {
		got <- copied{t.Nodes(), t.Cities(), now}
		return nil, nil
	})
	if err != nil {
		return nil, nil, 0, err
	}
	c := <-got
	return c.nodes, c.cities, c.now, nil
}

func (s *server) nodes(ctx context.Context) ([]Node, error) {
	states, cities, now, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	roles := make(map[cluster.ID]string)
	for _, c := range cities {
		for _, id := range slices.Concat(s.successions(c)...) {
			roles[id] = RoleCandidate
		}
		for _, h := range s.roster.headsIn(c.City) {
			roles[h.head.ID] = RoleHead
		}
	}
	out := make([]Node, 0, len(states))
	for _, n := range states {
		if n.Transient {
			continue
		}
		m, _ := s.roster.node(n.ID)
		v := Node{
			ID: p2p.IDText(n.ID), City: string(n.City), Place: n.Place, Role: cmp.Or(roles[n.ID], RoleEndpoint),
			Online: s.isOnline(n.ID, now), IP: m.observed, Addrs: []string{}, Tags: n.Tags, Class: n.Class,
			FirstSeen: time.UnixMilli(n.FirstSeen).UTC(), LastSeen: time.UnixMilli(s.roster.lastHeard(n.ID)).UTC(),
		}
		e := readEvidence(m.evidence)
		v.Where = Where{string(cmp.Or(e.Source, locate.SourceNone)), e.City, e.Observed, string(e.By), e.Conflict, e.Note, s.places.light.of(n.ID, n.City)}
		if n.About != nil {
			v.Country, v.ASN, v.Network = n.About.Country, n.About.ASN, n.About.Network
		}
		for _, a := range n.Addrs {
			v.Addrs = append(v.Addrs, p2p.AddrText(a))
		}
		if v.Tags == nil {
			v.Tags = []string{}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b Node) int { return cmp.Or(cmp.Compare(a.City, b.City), cmp.Compare(a.ID, b.ID)) })
	return out, nil
}

func (s *server) isOnline(id cluster.ID, now int64) bool {
	return s.roster.lastHeard(id) >= msBefore(now, onlineWithin)
}

func (s *server) successions(c cluster.CityState) [][]cluster.ID {
	cert, err := s.trust.Certificate(c.Cert)
	if err != nil {
		return nil
	}
	return cert.Successions
}

func (s *server) clusters(ctx context.Context) ([]Cluster, error) {
	states, cities, now, err := s.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]Cluster, 0, len(cities))
	for _, c := range cities {
		v := s.cluster(c)
		for _, n := range states {
			if n.City != c.City || n.Transient {
				continue
			}
			online := s.isOnline(n.ID, now)
			count(&v.Members, &v.Online, online)
			if shard := int(cluster.ShardOf(n.ID, uint(len(v.Shards)))); shard < len(v.Shards) {
				count(&v.Shards[shard].Members, &v.Shards[shard].Online, online)
			}
		}
		out = append(out, v)
	}
	slices.SortFunc(out, func(a, b Cluster) int { return cmp.Compare(a.City, b.City) })
	return out, nil
}

func count(members, online *int, isOnline bool) {
	*members++
	if isOnline {
		*online++
	}
}

// cluster is a city without the counts of its nodes.
func (s *server) cluster(c cluster.CityState) Cluster {
	v := Cluster{City: string(c.City), Succession: []string{}, Changes: []Change{}, Shards: []Shard{}, Heads: int(max(s.heads[c.City], 1))}
	for i, list := range s.successions(c) {
		shard := Shard{Shard: i, Succession: []string{}}
		for _, id := range list {
			shard.Succession = append(shard.Succession, p2p.IDText(id))
		}
		if h, ok := s.roster.head(c.City, uint(i)); ok {
			m, _ := s.roster.node(h.head.ID)
			heard := time.UnixMilli(max(c.Heard, s.roster.lastHeard(h.head.ID))).UTC()
			if heard.After(v.Heard) {
				v.Heard = heard
			}
			shard.Head, shard.HeadIP, shard.Term, shard.Reason = p2p.IDText(h.head.ID), m.observed, h.term.String(), h.reason
		}
		if i == 0 {
			v.Head, v.HeadIP, v.Term, v.Reason = shard.Head, shard.HeadIP, shard.Term, shard.Reason
		}
		v.Succession = append(v.Succession, shard.Succession...)
		v.Shards = append(v.Shards, shard)
	}
	for _, h := range c.History {
		v.Changes = append(v.Changes, Change{Term: h.Term.String(), Head: p2p.IDText(h.Head), At: time.UnixMilli(h.At).UTC(),
			Reason: h.Reason, Shard: int(h.Term.Shard), Late: h.Late})
	}
	return v
}
