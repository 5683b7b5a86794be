package sim

import "github.com/peerprobe/peerprobe/cluster"

// liar is what a candidate that has been taken over does.
type liar uint8

const (
	honest   liar = iota
	witness       // says the contrary of what it knows when it is asked about the head
	claimer       // claims terms that are its own, without need
	garbler       // sends terms that nobody holds, and broken signatures
	replayer      // sends again what others have sent
)

func (w *world) suspicious(from cluster.ID) bool {
	for _, h := range w.byID[from] {
		if h.trait.lied || h.trait.twice {
			return true
		}
	}
	return len(w.byID[from]) != 1
}

// heard keeps what was said, for those who repeat it.
func (f *weather) heard(w *world, _ *proc, e cluster.Envelope) {
	if w.cfg.measured {
		return
	}
	if len(f.tape) < tapeLength {
		f.tape = append(f.tape, taped{e.To, e.Message})
		return
	}
	f.tape[w.tally.messages%tapeLength] = taped{e.To, e.Message}
}

// twist is what a liar makes of what its machine says; nil: nothing is sent.
func (f *weather) twist(w *world, p *proc, e cluster.Envelope) *cluster.Message {
	m := e.Message
	if p.h.trait.liar != witness || m.ProbeRes == nil {
		return m
	}
	r := *m.ProbeRes
	r.Fresh = !r.Fresh
	r.Stands = r.Fresh
	if r.Fresh {
		r.Seq += 1000
	}
	return &cluster.Message{ProbeRes: &r}
}

// lie lets a liar say something of its own.
func (w *world) lie(h *host) {
	p := h.proc
	if p == nil || p.m == nil || p.frozen {
		return
	}
	st := p.status
	if st.High == nil || st.Cert == nil {
		return
	}
	switch h.trait.liar {
	case claimer:
		w.claimFalsely(p, &st)
	case garbler:
		w.talkGarbage(p, &st)
	case replayer:
		for range 4 {
			if t := w.faults.tape; len(t) > 0 {
				again := t[w.rng.IntN(len(t))]
				w.tell(p, again.m)
			}
		}
	}
}

// tell sends a message to a few others.
func (w *world) tell(p *proc, m *cluster.Message) {
	for _, o := range w.hosts[1:] {
		if o.who.id != p.h.who.id && w.chance(0.6) {
			w.sendTo(p, o.who.id, o.addrs(), m)
		}
	}
}

// claimFalsely signs a Lead of a term that is the liar's own, without need.
func (w *world) claimFalsely(p *proc, st *cluster.Status) {
	list := st.Cert.Successions[st.Shard]
	for i, id := range list {
		if id != p.h.who.id {
			continue
		}
		n := uint64(len(list))
		k := st.Term.K + 1
		k += (uint64(i)+n-k%n)%n + n*uint64(w.rng.IntN(3))
		if w.chance(0.03) { // uses up the numbers of the epoch
			k += (cluster.MaxK - 1 - k) / n * n
		}
		if k >= cluster.MaxK {
			return
		}
		l := cluster.Lead{Certificate: st.CertRaw, Network: st.Cert.Network, City: p.h.city, Shard: st.Shard, K: k, Head: id,
			Boot: p.boot, Seq: 1, Addrs: []cluster.Peer{{ID: id, Addrs: p.h.addrs()}}, Reason: "because I want to"}
		raw := cluster.Sign(cluster.DomainLead, &l, w.signer(p.h.who))
		w.log("%s claims take-over %d without need", p.h.name, k)
		w.tell(p, &cluster.Message{Lead: &raw})
		return
	}
}

// talkGarbage sends terms that nobody holds, and objects that do not verify.
func (w *world) talkGarbage(p *proc, st *cluster.Status) {
	term := st.Term
	switch w.rng.IntN(4) {
	case 0:
		term.K += uint64(1 + w.rng.IntN(1000))
	case 1:
		term.Epoch += uint64(w.rng.Int64N(1 << 40))
	case 2:
		term.K -= min(term.K, uint64(w.rng.IntN(3)))
	case 3:
		term.CertHash[w.rng.IntN(32)] ^= 1 << w.rng.IntN(8)
	}
	broken := st.HighRaw
	broken.Sig = append([]byte(nil), broken.Sig...)
	broken.Sig[w.rng.IntN(len(broken.Sig))] ^= 1
	boot := p.boot + uint64(w.rng.IntN(3))
	all := []*cluster.Message{
		{Beacon: &cluster.Beacon{Term: term, Boot: boot, Seq: w.rng.Uint64(), Members: uint32(w.rng.IntN(100))}},
		{Heartbeat: &cluster.Heartbeat{Term: term, Boot: boot, Seq: w.rng.Uint64()}},
		{Probe: &cluster.Probe{Term: term, Req: w.rng.Uint64()}},
		{ProbeRes: &cluster.ProbeRes{Term: term, Req: uint64(w.rng.IntN(5)), Fresh: w.chance(0.5), Stands: w.chance(0.5), Seq: w.rng.Uint64()}},
		{Resign: &cluster.Resign{Term: term, To: w.any(w.hosts[1:]).who.id}},
		{Replicate: &cluster.Replicate{Term: term, From: 0, Upto: w.rng.Uint64()}},
		{ReplAck: &cluster.ReplAck{Term: term, Upto: uint64(w.rng.IntN(100))}},
		{Lead: &broken}, {Stale: &broken},
		{WhoIs: &cluster.WhoIs{High: broken, Boot: boot}},
	}
	for range 3 {
		w.tell(p, all[w.rng.IntN(len(all))])
	}
}
