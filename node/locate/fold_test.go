package locate

import (
	"errors"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"
)

func TestCity(t *testing.T) {
	for want, names := range map[string][]string{
		"changsha":     {"changsha", "Changsha", " CHANGSHA ", "长沙", "長沙", "长沙市", "長沙市", "ｃｈａｎｇｓｈａ", "Cháng Shā", "chang-sha", "CSX", "长沙 市", "长沙地区"},
		"wuhan":        {"wuhan", "武汉", "武漢", "武汉市", "武漢市", "Wǔhàn", "WUH", "wu han"},
		"sao-paulo":    {"São Paulo", "SAO PAULO", "são-paulo", "Sa\u0303o_Paulo", "sao.paulo", "--sao  paulo--"},
		"xian":         {"Xi'an", "Xi’an", "xian"},
		"lodz":         {"Łódź", "lodz"},
		"tromso":       {"Tromsø"},
		"strasse":      {"Straße", "STRASSE"},
		"reykjavik":    {"Reykjavík"},
		"istanbul":     {"İstanbul", "ISTANBUL", "istanbul"},
		"diyarbakir":   {"Diyarbakır"},
		"lab-a":        {"lab-a", "Lab A", "LAB_A"},
		"suzhou-anhui": {"Suzhou (Anhui)"},
		"2":            {"２", "②"},
	} {
		for _, name := range names {
			if got, err := City(name); err != nil || got != want {
				t.Errorf("%q is %q (%v), want %q", name, got, err, want)
			}
		}
	}
	for _, name := range []string{"", " ", "-", "!?", "\u0301", "\xff", strings.Repeat("a", MaxSlug+1), strings.Repeat("a", MaxName+1), strings.Repeat("\ufdfa", 20), "冥王星市", "서울"} {
		if got, err := City(name); !errors.Is(err, ErrName) {
			t.Errorf("%.20q is %q, %v", name, got, err)
		}
	}
	if Fold("São Paulo") != Fold("sao-paulo") || Fold("São Paulo") != "saopaulo" {
		t.Errorf("folded: %q", Fold("São Paulo"))
	}
}

// Every alias that needs no table is reachable as it stands, and leads where the table leads.
func TestBuiltin(t *testing.T) {
	for alias, want := range builtin {
		if Fold(alias) != alias {
			t.Errorf("the alias %q can never match: it folds to %q", alias, Fold(alias))
		}
		for _, name := range []string{alias, want, Fold(want)} {
			if got, err := City(name); err != nil || got != want {
				t.Errorf("%q is %q (%v), want %q", name, got, err, want)
			}
		}
	}
}

// Each assigned code point alone reaches its fixed point well within the rounds.
func TestFoldSettles(t *testing.T) {
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cf) {
			continue
		}
		once := foldOnce(string(r))
		twice := foldOnce(once)
		if third := foldOnce(twice); third != twice {
			t.Errorf("%U: %q, then %q, then %q", r, once, twice, third)
		}
	}
}

func checkSlug(t interface{ Fatalf(string, ...any) }, name string) {
	s := Slug(name)
	if again := Slug(s); again != s {
		t.Fatalf("the slug of %q is %q, and that one's is %q", name, s, again)
	}
	if f := Fold(name); Fold(f) != f || Fold(s) != f || strings.Contains(f, "-") {
		t.Fatalf("%q folds to %q, that to %q, its slug to %q", name, f, Fold(f), Fold(s))
	}
	for _, r := range s {
		if r != '-' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			t.Fatalf("%q has the slug %q with %U", name, s, r)
		}
	}
	city, err := City(name)
	if err != nil {
		if !errors.Is(err, ErrName) {
			t.Fatalf("%q: an error of another kind: %v", name, err)
		}
		return
	}
	if again, err := City(city); err != nil || again != city {
		t.Fatalf("the city of %q is %q, and that one's is %q (%v)", name, city, again, err)
	}
	if len(city) > MaxSlug || city == "" || Slug(city) != city || strings.ContainsFunc(city, notInSlug) {
		t.Fatalf("%q gives the city %q", name, city)
	}
}

func TestEverySlugFoldsToItself(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) { checkSlug(t, rapid.String().Draw(t, "name")) })
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(rapid.SampledFrom([]string{
			"长沙", "市", "地区", "地區", "wu", "Han", "-", " ", "'", "İ", "ß", "ﬃ", "ŉ", "ǰ", "ΐ", "각", "ᄀ", "ᅡ", "ि", "é", "e\u0301", "①", "Ⅳ", "ｱ", "ﾞ", "\u200d", "ﷺ", "K", "ſ",
		}), 0, 12).Draw(t, "parts")
		checkSlug(t, strings.Join(parts, ""))
	})
}

func FuzzCity(f *testing.F) {
	for _, s := range []string{"Xi'an", "São Paulo", "长沙市", "İ", "ŉ", "\u1100\u1161\u11a8", "l\u00b7l", "ﷺ", "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if len(name) > 4*MaxName {
			return // beyond what City looks at
		}
		checkSlug(t, name)
	})
}
