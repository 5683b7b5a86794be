package cluster

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// deserted is wuhan with the list a, b and with c and d beside it; a led it. Both of the list are gone for
// good: last heard at startMs.
type deserted struct {
	t     *testing.T
	table *Table
	cert  Signed
	now   int64 // exactly when everything is just so that c may be named
	req   *Request
	seen  Sight
	heard map[ID]int64
}

func newDeserted(t *testing.T) *deserted {
	t.Helper()
	d := &deserted{t: t, table: newTable(t, TableState{}), heard: make(map[ID]int64)}
	first := register(t, d.table, startMs, "a", "wuhan").Cert
	register(t, d.table, startMs, "b", "wuhan")
	a, _, err := d.table.Propose(startMs, testID("a"), &Request{Version: Version, Kind: CallPropose, Self: Peer{testID("a"), nil},
		Lead: leadOf(t, first, 0, 1, "a"), Living: []ID{testID("a"), testID("b")}})
	if err != nil || a.Error != nil {
		t.Fatal(err, a)
	}
	d.cert = a.Cert
	d.table.Takeover(startMs, testID("a"), &Request{Version: Version, Kind: CallTakeover, Self: Peer{testID("a"), nil}, Lead: leadOf(t, a.Cert, 0, 1, "a")})
	d.now = startMs + rebirthSilent.Milliseconds()
	register(t, d.table, d.now, "c", "wuhan")
	register(t, d.table, d.now, "d", "wuhan")
	d.req = d.ask("c")
	d.seen = Sight{Up: rebirthUp, Heard: func(id ID) int64 { return d.heard[id] },
		Unreached: map[ID]bool{testID("a"): true, testID("b"): true}}
	return d
}

func (d *deserted) ask(name string) *Request {
	return &Request{Version: Version, Kind: CallRegister, Self: Peer{testID(name), nil}, Cert: d.cert, CutOffMs: uint64(rebirthCutOff.Milliseconds())}
}

func (d *deserted) list(a *Answer) []ID {
	d.t.Helper()
	c, err := NewTrust(networkPublic()).Certificate(a.Cert)
	if err != nil {
		d.t.Fatal(err)
	}
	return c.Successions[0]
}

func ids(names ...string) (out []ID) {
	for _, n := range names {
		out = append(out, testID(n))
	}
	return out
}

// TestRebirth: at the limits of all conditions the one who asks is named first, then the old list.
func TestRebirth(t *testing.T) {
	d := newDeserted(t)
	names, err := d.table.Deserted(d.now, testID("c"), d.req, d.seen)
	if err != nil || len(names) != 2 || names[0].ID != testID("a") || names[1].ID != testID("b") {
		t.Fatalf("dial %v, %v", names, err)
	}
	if want := [][]byte{[]byte("a")}; !slices.EqualFunc(names[0].Addrs, want, slices.Equal) {
		t.Errorf("a is dialled at %q, its Lead says %q", names[0].Addrs, want)
	}
	a, changes, err := d.table.Rebirth(d.now, testID("c"), d.req, d.seen)
	if err != nil || a.Error != nil || a.Admission.Empty() || len(changes.Cities) != 1 || changes.Cities[0].Cert.Hash() != a.Cert.Hash() {
		t.Fatalf("%+v %+v %v", a, changes, err)
	}
	if got := d.list(a); !slices.Equal(got, ids("c", "a", "b")) {
		t.Errorf("list %v, want c a b", got)
	}
	was, _ := NewTrust(networkPublic()).Certificate(d.cert)
	if now, _ := NewTrust(networkPublic()).Certificate(a.Cert); now.Epoch <= was.Epoch {
		t.Error("the epoch did not rise")
	}
}

