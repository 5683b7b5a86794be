package cluster

import (
	"bytes"
	"crypto/sha256"
)

// Shards (HMPN's n heads and n backups): the certificate of a city has one succession for each. A node follows, claims
// and heartbeats in its own one; the Leads of the others are in its table of other heads.

// maxNames bounds the candidates in one certificate: it travels in every Lead, and a Lead has to fit a DHT record of
// MaxLead bytes together with the addresses of four peers; a name takes 40 bytes.
const maxNames = 24

// MaxHeads is the number of heads that a city may have: each needs at least a backup in its succession.
const MaxHeads = maxNames / 2

// Slots is how many names the succession of one of so many shards may have.
func Slots(shards int) int { return max(1, min(MaxSuccession, maxNames/max(shards, 1))) }

// domainShard separates the hashes of ShardOf from others.
const domainShard = "peerprobe/shard/v1\x00"

// ShardOf is the shard, of so many (at most maxShards), that a node of a city belongs to: rendezvous hashing, the
// highest of SHA-256(domain, shard as one byte, id). When the number grows by one, only the new shard gains members.
func ShardOf(id ID, shards uint) uint {
	best, _ := bestShards(id, shards)
	return best
}

// bestShards is the shard of a node for the given number of them, and for every smaller one: of[n-1] with n shards.
func bestShards(id ID, shards uint) (best uint, of [maxShards]uint8) {
	if shards <= 1 {
		return 0, of
	}
	var top [sha256.Size]byte
	for s := range min(shards, maxShards) {
		sum := sha256.Sum256(append(append([]byte(domainShard), byte(s)), id...))
		if bytes.Compare(sum[:], top[:]) > 0 {
			best, top = s, sum
		}
		of[s] = uint8(best)
	}
	return best, of
}

// shardIn is the shard of a node under a certificate.
func (c *Certificate) shardIn(id ID) uint { return ShardOf(id, uint(len(c.Successions))) }

// listOf is the succession under which a node may lead.
func (c *Certificate) listOf(id ID) []ID { return c.Successions[c.shardIn(id)] }

// shards is into how many the highest certificate divides the city.
func (m *Machine) shards() int {
	if m.cert.cert == nil {
		return 1
	}
	return len(m.cert.cert.Successions)
}

// shard is this node's under the highest certificate.
func (m *Machine) shard() uint { return m.cert.shard }

// slots is how many names this node's succession may have.
func (m *Machine) slots() int { return Slots(m.shards()) }

// mine says that a Lead is of this node's own city and, under the certificate in it, of its own shard.
func (m *Machine) mine(v leadView) bool {
	return v.lead.City == m.env.cfg.City && v.lead.Shard == v.cert.cert.shardIn(m.self.ID)
}

// resharded says that the highest certificate divides the city anew, and that no Lead of this node's shard is known
// in it yet.
func (m *Machine) resharded() bool {
	return m.high.lead != nil && m.freshEpoch() && len(m.high.cert.cert.Successions) != m.shards()
}

// elsewhere says that a term is of another shard of the present epoch: it is neither above nor below High.
func (m *Machine) elsewhere(t Term) bool {
	h := m.high.term
	return t.Shard != h.Shard && t.Epoch == h.Epoch && t.CertHash == h.CertHash
}

// leadFor is the Lead that a node of this city should follow, as far as this one knows: High, or for a node of
// another shard the Lead of that one.
func (m *Machine) leadFor(id ID) Signed {
	if m.shards() > 1 {
		if s := m.cert.cert.shardIn(id); s != m.shard() {
			if h := m.others.rows[headKey{m.env.cfg.City, s}]; h != nil {
				return h.raw
			}
		}
	}
	return m.high.raw
}

// siblings are the known heads of the other shards of this city.
func (m *Machine) siblings() []*otherHead {
	if m.shards() == 1 {
		return nil
	}
	return m.headsOf(m.env.cfg.City)
}

// tellSiblings sends the heads of the other shards a message of this city's concern.
func (m *Machine) tellSiblings(msg *Message) {
	for _, h := range m.siblings() {
		m.sendHead(h, msg)
	}
}

// leavers takes the members that belong to another shard now off the table of a head, and says who they are. They are
// not evicted: they live, and follow somebody else.
func (m *Machine) leavers() []Peer {
	var out []Peer
	if m.shards() == 1 {
		return nil
	}
	for _, id := range m.table.ids() {
		if id != m.self.ID && m.cert.cert.shardIn(id) != m.shard() {
			if e := m.table.rows[id]; e.alive {
				out = append(out, Peer{id, e.row.Addrs})
			}
			m.table.remove(id)
		}
	}
	return out
}

// moveShard makes a new division of the city this node's own: what it knew of its old shard's head counts no more,
// and heads of shards that are gone, or that is its own now, are forgotten.
func (m *Machine) moveShard() {
	m.watch.probe, m.watch.suppressed = nil, 0
	m.beat.nextAsk, m.beat.backup = m.clock.now, ""
	city := m.env.cfg.City
	for _, h := range m.headsOf(city) {
		if h.cert.compare(m.cert) < 0 && (h.lead.Shard == m.shard() || h.lead.Shard >= uint(m.shards())) {
			delete(m.others.rows, headKey{city, h.lead.Shard})
		}
	}
}

// HeadsOf are the known heads of a city, by shard; of the own city those of the other shards.
func (m *Machine) HeadsOf(city City) []KnownHead {
	var out []KnownHead
	for _, h := range m.headsOf(city) {
		out = append(out, h.known())
	}
	return out
}

func (m *Machine) headsOf(city City) []*otherHead {
	var out []*otherHead
	for s := range uint(maxShards) {
		if h := m.others.rows[headKey{city, s}]; h != nil {
			out = append(out, h)
		}
	}
	return out
}
