package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// shardNames are k names of nodes of each shard.
func shardNames(shards uint, k int) [][]string {
	out := make([][]string, shards)
	for i := 0; ; i++ {
		name := fmt.Sprint("s", i)
		s := ShardOf(testID(name), shards)
		if len(out[s]) < k {
			out[s] = append(out[s], name)
		}
		if !slices.ContainsFunc(out, func(l []string) bool { return len(l) < k }) {
			return out
		}
	}
}

// shardLead is a Lead of the shard that its owner belongs to.
func shardLead(t testing.TB, cert Signed, k uint64, owner string) Signed {
	t.Helper()
	c, err := NewTrust(networkPublic()).Certificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	return Sign(DomainLead, Lead{Certificate: cert, Network: c.Network, City: c.City, Shard: c.shardIn(testID(owner)), K: k, Head: testID(owner),
		Boot: 1, Seq: 1, Addrs: []Peer{{testID(owner), [][]byte{[]byte("a")}}}, Reason: "test"}, SignerOf(testKey(owner)))
}

func certOf(t testing.TB, raw Signed) *Certificate {
	t.Helper()
	c, err := NewTrust(networkPublic()).Certificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// call is one request of a head.
func call(t testing.TB, table *Table, nowMs int64, kind RegistryCall, from string, lead Signed, living ...string) (*Answer, Changes) {
	t.Helper()
	req := &Request{Version: Version, Kind: kind, Self: Peer{testID(from), nil}, Lead: lead}
	for _, name := range living {
		req.Living = append(req.Living, testID(name))
	}
	f := map[RegistryCall]func(int64, ID, *Request) (*Answer, Changes, error){
		CallPropose: table.Propose, CallTakeover: table.Takeover, CallReport: table.Report}[kind]
	a, c, err := f(nowMs, testID(from), req)
	if err != nil {
		t.Fatal(err)
	}
	return a, c
}

// TestTableGrowsShards: as many shards as are wanted and as have two living nodes each, with the head first in its own.
func TestTableGrowsShards(t *testing.T) {
	table := newTable(t, TableState{})
	names := shardNames(3, 2)
	cert := register(t, table, startMs, names[0][0], "wuhan").Cert
	if _, err := table.SetHeads(startMs, "wuhan", 3); err != nil {
		t.Fatal(err)
	}
	head := names[0][0]
	for _, name := range []string{names[0][1], names[1][0], names[1][1], names[2][0]} {
		register(t, table, startMs, name, "wuhan")
	}
	a, _ := call(t, table, startMs+1000, CallReport, head, leadOf(t, cert, 0, 1, head))
	if want, have := table.HeadsOf("wuhan"); want != 3 || have != uint(len(certOf(t, a.Cert).Successions)) || have == 3 {
		t.Fatalf("%d of %d heads with one node in the third shard", have, want)
	}
	register(t, table, startMs+1500, names[2][1], "wuhan")
	a, _ = call(t, table, startMs+3000, CallTakeover, head, shardLead(t, a.Cert, 0, head))
	c := certOf(t, a.Cert)
	if len(c.Successions) != 3 || c.Successions[0][0] != testID(head) {
		t.Fatalf("%d shards", len(c.Successions))
	}
	for s, list := range c.Successions {
		if want := ids(names[s]...); len(list) != 2 || !slices.Contains(want, list[0]) || !slices.Contains(want, list[1]) {
			t.Errorf("shard %d: %v", s, list)
		}
	}
	// A proposal replaces the list of the proposer's shard, and names nobody of another one.
	other := certOf(t, a.Cert).Successions[1]
	lead := shardLead(t, a.Cert, 0, head)
	call(t, table, startMs+3100, CallTakeover, head, lead)
	extra := "x"
	for i := 0; ShardOf(testID(extra), 3) != 0; i++ {
		extra = fmt.Sprint("x", i)
	}
	register(t, table, startMs+3200, extra, "wuhan")
	b, _ := call(t, table, startMs+3300, CallPropose, head, lead, head, names[1][0], extra, names[0][1])
	c = certOf(t, b.Cert)
	if want := ids(head, extra, names[0][1]); !slices.Equal(c.Successions[0], want) || !slices.Equal(c.Successions[1], other) || c.Epoch <= certOf(t, a.Cert).Epoch {
		t.Errorf("%v", c.Successions)
	}
	// The other shards' Leads stand beside it, and each is answered.
	first := shardLead(t, b.Cert, 0, head)
	call(t, table, startMs+3400, CallTakeover, head, first)
	second := names[1][slices.IndexFunc(names[1], func(s string) bool { return testID(s) == c.Successions[1][0] })]
	d, changes := call(t, table, startMs+3500, CallTakeover, second, shardLead(t, b.Cert, 0, second))
	if len(d.Leads) != 2 || d.Leads[0].Hash() != first.Hash() || len(changes.Heads) != 1 || changes.Heads[0].Term.Shard != 1 || changes.Heads[0].City != "wuhan" {
		t.Errorf("%d Leads, changes %+v", len(d.Leads), changes.Heads)
	}
	// It outlives a restart, and so does a table of the time before shards.
	state := TableState{Nodes: table.Nodes(), Cities: table.Cities()}
	var again TableState
	if err := Unmarshal(Marshal(state), &again); err != nil {
		t.Fatal(err)
	}
	e := register(t, newTable(t, again), startMs+4000, head, "wuhan")
	if len(e.Leads) != 2 || e.Leads[1].Hash() != d.Leads[1].Hash() {
		t.Errorf("%d Leads after a restart", len(e.Leads))
	}
}

// TestTableShrinksShards: fewer as soon as the operator wants it; for want of living nodes only after an hour in which
// the table has watched.
func TestTableShrinksShards(t *testing.T) {
	names := shardNames(2, 2)
	grown := func() (*Table, string, Signed) {
		table := newTable(t, TableState{})
		head := names[0][0]
		cert := register(t, table, startMs, head, "wuhan").Cert
		for _, name := range []string{names[0][1], names[1][0], names[1][1]} {
			register(t, table, startMs, name, "wuhan")
		}
		call(t, table, startMs, CallTakeover, head, leadOf(t, cert, 0, 1, head))
		changes, err := table.SetHeads(startMs, "wuhan", 2)
		if err != nil || len(changes.Cities) != 1 || len(certOf(t, changes.Cities[0].Cert).Successions) != 2 {
			t.Fatal(err, changes)
		}
		return table, head, shardLead(t, changes.Cities[0].Cert, 0, head)
	}
	table, head, lead := grown()
	report := func(table *Table, at time.Duration, living ...string) int {
		a, _ := call(t, table, startMs+at.Milliseconds(), CallReport, head, lead, living...)
		return len(certOf(t, a.Cert).Successions)
	}
	if n := report(table, 59*time.Minute, names[0]...); n != 2 {
		t.Errorf("%d shards after 59 minutes without a node of the second", n)
	}
	// A registry that was away for hours does not know who lives.
	away := newTable(t, TableState{Nodes: table.Nodes(), Cities: table.Cities()})
	away.cfg.Heads = map[City]uint{"wuhan": 2}
	for _, at := range []time.Duration{5 * time.Hour, 5*time.Hour + 59*time.Minute} {
		if n := report(away, at, names[0]...); n != 2 {
			t.Errorf("%d shards as it came back after hours", n)
		}
	}
	if n := report(away, 6*time.Hour+time.Minute, names[0]...); n != 1 {
		t.Errorf("%d shards an hour later", n)
	}
	if n := report(table, 61*time.Minute, names[0]...); n != 1 {
		t.Errorf("%d shards after 61 minutes", n)
	}
	table, head, _ = grown()
	changes, err := table.SetHeads(startMs+1, "wuhan", 1)
	if err != nil || len(changes.Cities) != 1 {
		t.Fatal(err, changes)
	}
	if c := certOf(t, changes.Cities[0].Cert); len(c.Successions) != 1 || c.Successions[0][0] != testID(head) || len(c.Successions[0]) != 4 {
		t.Errorf("%v", c.Successions)
	}
	for _, n := range []uint{0, MaxHeads + 1} {
		if _, err := table.SetHeads(startMs, "wuhan", n); err == nil {
			t.Errorf("%d heads are taken", n)
		}
	}
	if (TableConfig{Timers: DefaultTimers(), Rebirth: DefaultRebirthTimes(), Heads: map[City]uint{"Wu Han": 2}}).Validate() == nil {
		t.Error("heads for what is no city")
	}
}

// TestTableRetiredShard: the head of a shard that is gone hears so, and its Lead is forgotten.
func TestTableRetiredShard(t *testing.T) {
	table := newTable(t, TableState{})
	names := shardNames(2, 2)
	head := names[0][0]
	cert := register(t, table, startMs, head, "wuhan").Cert
	for _, name := range []string{names[0][1], names[1][0], names[1][1]} {
		register(t, table, startMs, name, "wuhan")
	}
	call(t, table, startMs, CallTakeover, head, leadOf(t, cert, 0, 1, head))
	changes, _ := table.SetHeads(startMs, "wuhan", 2)
	two := changes.Cities[0].Cert
	second := names[1][slices.IndexFunc(names[1], func(s string) bool { return testID(s) == certOf(t, two).Successions[1][0] })]
	old := shardLead(t, two, 0, second)
	call(t, table, startMs+1, CallTakeover, second, old)
	table.SetHeads(startMs+2, "wuhan", 1)
	if c := table.Cities()[0]; len(c.Leads) != 0 {
		t.Errorf("%d Leads of shards that are gone", len(c.Leads))
	}
	a, _ := call(t, table, startMs+3, CallReport, second, old)
	if a.Error == nil || a.Error.Code != CodeTooSoon || len(certOf(t, a.Cert).Successions) != 1 || len(table.Cities()[0].Leads) != 0 {
		t.Errorf("%+v", a.Error)
	}
}

// TestTableQuiet: in a quiet window a city that nobody has shown gets no first certificate; one that was shown lives on.
func TestTableQuiet(t *testing.T) {
	before := newTable(t, TableState{})
	cert := register(t, before, startMs, "a", "wuhan").Cert
	lead := leadOf(t, cert, 3, 1, "a")
	after := newTable(t, TableState{})
	after.SetQuiet(true)
	a := register(t, after, startMs+1, "b", "wuhan")
	if !a.Quiet || !a.Cert.Empty() || a.Admission.Empty() {
		t.Fatalf("in the quiet window: %+v", a)
	}
	if b := register(t, after, startMs+1, "x", "changsha"); !b.Quiet || !b.Cert.Empty() {
		t.Error("a city that is new is appointed in the quiet window")
	}
	call(t, after, startMs+2, CallReport, "a", lead)
	if b := register(t, after, startMs+3, "b", "wuhan"); b.Quiet || b.Cert.Hash() != cert.Hash() || len(b.Leads) != 1 {
		t.Errorf("after its head has shown it: %+v", b)
	}
	after.SetQuiet(false)
	if b := register(t, after, startMs+4, "x", "changsha"); b.Quiet || b.Cert.Empty() {
		t.Error("nobody is appointed after the quiet window")
	}
}

// TestTableTimers: after a restart with other timers a city gets a new epoch when its head next calls, once.
func TestTableTimers(t *testing.T) {
	table := newTable(t, TableState{})
	cert := register(t, table, startMs, "a", "wuhan").Cert
	lead := leadOf(t, cert, 0, 1, "a")
	call(t, table, startMs, CallTakeover, "a", lead)
	cfg := DefaultTableConfig()
	cfg.Timers = LANTimers()
	again, err := NewTable(networkPublic(), SignerOf(networkKey()), TableState{Nodes: table.Nodes(), Cities: table.Cities()}, cfg, func() uint16 { return 1 })
	if err != nil {
		t.Fatal(err)
	}
	if a := register(t, again, startMs+1, "b", "wuhan"); a.Cert.Hash() != cert.Hash() {
		t.Error("a new epoch before the head called")
	}
	a, _ := call(t, again, startMs+2, CallReport, "a", lead, "a")
	c := certOf(t, a.Cert)
	if c.Timers != LANTimers() || c.Epoch <= certOf(t, cert).Epoch || !slices.Equal(c.Successions[0], ids("a")) {
		t.Errorf("%+v", c)
	}
	if b, _ := call(t, again, startMs+20_000, CallReport, "a", leadOf(t, a.Cert, 0, 1, "a"), "a"); b.Cert.Hash() != a.Cert.Hash() {
		t.Error("one more epoch with the same timers")
	}
}

// TestOneEpochOneCertificate is S6: whatever happens to a registry's disk and clock, it never signs two certificates of
// a city with one epoch, as long as what it signed last is shown to it before it signs again. There is no luck in it:
// the random bits of its epochs are always the same here.
func TestOneEpochOneCertificate(t *testing.T) {
	for seed := range uint64(60) {
		s6(t, seed)
	}
}

// life6 is a registry whose disk and clock cannot be trusted, and the field that it has signed for.
type life6 struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	table  *Table
	now    int64
	names  [][]string
	epochs map[uint64][32]byte
	best   Signed // the highest certificate in the field, and its head's Lead
	lead   Signed
	head   string
	backup TableState
}

