package node

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/keyfile"
)

// Files of a node's data directory.
const (
	keyFile  = "node.key" // PKCS #8 PEM, Ed25519
	hardFile = "hard.db"  // term, certificate, boot: never behind another write
	mainFile = "node.db"  // everything else
)

const (
	dirMode = 0o700 // keys and results are the user's own
	keyMode = keyfile.Mode
)

// restoreKey is what to do about a key that cannot be read.
const restoreKey = "restore it, or move the data directory away to join as a new node"

// makeDir makes the data directory.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("data directory %s: %w; pass another one with --data", dir, err)
	}
	return nil
}

// splitToken takes "<network>.<secret>" apart.
func splitToken(token string) (cluster.Network, string, error) {
	network, secret, ok := strings.Cut(strings.TrimSpace(token), ".")
	if !ok || network == "" || secret == "" {
		return "", "", errors.New("the token is not of the form <network>.<secret>: copy it again from where it was made")
	}
	return cluster.Network(network), secret, nil
}
