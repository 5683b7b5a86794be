package cmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/registry"
	"golang.org/x/sync/errgroup"
)

// The addresses of the experiment (Zhao & Li 2016, sec. 4), folded into loopback: 127.61.187.0/24 for
// Changsha, 127.61.183.0/24 for Wuhan. The first node of a city becomes its head.
const (
	demoRegistry     = "127.61.187.7"   // the paper's 61.187.64.7
	demoChangshaHead = "127.61.187.100" // 61.187.55.100
	demoWuhanHead    = "127.61.183.100" // 61.183.207.100
	demoInitiator    = "127.61.187.118" // 61.187.64.118
)

type demoSeat struct{ ip, city string }

var (
	demoHeads = []demoSeat{{demoChangshaHead, "changsha"}, {demoWuhanHead, "wuhan"}}
	demoRest  = []demoSeat{
		{"127.61.187.101", "changsha"}, {"127.61.187.102", "changsha"}, {"127.61.187.103", "changsha"}, {demoInitiator, "changsha"},
		{"127.61.183.49", "wuhan"}, {"127.61.183.101", "wuhan"}, {"127.61.183.102", "wuhan"}, {"127.61.183.103", "wuhan"},
	}
)

// demoMembers sizes limits for ten nodes, with room.
const demoMembers = 32

// demoNode is one node of the demo. seat is what it is called; ip is its address, which is the seat's on
// Linux and 127.0.0.1 elsewhere, where only that one is configured.
type demoNode struct {
	*node.Node
	seat demoSeat
	ip   string
	id   string
	data string
	dead bool
}

// label names a node for people.
func (n *demoNode) label() string { return shortID(n.id) + " at " + n.ip }

// demoNet is the registry and the nodes, in the order of their joining.
type demoNet struct {
	nodes    []*demoNode
	registry *registry.Registry
	stop     context.CancelFunc
	ended    chan error // what the registry's Run returned
}

// loopbackNets says whether every address of 127.0.0.0/8 can be used.
func loopbackNets() bool { return runtime.GOOS == "linux" }

// demoAddr is the address that stands for one of the paper's.
func demoAddr(ip string) string {
	if loopbackNets() {
		return ip
	}
	return "127.0.0.1"
}

// startDemo starts the registry, the two heads one after the other, then everybody else at once. It
// returns when each node is registered and knows its head. The demoNet is to be closed also on an error.
func startDemo(ctx context.Context, dir string, log *slog.Logger) (*demoNet, error) {
	d := &demoNet{ended: make(chan error, 1)}
	cfg := demoRegistryConfig(dir, log)
	r, err := registry.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("the demo's registry: %w", err)
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	d.registry, d.stop = r, stop
	go func() { d.ended <- r.Run(run) }()
	select {
	case <-r.Ready():
	case err := <-d.ended:
		d.ended <- nil // for close
		return d, fmt.Errorf("the demo's registry at %s: %w", demoAddr(demoRegistry), err)
	case <-ctx.Done():
		return d, ctx.Err()
	}
	for _, s := range demoHeads {
		n, err := d.joinSeat(ctx, dir, s, log)
		if err != nil {
			return d, err
		}
		d.nodes = append(d.nodes, n)
	}
	rest := make([]*demoNode, len(demoRest))
	g, gctx := errgroup.WithContext(ctx)
	for i, s := range demoRest {
		g.Go(func() (err error) {
			rest[i], err = d.joinSeat(gctx, dir, s, log)
			return err
		})
	}
	err = g.Wait()
	for _, n := range rest {
		if n != nil {
			d.nodes = append(d.nodes, n)
		}
	}
	return d, err
}

func demoRegistryConfig(dir string, log *slog.Logger) registry.Config {
	ip := demoAddr(demoRegistry)
	cfg := registry.DefaultConfig()
	cfg.Data = filepath.Join(dir, "rs")
	cfg.Listen, cfg.Web = ip+":0", ip+":0"
	cfg.P2P = []string{"/ip4/" + ip + "/tcp/0"}
	cfg.Bind = netip.MustParseAddr(ip)
	cfg.Members = demoMembers
	cfg.Log = log
	cfg.GeoMapText, cfg.TrustDeclared = locate.DemoMap, "never"
	if !loopbackNets() {
		cfg.GeoMapText, cfg.TrustDeclared = "", "always"
	}
	return cfg
}

// joinSeat joins one node on its own address.
func (d *demoNet) joinSeat(ctx context.Context, dir string, s demoSeat, log *slog.Logger) (*demoNode, error) {
	ip := demoAddr(s.ip)
	cfg := node.DefaultConfig()
	cfg.Data = filepath.Join(dir, s.city+s.ip[strings.LastIndexByte(s.ip, '.'):])
	cfg.RS = d.registry.Info().JoinAddr
	cfg.Bind = netip.MustParseAddr(ip)
	cfg.Listen = []string{"/ip4/" + ip + "/tcp/0"}
	cfg.Members = demoMembers
	cfg.Log = log.With("node", s.ip)
	if !loopbackNets() {
		cfg.City = s.city
	}
	n, err := node.Join(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("node %s of %s: %w", s.ip, s.city, err)
	}
	out := &demoNode{Node: n, seat: s, ip: ip, data: cfg.Data}
	st, err := n.Status(ctx)
	if err == nil && st.City != s.city {
		err = fmt.Errorf("%w: node %s was placed in %q, not in %q", errClaim, ip, st.City, s.city)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	out.id = st.Node
	return out, nil
}

// byIP finds a node by the address of its seat.
func (d *demoNet) byIP(ip string) *demoNode {
	for _, n := range d.nodes {
		if n.seat.ip == ip {
			return n
		}
	}
	panic("demo: no seat " + ip)
}

// byID finds a node by its peer id; nil if there is none.
func (d *demoNet) byID(id string) *demoNode {
	for _, n := range d.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// city lists the living nodes of a city.
func (d *demoNet) city(city string) []*demoNode {
	var out []*demoNode
	for _, n := range d.nodes {
		if n.seat.city == city && !n.dead {
			out = append(out, n)
		}
	}
	return out
}

// web is the URL of the registry's tables.
func (d *demoNet) web() string { return strings.TrimSuffix(d.registry.Info().Web, "/") }

// close ends the nodes side by side, then the registry that they leave, and waits for all of it.
func (d *demoNet) close() error {
	var g errgroup.Group
	for _, n := range d.nodes {
		if !n.dead {
			g.Go(n.Close)
		}
	}
	err := g.Wait()
	d.stop()
	return errors.Join(err, <-d.ended)
}
