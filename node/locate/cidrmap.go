package locate

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	// MaxMapBytes bounds a map: a million lines of IPv6 prefixes with
	// coordinates fit.
	MaxMapBytes = 128 << 20
	// maxMapLine bounds one line: a prefix, a name of MaxName bytes, two
	// coordinates and a comment.
	maxMapLine = 4 << 10
	// maxMapErrors bounds how many bad lines one error names: enough to see
	// the pattern, few enough to read.
	maxMapErrors = 10
)

// ErrMap is the cause of every refusal of a map.
var ErrMap = errors.New("bad CIDR map")

// DemoMap is the built-in map of the demo: the paper's two networks
// (61.187.0.0/16 in Changsha, 61.183.0.0/16 in Wuhan), and the same two folded
// into loopback so that one host can play both cities.
const DemoMap = `# network           city
127.61.187.0/24    changsha  28.2,112.97
127.61.183.0/24    wuhan     30.58,114.27
61.187.0.0/16      changsha  28.2,112.97
61.183.0.0/16      wuhan     30.58,114.27
`

// Coordinates are degrees north and east.
type Coordinates struct{ Lat, Lon float64 }

// Row is one line of a map.
type Row struct {
	Prefix netip.Prefix
	City   string       // slug
	At     *Coordinates // nil where the line has none
}

// place is what rows of one city and position share.
type place struct {
	city string
	at   Coordinates
	has  bool
}

// Map is a CIDR map: the longest prefix that contains an address wins. It is
// never changed after parsing, so any number of goroutines may ask it. A nil
// Map has no rows.
type Map struct {
	v4, v6 table
	places []place
	names  map[string]place // by slug: of rows, and those named without a network
	rows   int
}

// Has tells whether the map names a city, with or without a network.
func (m *Map) Has(slug string) bool {
	if m == nil {
		return false
	}
	_, ok := m.names[slug]
	return ok
}

// Names are the slugs that the map has, sorted.
func (m *Map) Names() []string {
	if m == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(m.names))
}

// Len is the number of different prefixes.
func (m *Map) Len() int {
	if m == nil {
		return 0
	}
	return m.rows
}

// Lookup returns the row with the longest prefix that contains addr.
func (m *Map) Lookup(addr netip.Addr) (Row, bool) {
	if m == nil || !addr.IsValid() {
		return Row{}, false
	}
	addr = addr.Unmap().WithZone("")
	t := &m.v6
	if addr.Is4() {
		t = &m.v4
	}
	s, ok := t.find(keyOf(addr))
	if !ok {
		return Row{}, false
	}
	p := m.places[s.place]
	row := Row{City: p.city, Prefix: netip.PrefixFrom(addr, int(s.bits)).Masked()}
	if p.has {
		row.At = &Coordinates{p.at.Lat, p.at.Lon}
	}
	return row, true
}

// LoadMap reads a map from a file.
func LoadMap(path string) (*Map, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("locate: open the CIDR map: %w", err)
	}
	defer f.Close()
	m, err := ParseMap(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

// ParseMap reads a map: a prefix (or a single address, or "-" for none), the
// name of a city and optionally its coordinates as "lat,lon" a line; "#" starts
// a comment. A name that is no city's is a place of the operator's own; one
// without coordinates that is spelt almost like a city is an error. Errors wrap
// ErrMap and name the lines, at most the first ten. Every problem of the text is
// an error: a map that is half understood would misplace nodes for good.
func ParseMap(r io.Reader) (*Map, error) {
	p := mapParser{
		m:     &Map{names: make(map[string]place)},
		seen:  make(map[netip.Prefix]seenRow),
		ids:   make(map[place]uint32),
		names: make(map[string]string),
	}
	limited := &io.LimitedReader{R: r, N: MaxMapBytes + 1}
	sc := bufio.NewScanner(limited)
	sc.Buffer(make([]byte, 0, maxMapLine), maxMapLine)
	line := 0
	for sc.Scan() {
		line++
		text := sc.Text()
		if line == 1 {
			text = strings.TrimPrefix(text, "\ufeff") // some editors write a BOM
		}
		if err := p.line(line, text); err != nil {
			p.errs = append(p.errs, fmt.Errorf("line %d: %w", line, err))
			if len(p.errs) == maxMapErrors {
				p.errs = append(p.errs, errors.New("stopped there: more lines may be wrong"))
				break
			}
		}
	}
	switch err := sc.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		p.errs = append(p.errs, fmt.Errorf("line %d: longer than %d bytes", line+1, maxMapLine))
	case err != nil:
		p.errs = append(p.errs, fmt.Errorf("after line %d: %w", line, err))
	case limited.N <= 0:
		p.errs = append(p.errs, fmt.Errorf("the map is larger than %d MiB: split the networks by registry, or join prefixes", MaxMapBytes>>20))
	}
	if len(p.errs) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrMap, errors.Join(p.errs...))
	}
	p.m.v4, p.m.v6 = flatten(p.v4), flatten(p.v6)
	p.m.rows = len(p.seen)
	return p.m, nil
}

// mapParser is the state of one ParseMap.
type mapParser struct {
	m      *Map
	seen   map[netip.Prefix]seenRow
	ids    map[place]uint32
	names  map[string]string // as written -> slug: a map has few cities and many lines
	v4, v6 []entry
	errs   []error
}

