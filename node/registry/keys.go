package registry

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
)

// Files of the data directory.
const (
	networkKeyFile = "network.key"
	hostKeyFile    = "host.key"
	tokenFile      = "token"
)

const (
	dirMode    = 0o700 // keys, and who measured what
	secretMode = 0o600
)

// loadKey reads a private key (PKCS #8 in PEM), or makes one where there is
// none. what is its name in errors.
func loadKey(path, what string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKey(path, what)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: %s is not PEM: restore it from a copy; nothing else can replace it", what, path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w: restore it from a copy", what, path, err)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s: %s holds a %T, an Ed25519 key is needed", what, path, key)
	}
	return private, nil
}

func makeKey(path, what string) (ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err := writeSecret(path, text); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return private, nil
}

// writeSecret writes a file that only its owner may read, and is durable when
// it returns: a crash leaves none or a whole one.
func writeSecret(path string, text []byte) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, secretMode)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	_ = dir.Sync() // not every system can, and those that cannot need not
	return dir.Close()
}
