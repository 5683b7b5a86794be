package registry

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/node/keyfile"
	"github.com/peerprobe/peerprobe/store"
)

// Quiet window: where the network's key has been used and the tables may not
// know all that it has signed, no city gets a first certificate until the heads
// of living cities have had the time to show theirs: a city must not be
// appointed twice.

// quietWindow is three reports of every head (each 10 s).
const quietWindow = 30 * time.Second

// runFile lies beside the network key and names the run that used it last; the
// tables name the run that closed them last. Where both agree, nothing was
// signed that is not in the tables.
const runFile = "last-run"

// metaClosed is where the tables name the run that closed them.
const metaClosed = "closed"

// beginRun says why this start needs a quiet window ("": it does not), and names
// the run. fresh: the network key was made just now.
func beginRun(db *store.Registry, dir string, fresh bool) (run, why string, err error) {
	path := filepath.Join(dir, runFile)
	last, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", "", fmt.Errorf("%s: %w", path, err)
	}
	closed, err := db.Meta(metaClosed)
	empty := errors.Is(err, store.ErrNotFound)
	if err != nil && !empty {
		return "", "", err
	}
	switch was := strings.TrimSpace(string(last)); {
	case fresh:
	case len(last) == 0 && empty:
		why = "the network key is older than the tables"
	case empty:
		why = "the tables were lost, or never closed"
	case string(closed) != was:
		why = "the tables were not closed cleanly, or are a copy of earlier ones"
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	run = hex.EncodeToString(b[:])
	if err := keyfile.Write(path, []byte(run+"\n")); err != nil {
		return "", "", fmt.Errorf("%s: %w", path, err)
	}
	return run, why, nil
}

// openQuiet begins a run and, where one is needed, its quiet window.
func (s *server) openQuiet(cfg Config, fresh bool) (err error) {
	s.began = time.Now()
	why := ""
	if s.runName, why, err = beginRun(s.store, cfg.Data, fresh); err != nil || why == "" {
		return err
	}
	s.quiet = cfg.Quiet
	s.info.Quiet = cfg.Quiet
	s.log.Warn("quiet window: cities that are new wait until the heads of others have shown themselves", "for", cfg.Quiet, "why", why)
	return nil
}

// isQuiet says that the quiet window lasts.
func (s *server) isQuiet() bool { return time.Since(s.began) < s.quiet }

// endRun notes that everything this run signed is in the tables.
func (s *server) endRun() error {
	if s.runName == "" || s.store == nil {
		return nil
	}
	return s.store.SetMeta(metaClosed, []byte(s.runName))
}

// keyExists says that there is a network key already.
func keyExists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, networkKeyFile))
	return err == nil
}