func s6(t *testing.T, seed uint64) {
	l := &life6{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 6)), now: startMs, names: shardNames(3, 3), epochs: make(map[uint64][32]byte)}
	l.open(TableState{})
	for range 60 {
		l.now = startMs + l.rng.Int64N(20) // a clock that stands nearly still, and goes back
		l.step(l.names[l.rng.IntN(3)][l.rng.IntN(3)])
	}
	if len(l.epochs) < 3 {
		t.Logf("only %d epochs: %s", len(l.epochs), l.repeat())
	}
}

func (l *life6) repeat() string {
	return fmt.Sprintf("go test ./cluster -run TestOneEpochOneCertificate (seed %d)", l.seed)
}

func (l *life6) open(state TableState) {
	cfg := DefaultTableConfig()
	cfg.Rebirth = RebirthTimes{1, 1, 1}
	var err error
	if l.table, err = NewTable(networkPublic(), SignerOf(networkKey()), state, cfg, func() uint16 { return 7 }); err != nil {
		l.t.Fatal(l.repeat(), err)
	}
}

// note checks a certificate that was signed, and puts it into the field.
func (l *life6) note(cert Signed) {
	l.t.Helper()
	if cert.Empty() {
		return
	}
	c := certOf(l.t, cert)
	if was, ok := l.epochs[c.Epoch]; ok && was != cert.Hash() {
		l.t.Fatalf("two certificates have epoch %d: %s", c.Epoch, l.repeat())
	}
	l.epochs[c.Epoch] = cert.Hash()
	if !l.best.Empty() && c.Epoch <= certOf(l.t, l.best).Epoch {
		return
	}
	l.best = cert
	for _, name := range slices.Concat(l.names...) {
		if c.Successions[0][0] == testID(name) {
			l.head, l.lead = name, shardLead(l.t, cert, 0, name)
		}
	}
}

