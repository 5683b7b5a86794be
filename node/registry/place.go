package registry

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
)

const (
	// placesPeriod is how often the overrides are looked at: what an operator
	// writes there should count before he looks whether it does.
	placesPeriod = 2 * time.Second
	// lightPeriod is how often what measurements say of places is weighed.
	lightPeriod = 10 * time.Second
	// ipv4Kept is for how long the IPv4 address counts from which a node that
	// comes over IPv6 now has registered before.
	ipv4Kept = 30 * 24 * time.Hour
)

// evidence is why a node is where it is, as it is stored with the node.
type evidence struct {
	Declared string        `cbor:"1,keyasint,omitempty"` // as the node wrote it
	City     string        `cbor:"2,keyasint,omitempty"` // what that means; "" if nothing
	Observed string        `cbor:"3,keyasint,omitempty"` // by its address
	By       locate.Source `cbor:"4,keyasint,omitempty"` // what says so
	Source   locate.Source `cbor:"5,keyasint,omitempty"` // what decided
	Note     string        `cbor:"6,keyasint,omitempty"`
	IPv4     string        `cbor:"7,keyasint,omitempty"` // from which it registered over IPv4 the last time
	IPv4At   int64         `cbor:"8,keyasint,omitempty"` // unix ms
	Class    locate.Class  `cbor:"9,keyasint,omitempty"` // of the address that counted
	Conflict bool          `cbor:"10,keyasint,omitempty"`
}

func readEvidence(raw []byte) (e evidence) {
	if len(raw) > 0 && cluster.Unmarshal(raw, &e) != nil {
		return evidence{} // of another release: it is written anew at the next registration
	}
	return e
}

// known is everything that the operator says of places, at one time.
type known struct {
	locator   locate.Locator
	overrides *overrides
}

// places decides where nodes are. What it knows is replaced as a whole.
type places struct {
	cfg   Config
	path  string // of the overrides
	log   *slog.Logger
	now   atomic.Pointer[known]
	asked <-chan struct{} // to read the files again
	light *light
}

func openPlaces(cfg Config) (*places, error) {
	log := cfg.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	p := &places{cfg: cfg, path: filepath.Join(cfg.Data, overridesFile), log: log, light: newLight()}
	p.light.at = func(c cluster.City) (locate.Coordinates, bool) { return p.now.Load().locator.At(string(c)) }
	return p, p.load()
}

// load reads all files. What was known stays known if one of them is wrong.
func (p *places) load() error {
	trust, err := locate.ParseTrust(p.cfg.TrustDeclared)
	if err != nil {
		return fmt.Errorf("--trust-declared: %w", err)
	}
	k := &known{locator: locate.Locator{Trust: trust}}
	switch {
	case p.cfg.GeoMap != "":
		k.locator.Map, err = locate.LoadMap(p.cfg.GeoMap)
	case p.cfg.GeoMapText != "":
		k.locator.Map, err = locate.ParseMap(strings.NewReader(p.cfg.GeoMapText))
	}
	if err != nil {
		return fmt.Errorf("--geo-map: %w", err)
	}
	if p.cfg.GeoIP != "" {
		if k.locator.GeoIP, err = locate.OpenGeoIP(p.cfg.GeoIP); err != nil {
			return fmt.Errorf("--geoip: %w", err)
		}
	}
	if k.overrides, err = loadOverrides(p.path, k.locator); err != nil {
		return err
	}
	p.now.Store(k)
	return nil
}

// refresh reads the overrides again if their file has changed.
func (p *places) refresh() (changed bool) {
	old := p.now.Load()
	if !old.overrides.stale(p.path) {
		return false
	}
	o, err := loadOverrides(p.path, old.locator)
	if err != nil {
		p.log.Error("overrides not read: those read before hold", "err", err)
		old.overrides.refused(p.path)
		return false
	}
	p.now.Store(&known{old.locator, o})
	p.log.Info("overrides of places read", "nodes", len(o.nodes), "networks", o.networks.Len())
	return true
}

