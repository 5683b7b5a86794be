package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/keyfile"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
)

// shutdownTimeout bounds how long HTTP requests under way may take at the end.
const shutdownTimeout = 2 * time.Second

// metaNetwork is where the tables say to which network they belong.
const metaNetwork = "network"

// server is a registry that runs: everything that is open.
type server struct {
	log        *slog.Logger
	info       Info
	trust      *cluster.Trust
	store      *store.Registry
	roster     *roster
	desk       *desk
	audit      *auditor
	places     *places
	doorman    *doorman
	limiter    *limiter
	host       *p2p.Host
	dht        *p2p.DHT
	joinSigned cluster.Signed
	sites      []site
	life
}

// life is of one run: see quiet.go.
type life struct {
	reborn  *reborn
	advised advised
	heads   map[cluster.City]uint // that cities should have
	began   time.Time
	quiet   time.Duration // of the window; 0: none
	runName string
	clean   bool   // everything ended as it should
	tables  string // the name of the store's tables
}

// site is one HTTP listener and what it serves.
type site struct {
	listener net.Listener
	server   *http.Server
}

// open opens files and sockets, and starts what libp2p starts. Whatever was
// opened is closed again if it fails.
func open(ctx context.Context, cfg Config) (_ *server, err error) {
	s := &server{log: cfg.Log, limiter: newLimiter()}
	s.reborn = newReborn(s.dialAnew)
	if cfg.dial != nil {
		s.reborn.dial = cfg.dial
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	if err := os.MkdirAll(cfg.Data, dirMode); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	if s.places, err = openPlaces(cfg); err != nil {
		return nil, err
	}
	if s.store, err = store.OpenRegistry(cfg.Data); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	if s.tables, err = s.store.Name(); err != nil {
		return nil, fmt.Errorf("--data: %w", err)
	}
	fresh := !keyExists(cfg.Data)
	network, hostKey, err := s.openKeys(cfg.Data)
	if err != nil {
		return nil, err
	}
	if err := s.openQuiet(cfg, fresh); err != nil {
		return nil, err
	}
	if err := s.openTables(cfg, network); err != nil {
		return nil, err
	}
	if err := s.openHost(ctx, cfg, network, hostKey); err != nil {
		return nil, err
	}
	if err := s.openSites(cfg, network.Public().(ed25519.PublicKey)); err != nil {
		return nil, err
	}
	return s, s.firstToken(cfg)
}

// openKeys loads or makes both keys. Tables of a network whose key is gone are
// left alone: a new key would be a new network.
func (s *server) openKeys(dir string) (network, host ed25519.PrivateKey, err error) {
	stored, err := s.store.Meta(metaNetwork)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, nil, err
	}
	path := filepath.Join(dir, networkKeyFile)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && len(stored) > 0 {
		return nil, nil, fmt.Errorf("network key: %s is missing, and the tables there are of network %s: "+
			"restore it from its copy, or start a new network in another data directory", path, stored)
	}
	if network, err = loadKey(path, "network key"); err != nil {
		return nil, nil, err
	}
	name := cluster.NetworkName(network.Public().(ed25519.PublicKey))
	switch {
	case len(stored) == 0:
		if err := s.store.SetMeta(metaNetwork, []byte(name)); err != nil {
			return nil, nil, err
		}
	case string(stored) != string(name):
		return nil, nil, fmt.Errorf("network key: %s is of network %s, and the tables there are of network %s: "+
			"restore the right key, or use another data directory", path, name, stored)
	}
	if host, err = loadKey(filepath.Join(dir, hostKeyFile), "host key"); err != nil {
		return nil, nil, err
	}
	s.info.Network = name
	return network, host, nil
}

// openTables loads the table and sets up who decides on it.
func (s *server) openTables(cfg Config, network ed25519.PrivateKey) (err error) {
	public := network.Public().(ed25519.PublicKey)
	s.trust = cluster.NewTrust(public)
	s.roster = newRoster(s.trust)
	s.audit = newAuditor(s.store, cfg.Log)
	s.doorman = &doorman{store: s.store, roster: s.roster, trust: s.trust, network: s.info.Network, tokens: cfg.Tokens}
	heads, err := cfg.heads()
	if err != nil {
		return err
	}
	s.heads = heads
	s.doubtHeads()
	table := cluster.TableConfig{Timers: cfg.Timers, Rebirth: cfg.Rebirth, Heads: heads}
	rebuild := func() (*cluster.Table, error) {
		state, err := s.store.State()
		if err != nil {
			return nil, err
		}
		s.roster.reset(state)
		return cluster.NewTable(public, cluster.SignerOf(network), state, table, random16)
	}
	s.desk, err = newDesk(s.store.Apply, s.roster, rebuild, cfg.Log)
	if err != nil {
		return fmt.Errorf("loading the tables: %w", err)
	}
	s.desk.changed = s.noteChanges
	return nil
}

func random16() uint16 {
	var b [2]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint16(b[:])
}

