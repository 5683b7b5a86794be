package p2p

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerprobe/peerprobe/cluster"
)

// patience is how long a test waits for what has to happen: long, because a
// loaded machine under -race does a handshake in tens of milliseconds.
const patience = 60 * time.Second

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// testNet is a network: its key, and admissions under it.
type testNet struct {
	key   ed25519.PrivateKey
	trust *cluster.Trust
}

func seedKey(seed string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

func newNet(name string) *testNet {
	key := seedKey("network " + name)
	return &testNet{key: key, trust: cluster.NewTrust(key.Public().(ed25519.PublicKey))}
}

func (n *testNet) sign() cluster.Signer { return cluster.SignerOf(n.key) }

func (n *testNet) admission(id cluster.ID) cluster.Signed {
	return cluster.Sign(cluster.DomainAdmission, cluster.Admission{
		Version: 1, Network: n.trust.Network(), ID: id, City: "changsha", Class: cluster.ClassOwn, Serial: 1,
	}, n.sign())
}

// lead is a valid claim of take-over k of the city in the epoch, by head.
func (n *testNet) lead(city cluster.City, epoch, k, seq uint64, head ed25519.PrivateKey) cluster.Signed {
	id := cluster.IDOf(head.Public().(ed25519.PublicKey))
	cert := cluster.Sign(cluster.DomainCert, cluster.Certificate{
		Version: 1, Network: n.trust.Network(), City: city, Epoch: epoch,
		Successions: [][]cluster.ID{{id}}, Timers: cluster.DefaultTimers(),
	}, n.sign())
	return cluster.Sign(cluster.DomainLead, cluster.Lead{
		Certificate: cert, Network: n.trust.Network(), City: city, K: k, Head: id, Boot: 1, Seq: seq,
	}, cluster.SignerOf(head))
}

// stranger starts a host that belongs to no network.
func stranger(t testing.TB, name string, set ...func(*Config)) *Host {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Key = seedKey(name)
	cfg.Listen = []string{"/ip4/127.0.0.1/tcp/0"}
	cfg.Log = slog.New(slog.DiscardHandler)
	for _, f := range set {
		f(&cfg)
	}
	h, err := New(cfg)
	if err != nil {
		t.Fatalf("host %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("closing host %s: %v", name, err)
		}
	})
	return h
}

// host starts a host that is admitted to the network.
func (n *testNet) host(t testing.TB, name string, set ...func(*Config)) *Host {
	t.Helper()
	h := stranger(t, name, set...)
	n.admit(h)
	return h
}

func (n *testNet) admit(h *Host) {
	h.SetTrust(n.trust)
	h.SetAdmission(n.admission(h.ID()))
}

// echo answers each frame with itself.
func echo(_ context.Context, _ Remote, s *Stream) error {
	for {
		b, err := s.ReadFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.WriteFrame(b); err != nil {
			return err
		}
	}
}

func open(t testing.TB, from, to *Host, proto string) *Stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := from.Open(ctx, to.Self(), proto, 0)
	if err != nil {
		t.Fatalf("opening %s: %v", proto, err)
	}
	if err := s.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Reset() })
	return s
}

// ask sends a frame on a new stream and returns the answer.
func ask(t testing.TB, from, to *Host, proto, text string) (string, error) {
	t.Helper()
	s := open(t, from, to, proto)
	if err := s.WriteFrame([]byte(text)); err != nil {
		return "", err
	}
	b, err := s.ReadFrame()
	return string(b), err
}

// eventually waits for a condition that nothing announces.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("not within %v: %s", patience, what)
		case <-tick.C:
		}
	}
}

func numbered(name string, i int) string { return fmt.Sprintf("%s-%d", name, i) }
