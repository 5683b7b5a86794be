package locate

import (
	"encoding/binary"
	"errors"
	"math"
	"sort"
	"strings"
)

// The embedded table of cities. Its file is one zstd frame; in it, integers are uvarints (coordinates: signed)
// and texts have their length before them:
//
//	"PPG1"
//	countries: count, then of each its code and how many rows it has
//	regions: count, then their names; the first is empty
//	columns, each of all rows: GeoNames id, latitude, longitude (both in 1/10,000 degree), people, region,
//	slug, name, Chinese name
//	names: count, then of each how many bytes it shares with the one before, and the rest; then the kinds, a
//	byte each; then the rows
//
// Rows are ordered by country and, in it, by people, the most populous first. Names are folded and in order; of
// rows with one name the first is what the name means.

// GazetteerMagic begins the table, before compression.
const GazetteerMagic = "PPG1"

// Kinds of names, the strongest first: where several cities have a name, the kind decides, then the people.
const (
	NameSlug    = iota // the key itself
	NamePrimary        // the city's own name, in Latin letters or Chinese
	NameIATA           // code of an airport, or of the city
	NameAlias          // another name, in another language or from other times
	NameTown           // a town that belongs to the city's prefecture
)

var errTable = errors.New("the table is damaged")

// City is a place that can be a cluster. Coordinates and people are GeoNames'.
type Place struct {
	ID      uint32 // of GeoNames
	Slug    string // key of its cluster: "wuhan"
	Name    string // "Wuhan"
	Chinese string // "武汉"; "" where none is known
	Country string // ISO 3166-1 alpha-2: "CN"
	Region  string // province in China, state in the United States, else ""
	At      Coordinates
	People  int // 0 where GeoNames does not say
}

// gazetteer is the table in memory: a few slices, no pointer a row.
type gazetteer struct {
	countries []string
	regions   []string
	rows      []cityRow
	text      string   // slugs, names, Chinese names
	keys      string   // folded names, one after the other, in order
	ends      []uint32 // where each ends
	kinds     []uint8
	cities    []uint16 // row of each
}

type cityRow struct {
	id, people      uint32
	lat, lon        int32 // 1/10,000 degree
	slug, name, zh  uint32
	slugN, nameN    uint8
	zhN             uint8
	country, region uint8
}

const gridScale = 1e4

func (g *gazetteer) place(i int) Place {
	r := &g.rows[i]
	return Place{ID: r.id, Slug: g.text[r.slug:][:r.slugN], Name: g.text[r.name:][:r.nameN], Chinese: g.text[r.zh:][:r.zhN],
		Country: g.countries[r.country], Region: g.regions[r.region], At: r.at(), People: int(r.people)}
}

func (r *cityRow) at() Coordinates {
	return Coordinates{float64(r.lat) / gridScale, float64(r.lon) / gridScale}
}

func (g *gazetteer) slug(i int) string {
	r := &g.rows[i]
	return g.text[r.slug:][:r.slugN]
}

func (g *gazetteer) key(i int) string {
	from := uint32(0)
	if i > 0 {
		from = g.ends[i-1]
	}
	return g.keys[from:g.ends[i]]
}

// find gives the first and the last+1 name that equals a folded one.
func (g *gazetteer) find(folded string) (from, to int) {
	from = sort.Search(len(g.ends), func(i int) bool { return g.key(i) >= folded })
	for to = from; to < len(g.ends) && g.key(to) == folded; to++ {
	}
	return from, to
}

// nearest is the row of a country that wins by better among those within km; -1 if there is none. A country of
// "" is any.
func (g *gazetteer) within(at Coordinates, country string, km float64, better func(i, than int, iKm, thanKm float64) bool) int {
	best, bestKm := -1, 0.0
	span := km / 110
	for i := range g.rows {
		r := &g.rows[i]
		p := r.at()
		if math.Abs(p.Lat-at.Lat) > span || country != "" && g.countries[r.country] != country {
			continue
		}
		if d := Km(at, p); d <= km && (best < 0 || better(i, best, d, bestKm)) {
			best, bestKm = i, d
		}
	}
	return best
}

// reader takes a table apart. After the first error it gives zeros.
type reader struct {
	b   []byte
	err error
}

func (r *reader) uint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) int() int64 {
	v, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.uint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

// count reads how many of something follow, each of at least one byte.
func (r *reader) count(most int) int {
	n := r.uint()
	if n > uint64(most) || n > uint64(len(r.b)) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) fail() {
	if r.err == nil {
		r.err = errTable
	}
	r.b = nil
}

// Bounds of what a table may say.
const (
	maxCities    = 1 << 15 // half of an uint16: the other half are countries
	maxCountries = 255
	maxNames     = 1 << 20
)

func readGazetteer(b []byte) (*gazetteer, error) {
	r, err := begin(b, GazetteerMagic)
	if err != nil {
		return nil, err
	}
	g := &gazetteer{}
	for range r.count(maxCountries) {
		code, n := string(r.bytes()), r.count(maxCities)
		for range n {
			g.rows = append(g.rows, cityRow{country: uint8(len(g.countries))})
		}
		g.countries = append(g.countries, code)
	}
	for range r.count(maxCountries) {
		g.regions = append(g.regions, string(r.bytes()))
	}
	if len(g.rows) >= maxCities {
		r.fail()
	}
	g.readColumns(r)
	g.readNames(r)
	return g, r.end()
}

func (g *gazetteer) readColumns(r *reader) {
	for i := range g.rows {
		g.rows[i].id = uint32(r.uint())
	}
	for i := range g.rows {
		g.rows[i].lat = int32(r.int())
	}
	for i := range g.rows {
		g.rows[i].lon = int32(r.int())
	}
	for i := range g.rows {
		g.rows[i].people = uint32(r.uint())
	}
	for i := range g.rows {
		n := r.uint()
		if n >= uint64(len(g.regions)) {
			r.fail()
			return
		}
		g.rows[i].region = uint8(n)
	}
	var text strings.Builder
	column := func(set func(row *cityRow, off uint32, n uint8)) {
		for i := range g.rows {
			b := r.bytes()
			if len(b) > math.MaxUint8 {
				r.fail()
				return
			}
			set(&g.rows[i], uint32(text.Len()), uint8(len(b)))
			text.Write(b)
		}
	}
	column(func(row *cityRow, off uint32, n uint8) { row.slug, row.slugN = off, n })
	column(func(row *cityRow, off uint32, n uint8) { row.name, row.nameN = off, n })
	column(func(row *cityRow, off uint32, n uint8) { row.zh, row.zhN = off, n })
	g.text = text.String()
}

func (g *gazetteer) readNames(r *reader) {
	n := r.count(maxNames)
	g.ends = make([]uint32, n)
	var keys []byte
	last := 0
	for i := range n {
		same, rest := r.uint(), r.bytes()
		if same > uint64(len(keys)-last) || len(rest) > MaxName {
			r.fail()
			return
		}
		from := len(keys)
		keys = append(append(keys, keys[last:last+int(same)]...), rest...)
		last = from
		g.ends[i] = uint32(len(keys))
	}
	g.keys = string(keys)
	if len(r.b) < n {
		r.fail()
		return
	}
	g.kinds, r.b = append([]uint8{}, r.b[:n]...), r.b[n:]
	g.cities = make([]uint16, n)
	for i := range n {
		c := r.uint()
		if c >= uint64(len(g.rows)) {
			r.fail()
			return
		}
		g.cities[i] = uint16(c)
	}
}
