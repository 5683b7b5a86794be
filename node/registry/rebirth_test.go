package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// soon lets a city count as deserted without any waiting on the registry's side.
func soon() cluster.RebirthTimes {
	r := cluster.DefaultRebirthTimes()
	r.Up, r.Silent = time.Nanosecond, time.Nanosecond
	return r
}

// orphan is a request of a node that has been cut off for long enough.
func orphan(cert cluster.Signed) cluster.Request {
	return cluster.Request{Kind: cluster.CallRegister, Cert: cert, CutOffMs: uint64(cluster.DefaultRebirthTimes().CutOff.Milliseconds())}
}

func (c *client) list(a *cluster.Answer) []cluster.ID {
	c.t.Helper()
	cert, err := c.net.Certificate(a.Cert)
	if err != nil {
		c.t.Fatal(err)
	}
	return cert.Successions[0]
}

// Head and backup of a city are gone for good: who asks long enough is named
// before them, and it is written down.
func TestRebirth(t *testing.T) {
	cfg := testConfig(t)
	cfg.Rebirth = soon()
	r := start(t, cfg)
	gone, backup := r.join("127.61.187.2"), r.join("127.61.187.5")
	_, first := gone.becomeHead()
	backup.register(cluster.Request{})
	cert := gone.call(cluster.Request{Kind: cluster.CallPropose, Lead: first, Living: []cluster.ID{gone.id(), backup.id()}, Admission: gone.adm}).Cert
	gone.call(cluster.Request{Kind: cluster.CallTakeover, Lead: gone.lead(cert, 0, 1), Cert: cert, Admission: gone.adm})
	if err := errors.Join(gone.host.Close(), backup.host.Close()); err != nil {
		t.Fatal(err)
	}
	heir := r.join("127.61.187.3")
	if a := heir.register(cluster.Request{}); !slices.Equal(heir.list(a), []cluster.ID{gone.id(), backup.id()}) {
		t.Fatalf("list %v", heir.list(a))
	}
	early := orphan(cert)
	early.CutOffMs--
	if a := heir.call(early); a.Cert.Hash() != cert.Hash() {
		t.Error("named although it was not cut off for long enough")
	}
	a := heir.register(orphan(cert))
	if want := []cluster.ID{heir.id(), gone.id(), backup.id()}; !slices.Equal(heir.list(a), want) {
		t.Fatalf("list %v, want %v", heir.list(a), want)
	}
	audit := r.auditOf(t, auditReborn)
	if len(audit) != 1 || audit[0].Actor != p2p.IDText(heir.id()) || audit[0].Object != "changsha" || !strings.HasPrefix(audit[0].From, "127.61.187.3:") {
		t.Errorf("audit %+v", audit)
	}
	lead := heir.lead(a.Cert, 0, 1)
	heir.call(cluster.Request{Kind: cluster.CallTakeover, Cert: a.Cert, Lead: lead, Admission: heir.adm})
	// The old one comes back, and hears who leads.
	back := r.joinAs(gone.key, "127.61.187.2")
	if b := back.register(cluster.Request{Cert: cert}); b.Cert.Hash() != a.Cert.Hash() || len(b.Leads) != 1 || b.Leads[0].Hash() != lead.Hash() {
		t.Errorf("the old head is answered %+v", b)
	}
	// It is durable.
	r.close()
	again := start(t, r.cfg)
	if b := again.join("127.61.187.4").register(cluster.Request{}); b.Cert.Hash() != a.Cert.Hash() {
		t.Error("the new certificate is forgotten")
	}
}

// A head that has been silent for whatever reason and can be dialled stays, and
// it is a new connection that tells.
func TestRebirthDialsAnew(t *testing.T) {
	cfg := testConfig(t)
	cfg.Rebirth = soon()
	r := start(t, cfg)
	head := r.join("127.61.187.2")
	cert, _ := head.becomeHead()
	dropped := make(chan struct{})
	var once sync.Once
	head.host.Notify(nil, func(id cluster.ID) {
		if id == head.reg.ID {
			once.Do(func() { close(dropped) })
		}
	})
	asker := r.join("127.61.187.3")
	asker.register(cluster.Request{})
	before := r.srv.sight(nil).Heard(head.id())
	if a := asker.call(orphan(cert)); a.Cert.Hash() != cert.Hash() {
		t.Error("a head that answers was replaced")
	}
	select {
	case <-dropped:
	case <-time.After(testWait):
		t.Error("the old connection was used")
	}
	if now := r.srv.sight(nil).Heard(head.id()); now <= before {
		t.Error("who answers has not been heard of")
	}
	if audit := r.auditOf(t, auditReborn); len(audit) != 0 {
		t.Errorf("audit %+v", audit)
	}
	// Later it is gone.
	if err := head.host.Close(); err != nil {
		t.Fatal(err)
	}
	if a := asker.call(orphan(cert)); !slices.Equal(asker.list(a), []cluster.ID{asker.id(), head.id()}) {
		t.Errorf("list %v", asker.list(a))
	}
}

