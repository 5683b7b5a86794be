package p2p

import (
	"net/netip"
	"testing"

	"github.com/libp2p/go-libp2p/core/network"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"
	"github.com/libp2p/go-libp2p/p2p/protocol/identify"
	ma "github.com/multiformats/go-multiaddr"
)

// Every limit leaves room for the members, twice over where a peer may hold two.
func TestLimitsFollowMembers(t *testing.T) {
	for _, members := range []int{1, 20, 1000, 15000} {
		l := limitsFor(members)
		c := l.resources.Build(rcmgr.DefaultLimits.AutoScale()).ToPartialLimitConfig()
		for name, row := range map[string]struct{ have, need int }{
			"connections":              {int(c.System.ConnsInbound), 2 * members},
			"descriptors":              {int(c.System.FD), 2 * members},
			"streams":                  {int(c.System.StreamsInbound), 8 * members},
			"streams a protocol":       {int(c.ProtocolDefault.StreamsInbound), 8 * members},
			"identify":                 {int(c.Protocol[identify.ID].StreamsInbound), 2 * members},
			"identify push":            {int(c.Protocol[identify.IDPush].StreamsInbound), 2 * members},
			"identify service":         {int(c.Service[identify.ServiceName].StreamsInbound), 2 * members},
			"handshakes":               {int(c.Transient.ConnsInbound), 100},
			"connections a peer":       {int(c.PeerDefault.Conns), 2},
			"streams a peer, protocol": {int(c.ProtocolPeerDefault.Streams), 2 * DefaultPerPeer},
			"connections an IPv4":      {l.ip4[0].ConnCount, 2 * members},
			"connections an IPv6 /56":  {l.ip6[0].ConnCount, 2 * members},
			"burst from an address":    {l.rates.SubnetRateLimiter.IPv4SubnetLimits[0].Burst, 2 * members},
			"high water":               {l.high, members + 64},
		} {
			if row.have < row.need {
				t.Errorf("%d members: %s: %d, want at least %d", members, name, row.have, row.need)
			}
		}
		if l.low >= l.high || l.low < members {
			t.Errorf("%d members: water marks %d and %d", members, l.low, l.high)
		}
	}
}