// show is the report of the highest head in the field.
func (l *life6) show() {
	if l.lead.Empty() {
		return
	}
	a, _, err := l.table.Report(l.now, testID(l.head), &Request{Version: Version, Kind: CallReport, Self: Peer{testID(l.head), nil}, Lead: l.lead, Cert: l.best})
	if err != nil {
		l.t.Fatal(l.repeat(), err)
	}
	l.note(a.Cert)
}

func (l *life6) step(name string) {
	l.t.Helper()
	switch l.rng.IntN(8) {
	case 0, 1:
		l.note(register(l.t, l.table, l.now, name, "wuhan").Cert)
	case 2, 3:
		if !l.lead.Empty() {
			a, _ := call(l.t, l.table, l.now, CallPropose, l.head, l.lead, l.head, name)
			l.note(a.Cert)
		}
	case 4:
		changes, _ := l.table.SetHeads(l.now, "wuhan", 1+uint(l.rng.IntN(3)))
		for _, c := range changes.Cities {
			l.note(c.Cert)
		}
	case 5:
		l.rebirth(name)
	case 6:
		l.backup = TableState{Nodes: l.table.Nodes(), Cities: l.table.Cities()}
	case 7: // the disk is lost, or an old copy of it comes back; the quiet window holds until the field has shown itself
		if l.open(l.backup); l.rng.IntN(2) == 0 {
			l.open(TableState{})
		}
		l.table.SetQuiet(true)
		l.note(register(l.t, l.table, l.now, name, "wuhan").Cert)
		l.show()
		l.table.SetQuiet(false)
	}
}

