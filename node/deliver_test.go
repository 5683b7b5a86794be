package node_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// A result that nobody takes does not hold up those behind it.
func TestPoisonInTheSpool(t *testing.T) {
	m := testMesh(t)
	m.join(t, "changsha", "c1")
	c := m.join(t, "changsha", "c2")
	m.join(t, "wuhan", "w1")
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Measure(testContext(t), quick("wuhan")); err != nil {
		t.Fatal(err)
	}
	m.gone(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(m.config("", "c2").Data, "node.key")); err != nil {
		t.Fatal(err)
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	again := m.join(t, "changsha", "c2") // another node, with the result of the old one in its spool
	if s := status(t, again); s.Role == "head" || s.Spool.Depth != 1 {
		t.Fatalf("status %+v", s)
	}
	got, err := again.Measure(testContext(t), quick("wuhan"))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, again, "the new result is delivered", func(s node.Status) bool { return s.Spool.Depth == 1 })
	if !slices.ContainsFunc(registryResults(t, m), func(r probe.Result) bool { return r.Key == got.Results[0].Key }) {
		t.Error("the registry does not have the new result")
	}
}

// taker is a head or a registry that takes all batches without a certain result in it.
type taker struct {
	bad  uint64
	most int // results a batch, above which it is too large
	mu   sync.Mutex
	got  []uint64
}

func (k *taker) serve(_ context.Context, _ p2p.Remote, s *p2p.Stream) error {
	var msg p2p.ResultsMsg
	if err := s.ReadMsg(&msg); err != nil {
		return err
	}
	results, err := store.DecodeBatch(msg.Batch)
	if err != nil {
		return err
	}
	ack := &p2p.ResultsAck{Version: p2p.ResultsVersion}
	if len(results) > k.most || slices.ContainsFunc(results, func(r probe.Result) bool { return r.Key.Seq == k.bad }) {
		ack.Error = &cluster.WireError{Code: "invalid", Message: "no"}
	} else {
		k.mu.Lock()
		for _, r := range results {
			k.got = append(k.got, r.Key.Seq)
		}
		k.mu.Unlock()
	}
	return s.WriteMsg(ack)
}

// seen are the results that were taken, in order; some come again, since nobody acknowledges them.
func (k *taker) seen() []uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(k.got)))
}

func TestBatchesAreHalved(t *testing.T) {
	m := testMesh(t)
	head := m.join(t, "changsha", "c1")
	c := m.join(t, "changsha", "c2")
	k := &taker{bad: 4, most: 3}
	head.Rogue(p2p.ProtoResults, k.serve)
	if err := c.Spool(1, 2, 3, 4, 5, 6, 7, 8, 9); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "all but one are delivered", func(node.Status) bool { return len(k.seen()) == 8 })
	if got := k.seen(); !slices.Equal(got, []uint64{1, 2, 3, 5, 6, 7, 8, 9}) {
		t.Errorf("delivered %v", got)
	}
	eventually(t, c, "the other one is set aside", func(s node.Status) bool { return s.Spool.Aside == 1 })
}

// What the registry refuses does not hold up what lies behind it.
func TestUplinkPassesOverWhatIsRefused(t *testing.T) {
	m := testMesh(t)
	c, w := m.join(t, "changsha", "c1"), m.join(t, "wuhan", "w1")
	foreign := w.Result(2) // of a node of another city
	if err := c.Hold(c.Result(1), foreign, c.Result(3), c.Result(4)); err != nil {
		t.Fatal(err)
	}
	eventually(t, c, "three are in the registry", func(node.Status) bool { return len(registryResults(t, m)) == 3 })
	for _, r := range registryResults(t, m) {
		if r.Key == foreign.Key {
			t.Error("the registry took another city's result")
		}
	}
}

