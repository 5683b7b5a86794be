package main

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/oschwald/maxminddb-golang/v2"
	"github.com/peerprobe/peerprobe/node/locate"
)

// record is what DB-IP's file says of a network; the names are those of ip-location-db.
type record struct {
	City    string  `maxminddb:"city"`
	Country string  `maxminddb:"country_code"`
	Lat     float64 `maxminddb:"latitude"`
	Lon     float64 `maxminddb:"longitude"`
}

func (r record) at() locate.Coordinates { return locate.Coordinates{Lat: r.Lat, Lon: r.Lon} }

// block is a network with its record, which many share.
type block struct {
	from   uint32
	bits   int
	record int
}

func readDBIP(path string) (blocks []block, records []record, err error) {
	db, err := maxminddb.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer db.Close()
	index := make(map[uintptr]int)
	for n := range db.Networks() {
		i, ok := index[n.Offset()]
		if !ok {
			var r record
			if err := n.Decode(&r); err != nil {
				return nil, nil, fmt.Errorf("%s: %s: %w", path, n.Prefix(), err)
			}
			i = len(records)
			index[n.Offset()] = i
			records = append(records, r)
		}
		a := n.Prefix().Addr().As4()
		blocks = append(blocks, block{binary.BigEndian.Uint32(a[:]), n.Prefix().Bits(), i})
	}
	return blocks, records, nil
}

// snapper finds the city that stands for a point.
type snapper struct {
	all   []city
	grid  *grid
	towns []town
	china *grid          // of towns of China
	seat  map[string]int // row of the prefecture's city, by province and division
}

func newSnapper(all []city, towns []town) *snapper {
	s := &snapper{all: all, seat: make(map[string]int)}
	s.grid = newGrid(len(all), func(i int) (float64, float64) { return all[i].lat, all[i].lon })
	for i, c := range all {
		if c.country == "CN" {
			s.seat[c.admin1+c.admin2] = i
		}
	}
	for _, t := range towns {
		if _, ok := s.seat[t.admin1+t.admin2]; ok && t.country == "CN" {
			s.towns = append(s.towns, t)
		}
	}
	s.china = newGrid(len(s.towns), func(i int) (float64, float64) { return s.towns[i].lat, s.towns[i].lon })
	return s
}

// snap gives the row of the most populous city of the same country within 50 km; in China, of the city of the
// prefecture in which the nearest town is. Records without a city are centres of countries, and are in none.
func (s *snapper) snap(r record) (int, bool) {
	if r.City == "" {
		return 0, false
	}
	best, bestKm := -1, math.Inf(1)
	if r.Country == "CN" {
		s.china.near(r.Lat, r.Lon, aroundKm, func(i int) {
			t := s.towns[i]
			if km := locate.Km(r.at(), locate.Coordinates{Lat: t.lat, Lon: t.lon}); km < bestKm && km <= aroundKm {
				best, bestKm = s.seat[t.admin1+t.admin2], km
			}
		})
		return best, best >= 0
	}
	s.grid.near(r.Lat, r.Lon, aroundKm, func(i int) {
		c := s.all[i]
		if c.country == r.Country && (best < 0 || c.people > s.all[best].people) && locate.Km(r.at(), c.at()) <= aroundKm {
			best = i
		}
	})
	return best, best >= 0
}

const nets24 = 1 << 24

// Values while the table of the world is made: 0 is nowhere, odd ones are cities, even ones countries.
func cityValue(i int) uint64    { return 1 + 2*uint64(i) }
func countryValue(i int) uint64 { return 2 + 2*uint64(i) }

// worldRuns gives each /24 network the city, or else the country, of most of its addresses.
func worldRuns(blocks []block, records []record, s *snapper) (*runs, []string) {
	var countries []string
	for _, r := range records {
		if r.Country != "" {
			countries = append(countries, r.Country)
		}
	}
	slices.Sort(countries)
	countries = slices.Compact(countries)
	values := make([]uint64, len(records))
	for i, r := range records {
		if c, ok := s.snap(r); ok {
			values[i] = cityValue(c)
		} else if k, ok := slices.BinarySearch(countries, r.Country); ok {
			values[i] = countryValue(k)
		}
	}
	type share struct{ value, addresses uint64 }
	nets := make([]uint64, nets24)
	parts := make(map[uint32][]share)
	for _, b := range blocks {
		if b.bits <= 24 {
			for n := range uint32(1) << (24 - b.bits) {
				nets[b.from>>8+n] = values[b.record]
			}
			continue
		}
		list := parts[b.from>>8]
		i := slices.IndexFunc(list, func(s share) bool { return s.value == values[b.record] })
		if i < 0 {
			i, list = len(list), append(list, share{value: values[b.record]})
		}
		list[i].addresses += 1 << (32 - b.bits)
		parts[b.from>>8] = list
	}
	for n, list := range parts {
		nets[n] = slices.MaxFunc(list, func(a, b share) int {
			return cmp.Or(cmp.Compare(a.addresses, b.addresses), cmp.Compare(b.value, a.value))
		}).value
	}
	var out runs
	for n, v := range nets {
		out.add(uint64(n), v)
	}
	return &out, countries
}

func encodeWorld(r *runs, countries []string) ([]byte, error) {
	var w buffer
	w.b = append(w.b, locate.WorldMagic...)
	w.uint(uint64(len(countries)))
	for _, c := range countries {
		w.text(c)
	}
	r.encodePlaces(&w, nets24-1)
	return pack(w.b)
}

func (r *runs) encodePlaces(w *buffer, last uint64) {
	r.number(nil)
	w.uint(uint64(len(r.order)))
	for _, v := range r.order {
		w.uint(v)
	}
	r.write(w, last)
}

// chinaRuns are the ranges of ip2region, with nothing between them.
func chinaRuns(spans []span4, all []city, china []prefecture) *runs {
	row := make(map[uint32]int)
	for i, c := range all {
		row[c.id] = i
	}
	value := make(map[[2]string]uint64)
	for _, p := range china {
		value[[2]string{p.province, p.chinese}] = cityValue(row[p.id])
	}
	var out runs
	next := uint64(0)
	for _, s := range spans {
		if uint64(s.from) > next {
			out.add(next, 0)
		}
		out.add(uint64(s.from), value[[2]string{s.province, s.city}])
		next = uint64(s.to) + 1
	}
	out.add(next, 0)
	return &out
}

func encodeChina(r *runs) ([]byte, error) {
	var w buffer
	w.b = append(w.b, locate.ChinaMagic...)
	r.encodePlaces(&w, math.MaxUint32)
	return pack(w.b)
}
