package cmd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/spf13/cobra"
)

// joinOptions are the flags of `peerprobe join`.
type joinOptions struct {
	join     joinFlags
	listen   []string
	tags     []string
	quic     bool
	members  int
	eventLog string
	verbose  int
}

func joinCommand(e *env) *cobra.Command {
	var o joinOptions
	c := &cobra.Command{
		Use:   "join --rs ADDR",
		Short: "Join a network and stay until stopped",
		Long: "Join the network of a registry and stay until Ctrl-C: measure from here, answer\n" +
			"measurements within this node's own limits, and lead the cluster of the city when\n" +
			"that falls to this node. When it has joined it prints one line on stdout.",
		Example: "  peerprobe join --rs 192.0.2.1:7400 --city wuhan --data ./w1\n" +
			"  PEERPROBE_TOKEN=... peerprobe join --rs 192.0.2.1:7400",
		GroupID: "run",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return e.joinAndStay(c.Context(), o) },
	}
	o.join.add(c, "directory of this node's key and tables (default "+node.DefaultDataDir("node")+")")
	fl := c.Flags()
	fl.StringArrayVar(&o.listen, "listen", nil, "multiaddr to listen on, several times if need be (default: every interface, TCP, a free port)")
	fl.StringArrayVar(&o.tags, "tag", nil, "word that 'peerprobe nodes' shows beside this node, several times if need be")
	fl.BoolVar(&o.quic, "quic", false, "listen on QUIC too")
	fl.IntVar(&o.members, "members", node.DefaultMembers, "nodes of the own city to expect: sizes limits of connections, should this node lead")
	fl.StringVar(&o.eventLog, "event-log", "", "file to append a JSON line to for each change of head, ticket and acknowledgement")
	_ = c.MarkFlagFilename("event-log")
	verboseFlag(c, &o.verbose)
	return c
}

func verboseFlag(c *cobra.Command, v *int) {
	c.Flags().CountVarP(v, "verbose", "v", "say on stderr what happens; twice: everything")
}

// logger writes to stderr: warnings as notes, with -v what happens and when, with -vv everything.
func (e *env) logger(verbose int) *slog.Logger {
	level := slog.LevelInfo
	switch {
	case verbose == 0:
		return slog.New(newNotes(e.err, slog.LevelWarn))
	case verbose > 1:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: level}))
}

// service is what runs until it is stopped: a node or a registry.
type service interface {
	Run(context.Context) error
	Ready() <-chan struct{}
}

const (
	// waitSaid is how long a join may be silent: admission and a head's answer take a second, a take-over
	// that is under way three.
	waitSaid = 5 * time.Second
	// waitSaidAgain: often enough to see that it lives, seldom enough for a log.
	waitSaidAgain = 30 * time.Second
)

// stay runs s until ctx ends, and calls ready once when it is ready. Before that it calls waiting, if that
// is not nil, when there is something to say about the delay.
func (e *env) stay(ctx context.Context, s service, ready func() error, waiting func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	readyCh := s.Ready()
	delay := time.NewTimer(waitSaid)
	defer delay.Stop()
	var failed error
	for {
		select {
		case <-delay.C:
			if readyCh != nil && waiting != nil {
				waiting()
				delay.Reset(waitSaidAgain)
			}
		case <-readyCh:
			readyCh = nil
			if failed = ready(); failed != nil {
				cancel()
			}
		case <-ctx.Done():
			if failed == nil {
				fmt.Fprintln(e.err, "stopping; Ctrl-C once more ends it at once")
			}
			err := <-ended
			if errors.Is(err, context.Canceled) {
				err = nil
			}
			return errors.Join(failed, err)
		case err := <-ended:
			return err
		}
	}
}

func (e *env) joinAndStay(ctx context.Context, o joinOptions) error {
	cfg, err := o.join.config(e)
	if err != nil {
		return err
	}
	if len(o.listen) > 0 {
		cfg.Listen = o.listen
	}
	cfg.Tags, cfg.QUIC, cfg.Members, cfg.EventLog, cfg.Log = o.tags, o.quic, o.members, o.eventLog, e.logger(o.verbose)
	n, err := node.New(cfg)
	if err != nil {
		return err
	}
	return e.stay(ctx, n, func() error {
		st, err := n.Status(ctx)
		if err != nil {
			return fmt.Errorf("joined, but the node does not say as what: %w", err)
		}
		fmt.Fprintf(e.err, "network %s, registry %s, data %s\n", st.Network, st.Registry.Address, st.Data)
		if n := unknownNote(st); n != "" {
			fmt.Fprintf(e.err, "note: %s\n", oneLine(n))
		}
		st.City = cityIn(e.out, st.City)
		_, err = fmt.Fprintln(e.out, joinedLine(st))
		return err
	}, func() {
		st, err := n.Status(ctx)
		fmt.Fprintf(e.err, "note: %s\n", oneLine(waitingLine(st, err, cfg.RS)))
	})
}

// waitingLine says what a join waits for. err says that the node has not been admitted yet.
func waitingLine(st node.Status, err error, rs string) string {
	if err != nil {
		return fmt.Sprintf("still waiting: registry %s has not admitted this node yet", rs)
	}
	if st.Registry.Quiet {
		return fmt.Sprintf("still waiting: registry %s has just started, and appoints nobody to %s before the heads of living cities "+
			"have had half a minute to show themselves", st.Registry.Address, st.City)
	}
	line := fmt.Sprintf("still waiting: the head of %s", st.City)
	switch {
	case st.Head == "":
		line += ", which was appointed and has never said that it leads,"
	case st.HeadAddr == "":
		line += ", " + st.Head + ","
	default:
		line += fmt.Sprintf(", %s at %s,", st.Head, st.HeadAddr)
	}
	line += " does not answer; the registry appoints a new one after about a minute if nobody of its list answers"
	if !st.Registry.Up {
		line += fmt.Sprintf("; registry %s does not answer either: %s", st.Registry.Address, st.Registry.Error)
	}
	return line
}

// unknownNote says what to do about a node that nothing places; "" where something does.
func unknownNote(st node.Status) string {
	if !locate.IsUnknown(st.City) {
		return ""
	}
	return fmt.Sprintf("nothing places this node, %s: say --city, or add its network to the registry's --geo-map", cmp.Or(st.Place, st.City))
}

// joinedLine is the one line that says that a node has joined, as what, and whom it follows.
func joinedLine(st node.Status) string {
	line := fmt.Sprintf("joined %s as %s: %s in term %s", st.City, st.Role, st.Node, st.Term)
	if st.Head != "" && st.Head != st.Node {
		line += ", head " + st.Head
	}
	return line
}
