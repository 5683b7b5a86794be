package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/peerprobe/peerprobe/node/locate"
	"golang.org/x/text/encoding/simplifiedchinese"
)

// What makes a place a city of the table.
const (
	cityPeople = 100_000 // this many people, or it is a capital
	// A town of this many people counts too where there is nothing larger around: without these a tenth of the
	// addresses of France, Spain or the United States would be in no city.
	townPeople = 20_000
	aroundKm   = 50.0 // around: as far as an address may be from the city that stands for it
	twinKm     = 30.0 // two of one name that are nearer than this are one
)

// city is a row of the table.
type city struct {
	town
	slug, region, chinese string
	names                 []string // that resolve to it beside name and ascii
	towns                 []string // of its prefecture; weaker than any name of a city
}

func (c city) at() locate.Coordinates { return locate.Coordinates{Lat: c.lat, Lon: c.lon} }

//go:embed names.tsv
var namesTSV string

// addition is a line of names.tsv.
type addition struct {
	name, country string
	rename        string   // Latin name in place of GeoNames'
	chinese       string   // the usual Chinese name, where GeoNames has several
	names         []string // further ones: airports
	used          bool
}

func additions() ([]addition, error) {
	var out []addition
	for n, line := range strings.Split(strings.TrimSuffix(namesTSV, "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Split(line, "\t")
		if len(c) != 5 {
			return nil, fmt.Errorf("names.tsv:%d: %d columns, want 5", n+1, len(c))
		}
		a := addition{name: c[1], country: c[0], rename: c[2], chinese: c[3]}
		if c[4] != "" {
			a.names = strings.Split(c[4], ",")
		}
		out = append(out, a)
	}
	return out, nil
}

// choose makes the rows: the prefectures of China, and elsewhere the cities and towns that count.
func choose(towns []town, china []prefecture) ([]city, error) {
	var out []city
	for _, p := range china {
		out = append(out, city{town: p.town, region: latin(p.admin1), chinese: p.chinese, names: p.names})
	}
	countyTowns(out, towns)
	out = append(out, elsewhere(towns)...)
	more, err := additions()
	if err != nil {
		return nil, err
	}
	for i := range out {
		c := &out[i]
		c.names = append(c.names, useful(c.aliases)...)
		if c.chinese == "" {
			c.chinese = chineseName(c.aliases)
		}
		for k := range more {
			if a := &more[k]; !a.used && a.country == c.country && (a.name == c.name || a.name == c.ascii) {
				a.used = true
				c.names = append(c.names, a.names...)
				if a.rename != "" {
					c.names = append(c.names, c.name)
					c.name, c.ascii = a.rename, a.rename
				}
				c.chinese = cmp.Or(a.chinese, c.chinese)
			}
		}
	}
	for _, a := range more {
		if !a.used {
			return nil, fmt.Errorf("names.tsv: no city %s in %s", a.name, a.country)
		}
	}
	slices.SortFunc(out, func(a, b city) int {
		return cmp.Or(cmp.Compare(a.country, b.country), cmp.Compare(b.people, a.people), cmp.Compare(a.id, b.id))
	})
	return out, giveSlugs(out)
}

// countyTowns gives each prefecture the names of the larger towns in it, by the code of the division.
func countyTowns(china []city, towns []town) {
	seat := make(map[string]int)
	for i, c := range china {
		if c.admin2 != "" {
			seat[c.admin1+c.admin2] = i
		}
	}
	for _, t := range towns {
		i, ok := seat[t.admin1+t.admin2]
		if t.country != "CN" || !ok || t.people < cityPeople || t.id == china[i].id {
			continue
		}
		china[i].towns = append(china[i].towns, t.name)
		for _, a := range t.aliases {
			if isHan(a) {
				china[i].towns = append(china[i].towns, a)
			}
		}
	}
}

// elsewhere are the cities and towns outside mainland China, the largest first.
func elsewhere(towns []town) []city {
	order := slices.Clone(towns)
	slices.SortStableFunc(order, func(a, b town) int {
		return cmp.Or(cmp.Compare(b.people, a.people), cmp.Compare(a.id, b.id))
	})
	var out []city
	taken := make(map[[2]int][]town)
	nearest := func(t town, same bool) float64 {
		best := math.Inf(1)
		c := cell(t.lat, t.lon)
		for a := c[0] - 1; a <= c[0]+1; a++ {
			for o := c[1] - 3; o <= c[1]+3; o++ { // 50 km are 3 degrees up to 81 degrees north
				for _, x := range taken[[2]int{a, o}] {
					if x.country == t.country && (!same || locate.Fold(x.ascii) == locate.Fold(t.ascii)) {
						best = min(best, locate.Km(locate.Coordinates{Lat: t.lat, Lon: t.lon}, locate.Coordinates{Lat: x.lat, Lon: x.lon}))
					}
				}
			}
		}
		return best
	}
	for _, t := range order {
		if t.country == "CN" || !strings.HasPrefix(t.code, "PPL") || slices.Contains([]string{"PPLX", "PPLH", "PPLQ", "PPLW"}, t.code) {
			continue // a part of a city, or of the past
		}
		capital := t.code == "PPLC"
		switch {
		case capital:
		case t.people >= cityPeople:
			if nearest(t, true) < twinKm {
				continue
			}
		case t.people < townPeople || nearest(t, false) < aroundKm:
			continue
		}
		region := ""
		if t.country == "US" {
			region = t.admin1
		}
		out = append(out, city{town: t, region: region})
		c := cell(t.lat, t.lon)
		taken[c] = append(taken[c], t)
	}
	return out
}

// isHan tells names in Chinese characters alone.
func isHan(s string) bool {
	for _, r := range s {
		if !unicode.Is(unicode.Han, r) && r != '·' {
			return false
		}
	}
	return s != ""
}

// useful keeps the Latin names that somebody may type, and the Chinese ones. GeoNames has transliterations too,
// in small letters ("mu ni hei" for Munich): they collide with real names.
func useful(aliases []string) []string {
	var out []string
	for _, a := range aliases {
		latin, upper := true, false
		for _, r := range a {
			latin = latin && (unicode.Is(unicode.Latin, r) || !unicode.IsLetter(r))
			upper = upper || unicode.IsUpper(r)
		}
		if latin && upper || isHan(a) {
			out = append(out, a)
		}
	}
	return out
}

// chineseName is the shortest name in simplified characters: those that GB 2312 has.
func chineseName(aliases []string) string {
	best := ""
	for _, a := range aliases {
		if !isHan(a) || len([]rune(a)) < 2 {
			continue
		}
		if _, err := simplifiedchinese.HZGB2312.NewEncoder().String(a); err != nil {
			continue
		}
		if a = said(a); best == "" || len(a) < len(best) {
			best = a
		}
	}
	return best
}

func notLatin(r rune) bool { return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-') }

// giveSlugs names the rows: of several with one name the most populous takes it bare, the others get their
// region (in China and the United States) or country behind it.
func giveSlugs(all []city) error {
	order := make([]*city, len(all))
	for i := range all {
		order[i] = &all[i]
	}
	slices.SortStableFunc(order, func(a, b *city) int { return cmp.Compare(b.people, a.people) })
	taken := make(map[string]*city) // by folded slug: "la-paz" and "lapaz" would be one name
	for _, c := range order {
		base := locate.Slug(c.name)
		if strings.ContainsFunc(base, notLatin) {
			base = locate.Slug(c.ascii)
		}
		tries := []string{base, base + "-" + locate.Slug(cmp.Or(c.region, c.country)), base + "-" + locate.Slug(c.country),
			base + "-" + locate.Slug(c.country+" "+c.admin1), fmt.Sprint(base, "-", c.id)}
		for _, s := range tries {
			if key := locate.Fold(s); taken[key] == nil {
				taken[key], c.slug = c, s
				break
			}
		}
		if c.slug == "" || len(c.slug) > locate.MaxSlug {
			return fmt.Errorf("no slug for %s (%d): %q", c.name, c.id, c.slug)
		}
		if strings.ContainsFunc(c.slug, notLatin) {
			return fmt.Errorf("%s (%d) has the slug %q", c.name, c.id, c.slug)
		}
	}
	return nil
}
