package locate

import (
	"net/netip"
	"strings"
	"testing"
)

func demo(t testing.TB) *Map {
	t.Helper()
	m, err := ParseMap(strings.NewReader(DemoMap))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestPaperAddresses(t *testing.T) {
	l := Locator{Map: demo(t)}
	for addr, want := range map[string]string{
		"61.187.64.7":           "changsha",
		"61.187.55.100":         "changsha",
		"61.187.64.118":         "changsha",
		"61.183.207.100":        "wuhan",
		"61.183.207.49":         "wuhan",
		"127.61.187.9":          "changsha",
		"127.61.183.200":        "wuhan",
		"::ffff:61.183.207.100": "wuhan",
		"127.0.0.1":             Unknown,
		"2606:4700::1111":       Unknown,
		"::1":                   Unknown,
	} {
		a := l.Locate(netip.MustParseAddr(addr), "")
		if a.City != want {
			t.Errorf("%s is in %s, want %s", addr, a.City, want)
		}
		if want == Unknown && (a.Source != SourceNone || a.Note == "") {
			t.Errorf("%s: unknown without a reason: %+v", addr, a)
		}
		if want != Unknown && a.Source != SourceMap {
			t.Errorf("%s: evidence is missing: %+v", addr, a)
		}
	}
}

func TestLocateChain(t *testing.T) {
	m := demo(t)
	const inMap, private, cgnat, public = "61.187.1.1", "10.1.2.3", "100.64.9.9", "2606:4700::1111"
	tests := []struct {
		name     string
		trust    Trust
		addr     string
		declared string
		city     string
		source   Source
		note     string // part of it; "" means that there is none
	}{
		{"map alone", TrustFallback, inMap, "", "changsha", SourceMap, ""},
		{"map and declared agree", TrustFallback, inMap, "长沙市", "changsha", SourceMap, ""},
		{"observed beats declared", TrustFallback, inMap, "wuhan", "changsha", SourceMap, "observed beats declared"},
		{"declared where private", TrustFallback, private, "Wuhan", "wuhan", SourceDeclared, ""},
		{"declared where CGNAT", "", cgnat, "武漢", "wuhan", SourceDeclared, ""},
		{"declared where the map ends", TrustFallback, public, "São Paulo", "sao-paulo", SourceDeclared, ""},
		{"always", TrustAlways, inMap, "wuhan", "wuhan", SourceDeclared, "declared cities are trusted here"},
		{"always, nothing declared", TrustAlways, inMap, "", "changsha", SourceMap, ""},
		{"never", TrustNever, private, "wuhan", Unknown, SourceNone, "--trust-declared fallback"},
		{"never, in the map", TrustNever, inMap, "wuhan", "changsha", SourceMap, "observed beats declared"},
		{"never, nothing declared", TrustNever, private, "", Unknown, SourceNone, "--geo-map"},
		{"nothing at all", TrustFallback, private, "", Unknown, SourceNone, "--city"},
		{"not a name", TrustFallback, private, "!!!", Unknown, SourceNone, "no letter"},
		{"reserved", TrustAlways, private, "cn-unknown", Unknown, SourceNone, "reserved"},
		{"not UTF-8", TrustFallback, inMap, "\xff\xfe", "changsha", SourceMap, "UTF-8"},
		{"too long", TrustFallback, private, strings.Repeat("x", MaxName+1), Unknown, SourceNone, "more than"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := Locator{Map: m, Trust: tt.trust}.Locate(netip.MustParseAddr(tt.addr), tt.declared)
			if a.City != tt.city || a.Source != tt.source {
				t.Errorf("got %s by %s, want %s by %s (%+v)", a.City, a.Source, tt.city, tt.source, a)
			}
			if (tt.note == "") != (a.Note == "") || !strings.Contains(a.Note, tt.note) {
				t.Errorf("note is %q, want %q in it", a.Note, tt.note)
			}
			if a.Place() == "" || !strings.HasPrefix(a.Place(), tt.city+" (") {
				t.Errorf("place is %q", a.Place())
			}
		})
	}
}

