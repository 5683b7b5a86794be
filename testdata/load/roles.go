package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	_ "net/http/pprof" // of the head, where -profile asks for it
	"net/netip"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/cmd"
	"github.com/peerprobe/peerprobe/node/registry"
)

// The roles that this program plays in processes of its own.
const (
	roleRegistry = "registry" // a registry with the timers that are wanted
	roleNode     = "node"     // the program itself, with profiles: where nothing else listens for it
	roleCrowd    = "crowd"    // many light members
)

// job is what a role's process is told, as its only argument (the node's are the program's).
type job struct {
	Data    string `json:",omitempty"` // registry
	Members int    // registry: expected; crowd: of this process
	First   int    // crowd: number of its first member
	RS      string `json:",omitempty"` // crowd: where to join
	City    cluster.City
}

// profileEnv is where a node's profiles are served.
const profileEnv = "PEERPROBE_LOAD_PROFILE"

func play(role string) int {
	if at := os.Getenv(profileEnv); at != "" {
		server := &http.Server{Addr: at, ReadHeaderTimeout: patience}
		go func() { fmt.Fprintln(os.Stderr, "profiles:", server.ListenAndServe()) }()
	}
	if role == roleNode {
		return cmd.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var j job
	err := json.Unmarshal([]byte(os.Args[1]), &j)
	if err == nil {
		switch role {
		case roleRegistry:
			err = runRegistry(ctx, j)
		case roleCrowd:
			err = runCrowd(ctx, j, os.Stdin, os.Stdout)
		default:
			err = fmt.Errorf("no role %q", role)
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// oneASecond are the default timers, but every member beats once a second: the load that the figures are about.
func oneASecond() cluster.Timers {
	t := cluster.DefaultTimers()
	t.HeartbeatAll = time.Second
	return t
}

// runRegistry prints the address to join at.
func runRegistry(ctx context.Context, j job) error {
	cfg := registry.DefaultConfig()
	cfg.Data, cfg.Listen, cfg.Web, cfg.P2P = j.Data, "127.0.0.1:0", "", []string{"/ip4/127.0.0.1/tcp/0"}
	cfg.Members, cfg.Timers = j.Members, oneASecond()
	cfg.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	r, err := registry.New(cfg)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	select {
	case <-r.Ready():
		fmt.Println("registry at", r.Info().JoinAddr)
	case err := <-ended:
		return err
	}
	return <-ended
}

// address of a light member: one of its own each, as hosts have.
func address(n int) netip.Addr {
	n++ // from 127.1.0.1 on
	return netip.AddrFrom4([4]byte{127, byte(1 + n/(250*250)), byte(n / 250 % 250), byte(1 + n%250)})
}
