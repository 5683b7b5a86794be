package registry

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

func TestLimiter(t *testing.T) {
	l := newLimiter()
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	ip := netip.MustParseAddr
	take := func(a netip.Addr) (n int) {
		for l.allow(a, now) {
			n++
		}
		return n
	}
	if n := take(ip("192.0.2.1")); n != registerBurst {
		t.Errorf("a burst of %d, want %d", n, registerBurst)
	}
	if n := take(ip("::ffff:192.0.2.1")); n != 0 {
		t.Errorf("the same address mapped into IPv6 got %d more", n)
	}
	if n := take(ip("192.0.2.2")); n != registerBurst {
		t.Errorf("the neighbour got %d", n)
	}
	if n := take(ip("2001:db8::1")); n != registerBurst {
		t.Errorf("IPv6 got %d", n)
	}
	if n := take(ip("2001:db8::2")) + take(ip("fe80::1%eth0")) - registerBurst; n != 0 {
		t.Errorf("the same /64 got %d more", n)
	}
	now = now.Add(3 * time.Second)
	if n := take(ip("192.0.2.1")); n != 3 {
		t.Errorf("%d requests after 3 s, want 3", n)
	}
	for i := range limitedAddrs + 10 {
		l.allow(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), now)
	}
	if n := l.buckets.Len(); n != limitedAddrs {
		t.Errorf("%d addresses are remembered, at most %d may be", n, limitedAddrs)
	}
}

func TestOpenAdmissionCountsTheCrowd(t *testing.T) {
	key := newKey(t)
	trust := cluster.NewTrust(publicOf(key))
	d := &doorman{roster: newRoster(trust), trust: trust, network: trust.Network()}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	admit := func(id cluster.ID, ip string) *cluster.WireError {
		class, no := d.admit(now, id, netip.MustParseAddr(ip), here, &cluster.Request{}, "changsha")
		if no == nil {
			d.roster.expect([]cluster.NodeState{{ID: id, City: "changsha", Class: class, Observed: ip, LastSeen: now}})
		}
		return no
	}
	ids := make([]cluster.ID, 40)
	for i := range ids {
		ids[i] = cluster.IDOf(publicOf(newKey(t)))
	}
	type step struct {
		id int
		ip string
		no string // part of the refusal; "" admitted
	}
	for i, s := range []step{
		{0, "203.0.114.1", ""}, {1, "203.0.114.1", ""},
		{2, "203.0.114.1", "2 nodes have joined from 203.0.114.1"},
		{0, "203.0.114.1", ""}, // comes back
		{3, "203.0.114.2", ""}, {4, "203.0.114.3", ""},
		{5, "203.0.114.4", "4 nodes have joined from 203.0.114.0/24"},
		{6, "203.0.115.1", ""},
		{7, "2a00:1::1", ""}, {8, "2a00:1::1", ""}, {9, "2a00:1::1", "2 nodes"},
		{10, "2a00:1:0:1::1", ""}, {11, "2a00:1:0:2::1", ""}, {12, "2a00:1:0:3::1", "4 nodes have joined from 2a00:1::/48"},
		{13, "2a00:1:1::1", ""},
	} {
		no := admit(ids[s.id], s.ip)
		switch {
		case (no == nil) != (s.no == ""):
			t.Errorf("step %d: node %d from %s: %v, want %q", i, s.id, s.ip, no, s.no)
		case no != nil && (no.Code != cluster.CodeNotAdmitted || !strings.Contains(no.Message, s.no)):
			t.Errorf("step %d: %s: %s", i, no.Code, no.Message)
		}
	}
	for i := range 20 {
		for _, ip := range []string{"127.61.187.2", "192.168.1.1"} {
			if no := admit(cluster.IDOf(publicOf(newKey(t))), ip); no != nil {
				t.Fatalf("node %d from %s: %v", i, ip, no)
			}
		}
	}
	if m, _ := d.roster.node(ids[0]); m.class != cluster.ClassGuest {
		t.Errorf("a node of the internet is of class %s", m.class)
	}
	// Who has not been heard of for a day does not count any more.
	now += (crowdWindow + time.Minute).Milliseconds()
	if no := admit(ids[14], "203.0.114.1"); no != nil {
		t.Errorf("a day later: %v", no)
	}
}

