package node_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// returns waits for a call that must come back.
func returns(t *testing.T, what string, call func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { call(); close(done) }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s does not return", what)
	}
}

func TestCloseWithoutRun(t *testing.T) {
	n, err := node.New(node.Config{RS: "127.0.0.1:1", Data: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	returns(t, "Close", func() { n.Close(); n.Close() })
	n.Kill()
	if err := n.Run(context.Background()); err == nil {
		t.Error("a closed node runs")
	}
	if _, err := n.Status(context.Background()); !errors.Is(err, node.ErrNotRunning) {
		t.Errorf("error %v", err)
	}
}

func TestRunTwice(t *testing.T) {
	m := testMesh(t)
	n, err := node.New(m.config("changsha", "c1"))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(context.Background()) }()
	<-n.Ready()
	if err := n.Run(context.Background()); err == nil || n.Err() != nil {
		t.Errorf("a second Run says %v, the first %v", err, n.Err())
	}
	returns(t, "Close", func() { n.Close(); n.Close() })
	if err := <-ended; err != nil {
		t.Errorf("Run says %v after Close", err)
	}
	n.Kill() // too late, and harmless
}

// silentServer takes connections and says nothing.
func silentServer(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// A stop is heard at once at every stage of joining, and says what it stopped.
func TestStopWhileJoining(t *testing.T) {
	addr := silentServer(t)
	for _, stop := range []string{"cancelled before", "cancelled", "closed"} {
		t.Run(stop, func(t *testing.T) {
			n, err := node.New(node.Config{RS: addr, Data: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			if stop == "cancelled before" {
				cancel()
			}
			ended := make(chan error, 1)
			go func() { ended <- n.Run(ctx) }()
			began := time.Now()
			switch stop {
			case "cancelled":
				cancel()
			case "closed": // before Run begins, or after
				returns(t, "Close", func() { n.Close() })
			}
			if err := <-ended; err != nil && stop != "closed" && (!errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("error %v", err)
			}
			if took := time.Since(began); took > 3*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestJoinBrokenOff(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	addr := silentServer(t)
	_, err := node.Join(ctx, node.Config{RS: addr, Data: t.TempDir(), Listen: []string{"/ip4/127.0.0.1/tcp/0"}})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), addr) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v", err)
	}
}

// A node that is closed while it measures gives what it has, and keeps it.
func TestCloseWhileMeasuring(t *testing.T) {
	m := testMesh(t)
	c := m.join(t, "changsha", "c1")
	m.join(t, "wuhan", "w1")
	req := quick("wuhan")
	req.Params.Count, req.Params.Interval = 2000, 10*time.Millisecond
	closed := make(chan error, 1)
	seen := 0
	req.OnProgress = func(p node.Progress) {
		if p.Sample != nil {
			if seen++; seen == 5 {
				go func() { closed <- c.Close() }()
			}
		}
	}
	got, err := c.Measure(testContext(t), req)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close: %v", err)
	}
	m.gone(c)
	r := got.Results[0]
	if r.Status != probe.StatusPartial || r.Error == nil || r.Error.Code != probe.CodeCancelled || len(r.Sig.Target) == 0 {
		t.Errorf("status %s, error %v, %d bytes of the target's signature", r.Status, r.Error, len(r.Sig.Target))
	}
	if _, err := c.Measure(testContext(t), req); !errors.Is(err, node.ErrNotRunning) {
		t.Errorf("a closed node measures: %v", err)
	}
	if stored := registryResults(t, m); len(stored) != 1 || stored[0].Key != r.Key {
		t.Errorf("the registry has %+v", stored)
	}
}

// The registry places a known node elsewhere: it joins there, under its key.
func TestMovedToAnotherCity(t *testing.T) {
	m := testMesh(t)
	n := m.join(t, "", "n1")
	before := status(t, n)
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	m.cfg.GeoMapText = "127.0.0.0/8 wuhan\n"
	m.cfg.TrustDeclared = "never"
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	m.gone(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	again := m.join(t, "", "n1")
	if s := status(t, again); s.City != "wuhan" || s.Node != before.Node || s.Role != "head" {
		t.Errorf("after the move: %s is %s of %s; before: %s of %s", s.Node, s.Role, s.City, before.Node, before.City)
	}
}

// The same while the node runs: it came up without the registry, which has another map when it is back.
func TestMovedWhileRunning(t *testing.T) {
	t.Parallel() // it waits for the node's next call
	m := testMesh(t)
	n := m.join(t, "", "n1")
	m.gone(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	again := m.join(t, "", "n1")
	before := status(t, again)
	m.cfg.GeoMapText, m.cfg.TrustDeclared = "127.0.0.0/8 wuhan\n", "never"
	if err := m.startRegistry(); err != nil {
		t.Fatal(err)
	}
	ctx := testContext(t)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		s, err := again.Status(ctx) // not running between its two lives
		if err == nil && s.City == "wuhan" && s.Role == "head" {
			if s.Node != before.Node {
				t.Errorf("%s became %s", before.Node, s.Node)
			}
			return
		}
		select {
		case <-tick.C:
		case <-again.Done():
			t.Fatalf("the node ended: %v", again.Err())
		case <-ctx.Done():
			t.Fatalf("not moved: %+v, %v", s, err)
		}
	}
}

// A replaced key makes another node, with the tables of the old one there, and the registry away or not.
func TestReplacedKey(t *testing.T) {
	m := testMesh(t)
	m.join(t, "changsha", "c0") // a city whose only node is gone for good has to wait for the registry's patience
	n := m.join(t, "changsha", "c1")
	before := status(t, n)
	m.gone(n)
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(before.Data, "node.key")); err != nil {
		t.Fatal(err)
	}
	again := m.join(t, "changsha", "c1")
	if s := status(t, again); s.Node == before.Node || s.City != "changsha" {
		t.Errorf("the new node is %s of %s", s.Node, s.City)
	}
	m.gone(again)
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(before.Data, "node.key")); err != nil {
		t.Fatal(err)
	}
	if err := m.stopRegistry(); err != nil {
		t.Fatal(err)
	}
	if _, err := node.Join(testContext(t), m.config("changsha", "c1")); err == nil {
		t.Error("a node that was never admitted goes on without the registry")
	}
}
