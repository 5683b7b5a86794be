package cluster

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite testdata/wire-v1.txt: only together with a new version of the protocol")

// samples are one of each message, request and answer, with every field set.
func samples() map[string]any {
	signed := Signed{[]byte("payload"), []byte("signature")}
	term := Term{Epoch: 0x18bcfe568001234, CertHash: [32]byte{1, 2, 3}, K: 4}
	row := Row{ID: testID("a"), Addrs: [][]byte{{4, 127, 0, 0, 1}}, Priority: Priority{true, 3, 2, 1}, FirstSeen: startMs, Boot: 7, Admission: signed, Load: 2}
	ref := HeadRef{City: "wuhan", Epoch: 5, K: 6, Seq: 7}
	keys := []ResultKey{{testID("a"), 7, 1}, {testID("b"), 8, 1 << 40}}
	return map[string]any{
		"beacon":           &Message{Beacon: &Beacon{term, 7, 8, 9, 10, testID("b")}},
		"lead":             &Message{Lead: &signed},
		"heartbeat":        &Message{Heartbeat: &Heartbeat{term, 7, 8, row.Priority, 9, 10, &row, true, ""}},
		"stale":            &Message{Stale: &signed},
		"whois":            &Message{WhoIs: &WhoIs{signed, 7}},
		"probe":            &Message{Probe: &Probe{term, 3}},
		"proberes":         &Message{ProbeRes: &ProbeRes{term, 3, true, true, 8, 9, signed}},
		"resign":           &Message{Resign: &Resign{term, testID("b"), ""}},
		"replicate":        &Message{Replicate: &Replicate{term, 1, 5, true, []Row{row}, []ID{testID("c")}, []Signed{signed}}},
		"replack":          &Message{ReplAck: &ReplAck{term, 5, keys}},
		"heads":            &Message{Heads: &Heads{2, []HeadRef{ref}, []Signed{signed}, []HeadRef{ref}}},
		"cert":             &Message{Cert: &CertMessage{signed, signed}},
		"resack":           &Message{ResAck: &ResAck{term, 2, keys}},
		"offer":            &Message{Offer: &Offer{term, keys, true}},
		"want":             &Message{Want: &Want{term, keys}},
		"trim":             &Message{Trim: &Trim{term, keys}},
		"heartbeat+unwell": &Message{Heartbeat: &Heartbeat{Term: term, Boot: 7, Seq: 8, Unwell: "slow disk"}},
		"resign+reason":    &Message{Resign: &Resign{term, testID("b"), "slow disk"}},
		"request": &Request{Version, CallPropose, Peer{testID("a"), row.Addrs}, "wuhan", []string{"t"}, true, "token", signed, signed, signed,
			[]ID{testID("a")}, []Row{row}, []HeadRef{ref}, 12_000},
		"answer":    &Answer{Version, &WireError{CodeNotHead, "text"}, signed, signed, []Signed{signed}, []Signed{signed}, startMs, true, signed},
		"admission": &Admission{Version, "network", testID("a"), "wuhan", "Wuhan, CN", []string{"t"}, true, ClassGuest, 9, nil},
		"admission+about": &Admission{Version: Version, Network: "network", ID: testID("a"), City: "wuhan", Class: ClassOwn, Serial: 9,
			About: &About{"CN", 4134, "Chinanet", "too near"}},
		"certificate": &Certificate{Version, "network", "wuhan", 5, [][]ID{{testID("a")}}, DefaultTimers(), startMs},
		"lead-object": &Lead{signed, "network", "wuhan", 0, 4, testID("a"), 7, 8, []Peer{{testID("a"), row.Addrs}}, "reason"},
		"ticket":      &Ticket{Version, "network", signed, [16]byte{1}, testID("i"), testID("t"), "latency", 1, 2, 3, 4, 5, 6},
		"barred":      &Barred{Version, "network", 3, []ID{testID("a")}},
		"hard-state":  &HardState{signed, signed, 7, signed},
		"city-state": &CityState{City: "wuhan", Cert: signed, Lead: signed, Heard: startMs, Leads: []Signed{signed, signed},
			History: []HeadChange{{Term: term, Head: testID("a"), At: startMs, Reason: "reason", Late: true}}},
	}
}