// A hundred nodes with one token for ten, from anywhere: ten come in. The same
// without a token from one address: two.
func TestHundredNodes(t *testing.T) {
	cfg := testConfig(t)
	cfg.Tokens = true
	r := start(t, cfg)
	token, err := r.MakeToken(TokenOptions{Uses: 10})
	if err != nil {
		t.Fatal(err)
	}
	in := 0
	for i := range 100 {
		id := cluster.IDOf(publicOf(newKey(t)))
		_, no := r.srv.doorman.admit(time.Now().UnixMilli(), id, netip.MustParseAddr(fmt.Sprintf("8.8.%d.8", i)), here, &cluster.Request{Token: token}, "changsha")
		if no == nil {
			in++
		}
	}
	if in != 10 {
		t.Errorf("%d of 100 nodes came in with a token for 10", in)
	}
}

func TestKeepObserved(t *testing.T) {
	trust := cluster.NewTrust(publicOf(newKey(t)))
	r := newRoster(trust)
	a, b := cluster.IDOf(publicOf(newKey(t))), cluster.IDOf(publicOf(newKey(t)))
	r.expect([]cluster.NodeState{{ID: a, Observed: "192.0.2.1", LastSeen: 5}})
	c := []cluster.NodeState{{ID: a}, {ID: b, Observed: "192.0.2.2"}, {ID: a, Observed: "192.0.2.9"}}
	r.keepObserved(c)
	for i, want := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.1"} {
		if got := c[i].Observed; got != want {
			t.Errorf("change %d: observed %q, want %q", i, got, want)
		}
	}
	if got := r.lastHeard(a); got != 5 {
		t.Errorf("last heard at %d", got)
	}
	r.expect([]cluster.NodeState{{ID: a, City: "wuhan", LastSeen: 5}, {ID: b, City: "wuhan", LastSeen: 6}})
	r.hear(8, b, []cluster.ID{a})
	if r.lastHeard(a) != 8 || r.lastHeard(b) != 8 {
		t.Errorf("last heard at %d and %d", r.lastHeard(a), r.lastHeard(b))
	}
}

func TestConfigErrors(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"--data":            func(c *Config) { c.Data = "" },
		"--listen \"7400\"": func(c *Config) { c.Listen = "7400" },
		"--web \"x\"":       func(c *Config) { c.Web = "x" },
		"--p2p: nodes":      func(c *Config) { c.P2P = nil },
		"--p2p: address":    func(c *Config) { c.P2P = []string{"127.0.0.1:7401"} },
		"--advertise":       func(c *Config) { c.Advertise = []string{"a b"} },
		"--geo-map":         func(c *Config) { c.GeoMap, c.GeoMapText = "a", "b" },
		"--trust-declared":  func(c *Config) { c.TrustDeclared = "maybe" },
		"--members":         func(c *Config) { c.Members = 0 },
		"timers":            func(c *Config) { c.Timers = cluster.Timers{} },
	} {
		cfg := DefaultConfig()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
	if _, err := New(DefaultConfig()); err != nil {
		t.Errorf("the default: %v", err)
	}
}

func TestAdvertise(t *testing.T) {
	cfg := testConfig(t)
	cfg.Advertise = []string{"rs.example.net", "192.0.2.7", "/ip4/192.0.2.8/tcp/9"}
	r := start(t, cfg)
	info := r.Info()
	if !strings.HasPrefix(info.JoinAddr, "rs.example.net:") {
		t.Errorf("join at %s", info.JoinAddr)
	}
	id := "/p2p/" + p2p.IDText(info.ID)
	if len(info.Multiaddrs) != 3 || !strings.HasPrefix(info.Multiaddrs[0], "/dns/rs.example.net/tcp/") ||
		!strings.HasPrefix(info.Multiaddrs[1], "/ip4/192.0.2.7/tcp/") || info.Multiaddrs[2] != "/ip4/192.0.2.8/tcp/9"+id {
		t.Errorf("advertised %v", info.Multiaddrs)
	}
	if strings.Contains(info.Multiaddrs[0], "/tcp/0") {
		t.Errorf("advertised without a port: %v", info.Multiaddrs)
	}
}

// here is the registry's own address in these tests.
var here = netip.MustParseAddr("203.0.113.77")

// Nodes on the registry's own host are no crowd, whatever its address.
func TestOwnHostIsNoCrowd(t *testing.T) {
	trust := cluster.NewTrust(publicOf(newKey(t)))
	d := &doorman{roster: newRoster(trust), trust: trust, network: trust.Network()}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	for i := range 2 * nodesPerNet {
		id := cluster.IDOf(publicOf(newKey(t)))
		class, no := d.admit(now, id, here, here, &cluster.Request{}, "changsha")
		if no != nil || class != cluster.ClassOwn {
			t.Fatalf("node %d: class %q, %v", i, class, no)
		}
		d.roster.expect([]cluster.NodeState{{ID: id, City: "changsha", Class: class, Observed: here.String(), LastSeen: now}})
	}
}
