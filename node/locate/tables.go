package locate

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
	"sync"
)

// Magic words that begin the tables, before compression.
const (
	WorldMagic    = "PPW1" // which IPv4 address is in which city or country
	ChinaMagic    = "PPC1" // the same for mainland China, finer and from another source
	NetworksMagic = "PPN1" // which address belongs to which network
)

// Values of the tables of places. A place below countryBit is a row of the table of cities, above it a country.
const (
	countryBit = 1 << 15
	nowhere    = countryBit - 1
)

// worldTable begins with its countries (count, codes) and its places (count; of each 0 for nowhere, 1 + twice a row
// of the table of cities, or 2 + twice a country), then has the ranges of /24 networks.
type worldTable struct {
	countries []string
	at        *ranges4[uint8, uint16]
}

func readWorld(b []byte) (*worldTable, error) {
	r, err := begin(b, WorldMagic)
	if err != nil {
		return nil, err
	}
	t := &worldTable{}
	for range r.count(maxCountries) {
		t.countries = append(t.countries, string(r.bytes()))
	}
	places := r.places(len(t.countries))
	t.at = read4[uint8](r, 8, len(places), func(v uint32) uint16 { return places[v] })
	return t, r.end()
}

// chinaTable is of single addresses. Most of the world is not in it, and is done with after one bit.
type chinaTable struct {
	ranges4[uint16, uint16]
	some [halves / 64]uint64 // of each high half, whether any of it is in the table
}

// find gives the row of the table of cities, or nowhere.
func (t *chinaTable) find(addr uint32) uint16 {
	if high := addr >> 16; t.some[high/64]>>(high%64)&1 == 0 {
		return nowhere
	}
	return t.ranges4.find(addr)
}

// readChina reads a table like worldTable's, without countries and of single addresses.
func readChina(b []byte) (*chinaTable, error) {
	r, err := begin(b, ChinaMagic)
	if err != nil {
		return nil, err
	}
	places := r.places(0)
	t := &chinaTable{ranges4: *read4[uint16](r, 0, len(places), func(v uint32) uint16 { return places[v] })}
	for high := range halves {
		for i := t.first[high]; i < t.first[high+1]; i++ {
			if t.value[i] != nowhere {
				t.some[high/64] |= 1 << (high % 64)
			}
		}
	}
	return t, r.end()
}

// places reads what the values of a table mean.
func (r *reader) places(countries int) []uint16 {
	out := make([]uint16, r.count(2*countryBit))
	for i := range out {
		switch v := r.uint(); {
		case v == 0:
			out[i] = nowhere
		case v&1 == 1 && v/2 < nowhere:
			out[i] = uint16(v / 2)
		case v&1 == 0 && v/2-1 < uint64(countries):
			out[i] = uint16(v/2-1) | countryBit
		default:
			r.fail()
		}
	}
	return out
}

// networksTable begins with the networks (count; of each its number and its name; the first is none), then has the
// ranges of IPv4 addresses and of IPv6 /64 networks.
type networksTable struct {
	numbers []uint32
	names   string
	ends    []uint32
	v4      *ranges4[uint16, uint32]
	v6      *ranges6
}

func readNetworks(b []byte) (*networksTable, error) {
	r, err := begin(b, NetworksMagic)
	if err != nil {
		return nil, err
	}
	n := r.count(maxNames)
	t := &networksTable{numbers: make([]uint32, n), ends: make([]uint32, n)}
	for i := range n {
		t.numbers[i] = uint32(r.uint())
	}
	var names strings.Builder
	names.Grow(len(r.b) / 2)
	for i := range n {
		names.Write(r.bytes())
		t.ends[i] = uint32(names.Len())
	}
	t.names = strings.Clone(names.String())
	t.v4 = read4[uint16](r, 0, n, func(v uint32) uint32 { return v })
	t.v6 = read6(r, n)
	return t, r.end()
}

func (t *networksTable) network(i uint32) Network {
	from := uint32(0)
	if i > 0 {
		from = t.ends[i-1]
	}
	return Network{t.numbers[i], t.names[from:t.ends[i]]}
}

func begin(b []byte, magic string) (*reader, error) {
	if !strings.HasPrefix(string(b[:min(len(b), len(magic))]), magic) {
		return nil, fmt.Errorf("%w: it does not begin with %s", errTable, magic)
	}
	return &reader{b: b[len(magic):]}, nil
}

func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.fail()
	}
	return r.err
}

// Network is an autonomous system: who announces an address to the internet.
type Network struct {
	Number uint32 // 0: not known
	Name   string
}

// String is "AS4134 CHINANET-BACKBONE"; empty where none is known.
func (n Network) String() string {
	if n.Number == 0 {
		return ""
	}
	return strings.TrimSpace(fmt.Sprintf("AS%d %s", n.Number, n.Name))
}

// The embedded tables, each taken apart when it is first asked for; nil where the program was built without.
var (
	world    = sync.OnceValue(func() *worldTable { return embedded("world", worldFile, readWorld) })
	china    = sync.OnceValue(func() *chinaTable { return embedded("china", chinaFile, readChina) })
	networks = sync.OnceValue(func() *networksTable { return embedded("networks", networksFile, readNetworks) })
)

// Tables names the embedded tables of this program. It loads none.
func Tables() []string {
	var out []string
	for _, t := range []struct {
		name string
		file []byte
	}{{"cities", citiesFile}, {"world", worldFile}, {"china", chinaFile}, {"networks", networksFile}} {
		if len(t.file) > 0 {
			out = append(out, t.name)
		}
	}
	return out
}

func embedded[T any](name string, packed []byte, read func([]byte) (*T, error)) *T {
	if len(packed) == 0 {
		return nil
	}
	return must(name, packed, read)
}

// Sources of the tables of places.
type layer uint8

const (
	layerNone layer = iota
	layerChina
	layerWorld
)

// placeOf asks the embedded tables for a public IPv4 address: a row of the table of cities (nowhere if there is
// none), the country if it is known, and which table said so. It allocates nothing.
func placeOf(addr netip.Addr) (city int, country string, from layer) {
	if !addr.Is4() {
		return nowhere, "", layerNone
	}
	a := addr.As4()
	n := binary.BigEndian.Uint32(a[:])
	if t := china(); t != nil {
		if v := t.find(n); v != nowhere {
			return int(v), "CN", layerChina
		}
	}
	t := world()
	if t == nil {
		return nowhere, "", layerNone
	}
	switch v := t.at.find(n); {
	case v == nowhere:
		return nowhere, "", layerNone
	case v&countryBit != 0:
		return nowhere, t.countries[v&^countryBit], layerWorld
	default:
		g := cities()
		return int(v), g.countries[g.rows[v].country], layerWorld
	}
}

// NetworkOf is the network that announces a public address, by the embedded table. It allocates nothing.
func NetworkOf(addr netip.Addr) Network {
	addr = addr.Unmap().WithZone("")
	if Classify(addr) != ClassPublic {
		return Network{}
	}
	t := networks()
	if t == nil {
		return Network{}
	}
	if addr.Is4() {
		a := addr.As4()
		return t.network(t.v4.find(binary.BigEndian.Uint32(a[:])))
	}
	a := addr.As16()
	return t.network(t.v6.find(binary.BigEndian.Uint64(a[:8])))
}
