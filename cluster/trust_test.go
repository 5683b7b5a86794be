package cluster

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func testCert(t testing.TB, change func(*Certificate), names ...string) Signed {
	t.Helper()
	c := Certificate{Version: Version, Network: NetworkName(networkPublic()), City: "wuhan", Epoch: 1 << 20, Timers: DefaultTimers(), Issued: startMs}
	var list []ID
	for _, name := range names {
		list = append(list, testID(name))
	}
	c.Successions = [][]ID{list}
	if change != nil {
		change(&c)
	}
	return Sign(DomainCert, c, SignerOf(networkKey()))
}

// TestLeadValidity breaks each field of a valid Lead.
func TestLeadValidity(t *testing.T) {
	cert := testCert(t, nil, "a", "b", "c")
	build := func(change func(*Lead)) Signed {
		l := Lead{Certificate: cert, Network: NetworkName(networkPublic()), City: "wuhan", K: 4, Head: testID("b"), Boot: 1, Seq: 1,
			Addrs: []Peer{{testID("b"), [][]byte{{1, 2}}}}, Reason: "test"}
		change(&l)
		return Sign(DomainLead, l, SignerOf(testKey("b")))
	}
	keep := func(*Lead) {}
	if _, _, err := NewTrust(networkPublic()).Lead(build(keep)); err != nil {
		t.Fatalf("a valid Lead: %v", err)
	}
	wrongKey := build(keep)
	wrongKey.Sig = SignerOf(testKey("a"))(append([]byte(DomainLead), wrongKey.Payload...))
	wrongDomain := build(keep)
	wrongDomain.Sig = SignerOf(testKey("b"))(append([]byte(DomainCert), wrongDomain.Payload...))
	tampered := build(keep)
	tampered.Payload = slices.Clone(tampered.Payload)
	tampered.Payload[len(tampered.Payload)-1] ^= 1
	withCert := func(change func(*Certificate)) Signed {
		return build(func(l *Lead) { l.Certificate = testCert(t, change, "a", "b", "c") })
	}
	for name, c := range map[string]struct {
		raw  Signed
		want error
	}{
		"not the owner":          {build(func(l *Lead) { l.K = 3 }), ErrInvalid},
		"K out of range":         {build(func(l *Lead) { l.K = MaxK + 1 }), ErrInvalid},
		"other head":             {build(func(l *Lead) { l.Head = testID("a") }), ErrInvalid},
		"stranger":               {build(func(l *Lead) { l.Head = testID("x") }), ErrInvalid},
		"network":                {build(func(l *Lead) { l.Network = "other" }), ErrOtherNetwork},
		"city":                   {build(func(l *Lead) { l.City = "changsha" }), ErrInvalid},
		"shard":                  {build(func(l *Lead) { l.Shard = 1 }), ErrInvalid},
		"long reason":            {build(func(l *Lead) { l.Reason = strings.Repeat("x", 600) }), ErrInvalid},
		"too many peers":         {build(func(l *Lead) { l.Addrs = slices.Repeat(l.Addrs, 9) }), ErrInvalid},
		"empty address":          {build(func(l *Lead) { l.Addrs[0].Addrs = [][]byte{{}} }), ErrInvalid},
		"too large":              {build(func(l *Lead) { l.Addrs[0].Addrs = slices.Repeat([][]byte{bytes.Repeat([]byte{1}, 250)}, 9) }), ErrInvalid},
		"signed by another":      {wrongKey, ErrSignature},
		"signed as another kind": {wrongDomain, ErrSignature},
		"tampered":               {tampered, nil},
		"empty":                  {Signed{}, ErrInvalid},
		"certificate's network":  {withCert(func(c *Certificate) { c.Network = "other" }), ErrOtherNetwork},
		"certificate's version":  {withCert(func(c *Certificate) { c.Version = 2 }), ErrVersion},
		"certificate's city":     {withCert(func(c *Certificate) { c.City = "Wu/han" }), nil},
		"certificate's timers":   {withCert(func(c *Certificate) { c.Timers.Suspect = time.Second / 2 }), ErrInvalid},
		"certificate's list":     {withCert(func(c *Certificate) { c.Successions = nil }), ErrInvalid},
		"name twice":             {withCert(func(c *Certificate) { c.Successions[0][0] = c.Successions[0][1] }), ErrInvalid},
		"nine names": {withCert(func(c *Certificate) {
			for _, n := range []string{"d", "e", "f", "g", "h", "i"} {
				c.Successions[0] = append(c.Successions[0], testID(n))
			}
		}), ErrInvalid},
		"certificate unsigned": {build(func(l *Lead) {
			l.Certificate.Sig = SignerOf(testKey("b"))(append([]byte(DomainCert), cert.Payload...))
		}), ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := NewTrust(networkPublic()).Lead(c.raw)
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestTrustCacheDoesNotLie(t *testing.T) {
	trust := NewTrust(networkPublic())
	good := leadOf(t, testCert(t, nil, "a"), 0, 1, "a")
	for range 2 {
		if _, _, err := trust.Lead(good); err != nil {
			t.Fatal(err)
		}
	}
	// The same bytes, divided otherwise between payload and signature, have the same hash.
	all := slices.Concat(good.Payload, good.Sig)
	cut := len(good.Payload) + 1
	if _, _, err := trust.Lead(Signed{all[:cut], all[cut:]}); err == nil {
		t.Error("a moved boundary verified from the cache")
	}
	if _, err := trust.Admission(good); err == nil {
		t.Error("a Lead passed as an admission")
	}
	for i := range 3 * cacheSize {
		trust.leads.put([32]byte{byte(i), byte(i >> 8), byte(i >> 16)}, verifiedLead{})
	}
	if n := len(trust.leads.young) + len(trust.leads.old); n > 2*cacheSize {
		t.Errorf("%d cached", n)
	}
}

// TestCompareLeads: Select's order is (epoch, certificate, K, seq), and does not depend on the order of arrival.
func TestCompareLeads(t *testing.T) {
	trust := NewTrust(networkPublic())
	older := testCert(t, nil, "a", "b")
	newer := testCert(t, func(c *Certificate) { c.Epoch++ }, "a", "b")
	garbage := Signed{[]byte("x"), []byte("y")}
	order := []Signed{garbage, leadOf(t, older, 0, 1, "a"), leadOf(t, older, 0, 2, "a"), leadOf(t, older, 1, 1, "b"),
		leadOf(t, older, 2, 1, "a"), leadOf(t, newer, 0, 1, "a"), leadOf(t, newer, 1, 9, "b")}
	for i, a := range order {
		for j, b := range order {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			if got := trust.CompareLeads(a, b); got != want {
				t.Errorf("compare(%d, %d) = %d, want %d", i, j, got, want)
			}
		}
	}
	twin := leadOf(t, older, 0, 1, "a")
	twin2 := Sign(DomainLead, Lead{Certificate: older, Network: trust.Network(), City: "wuhan", Head: testID("a"), Boot: 2, Seq: 1}, SignerOf(testKey("a")))
	if trust.CompareLeads(twin, twin2) == 0 || trust.CompareLeads(twin, twin2) != -trust.CompareLeads(twin2, twin) {
		t.Error("ties are not decided by bytes")
	}
	// Two certificates of one epoch have an order too.
	x, y := testCert(t, nil, "a"), testCert(t, func(c *Certificate) { c.Issued++ }, "a")
	if trust.CompareLeads(leadOf(t, x, 5, 1, "a"), leadOf(t, y, 0, 1, "a")) == 0 {
		t.Error("certificates of one epoch compare equal")
	}
}

func TestTermOrder(t *testing.T) {
	low := []Term{{}, {Epoch: 1}, {Epoch: 1, K: 1}, {Epoch: 1, CertHash: [32]byte{1}}, {Epoch: 1, CertHash: [32]byte{1}, K: 3}, {Epoch: 2}}
	for i, a := range low {
		for j, b := range low {
			if got := a.Compare(b); got != max(-1, min(1, i-j)) {
				t.Errorf("%v.Compare(%v) = %d", a, b, got)
			}
		}
	}
	if s := (Term{Epoch: 0xff1a2b3c, K: 2}).String(); s != "1a2b3c/2" {
		t.Error(s)
	}
}

func TestPriorityOrder(t *testing.T) {
	order := []Priority{ // best first
		{Reachable: true, Stability: 3, Capacity: 1, Load: 9},
		{Reachable: true, Stability: 2, Capacity: 9},
		{Reachable: true, Stability: 2, Capacity: 8, Load: 1},
		{Reachable: true, Stability: 2, Capacity: 8, Load: 2},
		{Stability: 9, Capacity: 9},
	}
	for i, p := range order {
		for j, q := range order {
			if got := p.Compare(q); got != max(-1, min(1, j-i)) {
				t.Errorf("%+v.Compare(%+v) = %d", p, q, got)
			}
		}
	}
	for age, want := range map[time.Duration]uint8{-time.Hour: 0, 0: 0, 9 * time.Minute: 0, 10 * time.Minute: 1, 19 * time.Minute: 1, 20 * time.Minute: 2, 24 * time.Hour: 8} {
		if got := StabilityBucket(age); got != want {
			t.Errorf("bucket of %v is %d, want %d", age, got, want)
		}
	}
}

func TestTimers(t *testing.T) {
	for _, tm := range []Timers{DefaultTimers(), LANTimers(), WANTimers()} {
		if err := tm.Validate(); err != nil {
			t.Error(err)
		}
		var back Timers
		if err := Unmarshal(Marshal(tm), &back); err != nil || back != tm {
			t.Errorf("%+v came back as %+v, %v", tm, back, err)
		}
	}
	for name, change := range map[string]func(*Timers){
		"zero":          func(t *Timers) { t.Beacon = 0 },
		"microseconds":  func(t *Timers) { t.Beacon += time.Microsecond },
		"hours":         func(t *Timers) { t.Orphan = 2 * time.Hour },
		"suspect":       func(t *Timers) { t.Suspect = 900 * time.Millisecond },
		"probe wait":    func(t *Timers) { t.ProbeWait = 2 * time.Second },
		"evict":         func(t *Timers) { t.Evict = 5 * time.Second },
		"beacon all":    func(t *Timers) { t.BeaconAll = 100 * time.Millisecond },
		"heartbeat all": func(t *Timers) { t.HeartbeatAll = 500 * time.Millisecond },
		"orphan":        func(t *Timers) { t.Orphan = 9 * time.Second },
	} {
		tm := DefaultTimers()
		change(&tm)
		if tm.Validate() == nil {
			t.Errorf("%s: accepted %+v", name, tm)
		}
	}
}

func TestIDs(t *testing.T) {
	id := testID("a")
	if key, err := id.PublicKey(); err != nil || IDOf(key) != id {
		t.Errorf("%v %v", key, err)
	}
	if s := id.String(); !strings.HasPrefix(s, "12D3KooW") || len(s) != 52 {
		t.Errorf("id prints as %q", s)
	}
	if _, err := ID("short").PublicKey(); !errors.Is(err, ErrNotEd25519) {
		t.Error(err)
	}
	if name := NetworkName(networkPublic()); len(name) != 26 || strings.ToLower(string(name)) != string(name) {
		t.Errorf("network %q", name)
	}
}

func TestNewRefuses(t *testing.T) {
	table := newTable(t, TableState{})
	a := register(t, table, startMs, "a", "wuhan")
	row := Row{ID: testID("a"), Admission: a.Admission}
	lead := leadOf(t, a.Cert, 0, 1, "a")
	bad := lead
	bad.Sig = slices.Clone(bad.Sig)
	bad.Sig[3] ^= 1
	start := func(city City, row Row, hard HardState) error {
		_, err := New(Config{Network: networkPublic(), City: city}, row, hard, SignerOf(testKey("a")), rand.New(rand.NewPCG(1, 1)))
		return err
	}
	if err := start("wuhan", row, HardState{High: lead, Cert: a.Cert, Boot: 3}); err != nil {
		t.Error(err)
	}
	if err := start("changsha", row, HardState{}); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	if err := start("wuhan", Row{ID: testID("b"), Admission: a.Admission}, HardState{}); !errors.Is(err, ErrForeign) {
		t.Error(err)
	}
	if err := start("wuhan", Row{ID: testID("a")}, HardState{}); err == nil {
		t.Error("no admission, no error")
	}
	if err := start("wuhan", row, HardState{High: bad}); !errors.Is(err, ErrHardState) {
		t.Error(err)
	}
}

func BenchmarkTrustLead(b *testing.B) {
	lead := leadOf(b, testCert(b, nil, "a", "b", "c", "d", "e", "f", "g", "h"), 0, 1, "a")
	b.Run("cached", func(b *testing.B) {
		trust := NewTrust(networkPublic())
		for b.Loop() {
			if _, _, err := trust.Lead(lead); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("uncached", func(b *testing.B) {
		for b.Loop() {
			if _, _, err := NewTrust(networkPublic()).Lead(lead); err != nil {
				b.Fatal(err)
			}
		}
	})
}
