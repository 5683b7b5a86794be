package main

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/peerprobe/peerprobe/node/locate"
)

// The formats are documented at their readers: node/locate/gazetteer.go and node/locate/ranges.go.

type buffer struct{ b []byte }

func (w *buffer) uint(v uint64)  { w.b = binary.AppendUvarint(w.b, v) }
func (w *buffer) int(v int64)    { w.b = binary.AppendVarint(w.b, v) }
func (w *buffer) text(s string)  { w.uint(uint64(len(s))); w.b = append(w.b, s...) }
func (w *buffer) bytes(b []byte) { w.uint(uint64(len(b))); w.b = append(w.b, b...) }

// pack compresses; the same input gives the same bytes with the same version of the compressor.
func pack(b []byte) ([]byte, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(8<<20))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.EncodeAll(b, nil), nil
}

// shortestAlias, in bytes: shorter ones are what people call their own places, "lab" or "hq". Chinese characters
// have three bytes each.
const shortestAlias = 4

// nameKey is a folded name of a city.
type nameKey struct {
	key  string
	kind byte // locate.Name...
	city int
}

// namesOf lists the keys of all cities, each once for a city, the winner of a key first.
func namesOf(all []city) []nameKey {
	best := make(map[string]map[int]byte)
	add := func(name string, kind byte, i int) {
		key := locate.Fold(name)
		if kind >= locate.NameAlias && len(key) < shortestAlias {
			return
		}
		if key == "" || len(key) > locate.MaxSlug || strings.ContainsFunc(key, func(r rune) bool { return r > 0x7f && !isHan(string(r)) }) {
			return
		}
		if best[key] == nil {
			best[key] = make(map[int]byte)
		}
		if old, ok := best[key][i]; !ok || kind < old {
			best[key][i] = kind
		}
	}
	for i, c := range all {
		add(c.slug, locate.NameSlug, i)
		add(c.name, locate.NamePrimary, i)
		add(c.ascii, locate.NamePrimary, i)
		if c.chinese != "" {
			add(c.chinese, locate.NamePrimary, i)
		}
		for _, n := range c.names {
			kind := byte(locate.NameAlias)
			if len(n) == 3 && strings.ToUpper(n) == n && n[0] < 0x80 {
				kind = locate.NameIATA
			}
			add(said(n), kind, i)
		}
		for _, n := range c.towns {
			add(said(n), locate.NameTown, i)
		}
	}
	var out []nameKey
	for key, cities := range best {
		for i, kind := range cities {
			out = append(out, nameKey{key, kind, i})
		}
	}
	slices.SortFunc(out, func(a, b nameKey) int {
		return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.kind, b.kind), cmp.Compare(abroad(a, all), abroad(b, all)),
			cmp.Compare(all[b.city].people, all[a.city].people), cmp.Compare(a.city, b.city))
	})
	return out
}

// abroad puts cities of China before those of Japan that are written with the same characters.
func abroad(k nameKey, all []city) int {
	if isHan(k.key) && all[k.city].country != "CN" {
		return 1
	}
	return 0
}

// encodeGazetteer writes the rows in their order: by country, the largest city first.
func encodeGazetteer(all []city) ([]byte, error) {
	var w buffer
	w.b = append(w.b, locate.GazetteerMagic...)
	var countries []string
	counts := make(map[string]int)
	regions := []string{""}
	for _, c := range all {
		if counts[c.country]++; counts[c.country] == 1 {
			countries = append(countries, c.country)
		}
		if !slices.Contains(regions, c.region) {
			regions = append(regions, c.region)
		}
	}
	w.uint(uint64(len(countries)))
	for _, c := range countries {
		w.text(c)
		w.uint(uint64(counts[c]))
	}
	w.uint(uint64(len(regions)))
	for _, r := range regions {
		w.text(r)
	}
	for _, c := range all {
		w.uint(uint64(c.id))
	}
	for _, c := range all {
		w.int(int64(math.Round(c.lat * 1e4)))
	}
	for _, c := range all {
		w.int(int64(math.Round(c.lon * 1e4)))
	}
	for _, c := range all {
		w.uint(uint64(c.people))
	}
	for _, c := range all {
		w.uint(uint64(slices.Index(regions, c.region)))
	}
	for _, text := range []func(city) string{func(c city) string { return c.slug }, func(c city) string { return c.name }, func(c city) string { return c.chinese }} {
		for _, c := range all {
			w.text(text(c))
		}
	}
	keys := namesOf(all)
	w.uint(uint64(len(keys)))
	last := ""
	for _, k := range keys {
		same := 0
		for same < len(last) && same < len(k.key) && last[same] == k.key[same] {
			same++
		}
		w.uint(uint64(same))
		w.text(k.key[same:])
		last = k.key
	}
	for _, k := range keys {
		w.b = append(w.b, k.kind)
	}
	for _, k := range keys {
		w.uint(uint64(k.city))
	}
	return pack(w.b)
}
