package scale

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/peerprobe/peerprobe/cluster/overlay"
)

// ErrConfig says that assumptions make no sense.
var ErrConfig = errors.New("bad assumptions")

// Config is what the operator assumes.
type Config struct {
	Endpoints int
	Cities    int  // at most as many as endpoints
	Zipf      bool // the i-th largest city has 1/i of the largest's nodes; else all are equal
	Heads     int  // of each city (shards)

	Geometry overlay.Config // of the layer of heads, and of the flat network that it is compared with
	Refresh  time.Duration  // how often entries of routing tables are checked

	Sessions Sessions
	Session  time.Duration // mean
	Rule     Rule

	PerHour   float64       // measurements that an endpoint starts in an hour
	Elsewhere float64       // share of them that goes to another city
	RTTCity   time.Duration // between nodes of a city
	RTTWorld  time.Duration // between heads
	Timeout   time.Duration // of a question to a dead node

	HeadMemory, RegistryMemory float64 // bytes that may be used
	HeadRate, RegistryRate     float64 // bits a second in one direction
	Processor                  float64 // share of one core that may be used

	Lookups int // in the simulated networks
	Seed    uint64
}

// DefaultConfig is HMPN's question, a million endpoints in a thousand cities, on modest machines.
func DefaultConfig() Config {
	return Config{
		Endpoints: 1_000_000, Cities: 1000, Heads: 1,
		Geometry: overlay.DefaultConfig(overlay.Kademlia), Refresh: 2 * time.Minute,
		Sessions: Pareto, Session: 30 * time.Minute, Rule: ByUptime,
		PerHour: 6, Elsewhere: 0.9, RTTCity: 5 * time.Millisecond, RTTWorld: 150 * time.Millisecond, Timeout: 2 * time.Second,
		HeadMemory: 512 << 20, RegistryMemory: 8 << 30, HeadRate: 20e6, RegistryRate: 1e9, Processor: 0.5,
		Lookups: 2000, Seed: 1,
	}
}

// MaxEndpoints is the number of addresses of IPv4.
const MaxEndpoints = 1 << 32

const (
	leastSession = evict * time.Second // a node that is gone sooner was never a member
	mostPerHour  = 1_000_000           // far beyond what an endpoint can start
)

// Validate says what makes no sense, wrapped in ErrConfig.
func (c Config) Validate() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrConfig}, args...)...)
	}
	positive := func(v float64) bool { return v > 0 && !math.IsInf(v, 1) }
	switch {
	case c.Endpoints < 1 || c.Endpoints > MaxEndpoints:
		return bad("%d endpoints: choose 1 to %d", c.Endpoints, MaxEndpoints)
	case c.Cities < 1 || c.Cities > c.Endpoints:
		return bad("%d cities of %d endpoints: choose 1 city at least, and an endpoint for each", c.Cities, c.Endpoints)
	case c.Heads < 1 || c.Heads > c.Endpoints/c.Cities:
		return bad("%d heads a city: choose 1 to the endpoints of a city, %d", c.Heads, c.Endpoints/c.Cities)
	case c.Refresh <= 0 || c.Session <= 0 || c.Timeout <= 0 || c.RTTCity <= 0 || c.RTTWorld <= 0:
		return bad("refresh %v, session %v, timeout %v and round trips %v and %v must be above 0", c.Refresh, c.Session, c.Timeout, c.RTTCity, c.RTTWorld)
	case c.Session < leastSession:
		return bad("sessions of %v: choose %v or more, as silence of that length counts as departure", c.Session, leastSession)
	case !(c.PerHour >= 0 && c.PerHour <= mostPerHour):
		return bad("%v measurements an hour: choose 0 to %d", c.PerHour, mostPerHour)
	case !(c.Elsewhere >= 0 && c.Elsewhere <= 1):
		return bad("%v of the measurements go elsewhere: choose 0 to 1", c.Elsewhere)
	case !positive(c.HeadMemory) || !positive(c.RegistryMemory) || !positive(c.HeadRate) || !positive(c.RegistryRate) || !positive(c.Processor):
		return bad("what machines have must be above 0")
	case c.Lookups < 1:
		return bad("%d lookups: at least 1", c.Lookups)
	}
	if _, err := ParseSessions(string(c.Sessions)); err != nil {
		return err
	}
	if _, err := ParseRule(string(c.Rule)); err != nil {
		return err
	}
	return c.Geometry.Validate()
}

// largest is how many endpoints the largest cluster has: a city's part under one head.
func (c Config) largest() float64 {
	n := float64(c.Endpoints) / float64(c.Cities)
	if c.Zipf {
		harmonic := 0.0
		for i := 1; i <= c.Cities; i++ {
			harmonic += 1 / float64(i)
		}
		n = float64(c.Endpoints) / harmonic
	}
	return math.Max(1, math.Ceil(n/float64(c.Heads)))
}

// clusters is how many heads there are at a time.
func (c Config) clusters() int { return c.Cities * c.Heads }
