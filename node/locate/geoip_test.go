package locate

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var yuelu = &Coordinates{28.23, 112.93}

// geoIPRows has a row of each schema, and rows that must not place anybody.
func geoIPRows() map[string]any {
	return map[string]any{
		"1.0.0.0/24": nested("Yuelu", "CN", yuelu),
		"1.0.1.0/24": nested("", "CN", &Coordinates{35, 105}), // the centre of China, and no city
		"1.0.2.0/24": record{"city": "Hongshan (Hongshan Qu)", "countryCode": "CN", "latitude": 30.5, "longitude": 114.4},
		"1.0.3.0/24": record{"city": "Wuhan", "country_code": "cn", "latitude": "30.58", "longitude": "114.27", "state1": "Hubei"},
		"1.0.4.0/24": record{"city": "Nowhere Station", "country_code": "AQ", "latitude": -75.1, "longitude": 123.3},
		"1.0.5.0/24": nested("Potsdam", "DE", &Coordinates{52.4, 13.06}),
		"1.0.6.0/24": nested("Wuhan", "CN", nil),
		"1.0.7.0/24": record{"city": "Changsha", "country_code": "CN", "latitude": 91.5, "longitude": 1000.0},
		"1.0.8.0/24": record{"country": record{"iso_code": "FR"}},
		"1.0.9.0/24": "a record of nothing",
	}
}

func TestGeoIPSchemas(t *testing.T) {
	want := map[string][2]string{ // address -> city by the table, country
		"1.0.0.7": {"changsha", "CN"}, "1.0.1.7": {"", "CN"}, "1.0.2.7": {"wuhan", "CN"}, "1.0.3.7": {"wuhan", "CN"},
		"1.0.4.7": {"", "AQ"}, "1.0.5.7": {"berlin", "DE"}, "1.0.6.7": {"wuhan", "CN"}, "1.0.7.7": {"changsha", "CN"},
		"1.0.8.7": {"", "FR"}, "1.0.9.7": {"", ""}, "9.9.9.9": {"", ""},
	}
	for _, version := range []int{4, 6} {
		g, err := ParseGeoIP(mmdbOf("Test-City", version, geoIPRows()))
		if err != nil {
			t.Fatal(err)
		}
		for addr, w := range want {
			s, prefix, err := g.lookup(netip.MustParseAddr(addr))
			if err != nil || s.country != w[1] {
				t.Errorf("IPv%d %s: %+v, %v", version, addr, s, err)
			}
			if w[1] != "" && !prefix.Contains(netip.MustParseAddr(addr)) {
				t.Errorf("IPv%d %s is in %s", version, addr, prefix)
			}
			if cities() == nil {
				continue
			}
			row, ok := s.snap(cities())
			if ok != (w[0] != "") || ok && cities().slug(row) != w[0] {
				t.Errorf("IPv%d %s: %v, want %q", version, addr, ok, w[0])
			}
		}
	}
}

// A file comes before the tables that are built in, and after the map.
func TestGeoIPInTheChain(t *testing.T) {
	g, err := ParseGeoIP(mmdbOf("Test-City", 4, map[string]any{"61.187.0.0/16": nested("Wuhan", "CN", &Coordinates{30.58, 114.27})}))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddr("61.187.64.7")
	a := Locator{GeoIP: g}.Locate(at, "")
	if cities() == nil {
		if a.City != "cn-unknown" || a.Country != "CN" {
			t.Errorf("without a table of cities: %+v", a)
		}
		return
	}
	if a.City != "wuhan" || a.Source != SourceGeoIP || a.Place() != "wuhan (geoip 61.187.0.0/16)" {
		t.Errorf("%+v", a)
	}
	if a = (Locator{GeoIP: g, Map: demo(t)}).Locate(at, ""); a.City != "changsha" || a.Source != SourceMap {
		t.Errorf("with a map: %+v", a)
	}
	if a = (Locator{GeoIP: g}).Locate(netip.MustParseAddr("10.0.0.1"), ""); a.Source != SourceNone {
		t.Errorf("a private address: %+v", a)
	}
}

func TestBadGeoIP(t *testing.T) {
	good := mmdbOf("Test-City", 4, geoIPRows())
	for name, b := range map[string][]byte{
		"empty": nil, "text": []byte("10.0.0.0/8 wuhan\n"), "cut off": good[:len(good)-20], "half": good[:len(good)/2],
		"networks": mmdbOf("GeoLite2-ASN", 4, map[string]any{"1.0.0.0/24": record{"autonomous_system_number": uint32(1)}}),
		"no rows":  mmdbOf("Test-City", 4, nil),
	} {
		if _, err := ParseGeoIP(b); !errors.Is(err, ErrGeoIP) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dir := t.TempDir()
	if _, err := OpenGeoIP(dir); !errors.Is(err, ErrGeoIP) {
		t.Errorf("a directory: %v", err)
	}
	if _, err := OpenGeoIP(filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	path := filepath.Join(dir, "asn.mmdb")
	if err := os.WriteFile(path, mmdbOf("GeoLite2-ASN", 4, map[string]any{"1.0.0.0/24": record{"x": "y"}}), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenGeoIP(path); err == nil || !strings.Contains(err.Error(), "GeoLite2-ASN") || !strings.Contains(err.Error(), path) {
		t.Errorf("the error does not say what it is: %v", err)
	}
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenGeoIP(path); err != nil {
		t.Error(err)
	}
}

func FuzzGeoIP(f *testing.F) {
	f.Add(mmdbOf("Test-City", 4, geoIPRows()))
	f.Add(mmdbOf("Test-City", 6, geoIPRows()))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGeoIP(b)
		if err != nil {
			if !errors.Is(err, ErrGeoIP) {
				t.Fatal(err)
			}
			return
		}
		for _, a := range []string{"1.0.0.7", "1.0.4.7", "255.255.255.255", "2001:db8::1", "::"} {
			s, _, err := g.lookup(netip.MustParseAddr(a))
			if err == nil && s.has && (Km(s.at, *yuelu) > 20100 || len(s.country) > 2) {
				t.Fatalf("%s: %+v", a, s)
			}
		}
	})
}
