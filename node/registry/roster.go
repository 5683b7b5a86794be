package registry

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// roster is what other goroutines than the desk's need to know of the table at
// once: who is admitted, from where, and who leads. It is a copy, brought up
// to date after each change has become durable.
type roster struct {
	trust *cluster.Trust

	mu    sync.RWMutex
	nodes map[cluster.ID]member
	heads map[cluster.City]map[uint]headNow
	heard map[cluster.ID]int64 // unix ms; not stored
}

// member is what is remembered of an admitted node.
type member struct {
	city      cluster.City
	class     string
	serial    uint64
	observed  string // text of the address, as it is stored
	lastSeen  int64  // unix ms
	transient bool
	earlier   []cluster.City
	evidence  []byte // as it is stored
	about     *cluster.About
	addrs     [][]byte
}

// headNow is the best claim that the table has of a city's shard.
type headNow struct {
	raw    cluster.Signed
	head   cluster.Peer
	shard  uint
	term   cluster.Term
	reason string
}

func newRoster(trust *cluster.Trust) *roster {
	return &roster{trust: trust, nodes: make(map[cluster.ID]member), heads: make(map[cluster.City]map[uint]headNow), heard: make(map[cluster.ID]int64)}
}

// reset forgets everything and takes over what is stored.
func (r *roster) reset(state cluster.TableState) {
	r.mu.Lock()
	clear(r.nodes)
	clear(r.heads)
	r.mu.Unlock()
	r.apply(cluster.Changes{Nodes: state.Nodes, Cities: state.Cities})
}

// expect takes in nodes that are about to become durable, so that those who
// register in the same moment are counted.
func (r *roster) expect(nodes []cluster.NodeState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range nodes {
		r.nodes[n.ID] = memberOf(n)
	}
}

func memberOf(n cluster.NodeState) member {
	return member{n.City, n.Class, n.Serial, n.Observed, n.LastSeen, n.Transient, n.Earlier, n.Evidence, n.About, n.Addrs}
}

// apply takes in what is durable now.
func (r *roster) apply(c cluster.Changes) {
	leads := make(map[cluster.City]map[uint]headNow, len(c.Cities))
	for _, city := range c.Cities {
		// A city without a Lead was appointed, and has not said yet that it leads.
		leads[city.City] = r.headsOf(city)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, n := range c.Nodes {
		r.nodes[n.ID] = memberOf(n)
	}
	for city, heads := range leads {
		r.heads[city] = heads
	}
}

// headsOf are the heads of a city's shards.
func (r *roster) headsOf(city cluster.CityState) map[uint]headNow {
	out := make(map[uint]headNow)
	for _, raw := range city.AllLeads() {
		lead, cert, err := r.trust.Lead(raw)
		if err != nil {
			continue
		}
		now := headNow{raw: raw, head: cluster.Peer{ID: lead.Head}, shard: lead.Shard, term: cluster.TermOf(lead, cert), reason: lead.Reason}
		if i := slices.IndexFunc(lead.Addrs, func(p cluster.Peer) bool { return p.ID == lead.Head }); i >= 0 {
			now.head = lead.Addrs[i]
		}
		out[lead.Shard] = now
	}
	return out
}

// keepObserved fills in the address from which each changed node registered
// last, and why it was placed where it is. The table itself does not follow
// them, so what is remembered here counts.
func (r *roster) keepObserved(nodes []cluster.NodeState) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for i := range nodes {
		if m, ok := r.nodes[nodes[i].ID]; ok && m.observed != "" {
			nodes[i].Observed, nodes[i].Evidence = m.observed, m.evidence
		}
	}
}

// hear notes that a head, and the members that it reports, are alive. The
// tables do so too, once a minute: every report would rewrite them otherwise.
func (r *roster) hear(nowMs int64, head cluster.ID, living []cluster.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard[head] = nowMs
	city := r.nodes[head].city
	for _, id := range living {
		if m, ok := r.nodes[id]; ok && m.city == city {
			r.heard[id] = nowMs
		}
	}
}

// lastHeard is when the node registered or was reported alive, unix ms.
func (r *roster) lastHeard(id cluster.ID) int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return max(r.heard[id], r.nodes[id].lastSeen)
}

func (r *roster) node(id cluster.ID) (member, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	m, ok := r.nodes[id]
	return m, ok
}

// head is the head of a city's shard.
// all is a copy of who is admitted, without those that came for one measurement.
func (r *roster) all() map[cluster.ID]member {
	r.mu.RLock()
	defer r.mu.RUnlock()
	out := make(map[cluster.ID]member, len(r.nodes))
	for id, m := range r.nodes {
		if !m.transient {
			out[id] = m
		}
	}
	return out
}

func (r *roster) head(city cluster.City, shard uint) (headNow, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	h, ok := r.heads[city][shard]
	return h, ok
}

// headsIn are the heads of a city, by shard.
func (r *roster) headsIn(city cluster.City) []headNow {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.SortedFunc(maps.Values(r.heads[city]), func(a, b headNow) int { return cmp.Compare(a.shard, b.shard) })
}

// leads says that a node is the head of one of a city's shards.
func (r *roster) leads(id cluster.ID, city cluster.City) bool {
	return slices.ContainsFunc(r.headsIn(city), func(h headNow) bool { return h.head.ID == id })
}

// members counts the admitted nodes of a city that stay.
func (r *roster) members(city cluster.City) (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, m := range r.nodes {
		if m.city == city && !m.transient {
			n++
		}
	}
	return n
}

// leaders are the heads that are known, as peers with addresses.
func (r *roster) leaders() []cluster.Peer {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var out []cluster.Peer
	for _, heads := range r.heads {
		for _, h := range heads {
			if len(h.head.Addrs) > 0 {
				out = append(out, h.head)
			}
		}
	}
	return out
}

// crowd counts the other nodes that were heard of since the given time and
// registered from the same address, and from the same network around it (a /24,
// or a /48 of IPv6).
func (r *roster) crowd(ip netip.Addr, but cluster.ID, since int64) (same, near int) {
	around := neighbourhood(ip)
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id, m := range r.nodes {
		if id == but || max(m.lastSeen, r.heard[id]) < since {
			continue
		}
		other, err := netip.ParseAddr(m.observed)
		if err != nil || !around.Contains(other) {
			continue
		}
		near++
		if other == ip {
			same++
		}
	}
	return same, near
}

// neighbourhood is the network that one customer usually has at most.
func neighbourhood(ip netip.Addr) netip.Prefix {
	bits := 24
	if ip.Is6() {
		bits = 48
	}
	p, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}

// msBefore is the unix time in ms, d before now.
func msBefore(now int64, d time.Duration) int64 { return now - d.Milliseconds() }
