package locate

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseMap(t *testing.T) {
	m, err := ParseMap(strings.NewReader("\ufeff# networks of the lab\r\n" +
		"10.0.0.0/8       Changsha\r\n" +
		"\t10.1.0.0/16  wuhan   # the second hall\n" +
		"10.1.2.0/24 lab-a 28.2,112.97\n" +
		"10.1.2.3  São Paulo -23.55,-46.63\n" +
		"10.255.255.255 武汉市\n" +
		"2001:db8::/32 wuhan\n" +
		"2001:db8:1::/48 長沙\n" +
		"::ffff:192.168.0.0/112 lab b\n" +
		"255.255.255.255/32 edge\n" +
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128 edge\n" +
		"10.0.0.0/8 长沙\n")) // the same again is no error
	if err != nil {
		t.Fatal(err)
	}
	if m.Len() != 10 {
		t.Errorf("%d rows, want 10", m.Len())
	}
	for addr, want := range map[string]string{
		"10.0.0.0": "changsha 10.0.0.0/8", "10.0.255.255": "changsha 10.0.0.0/8",
		"10.1.0.0": "wuhan 10.1.0.0/16", "10.1.1.255": "wuhan 10.1.0.0/16",
		"10.1.2.0": "lab-a 10.1.2.0/24", "10.1.2.2": "lab-a 10.1.2.0/24",
		"10.1.2.3": "sao-paulo 10.1.2.3/32", "10.1.2.4": "lab-a 10.1.2.0/24",
		"10.1.2.255": "lab-a 10.1.2.0/24", "10.1.3.0": "wuhan 10.1.0.0/16",
		"10.1.255.255": "wuhan 10.1.0.0/16", "10.2.0.0": "changsha 10.0.0.0/8",
		"10.255.255.254": "changsha 10.0.0.0/8", "10.255.255.255": "wuhan 10.255.255.255/32",
		"::ffff:10.1.2.3": "sao-paulo 10.1.2.3/32",
		"192.168.9.9":     "lab-b 192.168.0.0/16",
		"255.255.255.255": "edge 255.255.255.255/32",
		"2001:db8::1":     "wuhan 2001:db8::/32", "2001:db8:1::9": "changsha 2001:db8:1::/48",
		"2001:db8:2::": "wuhan 2001:db8::/32",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "edge ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff/128",
		"9.255.255.255": "", "11.0.0.0": "", "2001:db7:ffff::": "", "2001:db9::": "", "255.255.255.254": "",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe": "",
	} {
		row, ok := m.Lookup(netip.MustParseAddr(addr))
		got := ""
		if ok {
			got = row.City + " " + row.Prefix.String()
		}
		if got != want {
			t.Errorf("%s: %q, want %q", addr, got, want)
		}
	}
	if row, _ := m.Lookup(netip.MustParseAddr("10.1.2.3")); row.At == nil || *row.At != (Coordinates{-23.55, -46.63}) {
		t.Errorf("coordinates are %v", row.At)
	}
	if row, _ := m.Lookup(netip.MustParseAddr("10.1.0.1")); row.At != nil {
		t.Errorf("coordinates out of nothing: %v", row.At)
	}
}

// An IPv6 default route is not one for IPv4.
func TestFamiliesAreApart(t *testing.T) {
	m, err := ParseMap(strings.NewReader("::/0 six\n"))
	if err != nil {
		t.Fatal(err)
	}
	if row, ok := m.Lookup(netip.MustParseAddr("1.2.3.4")); ok {
		t.Errorf("1.2.3.4 is in %s", row.City)
	}
	if row, ok := m.Lookup(netip.MustParseAddr("2::")); !ok || row.City != "six" {
		t.Errorf("2:: is in %v", row)
	}
	if m, err = ParseMap(strings.NewReader("0.0.0.0/0 four\n128.0.0.0/1 half")); err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[string]string{"0.0.0.0": "four", "127.255.255.255": "four", "128.0.0.0": "half", "255.255.255.255": "half"} {
		if row, ok := m.Lookup(netip.MustParseAddr(addr)); !ok || row.City != want {
			t.Errorf("%s is in %v", addr, row)
		}
	}
	if _, ok := m.Lookup(netip.MustParseAddr("::")); ok {
		t.Error("an IPv4 default route answers for IPv6")
	}
}