// TestWireGolden fixes the encodings of version 1, byte by byte.
func TestWireGolden(t *testing.T) {
	path := filepath.Join("testdata", "wire-v1.txt")
	var got []string
	for name, v := range samples() {
		got = append(got, name+" "+hex.EncodeToString(Marshal(v)))
	}
	slices.Sort(got)
	if *update {
		if err := os.WriteFile(path, []byte(strings.Join(got, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Split(strings.TrimSpace(string(raw)), "\n")
	for i, line := range got {
		if i >= len(want) || line != want[i] {
			name, _, _ := strings.Cut(line, " ")
			t.Errorf("the encoding of %s changed: that is a new version of the protocol", name)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d goldens, %d samples", len(want), len(got))
	}
}

func TestMessageRoundTrip(t *testing.T) {
	kinds := 0
	for name, v := range samples() {
		m, ok := v.(*Message)
		if !ok {
			continue
		}
		kind, variant, _ := strings.Cut(name, "+")
		kinds += number(variant == "")
		back, err := DecodeMessage(m.Encode())
		if err != nil || !bytes.Equal(back.Encode(), m.Encode()) || back.Kind() != kind {
			t.Errorf("%s: %v, kind %s", name, err, back.Kind())
		}
	}
	if kinds != len(new(Message).fields()) {
		t.Errorf("%d samples of %d kinds", kinds, len(new(Message).fields()))
	}
}

func TestDecodeMessageRefuses(t *testing.T) {
	row := func(change func(*Row)) []byte {
		r := Row{ID: testID("a"), Addrs: [][]byte{{1}}}
		change(&r)
		return (&Message{Heartbeat: &Heartbeat{Row: &r}}).Encode()
	}
	for name, raw := range map[string][]byte{
		"empty":             {},
		"no kind":           (&Message{}).Encode(),
		"two kinds":         (&Message{Beacon: &Beacon{}, Lead: &Signed{}}).Encode(),
		"too large":         (&Message{Lead: &Signed{Payload: make([]byte, MaxMessage)}}).Encode(),
		"trailing bytes":    append((&Message{Probe: &Probe{}}).Encode(), 0),
		"indefinite length": {0xbf, 0xff},
		"tag":               {0xc0, 0xa0},
		"duplicate key":     {0xa2, 0x02, 0xa0, 0x02, 0xa0},
		"deep":              bytes.Repeat([]byte{0x81}, 100),
		"huge array":        {0xa1, 0x09, 0x9b, 0, 0, 0, 1, 0, 0, 0, 0},
		"short id":          {0xa1, 0x08, 0xa1, 0x02, 0x41, 0x01},
		"row without id":    row(func(r *Row) { r.ID = "" }),
		"many addresses":    row(func(r *Row) { r.Addrs = slices.Repeat(r.Addrs, 17) }),
		"long address":      row(func(r *Row) { r.Addrs = [][]byte{make([]byte, 300)} }),
		"heads step":        (&Message{Heads: &Heads{Step: 4}}).Encode(),
		"heads city":        (&Message{Heads: &Heads{Step: 1, Digest: []HeadRef{{City: "A/B"}}}}).Encode(),
		"level 0":           (&Message{ResAck: &ResAck{Level: 0}}).Encode(),
		"level 4":           (&Message{ResAck: &ResAck{Level: 4}}).Encode(),
		"nobody's result":   (&Message{Offer: &Offer{Keys: []ResultKey{{Seq: 1}}}}).Encode(),
		"many results":      (&Message{Trim: &Trim{Keys: slices.Repeat([]ResultKey{{Node: testID("a")}}, maxKeys+1)}}).Encode(),
		"replicate back":    (&Message{Replicate: &Replicate{From: 5, Upto: 4}}).Encode(),
	} {
		if m, err := DecodeMessage(raw); err == nil {
			t.Errorf("%s: decoded as %s", name, m.Kind())
		}
	}
	// Fields of later versions are ignored.
	if _, err := DecodeMessage([]byte{0xa2, 0x06, 0xa1, 0x02, 0x01, 0x18, 0x63, 0x01}); err != nil {
		t.Errorf("unknown field: %v", err)
	}
}

// seeds adds the samples that fuzz decodes and bytes near them.
func seeds(f *testing.F) {
	for _, v := range samples() {
		raw := Marshal(v)
		f.Add(raw)
		f.Add(raw[:len(raw)/2])
	}
	f.Add([]byte{0xbf, 0xff})
}

func FuzzMessage(f *testing.F) {
	seeds(f)
	h := fuzzMachine(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := DecodeMessage(data)
		if err != nil {
			return
		}
		raw := m.Encode()
		back, err := DecodeMessage(raw)
		if err != nil || !bytes.Equal(back.Encode(), raw) {
			t.Fatalf("%s does not come back: %v", m.Kind(), err)
		}
		term := h.m.high.term
		h.m.Step(h.m.clock.now, Received{From: testID("peer"), Message: m}) // must not panic
		if h.m.high.term.Compare(term) < 0 {
			t.Fatal("High fell")
		}
		if at := resultsTerm(m); at != nil { // what goes further than its term
			*at = h.m.high.term
			h.m.Step(h.m.clock.now, Received{From: testID("peer"), Message: m})
			if l := &h.m.ledger; len(l.rows) > 0 || len(l.holders) > 0 {
				t.Fatalf("a %s of a stranger left %d results", m.Kind(), len(l.rows))
			}
		}
	})
}

// fuzzMachine is a head of one.
func fuzzMachine(f *testing.F) *host {
	table := newTable(f, TableState{})
	id := testID("a")
	a, _, err := table.Register(startMs, id, &Request{Version: Version, Self: Peer{id, nil}}, "wuhan", "", ClassOwn)
	if err != nil {
		f.Fatal(err)
	}
	m, err := New(Config{Network: networkPublic(), City: "wuhan"}, Row{ID: id, Boot: 1, Admission: a.Admission}, HardState{}, SignerOf(testKey("a")), nil)
	if err != nil {
		f.Fatal(err)
	}
	if _, err := m.Step(0, Answered{Kind: CallRegister, Answer: a}); err != nil || !m.leading() {
		f.Fatal("no head", err)
	}
	return &host{m: m}
}

func FuzzRequest(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := DecodeRequest(data)
		if err != nil {
			return
		}
		raw := Marshal(r)
		if back, err := DecodeRequest(raw); err != nil || !bytes.Equal(Marshal(back), raw) {
			t.Fatalf("does not come back: %v", err)
		}
		table := newTable(t, TableState{})
		table.Register(startMs, testID("a"), r, "wuhan", "", ClassOwn) // must not panic
		table.Propose(startMs, testID("a"), r)
		table.Report(startMs, testID("a"), r)
		table.Rebirth(startMs, testID("a"), r, Sight{Up: time.Hour, Heard: func(ID) int64 { return 0 }})
	})
}

func FuzzAnswer(f *testing.F) {
	seeds(f)
	h := fuzzMachine(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		a, err := DecodeAnswer(data)
		if err != nil {
			return
		}
		raw := Marshal(a)
		if back, err := DecodeAnswer(raw); err != nil || !bytes.Equal(Marshal(back), raw) {
			t.Fatalf("does not come back: %v", err)
		}
		h.m.Step(h.m.clock.now, Answered{Kind: CallReport, Answer: a}) // must not panic
	})
}

// FuzzObjects feeds arbitrary payloads, properly signed, to everything that verifies.
func FuzzObjects(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		trust := NewTrust(networkPublic())
		by := func(domain, name string) Signed {
			return Signed{data, SignerOf(testKey(name))(append([]byte(domain), data...))}
		}
		trust.Admission(by(DomainAdmission, "the network"))
		trust.Barred(by(DomainBarred, "the network"))
		trust.Certificate(by(DomainCert, "the network"))
		trust.Lead(by(DomainLead, "a"))
		trust.Ticket(by(DomainTicket, "a"))
		var hard HardState
		if Unmarshal(data, &hard) == nil {
			var back HardState
			if err := Unmarshal(Marshal(hard), &back); err != nil || !bytes.Equal(Marshal(back), Marshal(hard)) {
				t.Fatalf("hard state does not come back: %v", err)
			}
		}
	})
}