// A registry that has just started, or has just heard the head, does not even
// dial.
func TestRebirthWaits(t *testing.T) {
	for name, change := range map[string]func(*cluster.RebirthTimes){
		"it has just started":         func(r *cluster.RebirthTimes) { r.Up = time.Hour },
		"it has just heard the head":  func(r *cluster.RebirthTimes) { r.Silent = time.Hour },
		"the orphan has to wait more": func(r *cluster.RebirthTimes) { r.CutOff = time.Hour },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			cfg.Rebirth = soon()
			change(&cfg.Rebirth)
			var dials atomic.Int32
			cfg.dial = func(context.Context, cluster.Peer) error { dials.Add(1); return p2p.ErrUnreachable }
			r := start(t, cfg)
			cert, _ := r.join("127.61.187.2").becomeHead()
			asker := r.join("127.61.187.3")
			asker.register(cluster.Request{})
			if a := asker.call(orphan(cert)); a.Cert.Hash() != cert.Hash() || dials.Load() != 0 {
				t.Errorf("%d dials, answered %+v", dials.Load(), a)
			}
		})
	}
}

// gate is a dial that says when it begins, waits until it is let go, and fails.
type gate struct{ begun, let chan struct{} }

func newGate() *gate { return &gate{make(chan struct{}, 64), make(chan struct{})} }

func (g *gate) dial(ctx context.Context, _ cluster.Peer) error {
	g.begun <- struct{}{}
	select {
	case <-g.let:
	case <-ctx.Done():
	}
	return p2p.ErrUnreachable
}

// Of many orphans that ask at once one is named, after one round of dials; all
// others get its certificate when they ask again.
func TestRebirthOfMany(t *testing.T) {
	const orphans = 12
	cfg := testConfig(t)
	cfg.Rebirth = soon()
	g := newGate()
	cfg.dial = g.dial
	r := start(t, cfg)
	cert, _ := r.join("127.61.187.2").becomeHead()
	all := make([]*client, orphans)
	for i := range all {
		all[i] = r.join("127.61.187.3")
		all[i].register(cluster.Request{})
	}
	answers, errs := make([]*cluster.Answer, orphans), make([]error, orphans)
	var wg sync.WaitGroup
	answered := make(chan struct{}, orphans)
	for i, c := range all {
		wg.Go(func() { answers[i], errs[i] = c.try(orphan(cert)); answered <- struct{}{} })
	}
	<-g.begun
	for range orphans - 1 {
		<-answered // nobody waits for the check that one of them has set off
	}
	close(g.let)
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	named := -1
	for i, a := range answers {
		if a.Cert.Hash() == cert.Hash() {
			continue
		}
		if named >= 0 {
			t.Error("two were named")
		}
		named = i
	}
	if named < 0 || all[named].list(answers[named])[0] != all[named].id() {
		t.Fatalf("%d was named", named)
	}
	for _, c := range all {
		if a := c.call(orphan(cert)); a.Cert.Hash() != answers[named].Cert.Hash() {
			t.Error("another certificate on asking again")
		}
	}
	if n := len(g.begun); n != 0 {
		t.Errorf("dialled %d times more", n)
	}
}

// What held before the dials must hold after them.
func TestRebirthChecksAgain(t *testing.T) {
	cfg := testConfig(t)
	cfg.Rebirth = soon()
	g := newGate()
	cfg.dial = g.dial
	r := start(t, cfg)
	head := r.join("127.61.187.2")
	cert, lead := head.becomeHead()
	asker := r.join("127.61.187.3")
	asker.register(cluster.Request{})
	done := make(chan struct{})
	var a *cluster.Answer
	var err error
	go func() { defer close(done); a, err = asker.try(orphan(cert)) }()
	<-g.begun
	next := head.call(cluster.Request{Kind: cluster.CallPropose, Lead: lead, Living: []cluster.ID{head.id(), asker.id()}, Admission: head.adm})
	close(g.let)
	<-done
	if err != nil || a.Error != nil {
		t.Fatal(err, a)
	}
	if got := asker.register(cluster.Request{}); got.Cert.Hash() != next.Cert.Hash() || got.Cert.Hash() == cert.Hash() {
		t.Error("the list that a head proposed in the meantime was replaced")
	}
}

// Dials that fail because the registry stops name nobody.
func TestRebirthWhileStopping(t *testing.T) {
	cfg := testConfig(t)
	cfg.Rebirth = soon()
	g := newGate()
	cfg.dial = g.dial
	r := start(t, cfg)
	cert, _ := r.join("127.61.187.2").becomeHead()
	asker := r.join("127.61.187.3")
	asker.register(cluster.Request{})
	done := make(chan struct{})
	go func() { defer close(done); _, _ = asker.try(orphan(cert)) }()
	<-g.begun
	r.close()
	<-done
	again := start(t, r.cfg)
	if a := again.join("127.61.187.4").register(cluster.Request{}); a.Cert.Hash() != cert.Hash() {
		t.Error("named")
	}
}

func TestRebirthConfig(t *testing.T) {
	cfg := testConfig(t)
	cfg.Rebirth = cluster.RebirthTimes{}
	if err := cfg.Validate(); err == nil || !strings.Contains(err.Error(), "rebirth") {
		t.Errorf("error %v", err)
	}
}
