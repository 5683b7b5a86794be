package registry

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// sharded are clients of one city, k of each of so many shards.
func (r *running) sharded(shards uint, k int) [][]*client {
	out := make([][]*client, shards)
	for i := 2; slices.ContainsFunc(out, func(l []*client) bool { return len(l) < k }); {
		key := newKey(r.t)
		id := cluster.IDOf(publicOf(key))
		if s := cluster.ShardOf(id, shards); len(out[s]) < k {
			out[s] = append(out[s], r.joinAs(key, fmt.Sprintf("127.61.187.%d", i)))
			i++
		}
	}
	return out
}

// shardLead is the claim to lead the own shard under a certificate.
func (c *client) shardLead(cert cluster.Signed, k uint64) cluster.Signed {
	c.t.Helper()
	parsed, err := c.net.Certificate(cert)
	if err != nil {
		c.t.Fatal(err)
	}
	return cluster.Sign(cluster.DomainLead, cluster.Lead{
		Certificate: cert, Network: c.net.Network(), City: parsed.City, Shard: cluster.ShardOf(c.id(), uint(len(parsed.Successions))), K: k,
		Head: c.id(), Boot: 1, Seq: 1, Addrs: []cluster.Peer{c.host.Self()}, Reason: "test",
	}, cluster.SignerOf(c.key))
}

// Three heads for a city, on real sockets: the city is divided when its head next calls, each head reports, proposes and
// delivers for its own shard, and everything is shown and written down by shard; a restart keeps it.
func TestShards(t *testing.T) {
	cfg := testConfig(t)
	cfg.Heads = map[string]uint{"长沙": 3}
	r := start(t, cfg)
	all := r.sharded(3, 2)
	cert, heads := r.divide(all)
	for s, h := range heads {
		at := time.Now()
		if ack, err := h.deliver(h.batch(h.shardLead(cert, 0), h.result(uint64(s)+1, at))); err != nil || ack.Error != nil || ack.Added != 1 {
			t.Errorf("shard %d delivers: %+v, %v", s, ack, err)
		}
		if ack, err := h.deliver(h.batch(cluster.Signed{}, h.result(uint64(s)+10, at))); err != nil || ack.Error != nil {
			t.Errorf("shard %d delivers without its Lead: %+v, %v", s, ack, err)
		}
	}
	// A take-over in one shard, and one more of which the registry hears when it is over.
	backup := all[1][slices.IndexFunc(all[1], func(c *client) bool { return c != heads[1] })]
	backup.call(cluster.Request{Kind: cluster.CallTakeover, Cert: cert, Lead: backup.shardLead(cert, 3), Admission: backup.adm})
	backup.refused(cluster.CodeNotHead, cluster.Request{Kind: cluster.CallTakeover, Cert: cert, Lead: backup.shardLead(cert, 1), Admission: backup.adm})
	if ack, err := heads[1].deliver(heads[1].batch(heads[1].shardLead(cert, 0), heads[1].result(90, time.Now()))); err != nil || ack.Error == nil || ack.Error.Code != cluster.CodeNotHead {
		t.Errorf("a deposed head of a shard delivers: %+v, %v", ack, err)
	}
	if ack, err := heads[2].deliver(heads[2].batch(heads[2].shardLead(cert, 0), heads[2].result(91, time.Now()))); err != nil || ack.Error != nil {
		t.Errorf("the head of another shard does not: %+v, %v", ack, err)
	}
	checkShards(t, r, heads, backup)
	audit := r.auditOf(t, auditHead)
	if len(audit) != 6 || !strings.HasPrefix(audit[0].Answer, "shard 1, term ") || !strings.Contains(audit[0].Answer, "of late") || strings.Contains(audit[1].Answer, "of late") {
		t.Errorf("audit %+v", audit)
	}
	for _, a := range audit {
		if a.Object != "changsha" || !strings.Contains(a.Answer, ": test") {
			t.Errorf("audit line %+v", a)
		}
	}
	r.close()
	checkShards(t, start(t, cfg), heads, backup)
}

// divide registers everybody, has the first one lead until the city is divided, and the first of each shard lead that.
func (r *running) divide(all [][]*client) (cluster.Signed, []*client) {
	r.t.Helper()
	first := all[0][0]
	cert, lead := first.becomeHead()
	for _, c := range slices.Concat(all...) {
		if c != first {
			c.register(cluster.Request{})
		}
	}
	for deadline := time.Now().Add(testWait); ; {
		a := first.call(cluster.Request{Kind: cluster.CallReport, Cert: cert, Lead: lead, Admission: first.adm})
		if parsed, err := first.net.Certificate(a.Cert); err != nil {
			r.t.Fatal(err)
		} else if len(parsed.Successions) == 3 {
			cert = a.Cert
			break
		}
		if time.Now().After(deadline) {
			r.t.Fatal("the city is not divided")
		}
	}
	parsed, _ := first.net.Certificate(cert)
	heads := make([]*client, 3)
	for s, list := range parsed.Successions {
		i := slices.IndexFunc(all[s], func(c *client) bool { return c.id() == list[0] })
		if i < 0 || len(list) != 2 {
			r.t.Fatalf("shard %d: %v", s, list)
		}
		heads[s] = all[s][i]
		heads[s].call(cluster.Request{Kind: cluster.CallTakeover, Cert: cert, Lead: heads[s].shardLead(cert, 0), Admission: heads[s].adm})
	}
	return cert, heads
}

