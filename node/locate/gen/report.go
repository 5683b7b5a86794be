package main

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/peerprobe/peerprobe/node/locate"
)

// The comparison: so many countries, those with the most addresses, and so many random addresses of each.
const (
	countriesCompared = 20
	addressesCompared = 10_000
	seed              = 2026
	agreedKm          = 50.0
)

// space is the addresses of a country in DB-IP's file.
type space struct {
	blocks []int
	ends   []uint64 // addresses up to the end of each
}

// tally counts what became of the addresses of a country.
type tally struct{ agreed, far, none int }

// report compares the tables of this program with DB-IP's whole file, on random addresses, and writes a table. In
// a program with the table of China it adds what that does to China.
func report(ctx context.Context, c cache, to string) error {
	in, err := c.read(ctx)
	if err != nil {
		return err
	}
	china, err := prefectures(in.towns, in.spans)
	if err != nil {
		return err
	}
	all, err := choose(in.towns, china)
	if err != nil {
		return err
	}
	snap := newSnapper(all, in.towns)
	spaces := make(map[string]*space)
	for i, b := range in.blocks {
		r := in.records[b.record]
		if r.Country == "" || r.City == "" || locate.Classify(address(b.from)) != locate.ClassPublic {
			continue
		}
		s := spaces[r.Country]
		if s == nil {
			s = &space{}
			spaces[r.Country] = s
		}
		s.blocks = append(s.blocks, i)
		s.ends = append(s.ends, s.total()+1<<(32-b.bits))
	}
	if slices.Contains(locate.Tables(), "china") {
		t := spaces["CN"].compare("CN", in, snap)
		return add(to, fmt.Sprintf("\nWith the table of China in front, which is from another source (see docs/location.md for why it is):\n%-8s %12d %s\n",
			"CN", spaces["CN"].total(), t))
	}
	order := slices.SortedFunc(maps.Keys(spaces), func(a, b string) int {
		return cmp.Or(cmp.Compare(spaces[b].total(), spaces[a].total()), cmp.Compare(a, b))
	})
	var b strings.Builder
	fmt.Fprintf(&b, "Agreement of the embedded table of the world with %s@%s, IPv4.\n", inputDBIP.Package, inputDBIP.Version)
	fmt.Fprintf(&b, "%d random addresses of each of the %d countries with the most of them (seed %d). They agree where both name one\n", addressesCompared, countriesCompared, seed)
	fmt.Fprintf(&b, "city (in China: one prefecture), or places within %.0f km. Made by \"go generate ./node/locate\".\n\n", agreedKm)
	fmt.Fprintf(&b, "%-8s %12s %8s %10s %8s\n", "country", "addresses", "agree", "elsewhere", "no city")
	var sum tally
	for _, country := range order[:min(countriesCompared, len(order))] {
		t := spaces[country].compare(country, in, snap)
		fmt.Fprintf(&b, "%-8s %12d %s\n", country, spaces[country].total(), t)
		sum.agreed, sum.far, sum.none = sum.agreed+t.agreed, sum.far+t.far, sum.none+t.none
	}
	fmt.Fprintf(&b, "%-8s %12s %s\n", "all", "", sum)
	fmt.Print(b.String())
	return os.WriteFile(to, []byte(b.String()), 0o644)
}

func add(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("%w: make the report with -tags nocn first", err)
	}
	fmt.Print(text)
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (t tally) String() string {
	n := float64(t.agreed+t.far+t.none) / 100
	return fmt.Sprintf("%7.2f%% %9.2f%% %7.2f%%", float64(t.agreed)/n, float64(t.far)/n, float64(t.none)/n)
}

func (s *space) total() uint64 {
	if len(s.ends) == 0 {
		return 0
	}
	return s.ends[len(s.ends)-1]
}

func (s *space) compare(country string, in source, snap *snapper) (t tally) {
	rng := rand.New(rand.NewPCG(seed, uint64(country[0])<<8|uint64(country[1])))
	for range addressesCompared {
		at := rng.Uint64N(s.total())
		i := sort.Search(len(s.ends), func(i int) bool { return s.ends[i] > at })
		b := in.blocks[s.blocks[i]]
		r := in.records[b.record]
		slug, _ := locate.CityOf(address(b.from + uint32(s.ends[i]-1-at)))
		p, ok := locate.BySlug(slug)
		same := false
		if c, snapped := snap.snap(r); snapped {
			same = snap.all[c].slug == slug
		}
		switch {
		case !ok:
			t.none++
		case same || locate.Km(p.At, r.at()) <= agreedKm:
			t.agreed++
		default:
			t.far++
		}
	}
	return t
}

func address(n uint32) netip.Addr {
	var a [4]byte
	binary.BigEndian.PutUint32(a[:], n)
	return netip.AddrFrom4(a)
}
