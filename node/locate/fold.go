package locate

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
	"golang.org/x/text/width"
)

// ErrName is the cause of every refusal of a city's name.
var ErrName = errors.New("not the name of a city")

const (
	// MaxName bounds a name as typed, in bytes: the longest name of a place
	// in the world has 168 letters, the longest of a city far fewer.
	MaxName = 256
	// MaxSlug bounds a slug in bytes: it is a part of DHT keys, of bucket
	// keys and of every admission.
	MaxSlug = 64
	// foldRounds bounds the search for a fixed point: folding a case can
	// give letters that decompose again. Two rounds are enough for every
	// code point (a test checks); the rest is margin.
	foldRounds = 4
)

// undecomposed are the letters that NFKD leaves whole although people type
// them as others.
var undecomposed = map[rune]string{
	'ł': "l", 'ø': "o", 'đ': "d", 'ð': "d", 'þ': "th", 'ħ': "h", 'ŧ': "t",
	'ı': "i", 'æ': "ae", 'œ': "oe", 'ŋ': "ng", 'ƀ': "b", 'ǥ': "g", 'ɨ': "i",
}

// builtin are the aliases of a program that was built without the table of cities. Keys are folded.
var builtin = map[string]string{
	"长沙": "changsha", "長沙": "changsha", "csx": "changsha", "changsha": "changsha",
	"武汉": "wuhan", "武漢": "wuhan", "wuh": "wuhan", "wuhan": "wuhan",
}

// chineseSuffixes say "city", "prefecture" and "league"; they are not part of a name.
var chineseSuffixes = []string{"市", "地区", "地區", "盟"}

// Fold reduces a name to what is compared: width fold, NFKD, marks dropped,
// case fold, letters and digits only. "São Paulo", "SAO PAULO" and "são-paulo"
// are one. Fold(Fold(x)) == Fold(x).
func Fold(name string) string {
	return joined(slug(name))
}

// joined takes the hyphens out of a slug. What then stands side by side may
// compose (Hangul does).
func joined(slug string) string {
	return norm.NFC.String(strings.ReplaceAll(slug, "-", ""))
}

// Slug is Fold with the words kept apart by single hyphens: "sao-paulo". An
// apostrophe does not part words: "Xi'an" is "xian". Slug(Slug(x)) == Slug(x).
func Slug(name string) string { return slug(name) }

// slug folds until nothing changes any more.
func slug(name string) string {
	for range foldRounds {
		next := foldOnce(name)
		if next == name {
			break
		}
		name = next
	}
	return name
}

func foldOnce(name string) string {
	name = norm.NFKD.String(width.Fold.String(name))
	name = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.M, r) {
			return -1
		}
		return r
	}, name)
	// Folding alone takes Cherokee capitals to small letters and back again.
	name = strings.ToLower(cases.Fold().String(name))
	var b strings.Builder
	parted := false
	for _, r := range name {
		text, special := undecomposed[r]
		switch {
		case r == utf8.RuneError || apostrophe(r) || unicode.Is(unicode.M, r):
			continue
		case !special && !unicode.IsLetter(r) && !unicode.IsDigit(r):
			parted = true
			continue
		}
		if parted && b.Len() > 0 {
			b.WriteByte('-')
		}
		parted = false
		if special {
			b.WriteString(text)
		} else {
			b.WriteRune(r)
		}
	}
	return norm.NFC.String(b.String())
}

// apostrophe tells marks that stand inside a word, and format characters that
// nobody sees.
func apostrophe(r rune) bool {
	switch r {
	case '\'', '`', '´', '‘', '’', 'ʼ', 'ʻ', 'ʹ', '′', '·':
		return true
	}
	return unicode.Is(unicode.Cf, r)
}

// CheckName says what is wrong with a name before anybody looks at what it means: its length, its bytes, and
// that something is left of it. It loads no table. The error is ErrName, with the reason.
func CheckName(name string) error {
	if len(name) > MaxName {
		return fmt.Errorf("%w: it has %d bytes, more than %d", ErrName, len(name), MaxName)
	}
	if !utf8.ValidString(name) {
		return fmt.Errorf("%w: it is not UTF-8 text", ErrName)
	}
	s := Slug(name)
	switch {
	case s == "":
		return fmt.Errorf("%w: %q has no letter and no digit", ErrName, name)
	case len(s) > MaxSlug:
		return fmt.Errorf("%w: %.20q... is longer than %d bytes when folded", ErrName, name, MaxSlug)
	}
	return nil
}

// City turns a name as a person types it into the slug of a city, a-z, 0-9 and "-": that of the city that
// Resolve finds, else by folding, for places of the operator's own. City(City(x)) == City(x). A name in another
// script that means no city is an error, not a guess. The error is ErrName, with the reason.
func City(name string) (string, error) {
	if err := CheckName(name); err != nil {
		return "", err
	}
	s := Slug(name)
	if m, ok := resolveSlug(s); ok {
		return m.Slug, nil
	}
	if slug, ok := byBuiltin(s); ok && cities() == nil {
		return slug, nil
	}
	if i := strings.IndexFunc(s, notInSlug); i >= 0 {
		hint := DidYouMean(name)
		if hint == "" {
			hint = ": write it in Latin letters"
		}
		return "", fmt.Errorf("%w: no city is known as %q%s", ErrName, name, hint)
	}
	return s, nil
}

// byBuiltin resolves one of the few names that need no table.
func byBuiltin(s string) (string, bool) {
	for {
		if slug, ok := builtin[joined(s)]; ok {
			return slug, true
		}
		short := stripSuffix(s)
		if short == s {
			return "", false
		}
		s = short
	}
}

// notInSlug tells what a slug, as a part of keys and file names, may not have.
func notInSlug(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
}

// stripSuffix takes one Chinese suffix off a name that has more than that.
func stripSuffix(s string) string {
	for _, suffix := range chineseSuffixes {
		if rest, ok := strings.CutSuffix(s, suffix); ok {
			if rest = strings.TrimSuffix(rest, "-"); rest != "" {
				return rest
			}
		}
	}
	return s
}
