package sim

import (
	"encoding/binary"
	"maps"
	"strconv"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

func itoa(n int) string { return strconv.Itoa(n) }

// Settings of what goes on in a city on its own.
const (
	quietFor     = 30 * time.Second // the registry's quiet window
	sessionEvery = 3 * time.Second
)

// tableConfig is how the operator set the registry.
func (r *registry) tableConfig(cfg *cluster.TableConfig) { cfg.Heads = maps.Clone(r.heads) }

// opened begins a quiet window where the disk may be older than what the registry has signed.
func (r *registry) opened(w *world) {
	if !r.unclean {
		return
	}
	gen := r.gen
	r.table.SetQuiet(true)
	w.after(quietFor, func(w *world) {
		if r.gen == gen {
			r.table.SetQuiet(false)
			r.unclean = false
		}
	})
}

// sessions lets heads permit sessions: a target takes no ticket of a lower term than it knows (S4).
func (w *world) sessions() {
	var again call
	again = func(w *world) {
		if w.faults.calm {
			return
		}
		if h := w.head(); h != nil {
			w.session(h.proc)
			w.attest(h.proc)
		}
		w.agenda.push(w.now.Add(w.between(0, 2*sessionEvery)), again)
	}
	w.agenda.push(w.now, again)
}

func (w *world) session(p *proc) {
	picked, err := p.m.Pick(p.h.clock.local(w.now), 1, "")
	if err != nil || len(picked) == 0 {
		return
	}
	initiator := p.h.who.id
	var id [16]byte
	binary.BigEndian.PutUint64(id[:], w.rng.Uint64())
	raw, err := p.m.IssueTicket(picked[0], initiator, "stamp", id, cluster.TicketLimits{})
	if err != nil {
		return
	}
	w.after(w.logUniform(time.Millisecond, 20*time.Second), func(w *world) {
		for _, h := range w.byID[picked[0].Row.ID] {
			t := h.proc
			if t == nil || t.m == nil || t.frozen {
				continue
			}
			high := t.status.Term
			k, err := t.m.CheckTicket(h.clock.local(w.now), initiator, raw, "stamp")
			w.rearm(h)
			if err != nil {
				continue
			}
			l, c, err := w.trust().Lead(k.Lead)
			if err != nil {
				w.violate("S3", "%s takes a ticket of a Lead that does not verify: %v", h.name, err)
			} else if term := cluster.TermOf(l, c); term.Shard == high.Shard && term.Compare(high) < 0 {
				w.violate("S4", "%s takes a ticket of %s, and knows %s", h.name, term, high)
			}
		}
	})
}

// attest lets a head measure a member.
func (w *world) attest(p *proc) {
	if members := p.m.Members(); len(members) > 0 {
		m := members[w.rng.IntN(len(members))]
		w.step(p, cluster.Attested{ID: m.Row.ID, Attestation: cluster.Attestation{At: p.h.clock.wallMs(w.now), Reachable: w.chance(0.8), Capacity: uint8(w.rng.IntN(8))}})
	}
}