// TestRebirthConditions: each of them alone prevents it.
func TestRebirthConditions(t *testing.T) {
	for _, c := range []struct {
		name  string
		says  string
		spoil func(d *deserted)
	}{
		{"not cut off for long enough", "has heard no head for", func(d *deserted) { d.req.CutOffMs-- }},
		{"the registry has just started", "the registry runs for", func(d *deserted) { d.seen.Up-- }},
		{"a name was heard", "was heard", func(d *deserted) { d.heard[testID("b")] = startMs + 1 }},
		{"a name has registered", "was heard", func(d *deserted) { register(d.t, d.table, d.now, "b", "wuhan") }},
		{"a name was heard this instant", "was heard", func(d *deserted) { d.heard[testID("a")] = d.now + 1 }},
		{"a name answers", "in vain", func(d *deserted) { d.seen.Unreached[testID("b")] = false }},
		{"nobody was dialled", "in vain", func(d *deserted) { d.seen.Unreached = nil }},
		{"the asker does not stay", "does not stay", func(d *deserted) { d.req.Transient = true }},
		{"the asker shows no certificate", "present certificate", func(d *deserted) { d.req.Cert = Signed{} }},
		{"the asker shows an old certificate", "present certificate", func(d *deserted) {
			d.table.begin(d.now, "").issue("wuhan", [][]ID{ids("a", "b")})
		}},
		{"the asker is of another city", "has none", func(d *deserted) {
			d.table.nodes[testID("c")].City = "beijing"
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := newDeserted(t)
			c.spoil(d)
			before := d.table.Cities()
			a, changes, err := d.table.Rebirth(d.now, testID("c"), d.req, d.seen)
			if !errors.Is(err, ErrNoRebirth) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("answer %+v, error %v, want one that says %q", a, err, c.says)
			}
			if len(changes.Cities) != 0 || d.table.Cities()[0].Cert.Hash() != before[0].Cert.Hash() {
				t.Error("a certificate was signed")
			}
		})
	}
}

func TestRebirthAsker(t *testing.T) {
	d := newDeserted(t)
	if _, _, err := d.table.Rebirth(d.now, testID("b"), d.ask("b"), d.seen); !errors.Is(err, ErrNoRebirth) || !strings.Contains(err.Error(), "in the list") {
		t.Errorf("a candidate claims by itself: %v", err)
	}
	if _, _, err := d.table.Rebirth(d.now, testID("x"), d.ask("x"), d.seen); !errors.Is(err, ErrNoRebirth) {
		t.Errorf("a stranger: %v", err)
	}
	if _, _, err := d.table.Rebirth(d.now, testID("c"), d.ask("d"), d.seen); err == nil || errors.Is(err, ErrNoRebirth) {
		t.Errorf("a false name: %v", err)
	}
	d.table.Bar(ids("c"))
	if a, _, err := d.table.Rebirth(d.now, testID("c"), d.req, d.seen); err != nil || a.Error == nil || a.Error.Code != CodeBarred {
		t.Errorf("a barred node: %+v, %v", a, err)
	}
}

// TestRebirthOfTwo: of two orphans that ask at once, one is named, and the other gets that certificate.
func TestRebirthOfTwo(t *testing.T) {
	d := newDeserted(t)
	a, _, err := d.table.Rebirth(d.now, testID("c"), d.req, d.seen)
	if err != nil {
		t.Fatal(err)
	}
	if _, changes, err := d.table.Rebirth(d.now, testID("d"), d.ask("d"), d.seen); !errors.Is(err, ErrNoRebirth) || len(changes.Cities) != 0 {
		t.Errorf("a second certificate: %v", err)
	}
	if b := register(t, d.table, d.now, "d", "wuhan"); b.Cert.Hash() != a.Cert.Hash() {
		t.Error("the second does not get the first one's certificate")
	}
	// Should that one be gone too, the next is named before it.
	d.cert, d.now = a.Cert, d.now+rebirthSilent.Milliseconds()
	d.seen.Unreached[testID("c")] = true
	b, _, err := d.table.Rebirth(d.now, testID("d"), d.ask("d"), d.seen)
	if err != nil || !slices.Equal(d.list(b), ids("d", "c", "a", "b")) {
		t.Errorf("%+v, %v", b, err)
	}
}

// TestRebirthList: at most eight names; the barred, the moved and those that do not stay are neither waited
// for nor named.
func TestRebirthList(t *testing.T) {
	d := newDeserted(t)
	full := ids("a", "b", "e", "f", "g", "h", "i", "j")
	d.cert = d.table.begin(d.now, "").issue("wuhan", [][]ID{full}).state.Cert
	for _, id := range full {
		d.seen.Unreached[id] = true
	}
	a, _, err := d.table.Rebirth(d.now, testID("c"), d.ask("c"), d.seen)
	if want := append(ids("c"), full[:7]...); err != nil || !slices.Equal(d.list(a), want) {
		t.Errorf("%+v, %v", a, err)
	}
	d = newDeserted(t)
	d.table.Bar(ids("a"))
	d.heard[testID("a")] = d.now
	register(t, d.table, d.now, "b", "changsha")
	d.seen.Unreached = nil
	a, _, err = d.table.Rebirth(d.now, testID("c"), d.req, d.seen)
	if err != nil || !slices.Equal(d.list(a), ids("c")) {
		t.Errorf("%+v, %v", a, err)
	}
}

