package node

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/probe"
)

// Config says how a node runs. The zero value of a field means its default; only RS and Data are needed.
type Config struct {
	Data      string       // directory of keys, tables and the control socket; belongs to one process
	RS        string       // the registry: "host:port" of its HTTP address, or a multiaddr with /p2p/<id>
	City      string       // a hint; the registry decides
	Tags      []string     // words by which the node can be found
	Token     string       // "<network>.<secret>", where the registry asks for one
	Listen    []string     // multiaddrs; default: every interface, TCP, a free port
	Bind      netip.Addr   // source address of outgoing connections and of measurements; invalid: the system chooses
	QUIC      bool         // also listen on QUIC
	Transient bool         // joins for one measurement: never listed, never first of a city
	Members   int          // expected size of the cluster: sizes limits, should this node become head
	Limits    probe.Limits // what this node grants as a target; its own limits always win
	NoControl bool         // no local API socket (library use)
	EventLog  string       // file that gets a JSON line for each change of head, ticket and acknowledgement; "": none
	Log       *slog.Logger // default: discards

	// For tests.
	clock      func() cluster.Instant // of the election; nil: the system's
	held       int                    // results of others that wait here at most; 0: the store's bound
	attestLook time.Duration          // how often a head looks whom to measure; 0: attestLook
}

// DefaultMembers is the cluster size that connection limits are sized for when nothing else is said:
// five times the largest mesh of the tools that users come from, at about 50 kB a member when full.
const DefaultMembers = 1000

// DefaultConfig returns a configuration that needs only RS (and, off a test bench, nothing else).
func DefaultConfig() Config {
	return Config{
		Data:    DefaultDataDir("node"),
		Listen:  []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"},
		Members: DefaultMembers,
		Limits:  probe.DefaultLimits(),
		Log:     slog.New(slog.DiscardHandler),
	}
}

// DefaultDataDir is where a role of this user keeps its data when --data is not given.
func DefaultDataDir(role string) string {
	base, err := os.UserConfigDir()
	if err != nil {
		base = "."
	}
	return filepath.Join(base, "peerprobe", role)
}

// withDefaults fills what was left empty.
func (c Config) withDefaults() Config {
	d := DefaultConfig()
	if c.Data == "" {
		c.Data = d.Data
	}
	if len(c.Listen) == 0 {
		c.Listen = d.Listen
		if c.Bind.IsValid() {
			c.Listen = []string{listenOn(c.Bind)}
		}
	}
	if c.Members == 0 {
		c.Members = d.Members
	}
	if c.Limits == (probe.Limits{}) {
		c.Limits = d.Limits
	}
	if c.Log == nil {
		c.Log = d.Log
	}
	return c
}

func listenOn(ip netip.Addr) string {
	if ip.Is4() {
		return "/ip4/" + ip.String() + "/tcp/0"
	}
	return "/ip6/" + ip.String() + "/tcp/0"
}

// Validate says what is wrong with the configuration, everything at once.
func (c Config) Validate() error {
	var errs []error
	if strings.TrimSpace(c.RS) == "" {
		errs = append(errs, errors.New("no registry given: pass --rs host:port as `peerprobe rs` prints it"))
	}
	if c.Members < 0 {
		errs = append(errs, fmt.Errorf("members is %d: it must be positive", c.Members))
	}
	if c.City != "" {
		if err := locate.CheckName(c.City); err != nil {
			errs = append(errs, fmt.Errorf("--city: %w", err))
		}
	}
	if c.Token != "" {
		if _, _, err := splitToken(c.Token); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Limits != (probe.Limits{}) {
		if err := c.Limits.Validate(); err != nil {
			errs = append(errs, fmt.Errorf("limits: %w", err))
		}
	}
	for _, t := range c.Tags {
		if len(t) == 0 || len(t) > maxTagLen {
			errs = append(errs, fmt.Errorf("tag %.32q is %d bytes long: 1 to %d", t, len(t), maxTagLen))
		}
	}
	if len(c.Tags) > maxTags {
		errs = append(errs, fmt.Errorf("%d tags: at most %d", len(c.Tags), maxTags))
	}
	return errors.Join(errs...)
}

const (
	maxTagLen = 48 // bytes of one tag: a word
	maxTags   = 16 // they travel in every admission, which stays below 1 kB
)
