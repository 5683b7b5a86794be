package node_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/registry"
	"github.com/peerprobe/peerprobe/probe"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of these tests: ten times what a loaded two-core machine needs.
const patience = 30 * time.Second

// mesh is a registry with nodes, in this process, on real sockets of loopback.
type mesh struct {
	dir   string
	addr  string // --rs
	reg   *registry.Registry
	stop  context.CancelFunc
	ended chan error
	cfg   registry.Config
	nodes []*node.Node
}

// newMesh is for the example: a registry and a node in Wuhan.
func newMesh() *mesh {
	dir, err := os.MkdirTemp("", "peerprobe-mesh-")
	if err != nil {
		panic(err)
	}
	m := &mesh{dir: dir}
	if err := m.startRegistry(); err != nil {
		panic(err)
	}
	n, err := node.Join(context.Background(), m.config("wuhan", "w"))
	if err != nil {
		panic(err)
	}
	m.nodes = append(m.nodes, n)
	return m
}

func (m *mesh) close() {
	for _, n := range m.nodes {
		n.Close()
	}
	m.stopRegistry()
	os.RemoveAll(m.dir)
}

func (m *mesh) startRegistry() error {
	if m.cfg.Data == "" {
		m.prepare()
	}
	reg, err := registry.New(m.cfg)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	m.reg, m.stop, m.ended = reg, stop, make(chan error, 1)
	go func() { m.ended <- reg.Run(ctx) }()
	select {
	case <-reg.Ready():
	case err := <-m.ended:
		m.ended <- err
		stop()
		return err
	}
	info := reg.Info()
	m.addr = info.JoinAddr
	m.cfg.Listen = info.JoinAddr // the same addresses after a restart
	m.cfg.P2P = p2pListen(info.Multiaddrs)
	return nil
}

// prepare is the registry's configuration, for those who change it before the start.
func (m *mesh) prepare() {
	m.cfg = registry.DefaultConfig()
	m.cfg.Data = filepath.Join(m.dir, "rs")
	m.cfg.Listen, m.cfg.Web = "127.0.0.1:0", ""
	m.cfg.P2P = []string{"/ip4/127.0.0.1/tcp/0"}
}

// p2pListen is the listening addresses without the id.
func p2pListen(multiaddrs []string) []string {
	var out []string
	for _, a := range multiaddrs {
		addr, _, _ := strings.Cut(a, "/p2p/")
		out = append(out, addr)
	}
	return out
}

func (m *mesh) stopRegistry() error {
	if m.stop == nil {
		return nil
	}
	m.stop()
	m.stop = nil
	return <-m.ended
}

func (m *mesh) config(city, name string) node.Config {
	return node.Config{RS: m.addr, City: city, Data: filepath.Join(m.dir, name), Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Log: testLog()}
}

// testLog shows everything when PEERPROBE_TEST_LOG is set.
func testLog() *slog.Logger {
	if os.Getenv("PEERPROBE_TEST_LOG") == "" {
		return nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// testMesh is a mesh that ends with the test.
func testMesh(t *testing.T) *mesh {
	t.Helper()
	m := &mesh{dir: t.TempDir()}
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, n := range slices.Backward(m.nodes) { // members before their head, which then has nobody to hand over to
			if err := n.Close(); err != nil {
				t.Errorf("node: %v", err)
			}
		}
		if err := m.stopRegistry(); err != nil {
			t.Errorf("registry: %v", err)
		}
	})
	return m
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (m *mesh) join(t *testing.T, city, name string) *node.Node {
	t.Helper()
	n, err := node.Join(testContext(t), m.config(city, name))
	if err != nil {
		t.Fatalf("join %s: %v", name, err)
	}
	m.nodes = append(m.nodes, n)
	return n
}

// gone takes a node out of those that the mesh closes.
func (m *mesh) gone(n *node.Node) {
	m.nodes = slices.DeleteFunc(m.nodes, func(o *node.Node) bool { return o == n })
}

// status of a node that must run.
func status(t *testing.T, n *node.Node) node.Status {
	t.Helper()
	s, err := n.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// eventually waits until a node's status is as wanted; it wakes at each change, and now and then for what
// is no change of head.
func eventually(t *testing.T, n *node.Node, what string, want func(node.Status) bool) node.Status {
	t.Helper()
	ctx := testContext(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		changed := n.Changes()
		s := status(t, n)
		if want(s) {
			return s
		}
		select {
		case <-changed:
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v; status %+v", what, patience, s)
		}
	}
}

// quick is a short measurement.
func quick(to string) node.Request {
	p := probe.DefaultParams()
	p.Count, p.Interval, p.Timeout = 5, 5*time.Millisecond, 500*time.Millisecond
	return node.Request{To: to, Params: p}
}

// twoCities is two nodes in Changsha and three in Wuhan, with the heads' first lists complete.
func twoCities(t *testing.T, m *mesh) (changsha, wuhan []*node.Node) {
	t.Helper()
	changsha = []*node.Node{m.join(t, "changsha", "c1"), m.join(t, "changsha", "c2")}
	wuhan = []*node.Node{m.join(t, "wuhan", "w1"), m.join(t, "wuhan", "w2"), m.join(t, "wuhan", "w3")}
	for _, n := range slices.Concat(changsha[1:], wuhan[1:]) {
		eventually(t, n, "a place in the succession", func(s node.Status) bool { return s.Role == "candidate" || s.Role == "backup" })
	}
	return changsha, wuhan
}