func TestParseMapErrors(t *testing.T) {
	long := "# " + strings.Repeat("x", maxMapLine)
	for text, want := range map[string]string{
		"10.0.0.0/8 a\n10.0.0.0/33 b":          "line 2: \"10.0.0.0/33\" is not a network",
		"\n\n10.0.0/8 a":                       "line 3:",
		"10.0.0.0/8":                           "line 1: 10.0.0.0/8 has no city",
		"10.0.0.0/8  # nothing":                "line 1: 10.0.0.0/8 has no city",
		"10.0.0.0/8 28.2,112.97":               "line 1: not the name of a city",
		"10.0.0.0/8 ???":                       "line 1: not the name of a city",
		"10.0.0.0/8 unknown":                   "reserved",
		"10.0.0.0/8 a 91,0":                    "line 1: \"91,0\" is not \"lat,lon\"",
		"10.0.0.0/8 a 0,181":                   "lat,lon",
		"10.0.0.0/8 a NaN,0":                   "lat,lon",
		"10.0.0.0/8 a 1,":                      "lat,lon",
		"10.0.0.0/8 a 1,2,3":                   "lat,lon",
		"10.1.2.3/8 a":                         "is 10.0.0.0/8 meant",
		"10.0.0.0/8 a\n\n10.0.0.0/8 b":         "line 3: 10.0.0.0/8 was given to a in line 1, and to b here",
		"10.0.0.0/8 a 1,2\n10.0.0.0/8 a 3,4":   "line 2:",
		"fe80::1%eth0 a":                       "line 1:",
		"wuhan 10.0.0.0/8":                     "line 1:",
		"10.0.0.0/8 \xff":                      "line 1: not UTF-8",
		"::ffff:0.0.0.0/90 a":                  "IPv4-mapped",
		"10.0.0.0/8 a\n" + long:                "line 2: longer than",
		strings.Repeat("bad line here\n", 100): "stopped there",
	} {
		m, err := ParseMap(strings.NewReader(text))
		if err == nil {
			t.Errorf("%.40q gives a map of %d rows", text, m.Len())
			continue
		}
		if !errors.Is(err, ErrMap) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q in it", text, err, want)
		}
		if n := strings.Count(err.Error(), "line "); n > maxMapErrors*3 {
			t.Errorf("the error names %d lines", n)
		}
	}
}

// repeat reads one line for ever.
type repeat struct {
	line []byte
	off  int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.line[r.off:])
	r.off = (r.off + n) % len(r.line)
	return n, nil
}

func TestParseMapIsBounded(t *testing.T) {
	line := append(bytes.Repeat([]byte{'#'}, maxMapLine-2), '\n')
	_, err := ParseMap(&repeat{line: line})
	if !errors.Is(err, ErrMap) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("an endless map: %v", err)
	}
}

func TestMillionLines(t *testing.T) {
	var b bytes.Buffer
	for i := range 1 << 20 {
		fmt.Fprintf(&b, "%d.%d.%d.0/24 city-%d\n", 1+i>>16, i>>8&255, i&255, i%100)
	}
	m, err := ParseMap(&b)
	if err != nil {
		t.Fatal(err)
	}
	if m.Len() != 1<<20 {
		t.Fatalf("%d rows", m.Len())
	}
	for _, i := range []int{0, 1, 255, 256, 65535, 65536, 1<<20 - 1} {
		addr := netip.AddrFrom4([4]byte{byte(1 + i>>16), byte(i >> 8), byte(i), 77})
		if row, ok := m.Lookup(addr); !ok || row.City != fmt.Sprintf("city-%d", i%100) {
			t.Errorf("row %d: %v %v", i, row, ok)
		}
	}
}

