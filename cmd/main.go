package cmd

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// Main runs one command line and returns the exit code. SIGINT and SIGTERM cancel the context of the
// command, which then ends in order; a second signal ends at once.
func Main(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	ctx, stop := withSignals(ctx)
	defer stop()
	return newEnv(in, out, errw).run(ctx, args)
}

// sameSignal is how long a further signal is taken for the first one: timeout(1) sends two at once, to the
// process and to its group, and nobody presses Ctrl-C twice on purpose that fast.
const sameSignal = 200 * time.Millisecond

// withSignals cancels ctx on the first signal, and gives a second one the system's default action.
func withSignals(ctx context.Context) (context.Context, func()) {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	ended := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		same := time.NewTimer(sameSignal)
		defer same.Stop()
		select {
		case <-same.C:
			stop()
		case <-ended:
		}
	})
	return ctx, func() { release(); close(ended); stop() }
}

// run executes one command line in this environment.
func (e *env) run(ctx context.Context, args []string) int {
	e.out, e.err = localised(e.out, e.getenv), localised(e.err, e.getenv)
	root := newRoot(e)
	root.SetArgs(args)
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	if m := message(err); m != "" {
		fmt.Fprintf(e.err, "peerprobe: %s\n", oneLine(m))
	}
	return exitCode(err)
}

// oneLine makes one line of what errors.Join put on several.
func oneLine(s string) string {
	return printable(strings.ReplaceAll(strings.TrimSpace(s), "\n", "; "))
}

const rootLong = `peerprobe measures the network between hosts that belong to the same mesh.

A host registers once with a registry and is placed in the cluster of its city;
the clusters run themselves. 'peerprobe measure --to wuhan' finds a consenting
host in Wuhan and measures the path from both ends, also while the registry is down.

Exit codes: 0 measured and within the gates; 1 usage, configuration or no such
place; 2 measured nothing, a gate broke, or a drained node leads on.`

const rootExample = `  peerprobe demo                                  # see all of it on this machine
  peerprobe rs                                    # a registry; prints the command to join
  peerprobe join --rs 192.0.2.1:7400 --city wuhan # a node, until it is stopped
  peerprobe measure --to wuhan                    # from the node that runs here`

// The help lists commands in the order of their use.
func init() { cobra.EnableCommandSorting = false }

func newRoot(e *env) *cobra.Command {
	root := &cobra.Command{
		Use:           "peerprobe",
		Short:         "Measure the network between hosts of one mesh, from both ends",
		Long:          rootLong,
		Example:       rootExample,
		Args:          unknownCommand,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return fmt.Errorf("%w (see '%s --help')", err, c.CommandPath())
	})
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	root.AddGroup(&cobra.Group{ID: "use", Title: "Measure and look:"}, &cobra.Group{ID: "run", Title: "Run:"}, &cobra.Group{ID: "more", Title: "More:"})
	root.SetHelpCommandGroupID("more")
	root.SetCompletionCommandGroupID("more")
	for _, c := range commands(e) {
		c.Flags().SortFlags = false
		root.AddCommand(c)
	}
	return root
}

// unknownCommand says what may have been meant.
func unknownCommand(c *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	c.SuggestionsMinimumDistance = 2 // letters that differ: mesure, measrue
	if near := c.SuggestionsFor(args[0]); len(near) > 0 {
		return fmt.Errorf("unknown command %q: did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return fmt.Errorf("unknown command %q ('peerprobe --help' lists them)", args[0])
}

// commands are all commands in the order in which the help shows them.
func commands(e *env) []*cobra.Command {
	return []*cobra.Command{
		measureCommand(e),
		statusCommand(e),
		nodesCommand(e),
		clustersCommand(e),
		resultsCommand(e),
		demoCommand(e),
		rsCommand(e),
		joinCommand(e),
		drainCommand(e),
		toolsCommand(e),
		locateCommand(e),
		simCommand(e),
		versionCommand(e),
	}
}