// checkShards: the city is shown with its shards; backup leads shard 1 now.
func checkShards(t *testing.T, r *running, heads []*client, backup *client) {
	t.Helper()
	clusters, err := r.Clusters(context.Background())
	if err != nil || len(clusters) != 1 {
		t.Fatal(err, clusters)
	}
	c := clusters[0]
	if c.Heads != 3 || len(c.Shards) != 3 || c.Members != 6 || c.Head != p2p.IDText(heads[0].id()) || len(c.Succession) != 6 {
		t.Fatalf("%+v", c)
	}
	for s, shard := range c.Shards {
		want := heads[s]
		if s == 1 {
			want = backup
		}
		if shard.Shard != s || shard.Head != p2p.IDText(want.id()) || shard.Members != 2 || len(shard.Succession) != 2 || shard.HeadIP == "" || shard.Reason != "test" {
			t.Errorf("shard %d: %+v", s, shard)
		}
	}
	n := len(c.Changes)
	if late, high := c.Changes[n-1], c.Changes[n-2]; late.Shard != 1 || !late.Late || high.Shard != 1 || high.Late || high.Head != p2p.IDText(backup.id()) || high.At.IsZero() {
		t.Errorf("changes %+v", c.Changes)
	}
}

// A restart with other timers gives a city a new epoch when its head next calls.
func TestTimersOnRestart(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	c := r.join("127.61.187.2")
	cert, lead := c.becomeHead()
	r.close()
	var err error
	if cfg.Timers, err = TimersOf("lan"); err != nil {
		t.Fatal(err)
	}
	r = start(t, cfg)
	c = r.joinAs(c.key, "127.61.187.2")
	if a := c.register(cluster.Request{Cert: cert, Lead: lead}); a.Cert.Hash() != cert.Hash() {
		t.Error("a new epoch although its head has not called")
	}
	a := c.call(cluster.Request{Kind: cluster.CallReport, Cert: cert, Lead: lead, Admission: c.adm})
	parsed, err := c.net.Certificate(a.Cert)
	if err != nil || parsed.Timers != cluster.LANTimers() {
		t.Errorf("%+v, %v", parsed, err)
	}
	if _, err := TimersOf("slow"); err == nil || !strings.Contains(err.Error(), "default, lan, wan") {
		t.Errorf("error %v", err)
	}
}

func TestHeadsConfig(t *testing.T) {
	for _, bad := range []map[string]uint{{"wuhan": 0}, {"wuhan": cluster.MaxHeads + 1}, {"": 2}, {"wuhan": 2, "武汉": 3}} {
		cfg := testConfig(t)
		cfg.Heads = bad
		if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "--heads") {
			t.Errorf("%v: error %v", bad, err)
		}
	}
}

// A city above five thousand members is said to be large for one head, once in a while.
func TestHeadsSuggested(t *testing.T) {
	for members, want := range map[int]int{0: 1, 1: 1, 5000: 1, 5001: 2, 10_000: 2, 15_001: 4, 1_000_000: cluster.MaxHeads} {
		if got := headsFor(members); got != want {
			t.Errorf("%d members: %d heads, want %d", members, got, want)
		}
	}
	var log strings.Builder
	s := &server{log: slog.New(slog.NewTextHandler(&log, nil)), roster: newRoster(nil)}
	s.heads = map[cluster.City]uint{"changsha": 2}
	for i := range 6000 {
		for _, city := range []cluster.City{"wuhan", "changsha"} {
			s.roster.nodes[cluster.ID(fmt.Sprint(city, i))] = member{city: city}
		}
	}
	for range 3 {
		s.suggest("wuhan1")
		s.suggest("changsha1")
	}
	if n := strings.Count(log.String(), "--heads wuhan=2"); n != 1 || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("log: %s", log.String())
	}
}

// A city in --heads that is spelt wrong is said to be.
func TestHeadsOfNoCity(t *testing.T) {
	p, err := openPlaces(Config{Data: t.TempDir(), GeoMapText: "203.0.113.0/24 rack-b\n"})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	s := &server{log: slog.New(slog.NewTextHandler(&log, nil)), places: p}
	s.heads = map[cluster.City]uint{"wuhn": 2, "changsha": 2, "rack-b": 2, locate.Unknown: 2}
	s.doubtHeads()
	if said := log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "city=wuhn") || !strings.Contains(said, "wuhan") {
		t.Errorf("said %q", said)
	}
}