func TestPlaceShowsBothSides(t *testing.T) {
	m := demo(t)
	at := netip.MustParseAddr("61.187.1.1")
	if got, want := (Locator{Map: m}).Locate(at, "wuhan").Place(), "changsha (map 61.187.0.0/16, declared wuhan)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (Locator{Map: m, Trust: TrustAlways}).Locate(at, "wuhan").Place(), "wuhan (declared, address says changsha)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := (Locator{}).Locate(netip.MustParseAddr("127.0.0.1"), "wuhan").Place(), "wuhan (declared, address is loopback)"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestZeroLocatorAndInvalidAddress(t *testing.T) {
	a := Locator{}.Locate(netip.Addr{}, "")
	if a.City != Unknown || a.Class != ClassOther {
		t.Errorf("got %+v", a)
	}
	var m *Map
	if m.Len() != 0 {
		t.Error("a nil map has rows")
	}
}

func TestClassify(t *testing.T) {
	for addr, want := range map[string]Class{
		"8.8.8.8": ClassPublic, "2606:4700::1": ClassPublic, "61.187.64.7": ClassPublic,
		"10.0.0.1": ClassPrivate, "172.31.255.255": ClassPrivate, "172.32.0.0": ClassPublic,
		"192.168.1.1": ClassPrivate, "fd00::1": ClassPrivate, "::ffff:10.0.0.1": ClassPrivate,
		"127.61.187.2": ClassLoopback, "::1": ClassLoopback, "::ffff:127.0.0.1": ClassLoopback,
		"169.254.169.254": ClassLinkLocal, "fe80::1": ClassLinkLocal, "fe80::1%eth0": ClassLinkLocal,
		"100.63.255.255": ClassPublic, "100.64.0.0": ClassCGNAT, "100.127.255.255": ClassCGNAT, "100.128.0.0": ClassPublic,
		"192.0.2.1": ClassDocumentation, "198.51.100.7": ClassDocumentation, "203.0.113.255": ClassDocumentation,
		"2001:db8::1": ClassDocumentation, "3fff:fff::1": ClassDocumentation,
		"0.0.0.0": ClassOther, "::": ClassOther, "224.0.0.1": ClassOther, "ff02::1": ClassOther,
		"255.255.255.255": ClassOther, "198.18.0.1": ClassOther,
	} {
		if got := Classify(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is %s, want %s", addr, got, want)
		}
	}
	for first := range 256 { // the short cut leaves nothing out
		for _, rest := range [][3]byte{{0, 0, 1}, {64, 0, 1}, {16, 0, 1}, {18, 0, 1}, {51, 100, 1}, {168, 0, 1}, {254, 0, 1}, {0, 113, 1}, {0, 2, 1}} {
			a := netip.AddrFrom4([4]byte{byte(first), rest[0], rest[1], rest[2]})
			special := a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.IsUnspecified()
			for _, s := range specials {
				special = special || s.prefix.Contains(a)
			}
			if got := Classify(a); (got != ClassPublic) != special {
				t.Errorf("%s is %s", a, got)
			}
		}
	}
	if got := Classify(netip.Addr{}); got != ClassOther {
		t.Errorf("an invalid address is %s", got)
	}
}

func TestParseTrust(t *testing.T) {
	for in, want := range map[string]Trust{"": TrustFallback, "never": TrustNever, "fallback": TrustFallback, "always": TrustAlways} {
		if got, err := ParseTrust(in); got != want || err != nil {
			t.Errorf("%q: %v, %v", in, got, err)
		}
	}
	if _, err := ParseTrust("sometimes"); err == nil || !strings.Contains(err.Error(), "never, fallback or always") {
		t.Errorf("error is %v", err)
	}
}
