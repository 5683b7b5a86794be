package node

import (
	"context"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
)

// What tests need to be a hostile peer: an admitted node whose protocols are replaced.

type (
	TaskRequest  = taskRequest
	TaskAnswer   = taskAnswer
	FindAnswer   = findAnswer
	Candidate    = candidate
	ViewAnswer   = viewAnswer
	ViewMember   = viewMember
	AskRequest   = askRequest
	ViewRequest  = viewRequest
	SessionOpen  = sessionOpen
	SessionGrant = sessionGrant
	WireError    = wireError

	SessionDone      = sessionDone
	SessionStatement = sessionStatement
	SessionReceipt   = sessionReceipt
)

const (
	MaxTaskFrame    = maxTaskFrame
	MaxSessionFrame = maxSessionFrame
)

func (n *Node) Host() *p2p.Host { return n.peer.Load().host }

// Rogue replaces what the node answers on a protocol.
func (n *Node) Rogue(proto string, serve func(context.Context, p2p.Remote, *p2p.Stream) error) {
	n.Host().Handle(proto, p2p.HandleOptions{}, serve)
}

// Honest is the node's own answer to a task request.
func (n *Node) Honest(ctx context.Context, r p2p.Remote, req *TaskRequest) *TaskAnswer {
	return n.peer.Load().roles.find.answer(ctx, r, req)
}

func (n *Node) Sign(domain string, v any) cluster.Signed { return n.peer.Load().id.sign(domain, v) }

func (n *Node) Lead() (cluster.Signed, *cluster.Lead) {
	st := n.peer.Load().core.status.Load()
	return st.HighRaw, st.High
}

func (n *Node) Admission() cluster.Signed { return n.peer.Load().id.admission() }

// Learn feeds the node's machine a Lead, as if it had met it.
func (n *Node) Learn(lead cluster.Signed) {
	n.peer.Load().core.put(context.Background(), cluster.Learned{Lead: lead})
}

// Take is the head's check of a member's batch, up to the uplink.
func (n *Node) Take(ctx context.Context, r p2p.Remote, msg *p2p.ResultsMsg) error {
	return n.peer.Load().roles.deliver.take(ctx, r, msg)
}

func (n *Node) SpoolKeys(ctx context.Context) []probe.Key {
	records, err := n.peer.Load().files.db.Spool(100, 1<<20)
	if err != nil {
		return nil
	}
	keys := make([]probe.Key, len(records))
	for i, r := range records {
		keys[i] = r.Result.Key
	}
	return keys
}