type seenRow struct {
	place uint32
	line  int
}

func (p *mapParser) line(n int, text string) error {
	text, _, _ = strings.Cut(text, "#")
	fields := strings.Fields(text)
	if len(fields) == 0 {
		return nil
	}
	if !utf8.ValidString(text) {
		return errors.New("not UTF-8 text")
	}
	var prefix netip.Prefix
	var err error
	if fields[0] != nameOnly {
		if prefix, err = parsePrefix(fields[0]); err != nil {
			return err
		}
	}
	if len(fields) < 2 {
		return fmt.Errorf("%s has no city: write \"%s  changsha\"", fields[0], fields[0])
	}
	pl := place{}
	name := fields[1:]
	if last := name[len(name)-1]; strings.Contains(last, ",") {
		if pl.at, err = parseCoordinates(last); err != nil {
			return err
		}
		pl.has = true
		name = name[:len(name)-1]
	}
	if pl.city, err = p.city(strings.Join(name, " "), pl); err != nil {
		return err
	}
	if old := p.m.names[pl.city]; !old.has {
		p.m.names[pl.city] = pl
	}
	if fields[0] == nameOnly {
		return nil
	}
	id, ok := p.ids[pl]
	if !ok {
		id = uint32(len(p.m.places))
		p.ids[pl] = id
		p.m.places = append(p.m.places, pl)
	}
	if old, twice := p.seen[prefix]; twice {
		if old.place != id {
			return fmt.Errorf("%s was given to %s in line %d, and to %s here", prefix, p.m.places[old.place].city, old.line, pl.city)
		}
		return nil
	}
	p.seen[prefix] = seenRow{id, n}
	e := entry{from: keyOf(prefix.Addr()), bits: uint8(prefix.Bits()), place: id}
	if prefix.Addr().Is4() {
		e.to = e.from.last(32 - prefix.Bits())
		p.v4 = append(p.v4, e)
	} else {
		e.to = e.from.last(128 - prefix.Bits())
		p.v6 = append(p.v6, e)
	}
	return nil
}

// nameOnly stands where a line names a city without a network.
const nameOnly = "-"

// farFromCity is how far coordinates may be from the city that a name means; farther away it is another place.
const farFromCity = 200 // km

// city resolves a name of the map; the same text at the same place is resolved once.
func (p *mapParser) city(name string, at place) (string, error) {
	key := name
	if at.has {
		key = fmt.Sprintf("%s %v", name, at.at)
	}
	if slug, ok := p.names[key]; ok {
		return slug, nil
	}
	slug, err := City(name)
	if err != nil {
		return "", err
	}
	if IsUnknown(slug) {
		return "", fmt.Errorf("%w: %q is reserved for nodes that nothing places", ErrName, slug)
	}
	city, known := BySlug(slug)
	switch {
	case known && at.has && Km(city.At, at.at) > farFromCity:
		return "", fmt.Errorf("%w: %s is at %.2f,%.2f, %.0f km from there: give a place of your own another name",
			ErrName, slug, city.At.Lat, city.At.Lon, Km(city.At, at.at))
	case !known && !at.has:
		if hint := slipOf(slug); hint != "" {
			return "", fmt.Errorf("%w: no city is known as %.60q: did you mean %s? A place of your own needs its coordinates behind the name",
				ErrName, name, hint)
		}
	}
	p.names[strings.Clone(key)] = slug
	return slug, nil
}

// Of names up to shortName letters most are spelt almost like some town: only cities of bigCity people count then.
const (
	shortName = 4
	bigCity   = 1_000_000
)

// slipOf is the city that was meant by a name of the operator's making, if it looks like a slip of the pen: it is
// spelt almost like the city, begins like it, and has no parts as people give them to names of their own.
func slipOf(slug string) string {
	if label(slug) {
		return ""
	}
	for _, near := range Suggest(slug, 3) {
		if p, _ := BySlug(near); near[0] == slug[0] && (len(slug) > shortName || p.People >= bigCity) {
			return near
		}
	}
	return ""
}

// parsePrefix reads a prefix or an address, and unmaps it.
func parsePrefix(text string) (netip.Prefix, error) {
	if !strings.Contains(text, "/") {
		addr, err := netip.ParseAddr(text)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, fmt.Errorf("%.60q is neither a network like 10.1.0.0/16 nor an address", text)
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%.60q is not a network like 10.1.0.0/16", text)
	}
	if p.Addr().Is4In6() {
		if p.Bits() < 96 {
			return netip.Prefix{}, fmt.Errorf("%s mixes IPv4-mapped addresses with others: write the IPv4 network", p)
		}
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	if m := p.Masked(); m != p {
		return netip.Prefix{}, fmt.Errorf("%s has bits set behind its length: is %s meant?", p, m)
	}
	return p, nil
}

func parseCoordinates(text string) (Coordinates, error) {
	bad := fmt.Errorf("%.60q is not \"lat,lon\" in degrees, like 28.2,112.97", text)
	a, b, _ := strings.Cut(text, ",")
	lat, err := strconv.ParseFloat(a, 64)
	if err != nil || !(lat >= -90 && lat <= 90) {
		return Coordinates{}, bad
	}
	lon, err := strconv.ParseFloat(b, 64)
	if err != nil || !(lon >= -180 && lon <= 180) {
		return Coordinates{}, bad
	}
	return Coordinates{lat, lon}, nil
}
