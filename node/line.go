package node

import (
	"context"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// The succession as people see it: who leads, who is next, and who of them lives.

// States of a candidate.
const (
	stateHead    = "head"
	stateBackup  = "backup" // next in line, and its copy of the head's tables is up to date
	stateAlive   = "alive"
	stateUnwell  = "unwell" // alive, and it asks not to lead
	stateSilent  = "silent"
	stateUnknown = "unknown" // not known here: only heads and candidates know
)

// wireCandidate is one name of a succession as its head knows it.
type wireCandidate struct {
	ID       cluster.ID `cbor:"1,keyasint"`
	Line     uint       `cbor:"2,keyasint,omitempty"` // 0: it leads
	State    string     `cbor:"3,keyasint"`
	SilentMs *int64     `cbor:"4,keyasint,omitempty"` // for how long the head has not heard it
	Unwell   string     `cbor:"5,keyasint,omitempty"`
}

// lineOf is a machine's succession in the order of take-over.
func lineOf(infos []cluster.CandidateInfo, role string, backup cluster.ID) []wireCandidate {
	out := make([]wireCandidate, len(infos))
	for i, c := range infos {
		out[i] = wireCandidate{ID: c.ID, Line: uint(c.Line), State: stateOf(c, role, backup), Unwell: c.Unwell}
		if c.Heard && !c.Self {
			out[i].SilentMs = new(c.Silence.Milliseconds())
		}
	}
	slices.SortStableFunc(out, func(a, b wireCandidate) int { return int(a.Line) - int(b.Line) })
	return out
}

func stateOf(c cluster.CandidateInfo, role string, backup cluster.ID) string {
	ignorant := role == cluster.RoleEndpoint || role == cluster.RoleOrphan
	switch {
	case c.Head && (c.Alive || !c.Heard):
		return stateHead
	case c.ID == backup:
		return stateBackup
	case c.Alive && c.Unwell != "":
		return stateUnwell
	case c.Alive:
		return stateAlive
	case ignorant && !c.Head:
		return stateUnknown
	}
	return stateSilent
}

// candidates is a line as the API has it. Names that are not on the list, and states that there are not, are left out:
// another head may have said them.
func candidates(line []wireCandidate, list []cluster.ID, self cluster.ID) []CandidateInfo {
	out := []CandidateInfo{}
	for _, c := range line {
		if !slices.Contains(list, c.ID) || len(out) == cluster.MaxSuccession {
			continue
		}
		info := CandidateInfo{Node: p2p.IDText(c.ID), Place: int(min(c.Line, cluster.MaxSuccession)), State: stateUnknown, Self: c.ID == self,
			Unwell: c.Unwell[:min(len(c.Unwell), maxUnwell)]}
		if slices.Contains([]string{stateHead, stateBackup, stateAlive, stateUnwell, stateSilent}, c.State) {
			info.State = c.State
		}
		if c.SilentMs != nil {
			info.SilentMs = new(float64(*c.SilentMs))
		}
		out = append(out, info)
	}
	return out
}

// maxUnwell is the length of a reason in bytes that another head may show here.
const maxUnwell = 120

// election fills in what a status says of terms and succession.
func (p *peer) election(out *Status, st *cluster.Status) {
	var infos []cluster.CandidateInfo
	var own cluster.Attestation
	ctx, cancel := context.WithTimeout(context.Background(), statusWait)
	defer cancel()
	p.core.ask(ctx, func(m *cluster.Machine, _ cluster.Instant) {
		infos = m.Succession()
		if st.InLine == 0 {
			return // only candidates have a copy of what the head knows
		}
		for _, i := range m.Members() {
			if i.Row.ID == st.Self {
				own = i.Row.Attested
			}
		}
	})
	out.Shard, out.Shards = st.Shard, max(st.Shards, 1)
	out.Succession = candidates(lineOf(infos, st.Role, st.Backup), successionOf(st.Cert, st.Shard), st.Self)
	out.InLine, out.WhyNot, out.Unsure = st.InLine, st.WhyNot, st.Unsure
	out.CutOffMs = ms(st.CutOff)
	if st.Watches != "" {
		out.Watches = p2p.IDText(st.Watches)
	}
	if st.InLine > 0 {
		t := p.core.timers()
		out.ClaimsAfterMs = ms(t.Suspect + time.Duration(st.InLine-1)*t.Stagger)
	}
	if own.At != 0 {
		out.Attested = &AttestedInfo{At: time.UnixMilli(own.At).UTC(), Reachable: own.Reachable, Capacity: own.Capacity, Prefix: own.Prefix}
	}
}

// statusWait bounds how long a status waits for a loop that is busy.
const statusWait = time.Second