func TestHeadRefusesBatches(t *testing.T) {
	m := testMesh(t)
	head := m.join(t, "changsha", "c1")
	c := m.join(t, "changsha", "c2")
	w := m.join(t, "wuhan", "w1")
	eventually(t, c, "c2 is the backup", func(s node.Status) bool { return s.Role == "backup" })
	batch := func(rs ...probe.Result) []byte {
		raw, err := store.EncodeBatch(rs)
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	sign := func(n *node.Node, r probe.Result, change func(*probe.Transcript)) []cluster.Signed {
		tr := probe.Transcript{Version: probe.StatementVersion, Key: r.Key, Figures: r.FiguresDigest()}
		change(&tr)
		return []cluster.Signed{n.Sign(cluster.DomainResult, &tr)}
	}
	same := func(*probe.Transcript) {}
	r, foreign := c.Result(1), w.Result(1)
	term := head.Term()
	past, ahead := term, term
	past.Epoch--
	ahead.K++
	msg := func(kind cluster.TransferKind, term cluster.Term, raw []byte, signs []cluster.Signed) p2p.ResultsMsg {
		return p2p.ResultsMsg{Version: 1, Kind: kind, Term: term, Batch: raw, Transcripts: signs}
	}
	const submit, offer, copies = cluster.TransferSubmit, cluster.TransferOffer, cluster.TransferCopy
	for _, bad := range []struct {
		name     string
		from, to *node.Node
		msg      p2p.ResultsMsg
		says     string
	}{
		{"version", c, head, p2p.ResultsMsg{Version: 9}, "version 9"},
		{"not a head", head, c, msg(submit, term, batch(r), sign(c, r, same)), "does not lead"},
		{"offered to no head", head, c, msg(offer, term, batch(r), sign(c, r, same)), "does not lead"},
		{"copy for a head", c, head, msg(copies, term, batch(r), sign(c, r, same)), "come from the head"},
		{"copy of a member", c, c, msg(copies, term, batch(r), sign(c, r, same)), "come from the head"},
		{"no reason", c, head, msg("", term, batch(r), sign(c, r, same)), "reason"},
		{"another city", w, head, msg(submit, term, batch(foreign), sign(w, foreign, same)), "no results of wuhan"},
		{"a term that has passed", c, head, msg(submit, past, batch(r), sign(c, r, same)), "has passed"},
		{"a term to come", c, head, msg(submit, ahead, batch(r), sign(c, r, same)), "is not known"},
		{"garbage", c, head, msg(submit, term, []byte("garbage"), nil), "batch"},
		{"nothing", c, head, msg(submit, term, batch(), nil), "0 results came with 0"},
		{"no signature", c, head, msg(submit, term, batch(r), nil), "1 results came with 0"},
		{"foreign key", c, head, msg(submit, term, batch(foreign), sign(w, foreign, same)), "is not of"},
		{"foreign signature", c, head, msg(submit, term, batch(r), sign(w, r, same)), "transcript"},
		{"other figures", c, head, msg(submit, term, batch(r), sign(c, r, func(t *probe.Transcript) { t.Figures[0]++ })), "other figures"},
		{"other key", c, head, msg(submit, term, batch(r), sign(c, r, func(t *probe.Transcript) { t.Key.Seq++ })), "other figures"},
		{"forged offer", c, head, msg(offer, term, batch(foreign), sign(c, foreign, same)), "transcript"},
		{"forged copy", head, c, msg(copies, term, batch(foreign), sign(head, foreign, same)), "transcript"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			err := bad.to.Take(testContext(t), bad.from.Remote(), &bad.msg)
			if err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Errorf("error %v, want %q in it", err, bad.says)
			}
		})
	}
	good := msg(submit, term, batch(r), sign(c, r, same))
	if err := head.Take(testContext(t), c.Remote(), &good); err != nil {
		t.Errorf("a good batch: %v", err)
	}
	eventually(t, head, "it is in the registry", func(node.Status) bool { return len(registryResults(t, m)) == 1 })
	if stored := registryResults(t, m); stored[0].Key != r.Key {
		t.Errorf("the registry has %+v", stored)
	}
}

// A head whose result is in the registry, and that died before its spool let go, lets go in its next life, though nobody
// else could tell it.
func TestDeliveredBeforeACrash(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	if err := c.Spool(1); err != nil {
		t.Fatal(err)
	}
	key := c.Result(1).Key
	eventually(t, c, "the head holds its own result", func(s node.Status) bool { return c.Ledger().Held == 1 })
	m.gone(c)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(filepath.Join(m.config("", "c1").Data, "node.db"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.ReleaseHeld(time.Now(), []probe.Key{key}), db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	eventually(t, m.join(t, "changsha", "c1"), "the spool let go", func(s node.Status) bool { return s.Spool.Depth == 0 })
}
