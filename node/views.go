package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"golang.org/x/sync/errgroup"
)

const (
	viewPage    = 100                  // members a frame, about 400 bytes each
	viewBytes   = maxTaskFrame - 4<<10 // of one page, less the envelope with its Lead: rows with many addresses and tags are larger
	viewsAtOnce = 64                   // heads that are asked side by side
	viewMost    = 20_000               // members or clusters that one question gathers: the largest cluster, at 400 bytes each
	viewTimeout = 3 * time.Second      // all heads are asked side by side; one that is dead costs no more
)

// view answers what this node knows as a head.
func (f *finder) view(ctx context.Context, req *viewRequest) (out *viewAnswer, werr *wireError) {
	out = new(viewAnswer)
	var members []cluster.MemberInfo
	var heads []cluster.KnownHead
	ok := f.core.ask(ctx, func(m *cluster.Machine, at cluster.Instant) {
		st := m.Status()
		if !st.Leading {
			werr = refuse(codeNotHead, "this node does not lead %s", st.City)
			return
		}
		out.Backup, out.Total = st.Backup, st.Members
		out.Line = lineOf(m.Succession(), st.Role, st.Backup)
		if req.Clusters {
			heads = m.Heads()
		}
		if req.Members {
			members = m.Members()
		}
	})
	if !ok {
		return nil, refuse(codeBusy, "the node is stopping")
	}
	if werr != nil {
		return nil, werr
	}
	left := viewBytes
	out.Heads, out.MoreHeads = headsPage(heads, req.AfterCity, &left)
	out.Members, out.More = membersPage(members, req.After, &left)
	return out, nil
}

// headsPage is the page of heads, by city, that begins behind one of them and fits into left bytes. A
// city's shards stay together.
func headsPage(all []cluster.KnownHead, after cluster.City, left *int) (page []cluster.Signed, more bool) {
	slices.SortStableFunc(all, func(a, b cluster.KnownHead) int { return cmp.Compare(a.City, b.City) })
	last := after
	for _, h := range all {
		if h.City <= after {
			continue
		}
		*left -= len(h.Raw.Payload) + len(h.Raw.Sig) + entryBytes
		if *left < 0 && len(page) > 0 && h.City != last {
			return page, true
		}
		page, last = append(page, h.Raw), h.City
	}
	return page, false
}

// membersPage is the page of members, by id, that begins behind one of them and fits into left bytes.
func membersPage(all []cluster.MemberInfo, after cluster.ID, left *int) (page []viewMember, more bool) {
	slices.SortFunc(all, func(a, b cluster.MemberInfo) int { return cmp.Compare(a.Row.ID, b.Row.ID) })
	for _, m := range all {
		if m.Row.ID <= after || !m.Heard {
			continue // a row that came from the head before, of a node that has not been heard since
		}
		*left -= len(m.Row.ID) + len(m.Row.Admission.Payload) + len(m.Row.Admission.Sig) + entryBytes
		for _, a := range m.Row.Addrs {
			*left -= len(a) + addrBytes
		}
		if len(page) == viewPage || *left < 0 && len(page) > 0 {
			return page, true
		}
		page = append(page, viewMember{
			Peer:      cluster.Peer{ID: m.Row.ID, Addrs: m.Row.Addrs},
			SilentMs:  m.Silence.Milliseconds(),
			Admission: m.Row.Admission,
		})
	}
	return page, false
}

// What CBOR adds to the bytes in it, at most.
const (
	entryBytes = 40 // keys and lengths of a Lead or a member
	addrBytes  = 3
)

// viewer asks heads what they know, for `nodes` and `clusters`.
type viewer struct {
	core  *core
	host  *p2p.Host
	find  *finder
	trust *cluster.Trust
}

// clusterView is one cluster and what its head answered.
type clusterView struct {
	raw     cluster.Signed
	lead    *cluster.Lead
	cert    *cluster.Certificate
	members []viewMember
	total   int
	backup  cluster.ID
	line    []wireCandidate
	err     error
}

// ask sends a view request to a head, which may be this node.
func (v *viewer) ask(ctx context.Context, head cluster.Peer, req *viewRequest) (*viewAnswer, error) {
	if head.ID == v.host.ID() {
		answer, werr := v.find.view(ctx, req)
		if werr != nil {
			return nil, werr
		}
		return answer, nil
	}
	answer, err := askTask(ctx, v.host, head, &taskRequest{Version: WireVersion, View: req})
	switch {
	case err != nil:
		return nil, err
	case answer.Error != nil:
		return nil, answer.Error
	case answer.View == nil:
		return nil, fmt.Errorf("head %s answered nothing", short(head.ID))
	}
	return answer.View, nil
}

