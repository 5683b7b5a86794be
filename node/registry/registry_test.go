package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
)

func TestFirstNodeIsAppointed(t *testing.T) {
	r := start(t, testConfig(t))
	c := r.join("127.61.187.2")
	a := c.register(cluster.Request{City: "Wuhan", Tags: []string{"rack-1"}})
	if c.city() != "changsha" {
		t.Errorf("placed in %s: the map must beat what the node declares", c.city())
	}
	cert, err := c.net.Certificate(a.Cert)
	if err != nil {
		t.Fatal(err)
	}
	if len(cert.Successions) != 1 || !slices.Equal(cert.Successions[0], []cluster.ID{c.id()}) || cert.City != "changsha" {
		t.Errorf("certificate %+v does not appoint %s", cert, c.id())
	}
	if a.FirstSeen == 0 {
		t.Error("the answer does not say when the node was first seen")
	}
	b := c.register(cluster.Request{City: "Wuhan", Tags: []string{"rack-1"}})
	if !bytes.Equal(a.Cert.Payload, b.Cert.Payload) || !bytes.Equal(a.Admission.Payload, b.Admission.Payload) {
		t.Error("asking again changed the certificate or the admission")
	}
	nodes, err := r.Nodes(context.Background())
	if err != nil || len(nodes) != 1 {
		t.Fatalf("%d nodes, %v", len(nodes), err)
	}
	n := nodes[0]
	if n.ID != p2p.IDText(c.id()) || n.City != "changsha" || !n.Online || n.IP != "127.61.187.2" ||
		n.Role != RoleCandidate || n.Class != cluster.ClassOwn || !slices.Equal(n.Tags, []string{"rack-1"}) || len(n.Addrs) != 1 {
		t.Errorf("node %+v", n)
	}
	if want := "changsha (map 127.61.187.0/24, declared wuhan)"; n.Place != want {
		t.Errorf("place %q, want %q", n.Place, want)
	}
}

func TestConcurrentFirstJoins(t *testing.T) {
	r := start(t, testConfig(t))
	const nodes = 50
	clients := make([]*client, nodes)
	for i := range clients {
		clients[i] = r.join(fmt.Sprintf("127.61.187.%d", 10+i))
	}
	answers := make([]*cluster.Answer, nodes)
	errs := make([]error, nodes)
	var wg sync.WaitGroup
	for i, c := range clients {
		wg.Go(func() {
			began := time.Now()
			for again := true; again; again = errors.Is(errs[i], p2p.ErrUnreachable) && time.Since(began) < testWait {
				answers[i], errs[i] = c.try(cluster.Request{Kind: cluster.CallRegister}) // a busy machine is slow to accept fifty
			}
		})
	}
	wg.Wait()
	for i, a := range answers {
		if errs[i] != nil || a.Error != nil {
			t.Fatalf("node %d: %v, %v", i, errs[i], a)
		}
		if a.Cert.Hash() != answers[0].Cert.Hash() {
			t.Fatalf("node %d got another certificate", i)
		}
		if _, err := clients[i].net.Admission(a.Admission); err != nil {
			t.Errorf("node %d: %v", i, err)
		}
	}
	cert, err := clients[0].net.Certificate(answers[0].Cert)
	if err != nil || len(cert.Successions) != 1 || len(cert.Successions[0]) != 1 {
		t.Fatalf("certificate %+v, %v: one node must be appointed", cert, err)
	}
	if all, err := r.Nodes(context.Background()); err != nil || len(all) != nodes {
		t.Errorf("%d nodes, %v", len(all), err)
	}
}

