package locate

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/oschwald/maxminddb-golang/v2"
)

// ErrGeoIP is the cause of every refusal of an MMDB file.
var ErrGeoIP = errors.New("bad MMDB file")

const (
	// MaxGeoIPBytes bounds an MMDB file: the largest that are sold have below a gigabyte.
	MaxGeoIPBytes = 2 << 30
	// probed is how many networks of a file are read to see that it tells places at all, and walked at most how
	// many are passed for that: a damaged file may have none, and no end.
	probed, walked = 1000, 200_000
)

// GeoIP is an MMDB file of the operator: GeoLite2 and GeoIP2 (nested), DB-IP's, or flat ones like
// ip-location-db's. It is held in memory and never changed, so any number of goroutines may ask it.
type GeoIP struct {
	db   *maxminddb.Reader
	kind string // what the file says that it is
}

// OpenGeoIP reads a file, and checks that it has cities or countries. Errors wrap ErrGeoIP.
func OpenGeoIP(path string) (*GeoIP, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("locate: open the MMDB file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > MaxGeoIPBytes {
		return nil, fmt.Errorf("%w: %s is not a file of at most %d MiB", ErrGeoIP, path, MaxGeoIPBytes>>20)
	}
	b, err := os.ReadFile(path) // not mapped: whoever overwrites the file would end the process
	if err != nil {
		return nil, fmt.Errorf("locate: read the MMDB file: %w", err)
	}
	g, err := ParseGeoIP(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return g, nil
}

// ParseGeoIP is OpenGeoIP of a file's bytes, which must not change afterwards.
func ParseGeoIP(b []byte) (g *GeoIP, err error) {
	defer recovered(&err)
	db, err := maxminddb.OpenBytes(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: it is damaged, cut off, or something else; fetch it again", ErrGeoIP, err)
	}
	g = &GeoIP{db: db, kind: db.Metadata.DatabaseType}
	n, passed, useful := 0, 0, 0
	for r := range db.Networks(maxminddb.IncludeNetworksWithoutData()) {
		if passed++; n == probed || passed > walked {
			break
		}
		if r.Err() == nil && !r.Found() {
			continue
		}
		n++
		var v any
		if err := r.Decode(&v); err != nil {
			return nil, fmt.Errorf("%w: %w: it is damaged; fetch it again", ErrGeoIP, err)
		}
		if s := sightOf(v); s.country != "" || s.city != "" || s.has {
			useful++
		}
	}
	if useful == 0 {
		return nil, fmt.Errorf("%w: it is of the type %.60q and tells no cities and no countries: give a city file", ErrGeoIP, g.kind)
	}
	return g, nil
}

// recovered makes an error of a panic: the file is somebody else's, and the reader of it too.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: reading it failed: %v", ErrGeoIP, p)
	}
}

// sight is what a record of a file says, as far as it says it.
type sight struct {
	city, country string
	at            Coordinates
	has           bool // at is known
}

// lookup asks the file. A record that cannot be read is an error, and none is not.
func (g *GeoIP) lookup(addr netip.Addr) (s sight, prefix netip.Prefix, err error) {
	defer recovered(&err)
	r := g.db.Lookup(addr)
	if !r.Found() {
		return sight{}, netip.Prefix{}, r.Err()
	}
	var v any
	if err := r.Decode(&v); err != nil {
		return sight{}, netip.Prefix{}, err
	}
	return sightOf(v), r.Prefix(), nil
}

// sightOf reads a record of any of the three schemas:
//
//	nested: {city: {names: {en}}, country: {iso_code}, location: {latitude, longitude}} (MaxMind, DB-IP Lite)
//	DB-IP:  {city, countryCode or country, latitude, longitude}, some with names for the city
//	flat:   {city, country_code, latitude, longitude}, numbers as texts in some
func sightOf(v any) (s sight) {
	m, ok := v.(map[string]any)
	if !ok {
		return s
	}
	s.city = strings.TrimSpace(nameIn(m["city"]))
	for _, k := range []string{"country_code", "countryCode", "country", "registered_country"} {
		if c := strings.ToUpper(codeIn(m[k])); len(c) == 2 {
			s.country = c
			break
		}
	}
	at := m
	if l, ok := m["location"].(map[string]any); ok {
		at = l
	}
	lat, ok1 := degreesIn(at, 90, "latitude", "lat")
	lon, ok2 := degreesIn(at, 180, "longitude", "lon", "lng")
	s.at, s.has = Coordinates{lat, lon}, ok1 && ok2
	return s
}

func nameIn(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		if names, ok := v["names"].(map[string]any); ok {
			return nameIn(names["en"])
		}
		return nameIn(v["name"])
	}
	return ""
}

func codeIn(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any:
		for _, k := range []string{"iso_code", "code"} {
			if s, ok := v[k].(string); ok {
				return s
			}
		}
	}
	return ""
}

func degreesIn(m map[string]any, most float64, keys ...string) (float64, bool) {
	for _, k := range keys {
		var f float64
		switch v := m[k].(type) {
		case float64:
			f = v
		case float32:
			f = float64(v)
		case string:
			var err error
			if f, err = strconv.ParseFloat(strings.TrimSpace(v), 64); err != nil {
				continue
			}
		default:
			continue
		}
		return f, f >= -most && f <= most // NaN is neither
	}
	return 0, false
}

// How far the city of a record may be from one of the table.
const (
	snapKm      = 50.0
	snapChinaKm = 100.0 // prefectures are large, and there is none beside them
)

// snap finds the city of the table that stands for a record: the most populous of the country within 50 km; in
// China the prefecture of that name, else the nearest. A record without a city is the centre of a country or
// of a division, and stands for nothing.
func (s sight) snap(g *gazetteer) (row int, ok bool) {
	if g == nil || s.city == "" {
		return 0, false
	}
	named := -1
	name, _, _ := strings.Cut(s.city, "(") // "Jinrongjie (Xicheng District)"
	if from, to := g.find(Fold(name)); CheckName(name) == nil {
		for i := from; i < to && named < 0; i++ {
			r := &g.rows[g.cities[i]]
			far := s.has && Km(s.at, r.at()) > snapChinaKm
			if g.countries[r.country] == s.country && g.kinds[i] != NameIATA && !far {
				named = int(g.cities[i])
			}
		}
	}
	if !s.has || s.country == "CN" && named >= 0 {
		return named, named >= 0
	}
	if s.country == "CN" {
		row = g.within(s.at, "CN", snapChinaKm, func(_, _ int, km, thanKm float64) bool { return km < thanKm })
		return row, row >= 0
	}
	row = g.within(s.at, s.country, snapKm, func(i, than int, _, _ float64) bool { return g.rows[i].people > g.rows[than].people })
	return row, row >= 0 && s.country != ""
}
