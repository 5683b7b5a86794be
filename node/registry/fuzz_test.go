package registry

import (
	"context"
	"log/slog"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// fuzzServer decides on foreign bytes: everything of a registry but its sockets.
func fuzzServer(f *testing.F) (s *server, remote p2p.Remote, c *client) {
	f.Helper()
	db, err := store.OpenRegistry(f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	network, node := newKey(f), newKey(f)
	log := slog.New(slog.DiscardHandler)
	s = &server{log: log, store: db, limiter: newLimiter(), trust: cluster.NewTrust(publicOf(network)), audit: newAuditor(db, log)}
	s.reborn = newReborn(func(context.Context, cluster.Peer) error { return p2p.ErrUnreachable })
	s.reborn.started = time.Now().Add(-time.Hour)
	s.info.Network, s.info.ID = s.trust.Network(), cluster.IDOf(publicOf(network))
	s.roster = newRoster(s.trust)
	s.doorman = &doorman{store: db, roster: s.roster, trust: s.trust, network: s.info.Network}
	s.places, err = openPlaces(Config{Data: f.TempDir(), GeoMapText: locate.DemoMap})
	if err != nil {
		f.Fatal(err)
	}
	m := &memory{} // in place of the disk, for speed
	s.desk, err = newDesk(m.apply, s.roster, func() (*cluster.Table, error) {
		return cluster.NewTable(publicOf(network), cluster.SignerOf(network), m.state, cluster.DefaultTableConfig(), random16)
	}, log)
	if err != nil {
		f.Fatal(err)
	}
	stop, end := make(chan struct{}), make(chan error, 1)
	go func() { end <- s.desk.run(stop) }()
	f.Cleanup(func() {
		close(stop)
		if err := <-end; err != nil {
			f.Error(err)
		}
		if err := db.Close(); err != nil {
			f.Error(err)
		}
	})
	id := cluster.IDOf(publicOf(node))
	remote = p2p.Remote{ID: id, Addr: netip.MustParseAddrPort("127.61.187.9:4"), Admission: &cluster.Admission{ID: id, City: "changsha"}}
	return s, remote, &client{t: f, key: node, net: s.trust}
}

func FuzzRegister(f *testing.F) {
	s, remote, c := fuzzServer(f)
	first := s.answer(f.Context(), remote, &cluster.Request{Version: 1, Kind: cluster.CallRegister, Self: cluster.Peer{ID: remote.ID}, City: "武汉"})
	if first.Error != nil {
		f.Fatal(first.Error)
	}
	lead := cluster.Sign(cluster.DomainLead, cluster.Lead{
		Certificate: first.Cert, Network: s.info.Network, City: "changsha", Head: remote.ID, Boot: 1, Seq: 1,
	}, cluster.SignerOf(c.key))
	for _, kind := range []cluster.RegistryCall{cluster.CallRegister, cluster.CallPropose, cluster.CallTakeover, cluster.CallReport, p2p.KindJoin, "x"} {
		f.Add(cluster.Marshal(cluster.Request{
			Version: 1, Kind: kind, Self: cluster.Peer{ID: remote.ID, Addrs: [][]byte{{4, 127, 0, 0, 1, 6, 0, 1}}}, City: "wuhan", Tags: []string{"a"},
			Token: string(s.info.Network) + ".x", Admission: first.Admission, Cert: first.Cert, Lead: lead, Living: []cluster.ID{remote.ID},
			CutOffMs: 12_000,
		}))
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		req, err := cluster.DecodeRequest(frame)
		if err != nil {
			return
		}
		again, err := cluster.DecodeRequest(cluster.Marshal(req))
		if err != nil || !reflect.DeepEqual(cluster.Marshal(again), cluster.Marshal(req)) {
			t.Fatalf("%+v becomes %+v, %v", req, again, err)
		}
		a := s.answer(t.Context(), remote, req)
		if a.Error != nil && (a.Error.Code == "" || a.Error.Message == "" || a.Error.Code == cluster.CodeInternal) {
			t.Fatalf("refused as %+v", a.Error)
		}
		if n := len(cluster.Marshal(a)); n > maxRegister {
			t.Fatalf("an answer of %d bytes", n)
		}
	})
}

func FuzzResults(f *testing.F) {
	s, remote, c := fuzzServer(f)
	first := s.answer(f.Context(), remote, &cluster.Request{Version: 1, Kind: cluster.CallRegister, Self: cluster.Peer{ID: remote.ID}})
	lead := cluster.Sign(cluster.DomainLead, cluster.Lead{
		Certificate: first.Cert, Network: s.info.Network, City: "changsha", Head: remote.ID, Boot: 1, Seq: 1,
	}, cluster.SignerOf(c.key))
	raw, err := store.EncodeBatch([]probe.Result{{
		Schema: 1, Key: probe.Key{Node: p2p.IDText(remote.ID), Boot: 1, Seq: 1}, Tool: "latency", Status: probe.StatusFailed,
		Started: time.Unix(1e9, 0), Ended: time.Unix(1e9, 0),
	}})
	if err != nil {
		f.Fatal(err)
	}
	msg := p2p.ResultsMsg{Version: 1, Batch: raw, Lead: lead, Sig: cluster.Sign(cluster.DomainBatch, p2p.BatchDigest(raw), cluster.SignerOf(c.key))}
	if added, _, err := s.ingest(remote, &msg); err != nil || added != 1 {
		f.Fatalf("the seed is not taken: %d, %v", added, err)
	}
	f.Add(cluster.Marshal(msg))
	msg.Lead = cluster.Signed{}
	f.Add(cluster.Marshal(msg))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var msg p2p.ResultsMsg
		if err := cluster.Unmarshal(frame, &msg); err != nil {
			return
		}
		added, _, err := s.ingest(remote, &msg)
		if err == nil && added > 0 {
			t.Fatal("a result was taken that the head did not sign")
		}
	})
}
