package node_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

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
	if stored := registryResults(t, m); len(stored) != 1 || stored[0].Key != got.Results[0].Key {
		t.Errorf("the registry has %+v", stored)
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

// seen are the results that were taken, in order.
func (k *taker) seen() []uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Sorted(slices.Values(k.got))
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
	eventually(t, c, "all but one are delivered", func(s node.Status) bool { return s.Spool.Depth == 1 })
	if got := k.seen(); !slices.Equal(got, []uint64{1, 2, 3, 5, 6, 7, 8, 9}) {
		t.Errorf("delivered %v", got)
	}
}

// Members' batches go up together; the bad one comes back alone.
func TestUplinkSeparatesShipments(t *testing.T) {
	m := testMesh(t)
	c, w := m.join(t, "changsha", "c1"), m.join(t, "wuhan", "w1")
	k := &taker{bad: 2, most: 100}
	w.Rogue(p2p.ProtoResults, k.serve)
	errs := c.ShipAll(testContext(t), w.Host().Self(), []probe.Result{c.Result(1)}, []probe.Result{c.Result(2)}, []probe.Result{c.Result(3)})
	if errs[0] != nil || errs[1] == nil || errs[2] != nil {
		t.Errorf("errors %v", errs)
	}
	if got := k.seen(); !slices.Equal(got, []uint64{1, 3}) {
		t.Errorf("delivered %v", got)
	}
}

func TestHeadRefusesBatches(t *testing.T) {
	m := testMesh(t)
	head := m.join(t, "changsha", "c1")
	c := m.join(t, "changsha", "c2")
	w := m.join(t, "wuhan", "w1")
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
	for _, bad := range []struct {
		name string
		from *node.Node
		to   *node.Node
		msg  p2p.ResultsMsg
		says string
	}{
		{"version", c, head, p2p.ResultsMsg{Version: 9}, "version 9"},
		{"not a head", head, c, p2p.ResultsMsg{Version: 1}, "does not lead"},
		{"another city", w, head, p2p.ResultsMsg{Version: 1}, "does not lead wuhan"},
		{"garbage", c, head, p2p.ResultsMsg{Version: 1, Batch: []byte("garbage")}, "batch"},
		{"nothing", c, head, p2p.ResultsMsg{Version: 1, Batch: batch()}, "0 results came with 0"},
		{"no signature", c, head, p2p.ResultsMsg{Version: 1, Batch: batch(r)}, "1 results came with 0"},
		{"foreign key", c, head, p2p.ResultsMsg{Version: 1, Batch: batch(foreign), Transcripts: sign(w, foreign, same)}, "is not of"},
		{"foreign signature", c, head, p2p.ResultsMsg{Version: 1, Batch: batch(r), Transcripts: sign(w, r, same)}, "transcript"},
		{"other figures", c, head, p2p.ResultsMsg{Version: 1, Batch: batch(r), Transcripts: sign(c, r, func(t *probe.Transcript) { t.Figures[0]++ })}, "other figures"},
		{"other key", c, head, p2p.ResultsMsg{Version: 1, Batch: batch(r), Transcripts: sign(c, r, func(t *probe.Transcript) { t.Key.Seq++ })}, "other figures"},
	} {
		t.Run(bad.name, func(t *testing.T) {
			err := bad.to.Take(testContext(t), bad.from.Remote(), &bad.msg)
			if err == nil || !strings.Contains(err.Error(), bad.says) {
				t.Errorf("error %v, want %q in it", err, bad.says)
			}
		})
	}
	if err := head.Take(testContext(t), c.Remote(), &p2p.ResultsMsg{Version: 1, Batch: batch(r), Transcripts: sign(c, r, same)}); err != nil {
		t.Errorf("a good batch: %v", err)
	}
	if stored := registryResults(t, m); len(stored) != 1 || stored[0].Key != r.Key {
		t.Errorf("the registry has %+v", stored)
	}
}
