// Package keyfile keeps private keys and other secrets in files: Ed25519 keys as PKCS #8 in PEM, made where there are
// none, so that OpenSSL reads them too.
//
// It is not for passwords or for keys of other kinds, and it does not lock: the caller holds the data directory.
//
// It promises that a file is readable by its owner only, that it is on disk when Write or Load returns, and that a
// crash leaves none or a whole one. A file that is there is never changed.
package keyfile

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

// Mode is that of the files: their owner's.
const Mode = 0o600

// Load reads a private key, or makes one where there is none. what is its name in errors ("node key"), advice what to do
// about a file that holds no key.
func Load(path, what, advice string) (ed25519.PrivateKey, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return create(path, what)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w; run as the owner of the data directory", what, err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s %s is not PEM: %s", what, path, advice)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s %s is damaged (no PKCS #8 key in it): %s", what, path, advice)
	}
	private, ok := key.(ed25519.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s %s is a %T, and an Ed25519 key is needed: %s", what, path, key, advice)
	}
	return private, nil
}

func create(path, what string) (ed25519.PrivateKey, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	if err := Write(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return private, nil
}

// Write makes or replaces a file.
func Write(path string, text []byte) error {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, Mode)
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
