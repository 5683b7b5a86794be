package node

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/peerprobe/peerprobe/cluster"
)

// Files of a node's data directory.
const (
	keyFile  = "node.key" // PKCS #8 PEM, Ed25519
	hardFile = "hard.db"  // term, certificate, boot: never behind another write
	mainFile = "node.db"  // everything else
)

const (
	dirMode = 0o700 // keys and results are the user's own
	keyMode = 0o600
)

const restoreKey = "restore it, or move the data directory away to join as a new node"

// makeDir makes the data directory.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return fmt.Errorf("data directory %s: %w; pass another one with --data", dir, err)
	}
	return nil
}

// loadKey reads the node's private key from dir, or makes one there. The caller holds the directory's lock.
func loadKey(dir string) (ed25519.PrivateKey, error) {
	path := filepath.Join(dir, keyFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path)
	}
	if err != nil {
		return nil, fmt.Errorf("node key: %w; run as the owner of the data directory", err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("node key %s is not PEM: "+restoreKey, path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("node key %s is damaged (no PKCS #8 key in it): "+restoreKey, path)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("node key %s is a %T: only Ed25519 keys are admitted: "+restoreKey, path, key)
	}
	return private, nil
}

// makeKey writes a new key so that a crash leaves either none or a whole one.
func makeKey(path string) (ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	tmp := path + ".new"
	if err := writeDurable(tmp, text); err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("node key: %w", err)
	}
	return private, nil
}

// writeDurable writes a file that is on disk when it returns: its name comes after its content.
func writeDurable(path string, text []byte) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, keyMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	return f.Sync()
}

// splitToken takes "<network>.<secret>" apart.
func splitToken(token string) (cluster.Network, string, error) {
	network, secret, ok := strings.Cut(strings.TrimSpace(token), ".")
	if !ok || network == "" || secret == "" {
		return "", "", errors.New("the token is not of the form <network>.<secret>: copy it again from where it was made")
	}
	return cluster.Network(network), secret, nil
}