// openHost starts the libp2p side: trust, own admission, DHT, handlers.
func (s *server) openHost(ctx context.Context, cfg Config, network, key ed25519.PrivateKey) (err error) {
	if err = portsFree(cfg.P2P); err == nil {
		s.host, err = p2p.New(p2p.Config{Key: key, Listen: cfg.P2P, QUIC: cfg.QUIC, Members: cfg.Members, Bind: cfg.Bind, Log: cfg.Log})
	}
	if err != nil {
		return fmt.Errorf("--p2p %s: %w; stop what uses the port, or give another address", strings.Join(cfg.P2P, " "), err)
	}
	s.info.ID = s.host.ID()
	sign := cluster.SignerOf(network)
	s.host.SetTrust(s.trust)
	s.host.SetAdmission(cluster.Sign(cluster.DomainAdmission, cluster.Admission{
		Version: cluster.Version, Network: s.info.Network, ID: s.info.ID, City: locate.Unknown,
		Place: "registry", Class: cluster.ClassRegistry, Serial: uint64(time.Now().UnixMilli()),
	}, sign))
	state, err := s.store.State()
	if err != nil {
		return err
	}
	if !state.Barred.Empty() {
		s.applyBarred(state.Barred)
	}
	self := s.host.Self()
	if len(cfg.Advertise) > 0 {
		if self.Addrs, err = advertised(cfg.Advertise, self.Addrs); err != nil {
			return fmt.Errorf("--advertise: %w", err)
		}
	}
	s.info.Multiaddrs = p2p.PeerText(self)
	s.joinSigned = p2p.SignJoin(p2p.JoinDoc{
		Network: s.info.Network, Key: network.Public().(ed25519.PublicKey), Registries: []cluster.Peer{self},
		TokenNeeded: cfg.Tokens, Issued: time.Now().UnixMilli(),
	}, sign)
	if s.dht, err = s.host.StartDHT(ctx, s.roster.leaders()); err != nil {
		return err
	}
	s.host.Handle(p2p.ProtoRegister, p2p.HandleOptions{Open: true, MaxFrame: maxRegister}, s.serveRegister)
	s.host.Handle(p2p.ProtoResults, p2p.HandleOptions{MaxFrame: p2p.MaxResults}, s.serveResults)
	return nil
}

// portsFree says whether the TCP ports can be had, before libp2p tries: when it
// fails it writes to stderr by itself, several lines, and leaves goroutines.
func portsFree(multiaddrs []string) error {
	for _, text := range multiaddrs {
		raw, err := p2p.ParseAddr(text)
		if err != nil {
			return err
		}
		ip, ok := p2p.AddrIP(raw)
		_, port, tcp := strings.Cut(text, "/tcp/")
		if !ok || !tcp || strings.Contains(port, "/") {
			continue // p2p says what is wrong with it
		}
		l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), port))
		if err != nil {
			return err
		}
		if err := l.Close(); err != nil {
			return err
		}
	}
	return nil
}

// advertised are the addresses that nodes are told: as given, hosts with the
// port at which the first of own listens.
func advertised(given []string, own [][]byte) ([][]byte, error) {
	port := 0
	for _, a := range own {
		// "/ip4/192.0.2.1/tcp/7401"
		if _, tcp, ok := strings.Cut(p2p.AddrText(a), "/tcp/"); ok {
			port, _ = strconv.Atoi(tcp)
			break
		}
	}
	var out [][]byte
	for _, text := range given {
		a, err := parseAdvertised(text, port)
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// firstToken makes a token where tokens are needed and there is none, and
// completes the command to join.
func (s *server) firstToken(cfg Config) error {
	s.info.JoinCommand = "peerprobe join --rs " + s.info.JoinAddr
	if !cfg.Tokens {
		return nil
	}
	// Absolute, because the command may be run from another directory.
	dir, err := filepath.Abs(cfg.Data)
	if err != nil {
		return fmt.Errorf("--data: %w", err)
	}
	s.info.TokenFile = filepath.Join(dir, tokenFile)
	all, err := s.store.Tokens()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		if s.info.Token, err = s.makeToken(TokenOptions{Label: "made at the first start"}); err != nil {
			return err
		}
		if err := keyfile.Write(s.info.TokenFile, []byte(s.info.Token+"\n")); err != nil {
			return fmt.Errorf("writing the token: %w", err)
		}
	}
	s.info.JoinCommand += " --token-file " + shellQuote(s.info.TokenFile)
	return nil
}

// shellQuote makes a path safe to copy into a shell.
func shellQuote(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%", r)
	}
	if !slices.ContainsFunc([]rune(path), func(r rune) bool { return !plain(r) }) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// run serves until ctx ends, then ends everything in order: nobody new, the
// requests under way, the DHT, the streams, the desk, the audit, the files.
func (s *server) run(ctx context.Context, ready func()) error {
	stop := make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.desk.run(stop) })
	g.Go(func() error { return s.audit.run(stop) })
	g.Go(func() error { s.watchPlaces(ctx); return nil })
	for _, site := range s.sites {
		g.Go(func() error {
			if err := site.server.Serve(site.listener); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("HTTP at %s: %w", site.listener.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		defer close(stop)
		return s.closeFront()
	})
	s.audit.add(store.AuditEntry{At: time.Now(), Actor: p2p.IDText(s.info.ID), Action: auditStart, Object: string(s.info.Network), Answer: "ok"})
	s.log.Info("registry serves", "network", s.info.Network, "join", s.info.JoinAddr, "web", s.info.Web)
	ready()
	err := g.Wait()
	s.clean = err == nil
	return errors.Join(err, s.close())
}

// closeFront ends what others can reach, and waits for it.
func (s *server) closeFront() error {
	ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
	defer cancel()
	var errs []error
	for _, site := range s.sites {
		if err := site.server.Shutdown(ctx); err != nil {
			errs = append(errs, site.server.Close()) // whoever is slower than that is cut off
		}
	}
	if s.dht != nil {
		errs = append(errs, s.dht.Close())
	}
	if s.host != nil {
		errs = append(errs, s.host.Close())
	}
	return errors.Join(errs...)
}

// close ends what is still open. Closing twice is harmless.
func (s *server) close() error {
	var errs []error
	for _, site := range s.sites {
		if err := site.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	errs = append(errs, s.closeFront())
	if s.clean {
		errs = append(errs, s.endRun())
		s.clean = false
	}
	if s.store != nil {
		errs = append(errs, s.store.Close())
	}
	return errors.Join(errs...)
}
