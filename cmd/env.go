package cmd

import (
	"io"
	"os"

	"golang.org/x/term"
)

// env is what a command needs from the world around it; tests hand in their own.
type env struct {
	in     io.Reader
	out    io.Writer // data
	err    io.Writer // headers, progress, notes
	getenv func(string) string
}

func newEnv(in io.Reader, out, errw io.Writer) *env {
	return &env{in: in, out: out, err: errw, getenv: os.Getenv}
}

// live says whether w may be redrawn and coloured: a terminal that can, and nobody's CI log.
func (e *env) live(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && e.getenv("CI") == "" && e.getenv("TERM") != "dumb"
}