func (l *life6) rebirth(name string) {
	req := &Request{Version: Version, Kind: CallRegister, Self: Peer{testID(name), nil}, Cert: l.best, CutOffMs: 1000}
	all := make(map[ID]bool)
	for _, n := range slices.Concat(l.names...) {
		all[testID(n)] = true
	}
	a, _, err := l.table.Rebirth(l.now, testID(name), req, Sight{Up: time.Hour, Heard: func(ID) int64 { return 0 }, Unreached: all})
	if err == nil {
		l.note(a.Cert)
	} else if !errors.Is(err, ErrNoRebirth) {
		l.t.Fatal(l.repeat(), err)
	}
}

// TestShardProposals: the heads of all shards propose at the same time. One is first, the others claim in its epoch and
// propose again at once.
func TestShardProposals(t *testing.T) {
	n := newNetwork(t, 90)
	all := n.many("wuhan", 24, 4)
	heads, _ := n.divided(40*time.Second, 4, all...)
	n.run(40 * time.Second)
	n.away = true
	for _, h := range heads { // everybody's list should be another one now: the first behind the head is the last
		second := n.hosts[h.m.list()[1]]
		row := second.row
		row.Priority.Reachable = false
		n.step(second, SelfChanged{Row: row})
	}
	n.run(30 * time.Second)
	n.away = false
	for _, h := range heads {
		l := &h.m.head.list
		if slices.Equal(h.m.wanted(), h.m.list()) {
			t.Fatalf("the head of shard %d is content", h.m.shard())
		}
		l.dirty, l.waiting, l.last, l.after, l.looked = true, false, 0, 0, 0
	}
	n.run(3 * time.Second)
	lists := n.registry.cities["wuhan"].cert.cert.Successions
	for s, h := range heads {
		if got := h.m.wanted(); !slices.Equal(got, lists[s]) {
			t.Errorf("shard %d: the list is %v after 3 s, wanted %v", s, lists[s], got)
		}
	}
}
