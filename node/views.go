package node

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

const (
	viewPage    = 100             // members a frame: about 400 bytes each, below maxTaskFrame
	viewTimeout = 3 * time.Second // all heads are asked side by side; one that is dead costs no more
)

// view answers what this node knows as a head.
func (f *finder) view(ctx context.Context, req *viewRequest) (out *viewAnswer, werr *wireError) {
	out = new(viewAnswer)
	ok := f.core.ask(ctx, func(m *cluster.Machine, at cluster.Instant) {
		st := m.Status()
		if !st.Leading {
			werr = refuse(codeNotHead, "this node does not lead %s", st.City)
			return
		}
		out.Backup, out.Total = st.Backup, st.Members
		if req.Clusters {
			for _, h := range m.Heads() {
				out.Heads = append(out.Heads, h.Raw)
			}
		}
		if req.Members {
			out.Members, out.More = membersPage(m.Members(), req.After)
		}
	})
	if !ok {
		return nil, refuse(codeBusy, "the node is stopping")
	}
	if werr != nil {
		return nil, werr
	}
	return out, nil
}

// membersPage is the page of members, by id, that begins behind one of them.
func membersPage(all []cluster.MemberInfo, after cluster.ID) (page []viewMember, more bool) {
	slices.SortFunc(all, func(a, b cluster.MemberInfo) int { return cmp.Compare(a.Row.ID, b.Row.ID) })
	for _, m := range all {
		if m.Row.ID <= after || !m.Heard {
			continue // a row that came from the head before, of a node that has not been heard since
		}
		if len(page) == viewPage {
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
	if st.High == nil || len(st.High.Addrs) == 0 {
		return nil, fmt.Errorf("%w: this node knows none yet", ErrNoHead)
	}
	answer, err := v.ask(ctx, st.High.Addrs[0], &viewRequest{Clusters: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoHead, err)
	}
	views := []clusterView{{raw: st.HighRaw}}
	for _, raw := range answer.Heads {
		views = append(views, clusterView{raw: raw})
	}
	ctx, cancel := context.WithTimeout(ctx, viewTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for i := range views {
		wg.Go(func() { v.fill(ctx, &views[i], members) })
	}
	wg.Wait()
	return slices.DeleteFunc(views, func(c clusterView) bool { return c.lead == nil }), nil
}

// fill asks one cluster's head, page by page.
func (v *viewer) fill(ctx context.Context, c *clusterView, members bool) {
	var err error
	if c.lead, c.cert, err = v.trust.Lead(c.raw); err != nil {
		return
	}
	req := &viewRequest{Members: members}
	for {
		var answer *viewAnswer
		if answer, c.err = v.ask(ctx, c.lead.Addrs[0], req); c.err != nil {
			return
		}
		c.total, c.backup = answer.Total, answer.Backup
		c.members = append(c.members, answer.Members...)
		if !answer.More || len(answer.Members) == 0 {
			return
		}
		req.After = answer.Members[len(answer.Members)-1].Peer.ID
	}
}

// Clusters lists the clusters that this node's head knows.
func (v *viewer) Clusters(ctx context.Context) ([]ClusterInfo, error) {
	views, err := v.clusters(ctx, false)
	if err != nil {
		return nil, err
	}
	list := make([]ClusterInfo, 0, len(views))
	for i, c := range views {
		info := ClusterInfo{City: string(c.lead.City), Head: p2p.IDText(c.lead.Head), HeadIP: ipOf(c.lead.Addrs[0].Addrs),
			Term: c.term(), Members: c.total, Reason: c.lead.Reason, Own: i == 0}
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
				info.Tags = admission.Tags
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
