package cmd

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestNotes(t *testing.T) {
	for _, tc := range []struct {
		name string
		log  func(*slog.Logger)
		want string
	}{
		{"a warning", func(l *slog.Logger) {
			l.Warn("this network is trusted from now on", "network", "tw2j", "registry", "127.0.0.1:7400")
		},
			"note: this network is trusted from now on (network tw2j, registry 127.0.0.1:7400)\n"},
		{"nothing beside it", func(l *slog.Logger) { l.Warn("DHT not started") }, "note: DHT not started\n"},
		{"an error", func(l *slog.Logger) { l.Error("alarm", "err", errors.New("a\nb")) }, "error: alarm (err a; b)\n"},
		{"less than a warning", func(l *slog.Logger) { l.Info("head changed") }, ""},
		{"with attributes and groups", func(l *slog.Logger) {
			l.With("a", 1).WithGroup("g").With("b", 2).Warn("x", slog.Group("h", "c", 3), slog.Group("", "d", 4), slog.Attr{})
		}, "note: x (a 1, g.b 2, g.h.c 3, g.d 4)\n"},
		{"control characters of others", func(l *slog.Logger) { l.Warn("from\x1b[2J", "who", "\x1b]0;") }, "note: from?[2J (who ?]0;)\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var out bytes.Buffer
			tc.log((&env{err: &out}).logger(0))
			if out.String() != tc.want {
				t.Errorf("%q, want %q", &out, tc.want)
			}
		})
	}
	var out bytes.Buffer
	both := (&env{err: &out}).logger(0)
	one := both.With("a", 1)
	_, _ = one.With("b", 2), one.With("c", 3)
	one.Warn("x")
	if out.String() != "note: x (a 1)\n" {
		t.Errorf("loggers share their attributes: %q", &out)
	}
	out.Reset()
	(&env{err: &out}).logger(1).Info("head changed", "term", "1/0")
	if !strings.Contains(out.String(), `level=INFO msg="head changed" term=1/0`) {
		t.Errorf("with -v: %q", &out)
	}
}
