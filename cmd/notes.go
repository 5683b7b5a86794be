package cmd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
)

// notes writes log records for people, one line each: "note: message (key value, key value)". It is what a
// command shows without -v.
type notes struct {
	to    *lockedWriter // shared by all that With made
	level slog.Level
	attrs []string // as they are shown
	group string   // "a.b."
}

// lockedWriter keeps lines whole: records come from many goroutines.
type lockedWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func newNotes(w io.Writer, level slog.Level) *notes {
	return &notes{to: &lockedWriter{w: w}, level: level}
}

// Enabled says whether records of this level are shown.
func (n *notes) Enabled(_ context.Context, l slog.Level) bool { return l >= n.level }

// Handle writes one line.
func (n *notes) Handle(_ context.Context, r slog.Record) error {
	attrs := slices.Clone(n.attrs)
	r.Attrs(func(a slog.Attr) bool {
		attrs = appendAttr(attrs, n.group, a)
		return true
	})
	what := "note"
	if r.Level >= slog.LevelError {
		what = "error"
	}
	line := what + ": " + oneLine(r.Message)
	if len(attrs) > 0 {
		line += " (" + strings.Join(attrs, ", ") + ")"
	}
	n.to.mu.Lock()
	defer n.to.mu.Unlock()
	_, err := fmt.Fprintln(n.to.w, line)
	return err
}

// WithAttrs shows these with every record.
func (n *notes) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *n
	with.attrs = slices.Clone(n.attrs)
	for _, a := range attrs {
		with.attrs = appendAttr(with.attrs, n.group, a)
	}
	return &with
}

// WithGroup puts the name before the keys that follow.
func (n *notes) WithGroup(name string) slog.Handler {
	with := *n
	if name != "" {
		with.group += name + "."
	}
	return &with
}

func appendAttr(to []string, group string, a slog.Attr) []string {
	v := a.Value.Resolve()
	switch {
	case a.Equal(slog.Attr{}):
		return to
	case v.Kind() == slog.KindGroup:
		if a.Key != "" {
			group += a.Key + "."
		}
		for _, b := range v.Group() {
			to = appendAttr(to, group, b)
		}
		return to
	}
	return append(to, oneLine(group+a.Key+" "+v.String()))
}