// place decides where a node is that registers from ip, and gives what is to be
// stored of that. A node with IPv4 and IPv6 is placed by IPv4: what is known of
// IPv6 addresses for free is poor.
func (p *places) place(now int64, id cluster.ID, ip netip.Addr, declared string, before []byte) (locate.Answer, []byte) {
	ip = locate.Plain(ip)
	old := readEvidence(before)
	e := evidence{Declared: declared, IPv4: old.IPv4, IPv4At: old.IPv4At}
	if len(declared) > locate.MaxName {
		e.Declared = ""
	}
	by := ip
	if ip.Is4() {
		e.IPv4, e.IPv4At = ip.String(), now
	} else if v4, err := netip.ParseAddr(old.IPv4); err == nil && now-old.IPv4At < ipv4Kept.Milliseconds() {
		by = v4
	}
	k := p.now.Load()
	a := k.locator.Locate(by, declared)
	if city, why, ok := k.overrides.find(id, ip, by); ok {
		a = a.Move(city, why)
	}
	e.City, e.Observed, e.By, e.Source, e.Note, e.Class, e.Conflict = a.Declared, a.Observed, a.By, a.Source, a.Note, a.Class, a.Conflict()
	return a, cluster.Marshal(e)
}

// placed is a placement and what is to be stored of it.
type placed struct {
	answer   locate.Answer
	evidence []byte
}

// placeRequest places a node that registers; before its turn at the desk, because
// the first look-up of all takes the tables apart.
func (s *server) placeRequest(r p2p.Remote, req *cluster.Request) (p placed) {
	if req.Kind == cluster.CallRegister {
		before, _ := s.roster.node(r.ID)
		p.answer, p.evidence = s.places.place(time.Now().UnixMilli(), r.ID, r.Addr.Addr(), string(req.City), before.evidence)
	}
	return p
}

// again is where a node would be placed now that registered from ip before.
func (p *places) again(now int64, id cluster.ID, m member) (cluster.City, bool) {
	ip, err := netip.ParseAddr(m.observed)
	if err != nil {
		return "", false
	}
	a, _ := p.place(now, id, ip, readEvidence(m.evidence).Declared, m.evidence)
	return cluster.City(a.City), true
}

func aboutOf(a locate.Answer, doubt string) *cluster.About {
	about := cluster.About{Country: a.Country, ASN: a.Network.Number, Network: a.Network.Name, Doubt: doubt}
	if about == (cluster.About{}) {
		return nil
	}
	return &about
}

// Reload has a running registry read its map, its MMDB file and its overrides
// again. If one is wrong the log says so, and what was read before holds.
func (r *Registry) Reload() {
	select {
	case r.reload <- struct{}{}:
	default: // it is about to
	}
}

// watchPlaces follows the files and the measurements, and recalls the nodes that
// belong elsewhere now. It returns when ctx ends.
func (s *server) watchPlaces(ctx context.Context) {
	overrides := time.NewTicker(placesPeriod)
	defer overrides.Stop()
	weigh := time.NewTicker(lightPeriod)
	defer weigh.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.places.asked:
			if err := s.places.load(); err != nil {
				s.log.Error("places not read again: what was read before holds", "err", err)
				continue
			}
			s.log.Info("places read again")
			s.audit.add(store.AuditEntry{At: time.Now(), Actor: "operator", Action: auditPlaces, Answer: "read again"})
			s.recallMoved(ctx)
		case <-overrides.C:
			if s.places.refresh() {
				s.audit.add(store.AuditEntry{At: time.Now(), Actor: "operator", Action: auditPlaces, Answer: "overrides read again"})
				s.recallMoved(ctx)
			}
		case <-weigh.C:
			s.recallDoubted(ctx)
		}
	}
}

// recallMoved asks the nodes to register again that belong to another city now.
func (s *server) recallMoved(ctx context.Context) {
	now := time.Now().UnixMilli()
	var to []cluster.Peer
	for id, m := range s.roster.all() {
		city, ok := s.places.again(now, id, m)
		if ok && city != m.city {
			s.log.Info("belongs elsewhere now", "peer", id.Short(), "in", m.city, "belongs to", city)
			s.audit.add(store.AuditEntry{At: time.Now(), Actor: "operator", Action: auditPlaces, Object: p2p.IDText(id),
				Answer: fmt.Sprintf("from %s to %s", m.city, city)})
			to = append(to, cluster.Peer{ID: id, Addrs: m.addrs})
		}
	}
	s.recall(ctx, to)
}

// recallDoubted asks the nodes to register again of which measurements say
// something else than their admissions do.
func (s *server) recallDoubted(ctx context.Context) {
	var to []cluster.Peer
	for id, m := range s.places.light.weigh(s.roster.all()) {
		to = append(to, cluster.Peer{ID: id, Addrs: m.addrs})
	}
	s.recall(ctx, to)
}
