package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// memory stands for the store, and fails when told to.
type memory struct {
	mu    sync.Mutex
	state cluster.TableState
	fail  error
	lost  error // rebuild fails
	calls int
}

func (m *memory) apply(c cluster.Changes) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if m.fail != nil {
		return m.fail
	}
	m.state.Nodes = append(m.state.Nodes, c.Nodes...)
	m.state.Cities = append(m.state.Cities, c.Cities...)
	return nil
}

func runDesk(t *testing.T, m *memory) (d *desk, stop func() error) {
	t.Helper()
	key := newKey(t)
	roster := newRoster(cluster.NewTrust(publicOf(key)))
	rebuild := func() (*cluster.Table, error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if m.lost != nil {
			return nil, m.lost
		}
		roster.reset(m.state)
		return cluster.NewTable(publicOf(key), cluster.SignerOf(key), m.state, cluster.DefaultTableConfig(), random16)
	}
	d, err := newDesk(m.apply, roster, rebuild, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	end, quit := make(chan error, 1), make(chan struct{})
	go func() { end <- d.run(quit) }()
	var once sync.Once
	var ended error
	stop = func() error {
		once.Do(func() { close(quit); ended = <-end })
		return ended
	}
	t.Cleanup(func() { _ = stop() })
	return d, stop
}

func registerAt(d *desk, id cluster.ID) (a *cluster.Answer, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	err = d.ask(ctx, func(now int64, t *cluster.Table) (*cluster.Changes, error) {
		var c cluster.Changes
		var err error
		a, c, err = t.Register(now, id, &cluster.Request{Version: 1, Kind: cluster.CallRegister, Self: cluster.Peer{ID: id}}, "changsha", "", cluster.ClassOwn)
		return &c, err
	})
	return a, err
}

// What could not be made durable is not answered, and forgotten.
func TestDeskForgetsWhatIsNotStored(t *testing.T) {
	m := &memory{fail: errors.New("disk full")}
	d, stop := runDesk(t, m)
	first, second := cluster.IDOf(publicOf(newKey(t))), cluster.IDOf(publicOf(newKey(t)))
	if _, err := registerAt(d, first); !errors.Is(err, errNotStored) || !strings.Contains(err.Error(), "disk full") {
		t.Fatalf("answered %v", err)
	}
	if _, ok := d.roster.node(first); ok {
		t.Error("the roster knows a node that is not stored")
	}
	m.mu.Lock()
	m.fail = nil
	m.mu.Unlock()
	a, err := registerAt(d, second)
	if err != nil || a.Error != nil {
		t.Fatalf("%v, %+v", err, a)
	}
	cert, err := d.roster.trust.Certificate(a.Cert)
	if err != nil || len(cert.Successions[0]) != 1 || cert.Successions[0][0] != second {
		t.Errorf("appointed %+v: the first was never durable", cert)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if _, err := registerAt(d, first); !errors.Is(err, ErrNotRunning) {
		t.Errorf("a desk that has ended: %v", err)
	}
}

func TestDeskEndsWhenTablesAreGone(t *testing.T) {
	m := &memory{fail: errors.New("disk full")}
	d, stop := runDesk(t, m)
	m.mu.Lock()
	m.lost = errors.New("input/output error")
	m.mu.Unlock()
	if _, err := registerAt(d, cluster.IDOf(publicOf(newKey(t)))); !errors.Is(err, errNotStored) {
		t.Errorf("answered %v", err)
	}
	<-d.gone
	if err := stop(); !errors.Is(err, errNotStored) || !strings.Contains(err.Error(), "input/output error") {
		t.Errorf("ended with %v", err)
	}
}

// holdDesk keeps the desk busy until the function that it returns is called.
func holdDesk(d *desk) (release func()) {
	hold, held, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		_ = d.ask(context.Background(), func(int64, *cluster.Table) (*cluster.Changes, error) {
			close(held)
			<-hold
			return nil, nil
		})
	}()
	<-held
	return func() { close(hold); <-done }
}

func waitQueued(t *testing.T, d *desk, n int) {
	t.Helper()
	for deadline := time.Now().Add(testWait); len(d.calls) < n; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
}

// The address from which a node registered last stays, whatever the table
// still has of it.
func TestDeskKeepsObservedAddresses(t *testing.T) {
	m := &memory{}
	d, stop := runDesk(t, m)
	id := cluster.IDOf(publicOf(newKey(t)))
	d.roster.expect([]cluster.NodeState{{ID: id, Observed: "192.0.2.2"}})
	err := d.ask(context.Background(), func(int64, *cluster.Table) (*cluster.Changes, error) {
		return &cluster.Changes{Nodes: []cluster.NodeState{{ID: id, Observed: "192.0.2.1"}}}, nil
	})
	if err := errors.Join(err, stop()); err != nil {
		t.Fatal(err)
	}
	if got := m.state.Nodes[0].Observed; got != "192.0.2.2" {
		t.Errorf("stored %s", got)
	}
}

// Decisions that wait while one is written share the next commit.
func TestDeskSharesCommits(t *testing.T) {
	m := &memory{}
	d, stop := runDesk(t, m)
	release := holdDesk(d)
	var wg sync.WaitGroup
	const n = 50
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() { _, errs[i] = registerAt(d, cluster.IDOf(publicOf(newKey(t)))) })
	}
	waitQueued(t, d, n)
	release()
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	if m.calls != 1 {
		t.Errorf("%d commits for %d decisions, want 1", m.calls, n)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// Those who register in the same moment from one public address are counted,
// although nothing of it is on disk yet.
func TestCrowdAtOnce(t *testing.T) {
	r := start(t, testConfig(t))
	const n = 20
	answers := make([]*cluster.Answer, n)
	release := holdDesk(r.srv.desk)
	var wg sync.WaitGroup
	for i := range n {
		id := cluster.IDOf(publicOf(newKey(t)))
		remote := p2p.Remote{ID: id, Addr: netip.MustParseAddrPort(fmt.Sprintf("8.8.8.8:%d", 1000+i))}
		req := &cluster.Request{Version: 1, Kind: cluster.CallRegister, Self: cluster.Peer{ID: id}}
		wg.Go(func() { answers[i] = r.srv.answer(t.Context(), remote, req) })
	}
	waitQueued(t, r.srv.desk, n)
	release()
	wg.Wait()
	in := 0
	for _, a := range answers {
		switch {
		case a.Error == nil:
			in++
		case a.Error.Code != cluster.CodeNotAdmitted:
			t.Errorf("refused as %s: %s", a.Error.Code, a.Error.Message)
		}
	}
	if in != nodesPerAddr {
		t.Errorf("%d of %d came in, want %d", in, n, nodesPerAddr)
	}
}

// A registry whose tables are gone under it ends and says so.
func TestRegistryEndsWithoutItsTables(t *testing.T) {
	r := start(t, testConfig(t))
	c := r.join("127.61.187.2")
	if err := r.srv.store.Close(); err != nil {
		t.Fatal(err)
	}
	// The refusal and the end of the connection race; either will do.
	if a, err := c.try(cluster.Request{Kind: cluster.CallRegister}); err == nil && (a.Error == nil || a.Error.Code != cluster.CodeInternal) {
		t.Errorf("answered %+v", a)
	}
	select {
	case err := <-r.end:
		if !errors.Is(err, errNotStored) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(testWait):
		t.Fatal("it runs on")
	}
	r.end <- nil // for close
}
