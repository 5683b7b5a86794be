package cluster

import (
	"fmt"
	"slices"
	"testing"
)

func register(t *testing.T, table *Table, nowMs int64, name string, city City) *Answer {
	t.Helper()
	id := testID(name)
	a, _, err := table.Register(nowMs, id, &Request{Version: Version, Kind: CallRegister, Self: Peer{id, nil}}, city, "", ClassOwn)
	if err != nil || a.Error != nil {
		t.Fatalf("register %s: %v %v", name, err, a)
	}
	return a
}

// leadOf makes a Lead of take-over k under a certificate.
func leadOf(t testing.TB, cert Signed, k, seq uint64, owner string) Signed {
	t.Helper()
	var c Certificate
	if err := Unmarshal(cert.Payload, &c); err != nil {
		t.Fatal(err)
	}
	return Sign(DomainLead, Lead{Certificate: cert, Network: c.Network, City: c.City, K: k, Head: testID(owner), Boot: 1, Seq: seq,
		Addrs: []Peer{{testID(owner), [][]byte{[]byte("a")}}}, Reason: "test"}, SignerOf(testKey(owner)))
}

func TestTableFirstOfFifty(t *testing.T) {
	table := newTable(t, TableState{})
	var certs []Signed
	for i := range 50 {
		certs = append(certs, register(t, table, startMs, fmt.Sprint("n", i), "wuhan").Cert)
	}
	for _, c := range certs {
		if c.Hash() != certs[0].Hash() {
			t.Fatal("two of fifty first nodes were appointed")
		}
	}
	cert, err := NewTrust(networkPublic()).Certificate(certs[0])
	if err != nil || !slices.Equal(cert.Successions[0], []ID{testID("n0")}) {
		t.Errorf("%v %v", cert, err)
	}
	if len(table.Nodes()) != 50 || len(table.Cities()) != 1 {
		t.Errorf("%d nodes, %d cities", len(table.Nodes()), len(table.Cities()))
	}
}

func TestTableRegisterIsIdempotent(t *testing.T) {
	table := newTable(t, TableState{})
	a := register(t, table, startMs, "a", "wuhan")
	b := register(t, table, startMs+5000, "a", "wuhan")
	if a.Admission.Hash() != b.Admission.Hash() || a.Cert.Hash() != b.Cert.Hash() || b.FirstSeen != startMs {
		t.Error("asked again, it answered otherwise")
	}
	c := register(t, table, startMs+6000, "a", "changsha")
	first, _ := NewTrust(networkPublic()).Admission(a.Admission)
	moved, err := NewTrust(networkPublic()).Admission(c.Admission)
	if err != nil || moved.City != "changsha" || moved.Serial <= first.Serial {
		t.Errorf("a move gave %+v, %v", moved, err)
	}
}

func TestTableTransientIsNeverFirst(t *testing.T) {
	table := newTable(t, TableState{})
	id := testID("one-shot")
	a, _, err := table.Register(startMs, id, &Request{Version: Version, Self: Peer{id, nil}, Transient: true}, "wuhan", "", ClassOwn)
	if err != nil || !a.Cert.Empty() || a.Admission.Empty() {
		t.Errorf("%+v %v", a, err)
	}
	if b := register(t, table, startMs, "b", "wuhan"); b.Cert.Empty() {
		t.Error("the first lasting node was not appointed")
	}
}