// The flattened table agrees with the plain definition: of all prefixes that
// contain an address the longest.
func TestLongestPrefixAgainstDefinition(t *testing.T) {
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 1))
		var text strings.Builder
		rows := map[netip.Prefix]string{}
		for range 1 + rng.IntN(60) {
			// few different bits, so that prefixes nest and touch
			var p netip.Prefix
			if rng.IntN(2) == 0 {
				a := netip.AddrFrom4([4]byte{byte(rng.IntN(2)) * 255, byte(rng.IntN(3)) * 127, 0, byte(rng.IntN(4))})
				p = netip.PrefixFrom(a, rng.IntN(33)).Masked()
			} else {
				var raw [16]byte
				raw[0], raw[7], raw[8], raw[15] = byte(rng.IntN(2))*255, byte(rng.IntN(3)), byte(rng.IntN(3)), byte(rng.IntN(4))
				p = netip.PrefixFrom(netip.AddrFrom16(raw), rng.IntN(129)).Masked()
			}
			if _, twice := rows[p]; twice {
				continue
			}
			city := fmt.Sprintf("c%d", rng.IntN(4))
			rows[p] = city
			fmt.Fprintf(&text, "%s %s\n", p, city)
		}
		m, err := ParseMap(strings.NewReader(text.String()))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		probe := func(a netip.Addr) {
			a = a.Unmap()
			var best netip.Prefix
			found := false
			for p := range rows {
				if p.Contains(a) && (!found || p.Bits() > best.Bits()) {
					best, found = p, true
				}
			}
			row, ok := m.Lookup(a)
			if ok != found || ok && (row.Prefix != best || row.City != rows[best]) {
				t.Fatalf("seed %d: %s is %v %v, want %v %s\n%s", seed, a, row, ok, best, rows[best], text.String())
			}
		}
		for p := range rows {
			first := p.Addr()
			raw := first.AsSlice()
			for bit := p.Bits(); bit < first.BitLen(); bit++ {
				raw[bit/8] |= 0x80 >> (bit % 8)
			}
			last, _ := netip.AddrFromSlice(raw)
			for _, a := range []netip.Addr{first, first.Prev(), last, last.Next()} {
				if a.IsValid() {
					probe(a)
				}
			}
		}
	}
}

func TestLoadMap(t *testing.T) {
	path := filepath.Join(t.TempDir(), "networks.txt")
	if _, err := LoadMap(path); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("missing file: %v", err)
	}
	if err := os.WriteFile(path, []byte("10.0.0.0/8 changsha\noops\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadMap(path); !errors.Is(err, ErrMap) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("bad file: %v", err)
	}
	if err := os.WriteFile(path, []byte(DemoMap), 0o600); err != nil {
		t.Fatal(err)
	}
	if m, err := LoadMap(path); err != nil || m.Len() != 4 {
		t.Errorf("%d rows, %v", m.Len(), err)
	}
}

func BenchmarkLookup(b *testing.B) {
	m := demo(b)
	addr := netip.MustParseAddr("61.183.207.49")
	b.ReportAllocs()
	for b.Loop() {
		m.Lookup(addr)
	}
}

func FuzzParseMap(f *testing.F) {
	f.Add([]byte(DemoMap))
	f.Add([]byte("2001:db8::/32 武汉市 1,2 # x\n10.0.0.1 lab a\n"))
	f.Add([]byte("10.0.0.0/8\xff\n\n\n::ffff:1.2.3.4/120 a"))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := ParseMap(bytes.NewReader(text))
		if err != nil {
			if !errors.Is(err, ErrMap) {
				t.Fatalf("an error of another kind: %v", err)
			}
			return
		}
		for _, tab := range []table{m.v4, m.v6} {
			if len(tab.starts) > 2*m.Len() {
				t.Fatalf("%d spans of %d rows", len(tab.starts), m.Len())
			}
			for i := 1; i < len(tab.starts); i++ {
				if tab.starts[i-1].compare(tab.starts[i]) >= 0 {
					t.Fatal("spans are out of order")
				}
			}
		}
		for _, p := range m.places {
			if again, err := City(p.city); err != nil || again != p.city {
				t.Fatalf("the city %q resolves to %q, %v", p.city, again, err)
			}
		}
	})
}
