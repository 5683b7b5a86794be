package node

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/keyfile"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
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

// WithClock makes a node's election run by another clock.
func WithClock(cfg Config, clock func() cluster.Instant) Config {
	cfg.clock = clock
	return cfg
}

// SystemClock is what it runs by otherwise.
func SystemClock() cluster.Instant { return now() }

// Attesting makes a node look often whom to measure, should it lead.
func Attesting(cfg Config) Config {
	cfg.attestLook = 20 * time.Millisecond
	return cfg
}

// Transfer is how fast a member sends, as this head measures it.
func (n *Node) Transfer(ctx context.Context, to cluster.Peer) (float64, error) {
	return n.peer.Load().roles.attest.transfer(ctx, to)
}

// Row is what this node knows of a member.
func (n *Node) Row(id cluster.ID) (row cluster.Row, ok bool) {
	n.peer.Load().core.ask(context.Background(), func(m *cluster.Machine, _ cluster.Instant) {
		for _, i := range m.Members() {
			if i.Row.ID == id {
				row, ok = i.Row, true
			}
		}
	})
	return row, ok
}

const (
	ProtoAttest = p2p.ProtoAttest
	AttestFrame = attestFrame
	AttestTime  = attestTime
	AllowBurst  = allowBurst
	CodeNotHead = codeNotHead
	CodeBusy    = codeBusy
)

type (
	AttestRequest = attestRequest
	AttestAnswer  = attestAnswer
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

// Spool puts results of this node into its spool, signed, and wakes the delivery.
func (n *Node) Spool(seqs ...uint64) error {
	p := n.peer.Load()
	for _, seq := range seqs {
		r := p.testResult(seq)
		figures := r.FiguresDigest()
		signed := p.id.sign(cluster.DomainResult, &probe.Transcript{Version: probe.StatementVersion, Key: r.Key, Figures: figures})
		if err := p.files.db.AddResult(store.ResultRecord{Result: r, Transcript: signed}, true); err != nil {
			return err
		}
	}
	p.roles.deliver.wake()
	return nil
}

func (p *peer) testResult(seq uint64) probe.Result {
	me, now := p2p.IDText(p.host.ID()), time.Now().UTC()
	return probe.Result{Schema: probe.ResultSchema, Tool: probe.ToolLatency, Key: probe.Key{Node: me, Boot: 1, Seq: seq}, Started: now, Ended: now,
		Status: probe.StatusFinished, Initiator: probe.End{Node: me, City: "changsha"}, Target: probe.End{Node: me, City: "wuhan"}, Latency: &probe.Latency{}}
}

// Result is a finished result of this node.
func (n *Node) Result(seq uint64) probe.Result { return n.peer.Load().testResult(seq) }

// Remote is this node as a peer of another one sees it.
func (n *Node) Remote() p2p.Remote {
	p := n.peer.Load()
	a, _ := p.id.trust.Admission(p.id.admission())
	return p2p.Remote{ID: p.host.ID(), Admission: a, AdmissionRaw: p.id.admission()}
}

// Hold puts results into what a head holds, unchecked, and wakes its uplink.
func (n *Node) Hold(results ...probe.Result) error {
	p := n.peer.Load()
	var recs []store.ResultRecord
	for _, r := range results {
		recs = append(recs, store.ResultRecord{Result: r})
	}
	_, err := p.files.db.Hold(string(p.core.status.Load().City), recs)
	nudge(p.roles.deliver.up.kick)
	return err
}

// Ledger is what the machine counts.
func (n *Node) Ledger() cluster.LedgerStatus { return n.peer.Load().core.status.Load().Ledger }

// Term is the present one.
func (n *Node) Term() cluster.Term { return n.peer.Load().core.status.Load().Term }

// MakeKeyIn makes the key of a node that belongs to a shard in its data directory.
func MakeKeyIn(dir string, shard, shards uint) error {
	if err := makeDir(dir); err != nil {
		return err
	}
	path := filepath.Join(dir, keyFile)
	for {
		os.Remove(path)
		key, err := keyfile.Load(path, "node key", restoreKey)
		if err != nil || cluster.ShardOf(cluster.IDOf(key.Public().(ed25519.PublicKey)), shards) == shard {
			return err
		}
	}
}

// WithHeld bounds the results of others that a node takes.
func WithHeld(cfg Config, n int) Config {
	cfg.held = n
	return cfg
}

// TakeOwn is what a head answers to results of a member.
func (n *Node) TakeOwn(ctx context.Context, member *Node, seqs ...uint64) error {
	msg := p2p.ResultsMsg{Version: p2p.ResultsVersion, Kind: cluster.TransferSubmit, Term: n.Term()}
	var results []probe.Result
	for _, seq := range seqs {
		r := member.Result(seq)
		results = append(results, r)
		msg.Transcripts = append(msg.Transcripts, member.Sign(cluster.DomainResult,
			&probe.Transcript{Version: probe.StatementVersion, Key: r.Key, Figures: r.FiguresDigest()}))
	}
	var err error
	if msg.Batch, err = store.EncodeBatch(results); err != nil {
		return err
	}
	if err = n.peer.Load().roles.deliver.take(ctx, member.Remote(), &msg); err != nil {
		return resultsRefusal(err)
	}
	return nil
}
