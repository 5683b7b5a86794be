//go:build !nogeo

package locate

import (
	"errors"
	"strings"
	"testing"
)

// A slip of the pen in a map is an error with its line; a place of the operator's own is none.
func TestMapNamesOfOnesOwn(t *testing.T) {
	for _, name := range []string{"lab-a", "lab b", "dc1", "berlin-dc2", "edge", "home", "rack", "hq", "office", "core", "site-north", "x",
		"wuhn 30.58,114.27", "campus 28.2,112.97"} {
		if _, err := ParseMap(strings.NewReader("10.0.0.0/8 " + name)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{
		"wuhn": "line 2: not the name of a city: no city is known as \"wuhn\": did you mean wuhan?", "chngsha": "did you mean changsha?",
		"beijin": "did you mean beijing?", "Sao Pualo": "did you mean sao-paulo?", "wuhan 28.2,112.97": "293 km from there", "wuhan 52.5,13.4": "km from there",
		"武含市": "did you mean",
	} {
		_, err := ParseMap(strings.NewReader("10.0.0.0/8 lab-a\n10.1.0.0/16 " + name))
		if want == "" && err != nil || want != "" && (!errors.Is(err, ErrMap) || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}

func TestMapNamesWithoutNetwork(t *testing.T) {
	m, err := ParseMap(strings.NewReader("- lab-c\n- lab-d 28.2,112.97\n10.0.0.0/8 lab-c 30,114\n"))
	if err != nil {
		t.Fatal(err)
	}
	l := Locator{Map: m}
	if m.Len() != 1 || !m.Has("lab-d") || m.Has("lab-e") || strings.Join(m.Names(), " ") != "lab-c lab-d" {
		t.Errorf("%d rows, names %v", m.Len(), m.Names())
	}
	if at, ok := l.At("lab-c"); !ok || at != (Coordinates{30, 114}) {
		t.Errorf("lab-c is at %v", at)
	}
	if at, ok := l.At("wuhan"); !ok || Km(at, Coordinates{30.58, 114.27}) > 5 {
		t.Errorf("wuhan is at %v", at)
	}
	if _, ok := l.At("lab-e"); ok {
		t.Error("lab-e is somewhere")
	}
	if !l.Knows("lab-d") || !l.Knows("wuhan") || l.Knows("lab-e") {
		t.Error("what the map names is known, and nothing else")
	}
}