func TestTablePropose(t *testing.T) {
	table := newTable(t, TableState{})
	cert := register(t, table, startMs, "a", "wuhan").Cert
	for _, name := range []string{"b", "c", "d"} {
		register(t, table, startMs, name, "wuhan")
	}
	register(t, table, startMs, "elsewhere", "changsha")
	table.Bar([]ID{testID("d")})
	propose := func(now int64, from string, lead Signed, living ...string) *Answer {
		t.Helper()
		req := &Request{Version: Version, Kind: CallPropose, Self: Peer{testID(from), nil}, Lead: lead}
		for _, name := range living {
			req.Living = append(req.Living, testID(name))
		}
		a, _, err := table.Propose(now, testID(from), req)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	list := func(a *Answer) []ID {
		c, err := NewTrust(networkPublic()).Certificate(a.Cert)
		if err != nil {
			t.Fatal(err)
		}
		return c.Successions[0]
	}
	lead := leadOf(t, cert, 0, 1, "a")
	a := propose(startMs, "a", lead, "a", "b", "c", "d", "elsewhere", "stranger")
	if want := []ID{testID("a"), testID("b"), testID("c")}; !slices.Equal(list(a), want) {
		t.Errorf("list %v, want a b c: no barred, foreign or unknown name", list(a))
	}
	if again := propose(startMs, "a", lead, "a"); again.Error == nil || again.Error.Code != CodeTooSoon {
		t.Errorf("proposed under an old certificate: %+v", again.Error)
	}
	lead = leadOf(t, a.Cert, 0, 1, "a")
	if b := propose(startMs+1, "a", lead, "a", "b", "c"); b.Cert.Hash() != a.Cert.Hash() {
		t.Error("the same list gave another certificate")
	}
	if b := propose(startMs+1, "b", lead, "b"); b.Error == nil || b.Error.Code != CodeNotHead {
		t.Errorf("a node that does not lead proposed: %+v", b.Error)
	}
	// The silent stay at the tail for a day.
	c := propose(startMs+60_000, "a", lead, "a", "c")
	if want := []ID{testID("a"), testID("c"), testID("b")}; !slices.Equal(list(c), want) {
		t.Errorf("list %v, want a c b", list(c))
	}
	lead = leadOf(t, c.Cert, 0, 1, "a")
	d := propose(startMs+25*3600_000, "a", lead, "a", "c")
	if want := []ID{testID("a"), testID("c")}; !slices.Equal(list(d), want) {
		t.Errorf("after a day: %v, want a c", list(d))
	}
}

// TestTableMovedLeaveTheList: who has moved to another city is in line no more when the head next calls, and is not let in
// again; the head itself stays until it has handed over.
func TestTableMovedLeaveTheList(t *testing.T) {
	table := newTable(t, TableState{})
	cert := register(t, table, startMs, "a", "wuhan").Cert
	for _, name := range []string{"b", "c"} {
		register(t, table, startMs, name, "wuhan")
	}
	call := func(now int64, kind RegistryCall, cert Signed) *Answer {
		t.Helper()
		req := &Request{Version: Version, Kind: kind, Self: Peer{testID("a"), nil}, Lead: leadOf(t, cert, 0, 1, "a"),
			Living: []ID{testID("a"), testID("b"), testID("c")}}
		f := table.Report
		if kind == CallPropose {
			f = table.Propose
		}
		a, _, err := f(now, testID("a"), req)
		if err != nil || a.Error != nil {
			t.Fatal(err, a)
		}
		return a
	}
	check := func(raw Signed, want ...ID) {
		t.Helper()
		c, err := NewTrust(networkPublic()).Certificate(raw)
		if err != nil || !slices.Equal(c.Successions[0], want) {
			t.Fatalf("list %v, want %v, %v", c.Successions, want, err)
		}
	}
	cert = call(startMs, CallPropose, cert).Cert
	check(cert, testID("a"), testID("b"), testID("c"))
	if same := call(startMs+1000, CallReport, cert).Cert; same.Hash() != cert.Hash() {
		t.Error("a report without a change gave another certificate")
	}
	register(t, table, startMs+2000, "b", "changsha")
	cert = call(startMs+3000, CallReport, cert).Cert
	check(cert, testID("a"), testID("c"))
	register(t, table, startMs+4000, "a", "changsha")
	register(t, table, startMs+4000, "c", "changsha")
	check(call(startMs+5000, CallReport, cert).Cert, testID("a"))
}

func TestTableTakeoverKeepsTheHighest(t *testing.T) {
	table := newTable(t, TableState{})
	cert := register(t, table, startMs, "a", "wuhan").Cert
	register(t, table, startMs, "b", "wuhan")
	call := func(from string, lead Signed) *Answer {
		t.Helper()
		a, _, err := table.Takeover(startMs, testID(from), &Request{Version: Version, Kind: CallTakeover, Self: Peer{testID(from), nil}, Lead: lead})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	low, high := leadOf(t, cert, 0, 1, "a"), leadOf(t, cert, 4, 1, "a")
	if a := call("a", high); a.Error != nil || a.Leads[0].Hash() != high.Hash() {
		t.Errorf("%+v", a)
	}
	if a := call("a", low); a.Error == nil || a.Error.Code != CodeNotHead || a.Leads[0].Hash() != high.Hash() {
		t.Errorf("a lower term was taken: %+v", a.Error)
	}
	if h := table.Cities()[0].History; len(h) != 2 || h[0].Term.K != 4 || h[0].Late || h[1].Term.K != 0 || !h[1].Late {
		t.Errorf("history %+v: the lower one was heard of late", h)
	}
	call("a", low)
	if h := table.Cities()[0].History; len(h) != 2 {
		t.Errorf("heard of twice: %+v", h)
	}
	for k := range uint64(200) {
		call("a", leadOf(t, cert, 5+k, 1, "a"))
	}
	call("a", leadOf(t, cert, 3, 1, "a"))
	if h := table.Cities()[0].History; len(h) != maxHistory || h[len(h)-1].Term.K != 204 {
		t.Errorf("history of %d: what is older than it has been forgotten, not missed", len(h))
	}
}

// TestTableHealsFromTheField: a lost disk comes back from what callers show, signed by this network.
func TestTableHealsFromTheField(t *testing.T) {
	before := newTable(t, TableState{})
	cert := register(t, before, startMs, "a", "wuhan").Cert
	admB := register(t, before, startMs, "b", "wuhan").Admission
	lead := leadOf(t, cert, 2, 1, "a")
	after := newTable(t, TableState{})
	a, changes, err := after.Report(startMs+1, testID("a"), &Request{Version: Version, Kind: CallReport, Self: Peer{testID("a"), nil}, Lead: lead,
		Living: []ID{testID("a"), testID("b")}, Rows: []Row{{ID: testID("b"), Admission: admB, FirstSeen: 5}}})
	if err != nil || a.Error != nil || a.Cert.Hash() != cert.Hash() || len(changes.Cities) != 1 || len(changes.Nodes) != 1 {
		t.Fatalf("%+v %+v %v", a, changes, err)
	}
	// A later epoch is above the one shown, whatever the clock says.
	c := register(t, after, startMs-1e9, "c", "wuhan")
	if c.Cert.Hash() != cert.Hash() {
		t.Error("a second certificate for a city that has one")
	}
	forged := Sign(DomainCert, Certificate{Version: Version, Network: NewTrust(networkPublic()).Network(), City: "beijing", Epoch: 1,
		Successions: [][]ID{{testID("x")}}, Timers: DefaultTimers()}, SignerOf(testKey("x")))
	after.Report(startMs, testID("a"), &Request{Version: Version, Self: Peer{testID("a"), nil}, Lead: lead, Cert: forged})
	if len(after.Cities()) != 1 {
		t.Error("a forged certificate was adopted")
	}
}

func TestTableRestart(t *testing.T) {
	table := newTable(t, TableState{})
	cert := register(t, table, startMs, "a", "wuhan").Cert
	lead := leadOf(t, cert, 0, 1, "a")
	table.Takeover(startMs, testID("a"), &Request{Version: Version, Self: Peer{testID("a"), nil}, Lead: lead})
	bar := table.Bar([]ID{testID("evil")})
	again := newTable(t, TableState{Nodes: table.Nodes(), Cities: table.Cities(), Barred: bar.Barred})
	a := register(t, again, startMs+1, "b", "wuhan")
	if a.Cert.Hash() != cert.Hash() || len(a.Leads) != 1 || a.Leads[0].Hash() != lead.Hash() {
		t.Error("the table forgot the certificate or the Lead")
	}
	evil := testID("evil")
	if b, _, _ := again.Register(startMs, evil, &Request{Version: Version, Self: Peer{evil, nil}}, "wuhan", "", ClassOwn); b.Error == nil || b.Error.Code != CodeBarred {
		t.Errorf("barred node admitted: %+v", b)
	}
	state := TableState{Cities: table.Cities()}
	state.Cities[0].Cert.Sig = slices.Clone(state.Cities[0].Cert.Sig)
	state.Cities[0].Cert.Sig[0] ^= 1
	if _, err := NewTable(networkPublic(), SignerOf(networkKey()), state, DefaultTableConfig(), func() uint16 { return 0 }); err == nil {
		t.Error("a damaged table was loaded")
	}
}

func TestTableHeadsOfOtherCities(t *testing.T) {
	table := newTable(t, TableState{})
	for i := range 40 {
		name, city := fmt.Sprint("h", i), City(fmt.Sprint("city-", i))
		lead := leadOf(t, register(t, table, startMs, name, city).Cert, 0, 1, name)
		table.Takeover(startMs+int64(i), testID(name), &Request{Version: Version, Self: Peer{testID(name), nil}, Lead: lead})
	}
	a := register(t, table, startMs, "new", "city-0")
	if len(a.Heads) != MaxAnswerHeads || len(a.Leads) != 1 {
		t.Fatalf("%d heads, %d leads", len(a.Heads), len(a.Leads))
	}
	if size := len(Marshal(a)); size > MaxMessage {
		t.Errorf("answer of %d bytes", size)
	}
	var digest []HeadRef
	for _, raw := range a.Heads {
		v, err := newLeadView(NewTrust(networkPublic()), raw)
		if err != nil || v.lead.City == "city-0" {
			t.Fatalf("%v %v", v.lead, err)
		}
		digest = append(digest, refOf(v))
	}
	id := testID("new")
	b, _, _ := table.Register(startMs, id, &Request{Version: Version, Self: Peer{id, nil}, HeadsDigest: digest}, "city-0", "", ClassOwn)
	if len(b.Heads) != 39-MaxAnswerHeads {
		t.Errorf("%d heads in the delta, want %d", len(b.Heads), 39-MaxAnswerHeads)
	}
}

func TestTableRefuses(t *testing.T) {
	table := newTable(t, TableState{})
	id := testID("a")
	if a, _, _ := table.Register(startMs, id, &Request{Version: 9, Self: Peer{id, nil}}, "wuhan", "", ClassOwn); a == nil || a.Error == nil || a.Error.Code != CodeVersion {
		t.Errorf("version 9: %+v", a)
	}
	if _, _, err := table.Register(startMs, id, &Request{Version: Version, Self: Peer{testID("b"), nil}}, "wuhan", "", ClassOwn); err == nil {
		t.Error("registered under another name")
	}
	if _, _, err := table.Register(startMs, id, &Request{Version: Version, Self: Peer{id, nil}}, "Wu Han", "", ClassOwn); err == nil {
		t.Error("city that is no slug")
	}
	rsa := ID("\x12\x20" + string(make([]byte, 32)))
	if _, _, err := table.Register(startMs, rsa, &Request{Version: Version, Self: Peer{rsa, nil}}, "wuhan", "", ClassOwn); err == nil {
		t.Error("a key that is not Ed25519")
	}
	if len(table.Nodes()) != 0 {
		t.Error("a refused node was stored")
	}
}

func TestNextEpoch(t *testing.T) {
	for _, c := range []struct {
		last  uint64
		nowMs int64
		rnd   uint16
		want  uint64
	}{
		{0, 5, 7, 5<<16 | 7},
		{9<<16 | 3, 5, 7, 10<<16 | 7},  // the clock went back
		{9<<16 | 3, 9, 2, 10<<16 | 2},  // the same millisecond
		{9<<16 | 3, 50, 2, 50<<16 | 2}, // time passed
		{0, -4, 1, 1<<16 | 1},
	} {
		if got := NextEpoch(c.last, c.nowMs, c.rnd); got != c.want || got <= c.last {
			t.Errorf("NextEpoch(%x, %d, %d) = %x, want %x", c.last, c.nowMs, c.rnd, got, c.want)
		}
	}
	if NextBoot(7, 5) != 8 || NextBoot(7, 500) != 500 || NextBoot(0, -1) != 1 {
		t.Error("NextBoot")
	}
}