// clusters lists the clusters that the own head knows, its own first, with their members if asked for.
func (v *viewer) clusters(ctx context.Context, members bool) ([]clusterView, error) {
	st := v.core.status.Load()
	if st.High == nil {
		return nil, fmt.Errorf("%w: this node knows none yet", ErrNoHead)
	}
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	views := []clusterView{{raw: st.HighRaw}}
	req := &viewRequest{Clusters: true}
	for more := true; more && len(views) < viewMost; {
		answer, err := v.ask(ctx, headOf(st.High), req)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoHead, err)
		}
		before := req.AfterCity
		for _, raw := range answer.Heads {
			c := clusterView{raw: raw}
			if c.lead, c.cert, err = v.trust.Lead(raw); err == nil {
				views = append(views, c)
				req.AfterCity = max(req.AfterCity, c.lead.City)
			}
		}
		more = answer.MoreHeads && req.AfterCity > before
	}
	var g errgroup.Group
	g.SetLimit(viewsAtOnce)
	for i := range views {
		g.Go(func() error { v.fill(ctx, &views[i], members); return nil })
	}
	g.Wait()
	return slices.DeleteFunc(views, func(c clusterView) bool { return c.lead == nil }), nil
}

// fill asks one cluster's head, page by page. What it names without an admission of that city is left out.
func (v *viewer) fill(ctx context.Context, c *clusterView, members bool) {
	var err error
	if c.lead, c.cert, err = v.trust.Lead(c.raw); err != nil {
		return
	}
	req := &viewRequest{Members: members}
	for {
		var answer *viewAnswer
		if answer, c.err = v.ask(ctx, headOf(c.lead), req); c.err != nil {
			return
		}
		c.total, c.backup, c.line = answer.Total, answer.Backup, answer.Line
		for _, m := range answer.Members {
			if m.Peer.ID <= req.After {
				c.err = fmt.Errorf("head %s names its members out of order", short(c.lead.Head))
				return
			}
			req.After = m.Peer.ID
			if a, err := v.trust.Admission(m.Admission); err == nil && a.ID == m.Peer.ID && a.City == c.lead.City {
				c.members = append(c.members, m)
			}
		}
		if !answer.More || len(answer.Members) == 0 || len(c.members) >= viewMost {
			return
		}
	}
}

// headOf is the head that a Lead names, with its addresses where the Lead has them: a Lead that verifies
// may still come without.
func headOf(l *cluster.Lead) cluster.Peer {
	for _, p := range l.Addrs {
		if p.ID == l.Head {
			return p
		}
	}
	return cluster.Peer{ID: l.Head}
}

// Clusters lists the clusters that this node's head knows.
func (v *viewer) Clusters(ctx context.Context) ([]ClusterInfo, error) {
	views, err := v.clusters(ctx, false)
	if err != nil {
		return nil, err
	}
	list := make([]ClusterInfo, 0, len(views))
	for i, c := range views {
		info := ClusterInfo{City: string(c.lead.City), Head: p2p.IDText(c.lead.Head), HeadIP: ipOf(headOf(c.lead).Addrs),
			Term: c.term(), Members: c.total, Reason: c.lead.Reason, Shard: c.lead.Shard, Shards: uint(len(c.cert.Successions)),
			Line: candidates(c.line, c.succession(), v.host.ID()), Own: i == 0}
		if slices.Contains(c.succession(), c.backup) {
			info.Backup = p2p.IDText(c.backup)
		}
		for _, id := range c.succession() {
			info.Succession = append(info.Succession, p2p.IDText(id))
		}
		if c.err != nil {
			info.Members, info.Error = -1, c.err.Error()
		}
		list = append(list, info)
	}
	return list, nil
}

// Nodes lists the live nodes of all clusters that this node's head knows.
func (v *viewer) Nodes(ctx context.Context) ([]NodeInfo, error) {
	views, err := v.clusters(ctx, true)
	if err != nil {
		return nil, err
	}
	list := []NodeInfo{}
	for _, c := range views {
		for _, m := range c.members {
			info := NodeInfo{ID: p2p.IDText(m.Peer.ID), City: string(c.lead.City), IP: ipOf(m.Peer.Addrs),
				Role: c.role(m.Peer.ID), SilentMs: float64(m.SilentMs)}
			for _, a := range m.Peer.Addrs {
				info.Addrs = append(info.Addrs, p2p.AddrText(a))
			}
			if admission, err := v.trust.Admission(m.Admission); err == nil {
				info.Tags, info.Place = admission.Tags, admission.Place
				if a := admission.About; a != nil {
					info.Country, info.ASN, info.Network, info.Doubt = a.Country, a.ASN, a.Network, a.Doubt
				}
			}
			list = append(list, info)
		}
	}
	return list, nil
}

func (c *clusterView) succession() []cluster.ID {
	if int(c.lead.Shard) >= len(c.cert.Successions) {
		return nil
	}
	return c.cert.Successions[c.lead.Shard]
}

func (c *clusterView) term() string {
	return cluster.TermOf(c.lead, c.cert).String()
}

func (c *clusterView) role(id cluster.ID) string {
	switch {
	case id == c.lead.Head:
		return "head"
	case id == c.backup:
		return "backup"
	case slices.Contains(c.succession(), id):
		return "candidate"
	}
	return "endpoint"
}

// ipOf is the address by which people know a node: IPv4 before IPv6, as its city was found by it, and
// loopback only where there is nothing else.
func ipOf(addrs [][]byte) string {
	best, rank := "", 0
	for _, a := range addrs {
		ip, ok := p2p.AddrIP(a)
		if !ok {
			continue
		}
		r := 1
		if !ip.IsLoopback() {
			r += 2
		}
		if ip.Is4() {
			r++
		}
		if r > rank {
			best, rank = ip.String(), r
		}
	}
	return best
}
