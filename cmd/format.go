package cmd

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// format is a form of output.
type format string

const (
	formatTable  format = "table"  // for people
	formatJSON   format = "json"   // one document
	formatNDJSON format = "ndjson" // one document a line, one line a row
	formatCSV    format = "csv"    // a header and one line a row
)

var formats = []string{string(formatTable), string(formatJSON), string(formatNDJSON), string(formatCSV)}

// formatFlags are -J and -o, the same in every command that prints data.
type formatFlags struct {
	json bool
	name string
}

func (f *formatFlags) add(c *cobra.Command) {
	c.Flags().BoolVarP(&f.json, "json", "J", false, "print JSON (the same as -o json)")
	c.Flags().StringVarP(&f.name, "output", "o", string(formatTable), "format: "+strings.Join(formats, ", "))
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
}

// value is the format that was asked for.
func (f *formatFlags) value(c *cobra.Command) (format, error) {
	if !slices.Contains(formats, f.name) {
		return "", fmt.Errorf("--output %q is not a format: choose %s", f.name, strings.Join(formats, ", "))
	}
	if !f.json {
		return format(f.name), nil
	}
	if c.Flags().Changed("output") && f.name != string(formatJSON) {
		return "", fmt.Errorf("-J and --output %s contradict each other: give one of them", f.name)
	}
	return formatJSON, nil
}

// writeJSON prints one indented document.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// writeLines prints one document a line.
func writeLines[T any](w io.Writer, rows []T) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for _, r := range rows {
		if err := enc.Encode(r); err != nil {
			return err
		}
	}
	return nil
}
