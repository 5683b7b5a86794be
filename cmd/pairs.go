package cmd

import (
	"fmt"
	"io"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"
)

// pair is one line "name  value" for people.
type pair struct{ name, value string }

// writePairs prints names in one column, at least that wide, and values in the next.
func writePairs(w io.Writer, width int, pairs []pair) error {
	for _, p := range pairs {
		width = max(width, text.StringWidthWithoutEscSequences(p.name))
	}
	for _, p := range pairs {
		if p.name == "city" {
			p.value = placeIn(w, p.value)
		}
		if _, err := fmt.Fprintf(w, "%s  %s\n", text.Pad(p.name, width, ' '), printable(p.value)); err != nil {
			return err
		}
	}
	return nil
}

// printable takes control characters out of what other hosts may have written, so that no name, tag or
// message of theirs moves the cursor of whoever reads it. Several lines become one.
func printable(s string) string {
	if strings.ContainsAny(s, "\n\t") {
		s = strings.Join(strings.Fields(s), " ")
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '?'
		}
		return r
	}, s)
}
