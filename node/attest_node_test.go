package node_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// lies of a member that is measured, each a way to seem faster than it is. All of them send the right bytes first.
var lies = map[string]func(ctx context.Context, s *p2p.Stream, frame func() []byte) error{
	"slow": func(ctx context.Context, s *p2p.Stream, frame func() []byte) error {
		tick := time.NewTicker(100 * time.Millisecond) // 1.3 Mbit/s
		defer tick.Stop()
		for {
			if err := s.WriteFrame(frame()); err != nil {
				return nil
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
		}
	},
	"a fast frame and then nothing": func(ctx context.Context, s *p2p.Stream, frame func() []byte) error {
		s.WriteFrame(frame())
		<-ctx.Done()
		return nil
	},
	"a fast frame and the end": func(_ context.Context, s *p2p.Stream, frame func() []byte) error { return s.WriteFrame(frame()) },
	"garbage": func(_ context.Context, s *p2p.Stream, frame func() []byte) error {
		frame()
		for range 64 {
			if err := s.WriteFrame(make([]byte, node.AttestFrame)); err != nil {
				return nil
			}
		}
		return nil
	},
}

// lying answers an attestation with a lie.
func lying(lie func(context.Context, *p2p.Stream, func() []byte) error) func(context.Context, p2p.Remote, *p2p.Stream) error {
	return func(ctx context.Context, _ p2p.Remote, s *p2p.Stream) error {
		ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()
		var req node.AttestRequest
		if err := s.ReadMsg(&req); err != nil {
			return err
		}
		if err := s.WriteMsg(&node.AttestAnswer{}); err != nil {
			return err
		}
		stream := rand.NewChaCha8(req.Seed)
		return lie(ctx, s, func() []byte {
			b := make([]byte, node.AttestFrame)
			stream.Read(b)
			return b
		})
	}
}

// A member gains nothing by lying: what counts is what arrives, by the head's clock.
func TestTransferCannotBeInflated(t *testing.T) {
	m := testMesh(t)
	head, member := m.join(t, "wuhan", "a"), m.join(t, "wuhan", "b")
	honest, err := head.Transfer(testContext(t), member.Host().Self())
	if err != nil || honest < 1e6 {
		t.Fatalf("an honest member sends %.0f bit/s, %v", honest, err)
	}
	for name, lie := range lies {
		member.Rogue(node.ProtoAttest, lying(lie))
		began := time.Now()
		got, err := head.Transfer(testContext(t), member.Host().Self())
		if took := time.Since(began); took > 5*node.AttestTime {
			t.Errorf("%s: it took %v", name, took)
		}
		if got > 3e6 {
			t.Errorf("%s: %.0f bit/s", name, got)
		}
		if (name == "garbage" || strings.HasSuffix(name, "the end")) && err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// Only the own head may measure a node, and not as often as it likes.
func TestMemberRefusesForeignAttestation(t *testing.T) {
	m := testMesh(t)
	head, member := m.join(t, "wuhan", "a"), m.join(t, "wuhan", "b")
	other, foreign := m.join(t, "wuhan", "c"), m.join(t, "changsha", "d")
	code := func(from, to *node.Node) string {
		_, err := from.Transfer(testContext(t), to.Host().Self())
		no := new(node.WireError)
		errors.As(err, &no)
		return no.Code
	}
	for name, n := range map[string]*node.Node{"another member": other, "the head of another city": foreign} {
		if got := code(n, member); got != node.CodeNotHead {
			t.Errorf("%s was answered %q", name, got)
		}
	}
	if got := code(member, head); got != node.CodeNotHead {
		t.Errorf("a head was measured by a member: %q", got)
	}
	for i := range node.AllowBurst + 1 {
		want := ""
		if i == node.AllowBurst {
			want = node.CodeBusy
		}
		if got := code(head, member); got != want {
			t.Errorf("transfer %d was answered %q, want %q", i, got, want)
		}
	}
}

// A head measures its members by itself, and what it finds caps what they claim.
func TestHeadAttestsMembers(t *testing.T) {
	m := testMesh(t)
	head, err := node.Join(testContext(t), node.Attesting(m.config("wuhan", "a")))
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, head)
	member, liar := m.join(t, "wuhan", "b"), m.join(t, "wuhan", "c")
	liar.Rogue(node.ProtoAttest, lying(lies["slow"]))
	attested := func(n *node.Node) cluster.Row {
		t.Helper()
		id := n.Host().ID()
		eventually(t, head, "attested", func(node.Status) bool { row, ok := head.Row(id); return ok && row.Attested.At != 0 })
		row, _ := head.Row(id)
		return row
	}
	row := attested(member)
	if !row.Attested.Reachable || row.Attested.Capacity < 2 || row.Attested.Prefix != "127.0.0.0/24" {
		t.Errorf("an honest member is %+v", row.Attested)
	}
	if row = attested(liar); !row.Attested.Reachable || row.Attested.Capacity > 1 {
		t.Errorf("a slow member is %+v, and claims %d", row.Attested, row.Priority.Capacity)
	}
}
