package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/spf13/cobra"
)

// drainOptions are the flags of `peerprobe drain`.
type drainOptions struct {
	data string
	undo bool
	wait time.Duration
}

const (
	drainWait = 90 * time.Second       // a head hands over after its first minute, and then at once
	drainLook = 200 * time.Millisecond // a local socket is asked
)

func drainCommand(e *env) *cobra.Command {
	var o drainOptions
	c := &cobra.Command{
		Use:   "drain",
		Short: "Ask the node that runs here not to lead, as before an update",
		Long: "Ask the node that runs here not to lead. If it leads, it hands over to its backup when it\n" +
			"has led for a minute and the backup has everything; the command waits for that. In any\n" +
			"case it goes to the end of the line. It goes on measuring and being measured. Where\n" +
			"nobody else can lead it leads on, and the exit code is 2.\n\n" +
			"It holds until --undo, or until the node stops: a node that starts again is not drained.",
		Example: "  peerprobe drain && systemctl restart peerprobe\n  peerprobe drain --undo",
		GroupID: "run",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return e.drain(c.Context(), o) },
	}
	dataFlag(c, &o.data)
	c.Flags().BoolVar(&o.undo, "undo", false, "let it lead again")
	c.Flags().DurationVar(&o.wait, "wait", drainWait, "how long to wait until somebody else leads; 0: do not wait")
	c.MarkFlagsMutuallyExclusive("undo", "wait")
	return c
}

func (e *env) drain(ctx context.Context, o drainOptions) error {
	if o.wait < 0 {
		return fmt.Errorf("--wait is %v: write 0 or more", o.wait)
	}
	a, err := e.connect(o.data)
	if err != nil {
		return err
	}
	if err := a.Drain(ctx, !o.undo); err != nil {
		return fmt.Errorf("drain: %w", err)
	}
	if o.undo {
		_, err := fmt.Fprintln(e.out, "this node may lead again")
		return err
	}
	st, err := a.Status(ctx)
	if err != nil {
		return fmt.Errorf("drain: the node took note, but does not say what it leads: %w", err)
	}
	if leads(st) && o.wait > 0 && heirs(st) {
		fmt.Fprintf(e.err, "waiting up to %v until somebody else leads %s; Ctrl-C ends the waiting, not the draining\n", o.wait, printable(cityIn(e.out, st.City)))
		if st, err = e.untilLed(ctx, a, st, o.wait); err != nil {
			return err
		}
	}
	switch {
	case !leads(st):
		_, err = fmt.Fprintf(e.out, "drained: this node does not lead; the head of %s is %s\n", printable(cityIn(e.out, st.City)), dash(st.Head))
		return err
	case !heirs(st):
		return nothing(fmt.Errorf("this node is drained, and leads %s on: no other candidate lives that could", st.City))
	case o.wait == 0:
		_, err = fmt.Fprintf(e.out, "draining: this node leads %s until it has led for a minute and its backup has everything\n", printable(cityIn(e.out, st.City)))
		return err
	}
	return nothing(fmt.Errorf("this node is drained, and still leads %s after %v: 'peerprobe status' says who is in line", st.City, o.wait))
}

// untilLed waits until somebody else leads, or nobody else can, or the time is up; it returns what the node said last.
func (e *env) untilLed(ctx context.Context, a api, st node.Status, wait time.Duration) (node.Status, error) {
	bound, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	tick := time.NewTicker(drainLook)
	defer tick.Stop()
	for leads(st) && heirs(st) {
		select {
		case <-tick.C:
		case <-bound.Done():
			if ctx.Err() != nil {
				return st, nothing(errors.New("not waited for; the node stays drained"))
			}
			return st, nil
		}
		next, err := a.Status(bound)
		if bound.Err() != nil {
			continue
		}
		if err != nil {
			return st, fmt.Errorf("drain: %w", err)
		}
		st = next
	}
	return st, nil
}

func leads(st node.Status) bool { return st.Head != "" && st.Head == st.Node && st.Role == "head" }

// heirs says that another candidate lives.
func heirs(st node.Status) bool {
	return slices.ContainsFunc(st.Succession, func(c node.CandidateInfo) bool {
		return !c.Self && slices.Contains(livingStates, c.State)
	})
}