// No address is exempt from the limits of one network, loopback included.
func TestConnectionsOfOneAddress(t *testing.T) {
	const most = 10
	for name, set := range map[string]func(*limits){
		"open": func(l *limits) { l.ip4[0].ConnCount, l.ip6[0].ConnCount = most, most },
		"burst": func(l *limits) {
			s := &l.rates.SubnetRateLimiter
			s.IPv4SubnetLimits[0].Burst, s.IPv6SubnetLimits[0].Burst = most, most
		},
	} {
		for _, ip := range []string{"/ip4/127.0.0.1", "/ip4/192.0.2.7", "/ip6/::1", "/ip6/2001:db8::1"} {
			l := limitsFor(20)
			set(&l)
			rm, err := l.resourceManager()
			if err != nil {
				t.Fatal(err)
			}
			open := 0
			for range 2 * most {
				scope, err := rm.OpenConnection(network.DirInbound, true, ma.StringCast(ip+"/tcp/1234"))
				if err != nil {
					break
				}
				open++
				defer scope.Done()
			}
			// A token may come back while the loop runs.
			if open < most || open > most+1 {
				t.Errorf("%s: %d connections from %s, want %d", name, open, ip, most)
			}
			if err := rm.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}

// libp2p's own limits stop at the ninth connection of an address.
func TestTwentyPeersOnOneAddress(t *testing.T) {
	n := newNet("a")
	server := n.host(t, "server", func(c *Config) { c.Members = 20 })
	server.Handle(ProtoMember, HandleOptions{Idle: NoIdle}, echo)
	for i := range 20 {
		h := n.host(t, numbered("member", i), func(c *Config) { c.Listen, c.Members = nil, 1 })
		s := open(t, h, server, ProtoMember)
		if err := s.WriteFrame([]byte("x")); err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
		if _, err := s.ReadFrame(); err != nil {
			t.Fatalf("member %d: %v", i, err)
		}
	}
}

func TestDialsInOrder(t *testing.T) {
	var addrs []ma.Multiaddr
	for _, s := range []string{
		"/ip4/127.0.0.1/udp/7401/quic-v1", "/ip4/127.0.0.1/tcp/7401", "/ip4/8.8.8.8/udp/7401/quic-v1",
		"/ip4/10.0.0.1/tcp/7401", "/ip4/8.8.8.8/tcp/7401",
	} {
		addrs = append(addrs, ma.StringCast(s))
	}
	want := []string{
		"/ip4/8.8.8.8/tcp/7401", "/ip4/10.0.0.1/tcp/7401", "/ip4/127.0.0.1/tcp/7401",
		"/ip4/127.0.0.1/udp/7401/quic-v1", "/ip4/8.8.8.8/udp/7401/quic-v1",
	}
	got := rankDials(addrs)
	if len(got) != len(want) || got[0].Delay != 0 {
		t.Fatalf("%v", got)
	}
	for i, g := range got {
		if g.Addr.String() != want[i] {
			t.Errorf("dial %d goes to %s, want %s", i, g.Addr, want[i])
		}
		if i > 0 && g.Delay <= got[i-1].Delay {
			t.Errorf("dial %d does not wait for the one before: %v", i, got)
		}
	}
	if only := rankDials(addrs[:1]); only[0].Delay != 0 {
		t.Errorf("QUIC alone waits %v", only[0].Delay)
	}
}

func TestConfigValidate(t *testing.T) {
	for _, row := range []struct {
		name string
		set  func(*Config)
		ok   bool
	}{
		{"default", func(*Config) {}, true},
		{"listens nowhere", func(c *Config) { c.Listen = nil }, true},
		{"no key", func(c *Config) { c.Key = nil }, false},
		{"no members", func(c *Config) { c.Members = 0 }, false},
		{"no logger", func(c *Config) { c.Log = nil }, false},
		{"not a multiaddr", func(c *Config) { c.Listen = []string{"127.0.0.1:7401"} }, false},
		{"UDP", func(c *Config) { c.Listen = []string{"/ip4/127.0.0.1/udp/7401/quic-v1"} }, false},
	} {
		cfg := DefaultConfig()
		cfg.Key = seedKey("a")
		row.set(&cfg)
		if err := cfg.Validate(); (err == nil) != row.ok {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestAddresses(t *testing.T) {
	id := cluster26ID(t)
	if back, err := ParseID(IDText(id)); err != nil || back != id {
		t.Errorf("id %s came back as %q, %v", IDText(id), back, err)
	}
	if IDText(id) != id.String() {
		t.Errorf("two texts of one id: %s and %s", IDText(id), id)
	}
	text := "/ip4/192.0.2.1/tcp/7401"
	b, err := ParseAddr(text)
	if err != nil || AddrText(b) != text {
		t.Errorf("address came back as %s, %v", AddrText(b), err)
	}
	if ip, ok := AddrIP(b); !ok || ip != netip.MustParseAddr("192.0.2.1") {
		t.Errorf("its IP: %v, %v", ip, ok)
	}
	if _, ok := AddrIP([]byte("rubbish")); ok {
		t.Error("rubbish has an IP")
	}
	p, err := ParsePeer(text + "/p2p/" + IDText(id))
	if err != nil || p.ID != id || len(p.Addrs) != 1 || AddrText(p.Addrs[0]) != text {
		t.Errorf("peer %+v, %v", p, err)
	}
	if got := PeerText(p); len(got) != 1 || got[0] != text+"/p2p/"+IDText(id) {
		t.Errorf("peer as text: %v", got)
	}
	for _, bad := range []string{
		"", "rubbish", text, "/p2p/" + IDText(id), "/ip4/300.0.0.1/tcp/1/p2p/" + IDText(id),
		// An RSA key's id: such nodes cannot be admitted.
		text + "/p2p/QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N",
	} {
		if p, err := ParsePeer(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, p)
		}
	}
	if _, err := ParseID("QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"); err == nil {
		t.Error("the id of an RSA key was accepted")
	}
}

// A wildcard is never shown as an address, nor loopback where there is another.
func TestWildcardAddresses(t *testing.T) {
	h := stranger(t, "a", func(c *Config) { c.Listen = DefaultConfig().Listen })
	addrs := h.Addrs()
	if len(addrs) == 0 || len(addrs) > maxAddrs {
		t.Fatalf("%d addresses", len(addrs))
	}
	var loop int
	for _, a := range addrs {
		ip, ok := AddrIP(a)
		if !ok || ip.IsUnspecified() || ip.IsLinkLocalUnicast() && ip.Is6() {
			t.Errorf("address %s", AddrText(a))
		}
		if ip.IsLoopback() {
			loop++
		}
	}
	if loop != 0 && loop != len(addrs) {
		t.Errorf("loopback among others: %v", PeerText(h.Self()))
	}
}