// TestRebirthUnderAnotherClock: what was noted under a clock that went ahead an hour says nothing.
func TestRebirthUnderAnotherClock(t *testing.T) {
	d := newDeserted(t)
	d.heard[testID("a")] = d.now + time.Hour.Milliseconds()
	if _, _, err := d.table.Rebirth(d.now, testID("c"), d.req, d.seen); err != nil {
		t.Error(err)
	}
}

func TestRebirthTimes(t *testing.T) {
	for _, r := range []RebirthTimes{{}, {0, 1, 1}, {1, 0, 1}, {1, 1, -1}} {
		if (TableConfig{Timers: DefaultTimers(), Rebirth: r}).Validate() == nil {
			t.Errorf("%+v is taken", r)
		}
	}
	// The whole list has its turn before anybody else is named.
	tm := DefaultTimers()
	if last := tm.Suspect + (MaxSuccession-1)*tm.Stagger + tm.ProbeWait + tm.Suspect; rebirthCutOff < last {
		t.Errorf("cut off for %v, the last of a list claims after %v", rebirthCutOff, last)
	}
}

// renew does what a registry does for an orphan that registers again.
func (n *network) renew(h *host, unreached ...ID) error {
	st := h.m.Status()
	req := &Request{Version: Version, Kind: CallRegister, Self: Peer{h.id, h.row.Addrs}, City: h.city,
		Cert: st.CertRaw, Lead: st.HighRaw, CutOffMs: uint64(st.CutOff.Milliseconds())}
	seen := Sight{Up: rebirthUp, Heard: func(ID) int64 { return 0 }, Unreached: make(map[ID]bool)}
	for _, id := range unreached {
		seen.Unreached[id] = true
	}
	a, _, err := n.registry.Register(n.ms(), h.id, req, h.city, string(h.city), ClassOwn)
	if err != nil {
		n.t.Fatal(err)
	}
	b, _, err := n.registry.Rebirth(n.ms(), h.id, req, seen)
	if err == nil {
		a = b
	}
	n.step(h, Answered{Kind: CallRegister, Answer: a})
	return err
}

// TestRebornCity: a newcomer to a city whose only node is gone is an orphan at once, is named after its time,
// leads; the old head follows it when it comes back, and gets the office back (R8).
func TestRebornCity(t *testing.T) {
	n := newNetwork(t, 70)
	old := n.city("wuhan", 1)[0]
	n.kill(old, true)
	n.run(rebirthSilent)
	heir := n.join("heir", "wuhan")
	n.run(rebirthCutOff - 100*time.Millisecond)
	if st := heir.m.Status(); st.Role != RoleOrphan || st.High == nil {
		t.Fatalf("a newcomer that has heard no head is %s", st.Role)
	}
	if err := n.renew(heir, old.id); !errors.Is(err, ErrNoRebirth) {
		t.Fatalf("named too early: %v", err)
	}
	n.run(time.Second) // the status is that of the last step
	if err := n.renew(heir, old.id); err != nil {
		t.Fatal(err)
	}
	tm := DefaultTimers()
	if took := n.until(time.Minute, heir.m.leading); took > tm.Suspect+tm.ProbeWait {
		t.Errorf("it leads after %v", took)
	}
	if st := heir.m.Status(); st.CutOff != 0 || !strings.HasPrefix(st.LastChange, "rebirth") {
		t.Errorf("%+v", st)
	}
	n.run(time.Second)
	history := n.registry.Cities()[0].History
	if last := history[len(history)-1]; last.Head != heir.id || !strings.HasPrefix(last.Reason, "rebirth") {
		t.Errorf("history %+v", history)
	}
	n.boot(old)
	if took := n.until(time.Minute, old.m.leading); took > 5*time.Second {
		t.Errorf("the old head leads again after %v: %s", took, n.describe())
	}
	n.run(5 * time.Second)
	if head, _ := n.settled(time.Minute, old, heir); head != old || len(eventsOf[HandOver](heir)) != 1 {
		t.Errorf("%s leads", head.name)
	}
	if role := heir.m.Status().Role; role != RoleBackup && role != RoleCandidate {
		t.Errorf("who stood in is %s", role)
	}
}

