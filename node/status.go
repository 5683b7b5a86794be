package node

import (
	"errors"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// Version is this build's: the module's version, or "devel".
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}

func (p *peer) status() Status {
	st := p.core.status.Load()
	out := Status{
		Node: p2p.IDText(p.host.ID()), Network: string(p.id.trust.Network()), City: string(st.City),
		Role: st.Role, Term: st.Term.String(), Members: st.Members, Heads: st.Heads, LastChange: st.LastChange,
		Change: p.roles.change.Load(), Health: st.Health, Vitals: p.roles.vitals.status(),
		Registry: p.reg.state(), Started: p.started, Data: p.cfg.Data, Control: ControlPath(p.cfg.Data),
		PID: os.Getpid(), Version: Version(), Refused: map[string]uint64{},
		Sessions: SessionStatus{Serving: int(p.roles.respond.serving.Load()), Served: p.roles.respond.served.Load(),
			Started: p.roles.measure.started.Load(), MaxAtOnce: sessionsAtOnce},
	}
	p.election(&out, st)
	if p.cfg.NoControl {
		out.Control = ""
	}
	if st.High != nil {
		out.Head = p2p.IDText(st.High.Head)
		for _, q := range st.High.Addrs {
			if q.ID == st.High.Head && len(q.Addrs) > 0 {
				out.HeadAddr = p2p.AddrText(q.Addrs[0])
			}
		}
	}
	if st.Backup != "" {
		out.Backup = p2p.IDText(st.Backup)
	}
	if admission, err := p.id.trust.Admission(p.id.admission()); err == nil {
		out.Place = admission.Place
	}
	for _, a := range p.host.Addrs() {
		out.Addrs = append(out.Addrs, p2p.AddrText(a))
	}
	spool := p.files.db.SpoolStats()
	l := st.Ledger
	out.Spool = SpoolStatus{Depth: spool.Depth, Dropped: spool.Dropped, Level1: l.Level1, Level2: l.Level2, Aside: p.roles.deliver.aside.size()}
	held := p.files.db.HeldStats()
	out.Held = HeldStatus{Held: l.Held, Copied: l.Copied, Copies: l.Copies, Kept: held.Kept, Bytes: held.Bytes + held.KeptBytes,
		Released: l.Released, Refused: l.Refused}
	cache := p.files.db.Stats()
	out.Cache = CacheStatus{Hits: cache.Hits, Misses: cache.Misses}
	p.roles.respond.refused.copyTo(out.Refused)
	p.loss.copyTo(out.Refused)
	c := p.host.Counters()
	for reason, n := range map[string]uint64{
		"stream without admission": c.NotAdmitted, "stream of another network": c.WrongNetwork, "barred peer": c.Barred,
		"too many streams of one peer": c.TooMany, "frame too large": c.TooLarge, "malformed hello": c.BadHello,
	} {
		if n > 0 {
			out.Refused[reason] = n
		}
	}
	if st.Refused > 0 {
		out.Refused["control message against the rules"] = st.Refused
	}
	return out
}

// defaultResults is the size of a page when nobody says.
const defaultResults = 50

// results pages through the node's own results table.
func (p *peer) results(q ResultQuery) (ResultPage, error) {
	query := store.Query{Limit: q.Limit, After: q.After}
	if q.Limit == 0 {
		query.Limit = defaultResults
	}
	for _, c := range []struct {
		text string
		to   *string
	}{{q.From, &query.InitiatorCity}, {q.To, &query.TargetCity}} {
		if c.text == "" {
			continue
		}
		city, err := locate.City(c.text)
		if err != nil {
			return ResultPage{}, fmt.Errorf("%w: %q names no place: %w", ErrBadRequest, c.text, err)
		}
		*c.to = city
	}
	page, err := p.files.db.Results(query)
	if errors.Is(err, store.ErrInvalid) {
		return ResultPage{}, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if err != nil {
		return ResultPage{}, err
	}
	if page.Results == nil {
		page.Results = []probe.Result{} // an empty list in JSON, not null
	}
	return ResultPage{Results: page.Results, Next: page.Next}, nil
}
