package cluster

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"sync"
)

// MaxLead is the size of a signed Lead: what one DHT record may hold, in bytes.
const MaxLead = 2048

// maxCertificate bounds a signed certificate of up to 64 shards; maxAdmission an admission with its tags.
const (
	maxCertificate = 32 << 10
	maxAdmission   = 4 << 10
	maxShards      = 64
)

// cacheSize is how many verified objects of a kind one generation of the cache holds: a Lead of every
// city, an admission of every member that speaks. A check costs about 60 us, an entry about 1 KiB.
const cacheSize = 4096

// Errors of Trust, to branch on.
var (
	ErrOtherNetwork = errors.New("object of another network")
	ErrVersion      = errors.New("object of an unknown version")
	ErrInvalid      = errors.New("object is not valid")
)

// Trust verifies the signed objects of one network and remembers what verified. It is safe for
// concurrent use. What it returns is shared: callers must not write through it.
type Trust struct {
	key    ed25519.PublicKey
	name   Network
	verify Verifier

	mu         sync.Mutex
	admissions generations[*Admission]
	certs      generations[*Certificate]
	leads      generations[verifiedLead]
}

type verifiedLead struct {
	lead *Lead
	cert *Certificate
}

// generations is a cache of two maps: when the young one is full, it becomes the old one, and the old
// one goes. What is used moves to the young one.
type generations[V any] struct{ young, old map[[32]byte]V }

func (g *generations[V]) get(h [32]byte) (V, bool) {
	if v, ok := g.young[h]; ok {
		return v, true
	}
	v, ok := g.old[h]
	if ok {
		g.put(h, v)
	}
	return v, ok
}

func (g *generations[V]) put(h [32]byte, v V) {
	if g.young == nil || len(g.young) >= cacheSize {
		g.old, g.young = g.young, make(map[[32]byte]V)
	}
	g.young[h] = v
}

// NewTrust trusts objects that the network key signed, and nothing else.
func NewTrust(network ed25519.PublicKey) *Trust { return NewTrustBy(network, ed25519.Verify) }

// Verifier says whether a signature over a message was made with the private half of a key.
type Verifier func(key ed25519.PublicKey, message, sig []byte) bool

// NewTrustBy trusts what a verifier of the caller's accepts. It is for the simulator, which makes millions of signatures
// and does so at a lower price; everything else calls NewTrust.
func NewTrustBy(network ed25519.PublicKey, verify Verifier) *Trust {
	return &Trust{key: network, name: NetworkName(network), verify: verify}
}

// Network is the name of the network that is trusted.
func (t *Trust) Network() Network { return t.name }

// verified returns the object named by s from the cache, or checks it and caches what verified.
func verified[V any](t *Trust, cache *generations[V], s Signed, limit int, check func() (V, error)) (V, error) {
	var none V
	if len(s.Sig) != ed25519.SignatureSize || len(s.Payload)+len(s.Sig) > limit {
		return none, fmt.Errorf("%w: payload of %d bytes and signature of %d (at most %d together)", ErrInvalid, len(s.Payload), len(s.Sig), limit)
	}
	hash := s.Hash()
	t.mu.Lock()
	v, ok := cache.get(hash)
	t.mu.Unlock()
	if ok {
		return v, nil
	}
	v, err := check()
	if err != nil {
		return none, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	cache.put(hash, v)
	return v, nil
}

// open verifies s under the network key and decodes it.
func (t *Trust) open(domain string, s Signed, v any) error {
	if err := s.verify(domain, t.key, t.verify); err != nil {
		return fmt.Errorf("network %s: %w", t.name, err)
	}
	return Unmarshal(s.Payload, v)
}

func (t *Trust) ours(version uint, n Network) error {
	if version != Version {
		return fmt.Errorf("%w: %d, this program knows %d; use the same release on all nodes", ErrVersion, version, Version)
	}
	if n != t.name {
		return fmt.Errorf("%w: %s, this one is %s", ErrOtherNetwork, n, t.name)
	}
	return nil
}

// Admission verifies a passport. That its ID is the peer that shows it is for the caller to compare.
func (t *Trust) Admission(s Signed) (*Admission, error) {
	return verified(t, &t.admissions, s, maxAdmission, func() (*Admission, error) {
		a := new(Admission)
		if err := t.open(DomainAdmission, s, a); err != nil {
			return nil, err
		}
		if err := t.ours(a.Version, a.Network); err != nil {
			return nil, err
		}
		if _, err := a.ID.PublicKey(); err != nil {
			return nil, err
		}
		return a, a.City.Validate()
	})
}

// Barred verifies the list of barred nodes. It is rare, so it is not cached.
func (t *Trust) Barred(s Signed) (*Barred, error) {
	b := new(Barred)
	if len(s.Payload) > MaxMessage {
		return nil, fmt.Errorf("%w: list of barred nodes of %d bytes", ErrInvalid, len(s.Payload))
	}
	if err := t.open(DomainBarred, s, b); err != nil {
		return nil, err
	}
	if err := t.ours(b.Version, b.Network); err != nil {
		return nil, err
	}
	return b, nil
}

// Certificate verifies the registry's signature, version, network, city, timers and successions.
func (t *Trust) Certificate(s Signed) (*Certificate, error) {
	return verified(t, &t.certs, s, maxCertificate, func() (*Certificate, error) {
		c := new(Certificate)
		if err := t.open(DomainCert, s, c); err != nil {
			return nil, err
		}
		if err := t.ours(c.Version, c.Network); err != nil {
			return nil, err
		}
		if err := c.City.Validate(); err != nil {
			return nil, err
		}
		if err := c.Timers.Validate(); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
		}
		return c, checkSuccessions(c.Successions)
	})
}

