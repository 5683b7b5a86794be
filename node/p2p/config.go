package p2p

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	ma "github.com/multiformats/go-multiaddr"
)

// Config says how a host listens and for how many peers it is sized.
type Config struct {
	Key    ed25519.PrivateKey // identity of the node
	Listen []string           // TCP multiaddrs, "/ip4/127.0.0.1/tcp/0"; none: the host only dials
	QUIC   bool               // listen on QUIC too, at the UDP port of the same number

	// Members is how many peers are expected at a time. It sizes every limit of
	// connections, streams and memory; a registry sets the number of its nodes, a
	// node that of its city. At least 1.
	Members int

	// Bind, if valid, is the address outgoing TCP connections come from. QUIC
	// connections come from the listening socket.
	Bind netip.Addr

	Log *slog.Logger // never nil
}

// DefaultMembers sizes the limits of a node that knows nothing about its city yet.
const DefaultMembers = 256

// DefaultConfig listens on any TCP port of all addresses. The key is the caller's to set.
func DefaultConfig() Config {
	return Config{
		Listen:  []string{"/ip4/0.0.0.0/tcp/0", "/ip6/::/tcp/0"},
		Members: DefaultMembers,
		Log:     slog.New(slog.DiscardHandler),
	}
}

// Validate says what is wrong with the configuration, if anything.
func (c Config) Validate() error {
	if len(c.Key) != ed25519.PrivateKeySize {
		return fmt.Errorf("key has %d bytes, an Ed25519 private key has %d", len(c.Key), ed25519.PrivateKeySize)
	}
	if c.Members < 1 {
		return fmt.Errorf("members is %d: say how many peers to expect, at least 1", c.Members)
	}
	if c.Log == nil {
		return errors.New("no logger given")
	}
	for _, s := range c.Listen {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			return fmt.Errorf("listen address %q: %w; expected something like /ip4/0.0.0.0/tcp/7401", s, err)
		}
		if _, err := a.ValueForProtocol(ma.P_TCP); err != nil {
			return fmt.Errorf("listen address %q is no TCP address; expected something like /ip4/0.0.0.0/tcp/7401 (QUIC is a setting of its own)", s)
		}
	}
	return nil
}