func TestTakeover(t *testing.T) {
	r := start(t, testConfig(t))
	first, second := r.join("127.61.187.2"), r.join("127.61.187.3")
	_, lead := first.becomeHead()
	second.register(cluster.Request{})
	a := first.call(cluster.Request{
		Kind: cluster.CallPropose, Lead: lead, Living: []cluster.ID{first.id(), second.id()}, Admission: first.adm,
	})
	cert, err := first.net.Certificate(a.Cert)
	if err != nil || len(cert.Successions[0]) != 2 || cert.Successions[0][0] != first.id() {
		t.Fatalf("proposal answered by %+v, %v", cert, err)
	}
	low := first.lead(a.Cert, 0, 2)
	first.call(cluster.Request{Kind: cluster.CallTakeover, Lead: low, Cert: a.Cert, Admission: first.adm})
	high := second.lead(a.Cert, 1, 1)
	second.call(cluster.Request{Kind: cluster.CallTakeover, Lead: high, Cert: a.Cert, Admission: second.adm})

	clusters, err := r.Clusters(context.Background())
	if err != nil || len(clusters) != 1 {
		t.Fatalf("%d clusters, %v", len(clusters), err)
	}
	c := clusters[0]
	if c.Head != p2p.IDText(second.id()) || c.HeadIP != "127.61.187.3" || c.City != "changsha" || c.Members != 2 || c.Online != 2 || len(c.Succession) != 2 {
		t.Errorf("cluster %+v, want %s to lead", c, second.id())
	}
	if n := len(c.Changes); n < 2 || c.Changes[n-1].Head != c.Head || c.Changes[n-1].Term != c.Term || c.Changes[n-1].At.IsZero() {
		t.Errorf("changes %+v", c.Changes)
	}
	// The deposed head reports, and hears of the higher term.
	got, err := first.try(cluster.Request{Kind: cluster.CallReport, Lead: low, Cert: a.Cert, Admission: first.adm, Living: []cluster.ID{first.id()}})
	if err != nil || len(got.Leads) == 0 || got.Leads[0].Hash() != high.Hash() {
		t.Errorf("the deposed head was answered %+v, %v", got, err)
	}
	audit := r.auditOf(t, auditHead)
	if len(audit) < 2 || audit[0].Actor != p2p.IDText(second.id()) || audit[0].Object != "changsha" {
		t.Errorf("audit of heads: %+v", audit)
	}
	if audit := r.auditOf(t, auditAdmit); len(audit) != 2 || !strings.HasPrefix(audit[0].From, "127.61.187.3:") {
		t.Errorf("audit of admissions: %+v", audit)
	}
}

// auditOf reads the lines of one action, newest first. Lines are written beside
// the requests, so it waits for a line that comes after them.
func (r *running) auditOf(t *testing.T, action string) []store.AuditEntry {
	t.Helper()
	r.srv.audit.lines <- store.AuditEntry{Action: "mark"}
	for deadline := time.Now().Add(testWait); ; {
		all, err := r.Audit(1000)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) > 0 && all[0].Action == "mark" {
			return slices.DeleteFunc(all, func(e store.AuditEntry) bool { return e.Action != action })
		}
		if time.Now().After(deadline) {
			t.Fatal("the audit does not come")
		}
	}
}

// A node that moves registers from its new address: that one stays, also when
// its head reports it later and after a restart.
func TestObservedAddressFollows(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	c := r.join("127.61.187.2")
	_, lead := c.becomeHead()
	r.close()
	r = start(t, cfg)
	d := r.joinAs(c.key, "127.61.187.77")
	d.register(cluster.Request{})
	d.call(cluster.Request{Kind: cluster.CallTakeover, Lead: d.lead(mustLead(t, d, lead).Certificate, 0, 99)})
	d.call(cluster.Request{Kind: cluster.CallReport, Lead: d.lead(mustLead(t, d, lead).Certificate, 0, 100), Living: []cluster.ID{d.id()}})
	for range 2 {
		if n := r.nodesNow(t); len(n) != 1 || n[0].IP != "127.61.187.77" {
			t.Errorf("nodes %+v", n)
		}
		r.close()
		r = start(t, cfg)
	}
}

