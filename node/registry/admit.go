package registry

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/store"
)

// Limits on who may come.
const (
	// registerBurst and registerRate bound requests of nodes that are not
	// admitted yet, an address: a rack of machines at once, then one a second.
	registerBurst, registerRate = 64, 1
	// limitedAddrs bounds the addresses that are remembered (some 10 MB).
	limitedAddrs = 1 << 16
	// nodesPerAddr and nodesPerNet bound open admission: a household, and a
	// small site. More ask for a token.
	nodesPerAddr, nodesPerNet = 2, 4
	// crowdWindow is how long a node counts after it was last heard of: as long
	// as silent candidates stay in a succession.
	crowdWindow = 24 * time.Hour
)

// limiter has a bucket of requests for each address.
type limiter struct {
	mu      sync.Mutex
	buckets *simplelru.LRU[netip.Addr, *rate.Limiter]
}

func newLimiter() *limiter {
	b, err := simplelru.NewLRU[netip.Addr, *rate.Limiter](limitedAddrs, nil)
	if err != nil {
		panic(err) // only for a size below 1
	}
	return &limiter{buckets: b}
}

// allow takes one request from the address's bucket. All of an IPv6 /64 share
// one: a host has that many addresses.
func (l *limiter) allow(ip netip.Addr, now time.Time) bool {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		p, _ := ip.Prefix(64)
		ip = p.Addr()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.buckets.Get(ip)
	if !ok {
		b = rate.NewLimiter(registerRate, registerBurst)
		l.buckets.Add(ip, b)
	}
	return b.AllowN(now, 1)
}

func refusal(code, format string, args ...any) *cluster.WireError {
	return &cluster.WireError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// doorman decides who may register, and as what. It is the desk's.
type doorman struct {
	store   *store.Registry
	roster  *roster
	trust   *cluster.Trust
	network cluster.Network
	tokens  bool
}

// admit gives the class of the node that registers, or refuses it. city is
// where it was placed.
func (d *doorman) admit(nowMs int64, from cluster.ID, ip, here netip.Addr, req *cluster.Request, city cluster.City) (class string, no *cluster.WireError) {
	if req.Token != "" {
		return d.byToken(nowMs, from, req.Token, city)
	}
	if m, ok := d.roster.node(from); ok {
		return m.class, nil // comes back
	}
	if a, err := d.trust.Admission(req.Admission); err == nil && a.ID == from {
		return a.Class, nil // was admitted before the registry lost its tables
	}
	if d.tokens {
		return "", refusal(cluster.CodeToken, "this registry admits with a token only: ask its operator for one and join with --token-file")
	}
	switch locate.Classify(ip) {
	case locate.ClassLoopback, locate.ClassPrivate:
		return cluster.ClassOwn, nil
	}
	if ip == here {
		return cluster.ClassOwn, nil // a node on the registry's own host
	}
	same, near := d.roster.crowd(ip, from, msBefore(nowMs, crowdWindow))
	switch {
	case same >= nodesPerAddr:
		return "", refusal(cluster.CodeNotAdmitted, "%d nodes have joined from %s already, more need a token: "+
			"ask the registry's operator for one and join with --token-file", same, ip)
	case near >= nodesPerNet:
		return "", refusal(cluster.CodeNotAdmitted, "%d nodes have joined from %s already, more need a token: "+
			"ask the registry's operator for one and join with --token-file", near, neighbourhood(ip))
	}
	return cluster.ClassGuest, nil
}

// byToken checks a token and binds it to the node.
func (d *doorman) byToken(nowMs int64, from cluster.ID, token string, city cluster.City) (class string, no *cluster.WireError) {
	network, secret, ok := strings.Cut(token, ".")
	if !ok || secret == "" {
		return "", refusal(cluster.CodeToken, "that is no token: one looks like <network>.<secret>")
	}
	if network != string(d.network) {
		return "", refusal(cluster.CodeToken, "the token is of network %.26s, this is %s", network, d.network)
	}
	hash := store.TokenHash(secret)
	t, err := d.store.Token(hash)
	if errors.Is(err, store.ErrNotFound) {
		return "", refusal(cluster.CodeToken, "the token is not known here: ask the registry's operator for another one")
	}
	if err == nil && t.City != "" && t.City != city {
		return "", refusal(cluster.CodeToken, "the token admits to %s, this node is in %s", t.City, city)
	}
	if err == nil {
		err = d.store.UseToken(hash, from, nowMs)
	}
	switch {
	case err == nil:
		return t.Class, nil
	case errors.Is(err, store.ErrTokenExpired), errors.Is(err, store.ErrTokenUsed), errors.Is(err, store.ErrTokenRevoked):
		return "", refusal(cluster.CodeToken, "%s: ask the registry's operator for another one", err)
	}
	return "", refusal(cluster.CodeInternal, "the registry could not check the token: %s", err)
}
