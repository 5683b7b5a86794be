package node_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
)

// saysOnce wants an error of one line that has all the words, and its address once.
func saysOnce(t *testing.T, err error, addr string, words ...string) {
	t.Helper()
	if err == nil {
		t.Fatal("no error")
	}
	text := err.Error()
	t.Log(text)
	if strings.Contains(text, "\n") {
		t.Errorf("more than one line: %q", text)
	}
	if n := strings.Count(text, addr); addr != "" && n != 1 {
		t.Errorf("%s is said %d times: %q", addr, n, text)
	}
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}

func TestRegistryThatIsNotThere(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	cfg := node.Config{RS: addr, Data: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}}
	_, err = node.Join(testContext(t), cfg)
	saysOnce(t, err, "registry at "+addr, "refused", "peerprobe rs")
}

func TestRegistryOfAnotherIdentity(t *testing.T) {
	m := testMesh(t)
	cfg := m.config("changsha", "c1")
	at, _, _ := strings.Cut(m.reg.Info().Multiaddrs[0], "/p2p/")
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other := p2p.IDText(cluster.IDOf(public))
	cfg.RS = at + "/p2p/" + other
	_, err = node.Join(testContext(t), cfg)
	saysOnce(t, err, "", "is there", other, "peerprobe rs")
	cfg.RS = m.reg.Info().Multiaddrs[0]
	n, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatalf("by its multiaddr: %v", err)
	}
	m.nodes = append(m.nodes, n)
}

func TestAnotherNetworkAtTheSameAddress(t *testing.T) {
	m := testMesh(t)
	n := m.join(t, "changsha", "c1")
	was := status(t, n).Network
	m.gone(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(m.cfg.Data); err != nil {
		t.Fatal(err)
	}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	cfg := m.config("changsha", "c1")
	_, err := node.Join(testContext(t), cfg)
	saysOnce(t, err, m.addr, was, string(m.reg.Info().Network), "another --data")
	cfg.Data, cfg.Token = filepath.Join(m.dir, "c2"), was+".secret"
	_, err = node.Join(testContext(t), cfg)
	saysOnce(t, err, m.addr, "token is for network "+was, string(m.reg.Info().Network))
}

func TestTokenNeeded(t *testing.T) {
	m := &mesh{dir: t.TempDir()}
	m.prepare()
	m.cfg.Tokens = true
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	defer m.stopRegistry()
	cfg := m.config("changsha", "c1")
	_, err := node.Join(testContext(t), cfg)
	saysOnce(t, err, m.addr, "--token-file", "PEERPROBE_TOKEN")
	cfg.Token = string(m.reg.Info().Network) + ".wrong"
	_, err = node.Join(testContext(t), cfg)
	saysOnce(t, err, m.addr, "refused this node", "token")
	cfg.Token = m.reg.Info().Token
	n, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}

func TestDataDirectories(t *testing.T) {
	m := testMesh(t)
	n := m.join(t, "changsha", "c1")
	_, err := node.Join(testContext(t), m.config("changsha", "c1"))
	saysOnce(t, err, "", "in use", "another directory")
	if s := status(t, n); s.Node == "" {
		t.Error("the first node suffers")
	}

	cfg := m.config("changsha", "file")
	if err := os.WriteFile(cfg.Data, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = node.Join(testContext(t), cfg)
	saysOnce(t, err, "", cfg.Data, "--data")

	for name, text := range map[string]string{"empty": "", "text": "hello", "broken": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"} {
		cfg := m.config("changsha", "key-"+name)
		if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(cfg.Data, "node.key")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := node.Join(testContext(t), cfg)
		saysOnce(t, err, path, "restore it")
	}

	cfg = m.config("changsha", "tables")
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(cfg.Data, "hard.db"), []byte(strings.Repeat("no table ", 4096)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = node.Join(testContext(t), cfg)
	saysOnce(t, err, "", "hard.db", "damaged")
}

func TestConfig(t *testing.T) {
	good := node.DefaultConfig()
	good.RS = "127.0.0.1:1"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, bad := range []struct {
		change func(*node.Config)
		says   string
	}{
		{func(c *node.Config) { c.RS = " " }, "--rs"},
		{func(c *node.Config) { c.Members = -1 }, "members"},
		{func(c *node.Config) { c.City = strings.Repeat("x", 200) }, "--city: not the name of a city"},
		{func(c *node.Config) { c.Tags = make([]string, 17) }, "17 tags"},
		{func(c *node.Config) { c.Tags = []string{strings.Repeat("x", 49)} }, "49 bytes"},
		{func(c *node.Config) { c.Token = "no token" }, "<network>.<secret>"},
		{func(c *node.Config) { c.Limits = probe.Limits{MaxCount: 3} }, "limits"},
	} {
		c := good
		bad.change(&c)
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("error %v, want %q in it", err, bad.says)
		}
		if _, err := node.New(c); err == nil {
			t.Errorf("New takes what Validate refuses: %s", bad.says)
		}
	}
}

// Everything over IPv6.
func TestIPv6(t *testing.T) {
	m := &mesh{dir: t.TempDir()}
	m.prepare()
	m.cfg.Listen, m.cfg.P2P = "[::1]:0", []string{"/ip6/::1/tcp/0"}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range m.nodes {
			n.Close()
		}
		m.stopRegistry()
	})
	join := func(city, name string) *node.Node {
		cfg := m.config(city, name)
		cfg.Listen, cfg.Bind = nil, netip.IPv6Loopback()
		n, err := node.Join(testContext(t), cfg)
		if err != nil {
			t.Fatal(err)
		}
		m.nodes = append(m.nodes, n)
		return n
	}
	c := join("changsha", "c1")
	join("wuhan", "w1")
	got, err := c.Measure(testContext(t), quick("wuhan"))
	if err != nil {
		t.Fatal(err)
	}
	if r := got.Results[0]; r.Path.IPVersion != 6 || r.Target.IP != "::1" || r.Latency.Received != 5 {
		t.Errorf("path %+v, target %+v, %d received", r.Path, r.Target, r.Latency.Received)
	}
}
