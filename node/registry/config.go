package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// Config says how a registry runs. Start from DefaultConfig.
type Config struct {
	Data      string   // directory of keys and tables; belongs to one process
	Listen    string   // HTTP for everybody, "host:port": the join document and health only
	Web       string   // HTTP with nodes, clusters and results too; "": none. Loopback unless the operator says otherwise
	P2P       []string // multiaddrs at which nodes register
	Advertise []string // hosts or multiaddrs shown to nodes in place of the listening addresses
	QUIC      bool     // listen on QUIC beside TCP

	GeoMap        string // file with the CIDR map; see locate.ParseMap
	GeoMapText    string // a map as text, in place of GeoMap
	GeoIP         string // MMDB file with cities, asked after the map and before the tables that are built in
	TrustDeclared string // never, fallback (default) or always: whether the city that a node declares counts

	Tokens  bool                 // admit nodes only with a token
	Members int                  // expected nodes: sizes connection and memory limits
	Timers  cluster.Timers       // of new certificates
	Rebirth cluster.RebirthTimes // when a city counts as deserted
	Heads   map[string]uint      // how many heads a city should have; where nothing is said: 1
	Quiet   time.Duration        // how long the quiet window is where the tables may not know all that was signed
	Bind    netip.Addr           // source of outgoing connections; invalid: the system chooses
	Log     *slog.Logger         // nil: discards

	dial func(context.Context, cluster.Peer) error // for tests, in place of dialling anew
}

// DefaultMembers is the size of network that the limits are made for when
// nothing else is said: at 50 kB a connection they stay below 100 MB.
const DefaultMembers = 2000

// DefaultConfig listens on port 7400 (HTTP) and 7401 (libp2p) of all addresses,
// and on port 7402 of loopback for everything else.
func DefaultConfig() Config {
	base, err := os.UserConfigDir()
	if err != nil {
		base = "."
	}
	return Config{
		Data:          filepath.Join(base, "peerprobe", "registry"),
		Listen:        ":7400",
		Web:           "127.0.0.1:7402",
		P2P:           []string{"/ip4/0.0.0.0/tcp/7401"},
		TrustDeclared: string(locate.TrustFallback),
		Members:       DefaultMembers,
		Timers:        cluster.DefaultTimers(),
		Rebirth:       cluster.DefaultRebirthTimes(),
		Quiet:         quietWindow,
		Log:           slog.New(slog.DiscardHandler),
	}
}

// Validate says everything that is wrong with the configuration, by the names
// of the flags.
func (c Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.Data == "" {
		bad("--data: no data directory given")
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		bad("--listen %q: %w; expected host:port, like :7400", c.Listen, err)
	}
	if c.Web != "" {
		if _, _, err := net.SplitHostPort(c.Web); err != nil {
			bad("--web %q: %w; expected host:port, like 127.0.0.1:7402", c.Web, err)
		}
	}
	if len(c.P2P) == 0 {
		bad("--p2p: nodes need an address to register at, like /ip4/0.0.0.0/tcp/7401")
	}
	for _, a := range c.P2P {
		if _, err := p2p.ParseAddr(a); err != nil {
			bad("--p2p: %w", err)
		}
	}
	for _, a := range c.Advertise {
		if _, err := parseAdvertised(a, 1); err != nil {
			bad("--advertise: %w", err)
		}
	}
	if c.GeoMap != "" && c.GeoMapText != "" {
		bad("--geo-map: a file and a text are given, one of them is enough")
	}
	if _, err := locate.ParseTrust(c.TrustDeclared); err != nil {
		bad("--trust-declared: %w", err)
	}
	if c.Members < 1 {
		bad("--members is %d: say how many nodes to expect, at least 1", c.Members)
	}
	if err := c.Timers.Validate(); err != nil {
		bad("timers: %w", err)
	}
	if err := c.Rebirth.Validate(); err != nil {
		bad("%w", err)
	}
	if _, err := c.heads(); err != nil {
		bad("--heads: %w", err)
	}
	if c.Quiet < 0 {
		bad("a quiet window of %v: it must not be negative", c.Quiet)
	}
	return errors.Join(errs...)
}

// heads are the numbers of heads by the cities' slugs: "武汉" is wuhan.
func (c Config) heads() (map[cluster.City]uint, error) {
	out := make(map[cluster.City]uint, len(c.Heads))
	for name, n := range c.Heads {
		city, err := locate.City(name)
		if err != nil {
			return nil, fmt.Errorf("%q names no place: %w", name, err)
		}
		if n < 1 || n > cluster.MaxHeads {
			return nil, fmt.Errorf("%d heads for %s: want 1 to %d", n, city, cluster.MaxHeads)
		}
		if was, twice := out[cluster.City(city)]; twice && was != n {
			return nil, fmt.Errorf("%s is to have %d heads and %d", city, was, n)
		}
		out[cluster.City(city)] = n
	}
	return out, nil
}

// TimerProfiles are the names of --timers.
var TimerProfiles = []string{"default", "lan", "wan"}

// TimersOf is the profile of that name.
func TimersOf(profile string) (cluster.Timers, error) {
	switch profile {
	case "default":
		return cluster.DefaultTimers(), nil
	case "lan":
		return cluster.LANTimers(), nil
	case "wan":
		return cluster.WANTimers(), nil
	}
	return cluster.Timers{}, fmt.Errorf("--timers %q: it must be one of %s", profile, strings.Join(TimerProfiles, ", "))
}

// parseAdvertised turns what --advertise says into a binary multiaddr: a
// multiaddr as it is, a host name or address with the libp2p port.
func parseAdvertised(text string, port int) ([]byte, error) {
	if strings.HasPrefix(text, "/") {
		return p2p.ParseAddr(text)
	}
	kind := "dns"
	if ip, err := netip.ParseAddr(text); err == nil {
		if kind = "ip4"; ip.Is6() {
			kind = "ip6"
		}
	} else if text == "" || strings.ContainsAny(text, "/: \t") {
		return nil, fmt.Errorf("%q is neither a host name, nor an address, nor a multiaddr", text)
	}
	return p2p.ParseAddr(fmt.Sprintf("/%s/%s/tcp/%d", kind, text, port))
}

// Info says where a running registry is and how to join it.
type Info struct {
	Network     cluster.Network
	ID          cluster.ID
	JoinAddr    string   // host:port of the public HTTP side
	Multiaddrs  []string // with /p2p/<id>
	Web         string   // URL of the other HTTP side; "" if there is none
	Token       string   // the token that this start made; "" if none
	TokenFile   string   // the file that holds it
	JoinCommand string   // to copy

	Quiet time.Duration // for so long after the start new cities wait; 0: there is no quiet window
}