func mustLead(t *testing.T, c *client, raw cluster.Signed) *cluster.Lead {
	t.Helper()
	l, _, err := c.net.Lead(raw)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestOnlineIsWhatHeadsReport(t *testing.T) {
	r := start(t, testConfig(t))
	head, member := r.join("127.61.187.2"), r.join("127.61.187.3")
	cert, _ := head.becomeHead()
	member.register(cluster.Request{})
	online := func(now int64) (n int) {
		for _, c := range []*client{head, member} {
			if r.srv.isOnline(c.id(), now) {
				n++
			}
		}
		return n
	}
	if n := online(time.Now().UnixMilli()); n != 2 {
		t.Errorf("%d of 2 online after they registered", n)
	}
	later := time.Now().Add(onlineWithin + time.Second).UnixMilli()
	if n := online(later); n != 0 {
		t.Errorf("%d online without a report", n)
	}
	// What a report would do then: only the head is still there.
	r.srv.roster.hear(later, head.id(), []cluster.ID{head.id()})
	if n := online(later); n != 1 {
		t.Errorf("%d online, the head reports itself only", n)
	}
	head.call(cluster.Request{Kind: cluster.CallReport, Lead: head.lead(cert, 0, 5), Living: []cluster.ID{head.id(), member.id()}})
	if got := r.srv.roster.heard[member.id()]; got == 0 {
		t.Error("a report was not heard")
	}
}

func TestOtherHeadsComeWithTheAnswer(t *testing.T) {
	r := start(t, testConfig(t))
	_, lead := r.join("127.61.187.2").becomeHead()
	a := r.join("127.61.183.2").register(cluster.Request{})
	if len(a.Heads) != 1 || a.Heads[0].Hash() != lead.Hash() {
		t.Errorf("the first of Wuhan was told of %d other heads", len(a.Heads))
	}
}

func TestPlacement(t *testing.T) {
	r := start(t, testConfig(t))
	for _, tt := range []struct{ ip, declared, city string }{
		{"127.61.183.9", "", "wuhan"},
		{"127.0.0.5", "长沙市", "changsha"},
		{"127.0.0.6", "", "unknown"},
		{"127.0.0.7", "<script>", "unknown"}, // no city, and not in the map
		{"127.0.0.8", "wuhn", "unknown"},     // a slip of the pen makes no cluster
	} {
		c := r.join(tt.ip)
		c.register(cluster.Request{City: cluster.City(tt.declared)})
		if c.city() != tt.city {
			t.Errorf("%s, %q: placed in %s, want %s", tt.ip, tt.declared, c.city(), tt.city)
		}
	}
}

func TestWrongIdentity(t *testing.T) {
	r := start(t, testConfig(t))
	h := newHost(t, newKey(t), "127.0.0.9")
	addr, _, _ := strings.Cut(r.Info().Multiaddrs[0], "/p2p/")
	if _, _, err := p2p.FetchJoin(context.Background(), h, r.Info().Multiaddrs[0]); err != nil {
		t.Errorf("the right one: %v", err)
	}
	if _, _, err := p2p.FetchJoin(context.Background(), h, addr+"/p2p/"+p2p.IDText(newHost(t, newKey(t), "127.0.0.8").ID())); err == nil {
		t.Error("a registry with another identity was accepted")
	}
}

func TestRestart(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	c := r.join("127.61.187.2")
	cert, lead := c.becomeHead()
	at := time.Now()
	if ack, err := c.deliver(c.batch(lead, c.result(1, at))); err != nil || ack.Added != 1 {
		t.Fatalf("%+v, %v", ack, err)
	}
	before, nodes := r.Info(), r.nodesNow(t)
	clusters := r.clustersNow(t)
	r.close()
	if _, err := r.Nodes(context.Background()); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a stopped registry answers: %v", err)
	}
	if err := r.Run(context.Background()); !errors.Is(err, ErrRanAlready) {
		t.Errorf("it runs again: %v", err)
	}

	r = start(t, cfg)
	if r.Info().Network != before.Network || r.Info().ID != before.ID {
		t.Errorf("another network or host after the restart: %+v, was %+v", r.Info(), before)
	}
	if got := r.nodesNow(t); fmt.Sprint(got) != fmt.Sprint(nodes) {
		t.Errorf("nodes\n%+v, were\n%+v", got, nodes)
	}
	if got := r.clustersNow(t); fmt.Sprint(got) != fmt.Sprint(clusters) {
		t.Errorf("clusters\n%+v, were\n%+v", got, clusters)
	}
	d := r.joinAs(c.key, "127.61.187.3")
	a := d.register(cluster.Request{})
	if a.Cert.Hash() != cert.Hash() || !bytes.Equal(d.adm.Payload, c.adm.Payload) {
		t.Error("another certificate or admission after the restart")
	}
	if ack, err := d.deliver(d.batch(lead, d.result(1, at))); err != nil || ack.Known != 1 || ack.Added != 0 {
		t.Errorf("the same result again: %+v, %v", ack, err)
	}
	r.close()
	db, err := store.OpenRegistry(cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if err := db.Check(context.Background()); err != nil {
		t.Error(err)
	}
}

func (r *running) clustersNow(t *testing.T) []Cluster {
	t.Helper()
	clusters, err := r.Clusters(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i := range clusters {
		clusters[i].Heard, clusters[i].Online = time.Time{}, 0
	}
	return clusters
}

func (r *running) nodesNow(t *testing.T) []Node {
	t.Helper()
	nodes, err := r.Nodes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for i := range nodes { // both move with the clock
		nodes[i].LastSeen, nodes[i].Online = time.Time{}, false
	}
	return nodes
}

func TestDHT(t *testing.T) {
	r := start(t, testConfig(t))
	head := r.join("127.61.187.2")
	_, lead := head.becomeHead()
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	d, err := head.host.StartDHT(ctx, []cluster.Peer{head.reg})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Put(ctx, lead, "changsha", 0); err != nil {
		t.Fatal(err)
	}
	got, _, err := r.srv.dht.Find(ctx, "changsha", 0)
	if err != nil || got.Hash() != lead.Hash() {
		t.Errorf("the registry's DHT: %v", err)
	}
	other := r.join("127.61.183.2")
	other.becomeHead()
	e, err := other.host.StartDHT(ctx, []cluster.Peer{other.reg})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	for e.TableSize() == 0 && ctx.Err() == nil {
		_, _, _ = e.Find(ctx, "nowhere", 0)
	}
	if got, _, err := e.Find(ctx, "changsha", 0); err != nil || got.Hash() != lead.Hash() {
		t.Errorf("another head's DHT: %v", err)
	}
}

func TestStartErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	running := testConfig(t)
	start(t, running)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte("10.0.0.0/8\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
		is     error
	}{
		"listen taken":   {func(c *Config) { c.Listen = taken.Addr().String() }, "--listen 127.0.0.1:", nil},
		"web taken":      {func(c *Config) { c.Web = taken.Addr().String() }, "--web 127.0.0.1:", nil},
		"p2p taken":      {func(c *Config) { c.P2P = []string{fmt.Sprintf("/ip4/127.0.0.1/tcp/%d", port)} }, "--p2p /ip4/127.0.0.1/tcp/", nil},
		"data in use":    {func(c *Config) { c.Data = running.Data }, "--data", store.ErrLocked},
		"data is a file": {func(c *Config) { c.Data = file }, "--data", nil},
		"bad map":        {func(c *Config) { c.GeoMap, c.GeoMapText = file, "" }, "--geo-map: " + file + ": bad CIDR map: line 1", nil},
		"no map":         {func(c *Config) { c.GeoMap, c.GeoMapText = file+"x", "" }, "--geo-map", fs.ErrNotExist},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			tt.change(&cfg)
			err := startFails(t, cfg)
			if !strings.Contains(err.Error(), tt.want) || tt.is != nil && !errors.Is(err, tt.is) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
			t.Log(err)
		})
	}
}

// A run that ends while it starts ends without an error of its own and leaves
// nothing behind.
func TestCancelledAtOnce(t *testing.T) {
	cfg := testConfig(t)
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := r.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	start(t, cfg).close() // the directory is free again
}
