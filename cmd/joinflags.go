package cmd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/spf13/cobra"
)

// joinFlags say how to join a network: all of it in `join`, the part that a one-shot needs in `measure`.
type joinFlags struct {
	rs        string
	city      string
	data      string
	tokenFile string
	bind      string
}

// tokenVariable may hold the token, so that it is in no process list and no shell history.
const tokenVariable = "PEERPROBE_TOKEN"

func (j *joinFlags) add(c *cobra.Command, dataHelp string) {
	fl := c.Flags()
	fl.StringVar(&j.rs, "rs", "", "the registry: HOST:PORT as 'peerprobe rs' prints it, or a multiaddr with /p2p/ID")
	fl.StringVar(&j.city, "city", "", "the city of this host, as a hint: the registry decides")
	fl.StringVar(&j.data, "data", "", dataHelp)
	fl.StringVar(&j.tokenFile, "token-file", "", "file with the token, where the registry asks for one (or "+tokenVariable+")")
	fl.StringVar(&j.bind, "bind", "", "source address of connections and measurements")
	_ = c.MarkFlagDirname("data")
}

// checkRS finds a forgotten port before anybody is dialled. "" is left to the node, which says that it is needed.
func checkRS(rs string) error {
	if rs == "" || strings.HasPrefix(rs, "/") || strings.Contains(rs, "://") {
		return nil // a multiaddr has its port in it, and a scheme has a default one
	}
	if _, port, err := net.SplitHostPort(rs); err == nil && port != "" {
		return nil
	}
	with := net.JoinHostPort(strings.Trim(strings.TrimSuffix(rs, ":"), "[]"), defaultPort)
	if _, err := netip.ParseAddr(rs); err == nil {
		with = net.JoinHostPort(rs, defaultPort)
	}
	return fmt.Errorf("--rs %q has no port: write HOST:PORT, for example %s (%s is what 'peerprobe rs' listens on unless told otherwise)", rs, with, defaultPort)
}

// defaultPort is the port of registry.DefaultConfig's Listen; a test holds the two together.
const defaultPort = "7400"

// config is the node's configuration that the flags ask for.
func (j joinFlags) config(e *env) (node.Config, error) {
	cfg := node.DefaultConfig()
	cfg.RS, cfg.City = strings.TrimSpace(j.rs), strings.TrimSpace(j.city)
	if err := checkRS(cfg.RS); err != nil {
		return cfg, err
	}
	if j.data != "" {
		cfg.Data = j.data
	}
	if j.bind != "" {
		ip, err := netip.ParseAddr(j.bind)
		if err != nil {
			return cfg, fmt.Errorf("--bind %q is not an IP address: write for example 192.0.2.7", j.bind)
		}
		cfg.Bind, cfg.Listen = ip, nil // nil: a free port of that address
	}
	token, err := readToken(j.tokenFile, e.getenv)
	cfg.Token = token
	return cfg, err
}

// maxToken bounds the token file: a token is a network name and 32 random bytes, about 100 letters.
const maxToken = 1024

func readToken(file string, getenv func(string) string) (string, error) {
	if file == "" {
		return strings.TrimSpace(getenv(tokenVariable)), nil
	}
	info, err := os.Stat(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > maxToken {
		return "", fmt.Errorf("--token-file %s is not a file of at most %d bytes: it should hold one token, as the file does that 'peerprobe rs --tokens' names", file, maxToken)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	token := strings.TrimSpace(string(b))
	if token == "" {
		return "", fmt.Errorf("--token-file %s is empty: it should hold the token out of the file that 'peerprobe rs --tokens' names", file)
	}
	return token, nil
}

// measureFrom finds the node to measure from. Where none runs and --rs is given, it joins for this one
// measurement, as a transient node; done leaves again.
func (e *env) measureFrom(ctx context.Context, c *cobra.Command, o measureOptions) (a api, done func(), err error) {
	a, err = e.connect(o.join.data)
	if err == nil {
		if o.join.rs != "" {
			fmt.Fprintln(e.err, "note: measuring from the node that runs here; --rs is for where none runs")
		}
		return a, func() {}, nil
	}
	if _, none := errors.AsType[*errNoNode](err); !none {
		return nil, nil, err
	}
	if o.join.rs == "" {
		return nil, nil, fmt.Errorf("%w, or give --rs HOST:PORT to join for this one measurement", err)
	}
	return e.joinOnce(ctx, o.join)
}

// joinOnce joins as a transient node, in the directory that was given or in one that is removed again.
func (e *env) joinOnce(ctx context.Context, j joinFlags) (api, func(), error) {
	temporary := ""
	if j.data == "" {
		dir, err := os.MkdirTemp("", "peerprobe-once-")
		if err != nil {
			return nil, nil, fmt.Errorf("a directory for this one measurement: %w", err)
		}
		j.data, temporary = dir, dir
	}
	clean := func() {
		if temporary != "" {
			os.RemoveAll(temporary)
		}
	}
	cfg, err := j.config(e)
	if err != nil {
		clean()
		return nil, nil, err
	}
	cfg.Transient, cfg.NoControl = true, true
	if err := cfg.Validate(); err != nil {
		clean()
		return nil, nil, err
	}
	a, leave, err := e.join(ctx, cfg)
	if err != nil {
		clean()
		if ctx.Err() != nil {
			return nil, nil, nothing(errors.New("stopped before anything was measured"))
		}
		return nil, nil, fmt.Errorf("joining for this one measurement: %w", err)
	}
	return a, func() { leave(); clean() }, nil
}
