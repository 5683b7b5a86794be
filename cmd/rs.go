package cmd

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/node/registry"
	"github.com/spf13/cobra"
)

// rsOptions are the flags of `peerprobe rs`.
type rsOptions struct {
	cfg     registry.Config
	bind    string
	heads   []string // CITY=N
	timers  string
	verbose int
}

func rsCommand(e *env) *cobra.Command {
	o := rsOptions{cfg: registry.DefaultConfig()}
	c := &cobra.Command{
		Use:   "rs",
		Short: "Run a registry; prints the command to join",
		Long: "Run a registry until Ctrl-C: it admits nodes, places them by address, appoints the\n" +
			"first head of a city and collects results. Clusters do not need it to measure.\n" +
			"When it is ready it prints one line on stdout: the command to join.",
		Example: "  peerprobe rs --data ./rs\n" +
			"  peerprobe rs --heads wuhan=3 --heads changsha=2 --timers lan\n" +
			"  peerprobe rs --geo-map sites.txt --tokens --advertise rs.example.net",
		GroupID: "run",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return e.registry(c, o) },
	}
	c.AddCommand(rsHistoryCommand(e), rsPlaceCommand(e))
	fl := c.Flags()
	fl.StringVar(&o.cfg.Data, "data", o.cfg.Data, "directory of the network's key and tables")
	fl.StringVar(&o.cfg.Listen, "listen", o.cfg.Listen, "public HTTP address: /api/v1/join and /healthz, nothing else")
	fl.StringVar(&o.cfg.Web, "web", o.cfg.Web, "HTTP address of nodes, clusters and results; keep it on loopback")
	fl.StringArrayVar(&o.cfg.P2P, "p2p", o.cfg.P2P, "multiaddr for nodes, several times if need be")
	fl.StringArrayVar(&o.cfg.Advertise, "advertise", nil, "host or multiaddr under which nodes reach it, several times if need be")
	fl.StringVar(&o.cfg.GeoMap, "geo-map", "", "file with a prefix and a city a line, for example: 192.0.2.0/24 wuhan")
	fl.StringVar(&o.cfg.GeoIP, "geoip", "", "MMDB file with cities, asked before the tables that are built in (SIGHUP reads it and --geo-map again)")
	fl.StringVar(&o.cfg.TrustDeclared, "trust-declared", o.cfg.TrustDeclared, "believe a node's --city: never, fallback (where no table has a city), always")
	fl.BoolVar(&o.cfg.Tokens, "tokens", false, "admit only nodes with a token; prints the path of the file that holds it")
	fl.IntVar(&o.cfg.Members, "members", o.cfg.Members, "nodes to expect: sizes limits of connections")
	fl.StringArrayVar(&o.heads, "heads", nil, "number of heads that a city should have, for example wuhan=3; several times if need be (default 1)")
	fl.StringVar(&o.timers, "timers", "default", "pace of the election: default (the internet), lan (fast local networks), wan (long or lossy paths)")
	fl.StringVar(&o.bind, "bind", "", "source address of outgoing connections")
	fl.BoolVar(&o.cfg.QUIC, "quic", false, "listen on QUIC too")
	verboseFlag(c, &o.verbose)
	_ = c.MarkFlagDirname("data")
	_ = c.MarkFlagFilename("geo-map")
	_ = c.MarkFlagFilename("geoip", "mmdb")
	_ = c.RegisterFlagCompletionFunc("trust-declared", cobra.FixedCompletions(trustWords, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("timers", cobra.FixedCompletions(registry.TimerProfiles, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// parseHeads reads what --heads says: CITY=N, several times.
func parseHeads(list []string) (map[string]uint, error) {
	heads := make(map[string]uint, len(list))
	for _, text := range list {
		city, number, ok := strings.Cut(text, "=")
		n, err := strconv.ParseUint(number, 10, 8)
		if !ok || city == "" || err != nil {
			return nil, fmt.Errorf("--heads %q: write a city and a number, for example wuhan=3", text)
		}
		if was, twice := heads[city]; twice && was != uint(n) {
			return nil, fmt.Errorf("--heads: %s is to have %d heads and %d", city, was, n)
		}
		heads[city] = uint(n)
	}
	return heads, nil
}

var trustWords = []string{"never", "fallback", "always"}

func (e *env) registry(c *cobra.Command, o rsOptions) error {
	cfg := o.cfg
	cfg.Log = e.logger(o.verbose)
	var err error
	if cfg.Heads, err = parseHeads(o.heads); err != nil {
		return err
	}
	if cfg.Timers, err = registry.TimersOf(o.timers); err != nil {
		return err
	}
	if o.bind != "" {
		ip, err := netip.ParseAddr(o.bind)
		if err != nil {
			return fmt.Errorf("--bind %q is not an IP address: write for example 192.0.2.7", o.bind)
		}
		cfg.Bind = ip
	}
	r, err := registry.New(cfg)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(c.Context())
	wait := onHangup(ctx, r.Reload)
	defer func() { cancel(); wait() }()
	return e.stay(ctx, r, func() error {
		info := r.Info()
		fmt.Fprintf(e.err, "network %s\n", info.Network)
		fmt.Fprintf(e.err, "registry %s\n", strings.Join(info.Multiaddrs, " "))
		if info.Web != "" {
			fmt.Fprintf(e.err, "nodes, clusters and results at %s\n", info.Web)
		}
		if info.Quiet > 0 {
			fmt.Fprintf(e.err, "note: quiet for %v: a city that is new waits, until the heads of living cities have shown themselves\n", info.Quiet)
		}
		if info.TokenFile != "" {
			fmt.Fprintf(e.err, "a token is needed to join: it is in %s\n", info.TokenFile)
		}
		_, err := fmt.Fprintln(e.out, info.JoinCommand)
		return err
	}, nil)
}