func checkSuccessions(all [][]ID) error {
	if len(all) == 0 || len(all) > maxShards {
		return fmt.Errorf("%w: certificate with %d shards: want 1 to %d", ErrInvalid, len(all), maxShards)
	}
	seen := make(map[ID]bool)
	for shard, list := range all {
		if len(list) == 0 || len(list) > MaxSuccession {
			return fmt.Errorf("%w: succession of shard %d has %d names: want 1 to %d", ErrInvalid, shard, len(list), MaxSuccession)
		}
		for _, id := range list {
			if _, err := id.PublicKey(); err != nil {
				return err
			}
			if seen[id] {
				return fmt.Errorf("%w: %s stands twice in a certificate", ErrInvalid, id.Short())
			}
			seen[id] = true
		}
	}
	return nil
}

// Lead verifies a claim: the certificate under the network key, the owner rule list[K mod len] = head,
// the head's own signature, and that network, city and shard agree. No clock is involved.
func (t *Trust) Lead(s Signed) (*Lead, *Certificate, error) {
	v, err := verified(t, &t.leads, s, MaxLead, func() (verifiedLead, error) {
		l := new(Lead)
		if err := Unmarshal(s.Payload, l); err != nil {
			return verifiedLead{}, err
		}
		c, err := t.Certificate(l.Certificate)
		if err != nil {
			return verifiedLead{}, fmt.Errorf("certificate of the Lead: %w", err)
		}
		return verifiedLead{l, c}, l.valid(t.name, c, s, t.verify)
	})
	return v.lead, v.cert, err
}

func (l *Lead) valid(network Network, c *Certificate, s Signed, verify Verifier) error {
	switch {
	case l.Network != network:
		return fmt.Errorf("%w: Lead of %s, this network is %s", ErrOtherNetwork, l.Network, network)
	case l.City != c.City:
		return fmt.Errorf("%w: Lead for city %q under a certificate of %q", ErrInvalid, l.City, c.City)
	case l.Shard >= uint(len(c.Successions)):
		return fmt.Errorf("%w: Lead for shard %d of %d", ErrInvalid, l.Shard, len(c.Successions))
	case l.K >= MaxK:
		return fmt.Errorf("%w: take-over number %d: must be below %d", ErrInvalid, l.K, MaxK)
	case len(l.Reason) > maxText || len(l.Addrs) > MaxSuccession:
		return fmt.Errorf("%w: Lead with %d peers and a reason of %d bytes", ErrInvalid, len(l.Addrs), len(l.Reason))
	}
	list := c.Successions[l.Shard]
	if owner := list[l.K%uint64(len(list))]; owner != l.Head {
		return fmt.Errorf("%w: %s claims take-over %d, which belongs to %s", ErrInvalid, l.Head.Short(), l.K, owner.Short())
	}
	for _, p := range l.Addrs {
		if err := checkAddrs(p.Addrs); err != nil {
			return fmt.Errorf("%w: %w", ErrInvalid, err)
		}
	}
	key, err := l.Head.PublicKey()
	if err != nil {
		return err
	}
	return s.verify(DomainLead, key, verify)
}

// Ticket verifies that a valid head signed it, for this network. Whether the target may accept it is
// Machine.CheckTicket's. It is not cached: a ticket is used once.
func (t *Trust) Ticket(s Signed) (*Ticket, *Lead, error) {
	k := new(Ticket)
	if len(s.Payload) > 2*MaxLead {
		return nil, nil, fmt.Errorf("%w: ticket of %d bytes", ErrInvalid, len(s.Payload))
	}
	if err := Unmarshal(s.Payload, k); err != nil {
		return nil, nil, err
	}
	if err := t.ours(k.Version, k.Network); err != nil {
		return nil, nil, err
	}
	lead, _, err := t.Lead(k.Lead)
	if err != nil {
		return nil, nil, fmt.Errorf("Lead of the ticket's issuer: %w", err)
	}
	key, err := lead.Head.PublicKey()
	if err != nil {
		return nil, nil, err
	}
	if err := s.verify(DomainTicket, key, t.verify); err != nil {
		return nil, nil, fmt.Errorf("ticket of %s: %w", lead.Head.Short(), err)
	}
	return k, lead, nil
}

// CompareLeads orders signed Leads by (epoch, certificate, K, seq), then by their bytes: -1, 0 or 1. One
// that does not verify is below every one that does. It is meant for Leads of one city and shard.
func (t *Trust) CompareLeads(a, b Signed) int {
	la, ca, errA := t.Lead(a)
	lb, cb, errB := t.Lead(b)
	if errA != nil || errB != nil {
		if c := number(errA == nil) - number(errB == nil); c != 0 {
			return c
		}
		return compareSigned(a, b)
	}
	if c := TermOf(la, ca).Compare(TermOf(lb, cb)); c != 0 {
		return c
	}
	if la.Seq != lb.Seq {
		if la.Seq < lb.Seq {
			return -1
		}
		return 1
	}
	return compareSigned(a, b)
}

func compareSigned(a, b Signed) int {
	if c := bytes.Compare(a.Payload, b.Payload); c != 0 {
		return c
	}
	return bytes.Compare(a.Sig, b.Sig)
}
