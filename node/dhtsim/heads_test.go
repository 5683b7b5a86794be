package dhtsim

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// patience is how long to wait for what has to happen on a loaded machine.
const patience = 60 * time.Second

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func seedKey(seed string) ed25519.PrivateKey {
	sum := sha256.Sum256([]byte(seed))
	return ed25519.NewKeyFromSeed(sum[:])
}

// mesh is a network of heads in this process.
type mesh struct {
	key   ed25519.PrivateKey
	trust *cluster.Trust
	heads []head
}

type head struct {
	key  ed25519.PrivateKey
	host *p2p.Host
	dht  *p2p.DHT
}

func newMesh() *mesh {
	key := seedKey("network")
	return &mesh{key: key, trust: cluster.NewTrust(key.Public().(ed25519.PublicKey))}
}

func (m *mesh) admission(id cluster.ID, city cluster.City) cluster.Signed {
	return cluster.Sign(cluster.DomainAdmission, cluster.Admission{
		Version: cluster.Version, Network: m.trust.Network(), ID: id, City: city, Place: "Changsha, CN", Class: cluster.ClassOwn, Serial: 1,
	}, cluster.SignerOf(m.key))
}

func city(i int) cluster.City { return cluster.City(fmt.Sprintf("city-%04d", i)) }

// certificate names the succession of a city.
func (m *mesh) certificate(city cluster.City, list ...cluster.ID) cluster.Signed {
	return cluster.Sign(cluster.DomainCert, cluster.Certificate{
		Version: cluster.Version, Network: m.trust.Network(), City: city, Epoch: 1,
		Successions: [][]cluster.ID{list}, Timers: cluster.DefaultTimers(), Issued: 1_700_000_000_000,
	}, cluster.SignerOf(m.key))
}

// lead is a claim as heads make them: signed, with a full succession and the addresses of four.
func (m *mesh) lead(city cluster.City, by ed25519.PrivateKey, addrs [][]byte) cluster.Signed {
	id := cluster.IDOf(by.Public().(ed25519.PublicKey))
	list := []cluster.ID{id}
	peers := []cluster.Peer{{ID: id, Addrs: addrs}}
	for i := 1; i < cluster.MaxSuccession; i++ {
		other := cluster.IDOf(seedKey(fmt.Sprintf("%s candidate %d", city, i)).Public().(ed25519.PublicKey))
		list = append(list, other)
		if i < 4 {
			peers = append(peers, cluster.Peer{ID: other, Addrs: addrs})
		}
	}
	return cluster.Sign(cluster.DomainLead, cluster.Lead{
		Certificate: m.certificate(city, list...), Network: m.trust.Network(), City: city, Head: id, Boot: 1_700_000_000_000, Seq: 1, Addrs: peers,
		Reason: "first of its city",
	}, cluster.SignerOf(by))
}

// host starts a host that is admitted.
func (m *mesh) host(t testing.TB, name string, members int) head {
	t.Helper()
	cfg := p2p.DefaultConfig()
	cfg.Key, cfg.Listen, cfg.Members, cfg.Log = seedKey(name), []string{"/ip4/127.0.0.1/tcp/0"}, members, slog.New(slog.DiscardHandler)
	h, err := p2p.New(cfg)
	if err != nil {
		t.Fatalf("host %s: %v", name, err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Errorf("closing host %s: %v", name, err)
		}
	})
	h.SetTrust(m.trust)
	h.SetAdmission(m.admission(h.ID(), "changsha"))
	return head{key: cfg.Key, host: h}
}

// start starts so many heads; each knows a few that were there before.
func (m *mesh) start(t testing.TB, count int) {
	t.Helper()
	const seeds = 3
	for i := range count {
		h := m.host(t, fmt.Sprintf("head %d", i), 4*count)
		var known []cluster.Peer
		for j := max(0, i-seeds); j < i; j++ {
			known = append(known, m.heads[j].host.Self())
		}
		d, err := h.host.StartDHT(context.Background(), known)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Errorf("closing the DHT: %v", err)
			}
		})
		h.dht = d
		m.heads = append(m.heads, h)
	}
	for _, h := range m.heads {
		eventually(t, "the routing tables have somebody", func() bool { return h.dht.TableSize() >= min(count-1, seeds) })
	}
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
