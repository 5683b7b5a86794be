package cmd

import (
	"fmt"
	"io"

	"github.com/jedib0t/go-pretty/v6/text"
)

// pair is one line "name  value" for people.
type pair struct{ name, value string }

// writePairs prints names in one column and values in the next.
func writePairs(w io.Writer, pairs []pair) error {
	width := 0
	for _, p := range pairs {
		width = max(width, text.StringWidthWithoutEscSequences(p.name))
	}
	for _, p := range pairs {
		if _, err := fmt.Fprintf(w, "%s  %s\n", text.Pad(p.name, width, ' '), p.value); err != nil {
			return err
		}
	}
	return nil
}
