package cmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

const demoLong = `See all of it on this machine, with nothing set up: a registry and ten nodes in two
cities (Changsha and Wuhan, as in the experiment of Zhao & Li 2016), in one process,
on real sockets of loopback addresses.

It measures from Changsha to Wuhan, kills the head of Wuhan without farewell, shows
who took over, and measures again. It stays until Ctrl-C, and says how to talk to it.`

func demoCommand(e *env) *cobra.Command {
	var once bool
	var verbose int
	c := &cobra.Command{
		Use:     "demo",
		Short:   "Show all of it: a registry, ten nodes, a measurement, a take-over",
		Long:    demoLong,
		Example: "  peerprobe demo\n  peerprobe demo --once    # ends by itself; exit 0 when everything was as claimed",
		GroupID: "run",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return e.demo(c.Context(), once, verbose) },
	}
	c.Flags().BoolVar(&once, "once", false, "end after the second measurement")
	verboseFlag(c, &verbose)
	return c
}

// demoPatience bounds the whole show: it takes a few seconds, and a machine that is ten times slower is
// still waited for.
const demoPatience = 90 * time.Second

// demo runs the show in a temporary directory that is removed at the end.
func (e *env) demo(ctx context.Context, once bool, verbose int) (err error) {
	dir, err := os.MkdirTemp("", "peerprobe-demo-")
	if err != nil {
		return fmt.Errorf("a directory for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	show, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	began := time.Now()
	log := slog.New(slog.DiscardHandler) // a head that is killed on purpose is no news
	if verbose > 0 {
		log = e.logger(verbose)
	}
	net, err := startDemo(show, dir, log)
	if net != nil {
		defer func() {
			if cerr := net.close(); cerr != nil {
				fmt.Fprintf(e.err, "note: closing the demo: %s\n", oneLine(cerr.Error()))
			}
		}()
	}
	if err == nil {
		err = e.play(show, net, began)
	}
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(e.err, "stopped")
		return silent(exitNothing)
	case err != nil:
		return nothing(fmt.Errorf("demo: %w", err))
	case once:
		return nil
	}
	writeDemoHints(e.out, net)
	<-ctx.Done()
	fmt.Fprintln(e.err, "\nstopping; Ctrl-C once more ends it at once")
	return nil
}

// play is the show itself. Everything that it claims is checked; what is not so ends it with an error.
func (e *env) play(ctx context.Context, net *demoNet, began time.Time) error {
	fmt.Fprintf(e.out, "ready after %v: a registry and %d nodes registered, each knows its head\n\n", sinceMs(began), len(net.nodes))
	if err := net.settle(ctx); err != nil {
		return err
	}
	if err := writeDemoNodes(ctx, e.out, net); err != nil {
		return err
	}
	from := net.byIP(demoInitiator)
	fmt.Fprintf(e.out, "\nmeasure --to wuhan, from %s in Changsha\n\n", from.ip)
	if err := measureDemo(ctx, e.out, from, ""); err != nil {
		return err
	}
	dead := net.byIP(demoWuhanHead)
	fmt.Fprintf(e.out, "\nKilling the head of Wuhan (%s) without farewell: its sockets are closed and its loop is dropped.\n", dead.ip)
	over, err := net.killHead(ctx, dead)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "%s took over in term %s (before: %s).\n", over.head.label(), over.term, over.before)
	fmt.Fprintf(e.out, "From the call of kill to the moment when the last of %d survivors follows: %v.\n", over.survivors, over.took.Round(100*time.Microsecond))
	if over.reason != "" {
		fmt.Fprintf(e.out, "Its reason: %s.\n", over.reason)
	}
	fmt.Fprintf(e.out, "\nmeasure --to wuhan, again from %s\n\n", from.ip)
	return measureDemo(ctx, e.out, from, dead.id)
}

func sinceMs(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }

// writeDemoHints says how to talk to a demo that stays.
func writeDemoHints(w io.Writer, net *demoNet) {
	from := net.byIP(demoInitiator)
	fmt.Fprintf(w, `
The demo stays until Ctrl-C. Talk to it from another terminal:
  %[3]s status --data %[1]s
  %[3]s measure --to wuhan --data %[1]s
  %[3]s clusters --data %[1]s
  curl %[2]s/api/v1/nodes
`, from.data, net.web(), calledAs(os.Args[0]))
}

// calledAs is how this program is called again: as it was, or by `go run .` where arg0 is the file that go run
// made: below go-build123..., which goes with it, or below the cache go-build.
func calledAs(arg0 string) string {
	switch slash := filepath.ToSlash(arg0); {
	case arg0 == "":
		return "peerprobe"
	case strings.Contains(slash, "/go-build"):
		return "go run ."
	}
	return arg0
}

// errClaim is what the demo returns when something was not as it claims.
var errClaim = errors.New("not as claimed")
