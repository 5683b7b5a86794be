package cmd

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// column is one column of a table for people.
type column struct {
	name  string
	right bool // numbers stand to the right
	width int  // at least
}

// plain is a table without lines: columns two spaces apart, nothing that a terminal would have to colour.
func plain() table.Style {
	s := table.StyleDefault
	s.Name = "plain"
	s.Box.PaddingLeft, s.Box.PaddingRight = "", "  "
	s.Format = table.FormatOptions{}
	s.Options = table.Options{}
	return s
}

// writeTable aligns by display width, so that 武汉 takes four columns.
func writeTable(w io.Writer, cols []column, rows [][]string) error {
	t := table.NewWriter()
	t.SetStyle(plain())
	t.SuppressTrailingSpaces()
	header := make(table.Row, len(cols))
	configs := make([]table.ColumnConfig, len(cols))
	for i, c := range cols {
		header[i] = c.name
		configs[i] = table.ColumnConfig{Number: i + 1, Align: text.AlignLeft, AlignHeader: text.AlignLeft, WidthMin: c.width}
		if c.right {
			configs[i].Align, configs[i].AlignHeader = text.AlignRight, text.AlignRight
		}
	}
	t.AppendHeader(header)
	t.SetColumnConfigs(configs)
	for _, r := range rows {
		row := make(table.Row, len(r))
		for i, cell := range r {
			if i < len(cols) && cityColumns[cols[i].name] {
				cell = cityIn(w, cell)
			}
			row[i] = printable(cell)
		}
		t.AppendRow(row)
	}
	_, err := fmt.Fprintln(w, t.Render())
	return err
}

// listing says how rows of one kind are printed.
type listing[T any] struct {
	cols []column         // for people
	row  func(T) []string // for people
	csv  []string         // names of columns, a stable interface
	rec  func(T) []string // their values; what was not measured is empty
}

// writeRows prints rows as a table, CSV or one JSON document a line. JSON as one document is the
// caller's, who knows what stands around the rows.
func (l listing[T]) writeRows(w io.Writer, f format, rows []T) error {
	switch f {
	case formatNDJSON:
		return writeLines(w, rows)
	case formatCSV:
		cw := csv.NewWriter(w)
		if err := cw.Write(l.csv); err != nil {
			return err
		}
		for _, r := range rows {
			if err := cw.Write(l.rec(r)); err != nil {
				return err
			}
		}
		cw.Flush()
		return cw.Error()
	}
	cells := make([][]string, len(rows))
	for i, r := range rows {
		cells[i] = l.row(r)
	}
	return writeTable(w, l.cols, cells)
}

// shortIDLen keeps the end of a peer id: all Ed25519 ids begin with the same eight letters, and eight
// letters of base58 are 46 bits, enough to tell a few thousand nodes apart.
const shortIDLen = 8

// shortID is how tables name a node; JSON and CSV have the whole id.
func shortID(id string) string {
	if len(id) <= shortIDLen {
		return id
	}
	return "…" + id[len(id)-shortIDLen:]
}

// ms prints milliseconds for people: three digits, a microsecond.
func ms(v *float64) string {
	if v == nil {
		return "-"
	}
	return strconv.FormatFloat(*v, 'f', 3, 64)
}

// num prints a figure for machines, as short as it can be read back; empty when not measured.
func num(v *float64) string {
	if v == nil {
		return ""
	}
	return strconv.FormatFloat(*v, 'g', -1, 64)
}

// whole prints a count for machines; empty when not known.
func whole(v *int) string {
	if v == nil {
		return ""
	}
	return strconv.Itoa(*v)
}

// stamp prints a point in time for machines.
func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// clock prints a point in time for people, in their time zone.
func clock(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// dash stands for what is empty.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