// TestRebornWithoutALead: the head that was appointed first never said that it leads.
func TestRebornWithoutALead(t *testing.T) {
	n := newNetwork(t, 71)
	gone := register(t, n.registry, n.ms(), "gone", "wuhan")
	n.run(rebirthSilent)
	heir := n.join("heir", "wuhan")
	n.run(rebirthCutOff + time.Second)
	if st := heir.m.Status(); st.Role != RoleOrphan || st.CertRaw.Hash() != gone.Cert.Hash() {
		t.Fatalf("%+v", st)
	}
	if err := n.renew(heir, testID("gone")); err != nil {
		t.Fatal(err)
	}
	if took := n.until(time.Minute, heir.m.leading); took > time.Second || !strings.HasPrefix(heir.m.Status().LastChange, "rebirth") {
		t.Errorf("after %v: %s", took, heir.m.Status().LastChange)
	}
}

// TestRebirthUndone: the old head was only cut off from the registry and the newcomer. It carries over into
// the new certificate, and stays.
func TestRebirthUndone(t *testing.T) {
	n := newNetwork(t, 72)
	all := n.city("wuhan", 2)
	head := n.leader(all...)
	n.away = true
	n.run(rebirthSilent + time.Minute)
	n.cut = func(from, to ID) bool { return (from == testID("heir")) != (to == testID("heir")) }
	heir := n.join("heir", "wuhan")
	n.run(rebirthCutOff + time.Second)
	if err := n.renew(heir, all[0].id, all[1].id); err != nil {
		t.Fatal(err)
	}
	n.away, n.cut = false, func(_, _ ID) bool { return false }
	if now, _ := n.settled(time.Minute, all[0], all[1], heir); now != head {
		t.Errorf("%s leads: %s", now.name, n.describe())
	}
}

// TestCutOff: how long a member has heard no head.
func TestCutOff(t *testing.T) {
	n := newNetwork(t, 73)
	all := n.city("wuhan", 9)
	head, last := n.leader(all...), all[8]
	if last.m.candidate(last.id) || last.m.Status().CutOff != 0 {
		t.Fatalf("%+v", last.m.Status())
	}
	n.cut = func(from, to ID) bool { return from == last.id || to == last.id }
	n.step(last, Disconnected{Peer: head.id})
	n.run(20*time.Second + time.Millisecond)
	if got := last.m.Status(); got.Role != RoleOrphan || got.CutOff < 19*time.Second || got.CutOff > 20*time.Second+time.Millisecond {
		t.Errorf("%s, cut off for %v, want 20 s", got.Role, got.CutOff)
	}
	n.cut = func(_, _ ID) bool { return false }
	n.run(3 * time.Second)
	if got := last.m.Status(); got.Role == RoleOrphan || got.CutOff != 0 {
		t.Errorf("%s, cut off for %v", got.Role, got.CutOff)
	}
}

// TestNoRebirth: a head that restarts before it has claimed in its newest certificate is not reborn.
func TestNoRebirth(t *testing.T) {
	n := newNetwork(t, 74)
	h := n.city("wuhan", 1)[0]
	n.kill(h, false)
	h.hard.Cert = n.registry.begin(n.ms(), "").issue("wuhan", [][]ID{{h.id}}).state.Cert
	n.boot(h)
	n.settled(10*time.Second, h)
	if got := h.m.Status().LastChange; got != "restarted" {
		t.Errorf("it leads because of %q", got)
	}
}

// TestMetAHead: who has heard a head is no orphan when he hears of the next one from others.
func TestMetAHead(t *testing.T) {
	n := newNetwork(t, 75)
	all := n.city("wuhan", 2)
	head := n.leader(all...)
	second := n.inOrder(head)[1]
	role := func(h *host) string { return h.m.Status().Role }
	newcomer := n.join("newcomer", "wuhan")
	if got := role(newcomer); got != RoleOrphan {
		t.Errorf("a newcomer is %s", got)
	}
	n.step(newcomer, Received{From: head.id, Message: &Message{Lead: &head.m.high.raw}})
	if got := role(newcomer); got == RoleOrphan {
		t.Error("the head's own words do not count")
	}
	late := n.join("late", "wuhan")
	low := leadOf(t, head.m.cert.raw, head.m.high.term.K+1, 1, second.name)
	n.step(late, Received{From: second.id, Message: &Message{Lead: &low}})
	if got := role(late); got == RoleOrphan {
		t.Error("a head's first words do not count")
	}
	next := leadOf(t, head.m.cert.raw, head.m.high.term.K+3, 1, second.name)
	for _, h := range []*host{newcomer, head} {
		n.step(h, Learned{Lead: next})
		if got := role(h); got == RoleOrphan {
			t.Errorf("%s is an orphan by hearsay", h.name)
		}
	}
}
