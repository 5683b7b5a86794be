package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"golang.org/x/term"
)

// env is what a command needs from the world around it; tests hand in their own.
type env struct {
	in     io.Reader
	out    io.Writer // data
	err    io.Writer // headers, progress, notes
	getenv func(string) string

	sockets     func() []string                                                     // local API sockets of this user's running nodes
	controlPath func(data string) string                                            // the socket of a data directory
	dial        func(path string) (api, error)                                      // a running node
	join        func(context.Context, node.Config) (a api, leave func(), err error) // a node in this process
}

func newEnv(in io.Reader, out, errw io.Writer) *env {
	e := &env{in: in, out: out, err: errw, getenv: os.Getenv}
	e.sockets = node.FindSockets
	e.controlPath = node.ControlPath
	e.dial = func(path string) (api, error) { return node.Dial(path) }
	e.join = e.joinNode
	return e
}

// joinPatience bounds how long a one-shot waits to be admitted: two dials to a registry at the other end
// of the world and a head that is being replaced fit into it.
const joinPatience = 20 * time.Second

// joinNode joins in this process and returns when the node knows a head.
func (e *env) joinNode(ctx context.Context, cfg node.Config) (api, func(), error) {
	ctx, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	n, err := node.Join(ctx, cfg)
	if err != nil {
		return nil, nil, err
	}
	return n, func() {
		if err := n.Close(); err != nil {
			fmt.Fprintf(e.err, "note: leaving: %s\n", oneLine(err.Error()))
		}
	}, nil
}

// live says whether w may be redrawn and coloured: a terminal that can, and nobody's CI log.
func (e *env) live(w io.Writer) bool {
	if c, ok := w.(chineseWriter); ok {
		w = c.Writer
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && e.getenv("CI") == "" && e.getenv("TERM") != "dumb"
}
