package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// RebirthTimes say when the registry takes a city for deserted: everybody who may lead it is gone, so that
// without a new certificate its other nodes would be without a head for ever.
type RebirthTimes struct {
	CutOff time.Duration // the node that asks has heard no head for so long
	Up     time.Duration // the registry has run for so long
	Silent time.Duration // the registry has heard nobody of the list for so long
}

const (
	// rebirthCutOff: by then all eight of a list have had their turn. The last one claims after Suspect + 7
	// Stagger + ProbeWait, and one doubled Suspect: 10.9 s with the default timers.
	rebirthCutOff = 12 * time.Second
	// rebirthUp: whom it heard a registry remembers to the minute only over its own restart. In a minute
	// every head that lives has reported six times.
	rebirthUp = time.Minute
	// rebirthSilent: three reports of a head in a row are missing (reportEvery).
	rebirthSilent = 3 * reportEvery
)

// DefaultRebirthTimes suit heads that report every ten seconds.
func DefaultRebirthTimes() RebirthTimes {
	return RebirthTimes{CutOff: rebirthCutOff, Up: rebirthUp, Silent: rebirthSilent}
}

// Validate refuses times that are not positive: any orphan would depose any head.
func (r RebirthTimes) Validate() error {
	if r.CutOff <= 0 || r.Up <= 0 || r.Silent <= 0 {
		return fmt.Errorf("rebirth after %v cut off, %v up and %v of silence: each must be positive", r.CutOff, r.Up, r.Silent)
	}
	return nil
}

// ErrNoRebirth says that a city is not deserted, as far as the registry can tell.
var ErrNoRebirth = errors.New("no new certificate for a deserted city")

// Sight is what a registry has seen itself, as far as no table keeps it.
type Sight struct {
	Up        time.Duration  // for how long it has run
	Heard     func(ID) int64 // unix ms at which it last heard of a node; 0: never
	Unreached map[ID]bool    // whom it has just dialled anew in vain
}

// Deserted gives the names of the succession of the caller's city that must be dialled before the city may
// be reborn, or ErrNoRebirth with the reason. req is a Register that has been answered.
func (t *Table) Deserted(nowMs int64, from ID, req *Request, seen Sight) ([]Peer, error) {
	no := func(format string, args ...any) ([]Peer, error) {
		return nil, fmt.Errorf("%w: %s", ErrNoRebirth, fmt.Sprintf(format, args...))
	}
	n := t.nodes[from]
	if n == nil || t.cities[n.City] == nil || t.cities[n.City].cert.cert == nil {
		return no("the city of %s has none", from.Short())
	}
	rec, want := t.cities[n.City], t.cfg.Rebirth
	switch names := rec.cert.cert.listOf(from); {
	case n.Transient || req.Transient:
		return no("%s does not stay", from.Short())
	case slices.Contains(names, from):
		return no("%s is in the list itself", from.Short())
	case req.Cert.Hash() != rec.cert.hash:
		return no("%s does not know the present certificate yet", from.Short())
	case req.CutOffMs < uint64(want.CutOff.Milliseconds()):
		return no("%s has heard no head for %d ms, want %v", from.Short(), req.CutOffMs, want.CutOff)
	case seen.Up < want.Up:
		return no("the registry runs for %v, want %v", seen.Up, want.Up)
	}
	var out []Peer
	for _, id := range t.standing(rec, from) {
		p := Peer{ID: id}
		heard := seen.Heard(id)
		if n := t.nodes[id]; n != nil {
			heard, p.Addrs = max(heard, n.LastSeen), slices.Clone(n.Addrs)
		}
		// A time ahead of the clock was noted a moment ago, or the clock was set back.
		if silence := nowMs - heard; max(silence, -silence) < want.Silent.Milliseconds() {
			return no("%s was heard %d ms ago", id.Short(), silence)
		}
		out = append(out, rec.withLeadAddrs(p))
	}
	return out, nil
}

// standing are the names of the succession of a node's shard that may still lead: not barred, and not moved to
// another city.
func (t *Table) standing(rec *cityRecord, of ID) []ID {
	return slices.DeleteFunc(slices.Clone(rec.cert.cert.listOf(of)), func(id ID) bool {
		n := t.nodes[id] // unknown: the table lost its disk, but it did sign this name
		return t.barred.ids[id] || n != nil && (n.City != rec.state.City || n.Transient)
	})
}

// withLeadAddrs adds the addresses that the best Lead has of a peer: they may be newer than its registration.
func (r *cityRecord) withLeadAddrs(p Peer) Peer {
	for _, shard := range slices.Sorted(maps.Keys(r.leads)) {
		for _, q := range r.leads[shard].lead.Addrs {
			for _, a := range q.Addrs {
				if q.ID == p.ID && !slices.ContainsFunc(p.Addrs, func(b []byte) bool { return slices.Equal(a, b) }) {
					p.Addrs = append(p.Addrs, a)
				}
			}
		}
	}
	return p
}

// Rebirth gives a deserted city, or shard of one, a certificate that names the caller, then the old list. Whoever of the old
// list comes back follows the higher epoch, and is a candidate. ErrNoRebirth says why it gives none: the
// conditions of Deserted do not hold (any more), or somebody of the list has not been dialled in vain. Of
// any number of callers one is named, because the others do not know its certificate.
func (t *Table) Rebirth(nowMs int64, from ID, req *Request, seen Sight) (*Answer, Changes, error) {
	if a, err := t.precheck(from, req); a != nil || err != nil {
		return a, Changes{}, err
	}
	names, err := t.Deserted(nowMs, from, req, seen)
	if err != nil {
		return nil, Changes{}, err
	}
	rec := t.cities[t.nodes[from].City]
	lists := slices.Clone(rec.cert.cert.Successions)
	list := []ID{from}
	for _, p := range names {
		if !seen.Unreached[p.ID] {
			return nil, Changes{}, fmt.Errorf("%w: %s has not been dialled in vain", ErrNoRebirth, p.ID.Short())
		}
		if len(list) < Slots(len(lists)) {
			list = append(list, p.ID)
		}
	}
	c := t.begin(nowMs, from)
	city := rec.state.City
	lists[rec.cert.cert.shardIn(from)] = list
	c.issue(city, lists)
	a := c.answer(city, req.HeadsDigest)
	a.Admission = t.nodes[from].Admission
	return a, c.changes(), nil
}
