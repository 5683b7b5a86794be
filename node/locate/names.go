package locate

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// Match is what a name means.
type Match struct {
	Place
	Kind   int     // of the name: NameSlug ... NameTown
	Others []Place // further cities with that name, the most populous first
}

// Resolve finds the city that a name means: by slug, by name in Latin letters or Chinese, by the code of an
// airport, by another name. A name of its own beats an alias, and of several cities the most populous has it.
// Case, marks, width and what stands between words do not matter.
func Resolve(name string) (Match, bool) {
	if CheckName(name) != nil {
		return Match{}, false
	}
	return resolveSlug(Slug(name))
}

// resolveSlug is Resolve of a name that is a slug already.
func resolveSlug(s string) (Match, bool) {
	g := cities()
	if g == nil {
		return Match{}, false
	}
	for {
		from, to := g.find(joined(s))
		if from < to && (g.kinds[from] <= NameIATA || !label(s)) {
			m := Match{Place: g.place(int(g.cities[from])), Kind: int(g.kinds[from])}
			for i := from + 1; i < to && g.kinds[i] <= NamePrimary; i++ {
				m.Others = append(m.Others, g.place(int(g.cities[i])))
			}
			return m, true
		}
		short := stripSuffix(s)
		if short == s {
			return Match{}, false
		}
		s = short
	}
}

// BySlug is the city with a slug, which is the key of a cluster; not of any other name.
func BySlug(slug string) (Place, bool) {
	m, ok := resolveSlug(slug)
	if !ok || m.Slug != slug {
		return Place{}, false
	}
	return m.Place, true
}

// Chinese is the Chinese name of the city with a slug; the slug itself where none is known.
func Chinese(slug string) string {
	if p, ok := BySlug(slug); ok && p.Chinese != "" {
		return p.Chinese
	}
	return slug
}

// Suggest lists cities whose names are spelt much like one that means none, the likeliest first, by slug.
func Suggest(name string, most int) []string {
	g := cities()
	if g == nil || CheckName(name) != nil {
		return nil
	}
	want := []rune(joined(stripSuffix(Slug(name))))
	limit := mistakes(len(want))
	if limit == 0 || len(want) > MaxSlug {
		return nil
	}
	// Names of a city itself come before those in other languages, which are spelt like anything.
	type found struct{ city, far int }
	best := make(map[int]found)
	var row distanceRow
	for i := range g.ends {
		key := g.key(i)
		if n := utf8.RuneCountInString(key); n < len(want)-limit || n > len(want)+limit || g.kinds[i] == NameIATA {
			continue
		}
		far := row.distance(want, key, limit)
		if far > limit {
			continue
		}
		f := found{int(g.cities[i]), far}
		if g.kinds[i] > NamePrimary {
			f.far += limit
		}
		if old, ok := best[f.city]; !ok || f.far < old.far {
			best[f.city] = f
		}
	}
	all := make([]found, 0, len(best))
	for _, f := range best {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(cmp.Compare(a.far, b.far), cmp.Compare(g.rows[b.city].people, g.rows[a.city].people), cmp.Compare(a.city, b.city))
	})
	var out []string
	for _, f := range all[:min(most, len(all))] {
		out = append(out, g.slug(f.city))
	}
	return out
}

// Like gives those of some slugs that are spelt much like a name, the likeliest first.
func Like(name string, among []string, most int) []string {
	if CheckName(name) != nil {
		return nil
	}
	want := []rune(Fold(name))
	limit := mistakes(len(want))
	var row distanceRow
	far := make(map[string]int)
	for _, s := range among {
		if d := row.distance(want, joined(s), limit); limit > 0 && d <= limit {
			far[s] = d
		}
	}
	out := slices.SortedFunc(maps.Keys(far), func(a, b string) int { return cmp.Or(cmp.Compare(far[a], far[b]), cmp.Compare(a, b)) })
	return out[:min(most, len(out))]
}

// mistakes is how many letters may be wrong in a name of n: in a name of three, one wrong letter makes any other.
func mistakes(n int) int {
	switch {
	case n < 2:
		return 0
	case n < 7:
		return 1
	default:
		return 2
	}
}

// distanceRow has the rows of one computation, to be used again for the next.
type distanceRow struct{ two, one, now []int }

// distance counts insertions, deletions, changes and swaps of neighbours that make b of a; more than limit is
// limit+1.
func (d *distanceRow) distance(a []rune, b string, limit int) int {
	n := len(a) + 1
	if cap(d.one) < n {
		d.two, d.one, d.now = make([]int, n), make([]int, n), make([]int, n)
	}
	two, one, now := d.two[:n], d.one[:n], d.now[:n]
	for i := range one {
		one[i] = i
	}
	var last rune
	j := 0
	for _, r := range b {
		j++
		now[0] = j
		least := j
		for i, c := range a {
			change := one[i]
			if c != r {
				change++
			}
			now[i+1] = min(change, one[i+1]+1, now[i]+1)
			if i > 0 && j > 1 && a[i-1] == r && c == last {
				now[i+1] = min(now[i+1], two[i-1]+1)
			}
			least = min(least, now[i+1])
		}
		if least > limit {
			return limit + 1
		}
		two, one, now = one, now, two
		last = r
	}
	return one[n-1]
}

// Near is a city of a list, and how far it is.
type Near struct {
	Slug string
	Km   float64
}

// Nearest sorts those slugs that are cities by their distance from one, the nearest first. Slugs of the
// operator's own making have no place in the table, and are left out.
func Nearest(from string, slugs []string) []Near {
	at, ok := BySlug(from)
	if !ok {
		return nil
	}
	var out []Near
	for _, s := range slugs {
		if p, ok := BySlug(s); ok && s != from {
			out = append(out, Near{s, Km(at.At, p.At)})
		}
	}
	slices.SortFunc(out, func(a, b Near) int { return cmp.Or(cmp.Compare(a.Km, b.Km), cmp.Compare(a.Slug, b.Slug)) })
	return out
}

// Between is the distance in km of two cities by their slugs.
func Between(a, b string) (km float64, ok bool) {
	p, ok := BySlug(a)
	q, also := BySlug(b)
	return Km(p.At, q.At), ok && also
}

// label tells names that are made of parts as people name their own places, "lab-a" or "berlin-dc2": with a digit,
// or a part of one or two letters.
func label(slug string) bool {
	parts := strings.Split(slug, "-")
	return strings.ContainsAny(slug, "0123456789") ||
		len(parts) > 1 && slices.ContainsFunc(parts, func(p string) bool { return len(p) <= 2 })
}

// DidYouMean is the end of an error about a name; "" where nothing is spelt like it.
func DidYouMean(name string) string {
	near := Suggest(name, 3)
	if len(near) == 0 {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", orList(near))
}

func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
