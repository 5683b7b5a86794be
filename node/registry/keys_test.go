package registry

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/store"
)

func TestKeysAreKeptAndSecret(t *testing.T) {
	cfg := testConfig(t)
	cfg.Tokens = true
	r := start(t, cfg)
	r.close()
	if runtime.GOOS != "windows" {
		for _, name := range []string{networkKeyFile, hostKeyFile, tokenFile} {
			st, err := os.Stat(filepath.Join(cfg.Data, name))
			if err != nil || st.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", name, st, err)
			}
		}
		if st, err := os.Stat(cfg.Data); err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("data directory: %v, %v", st, err)
		}
	}
}

// Tables without their network's key are not given to a new network.
func TestNetworkKeyMissing(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	network := string(r.Info().Network)
	r.close()
	path := filepath.Join(cfg.Data, networkKeyFile)
	kept, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := startFails(t, cfg); !strings.Contains(err.Error(), network) || !strings.Contains(err.Error(), "restore it") {
		t.Errorf("without the key: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("a new network key was made over old tables")
	}
	if _, err := loadKey(path, "another key"); err != nil {
		t.Fatal(err)
	}
	if err := startFails(t, cfg); !strings.Contains(err.Error(), network) || !strings.Contains(err.Error(), "restore the right key") {
		t.Errorf("with another key: %v", err)
	}
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := start(t, cfg).Info().Network; string(got) != network {
		t.Errorf("network %s, was %s", got, network)
	}
}

func TestNewerSchema(t *testing.T) {
	cfg := testConfig(t)
	start(t, cfg).close()
	db, err := bbolt.Open(filepath.Join(cfg.Data, "registry.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte("meta")).Put([]byte(".schema"), []byte{0, 0, 0, 0, 0, 0, 0, 99})
	})
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	if err := startFails(t, cfg); !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), "99") {
		t.Errorf("tables of a newer program: %v", err)
	}
}

func TestShellQuote(t *testing.T) {
	for in, want := range map[string]string{
		"/var/lib/peerprobe/token": "/var/lib/peerprobe/token",
		"/tmp/my data/token":       "'/tmp/my data/token'",
		"/tmp/it's; rm -rf $HOME":  `'/tmp/it'\''s; rm -rf $HOME'`,
	} {
		if got := shellQuote(in); got != want {
			t.Errorf("%q: %s, want %s", in, got, want)
		}
	}
}
