package registry

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// copyDir copies the files of a data directory.
func copyDir(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// A quiet window is where the key was used and the tables may not know for what.
func TestQuietWindowWhen(t *testing.T) {
	lose := func(t *testing.T, dir string, but ...string) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			keep := false
			for _, name := range but {
				keep = keep || e.Name() == name
			}
			if !keep {
				if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, tt := range map[string]struct {
		change func(t *testing.T, cfg *Config)
		quiet  bool
	}{
		"a new network":     {func(t *testing.T, cfg *Config) { cfg.Data = t.TempDir() }, false},
		"closed and opened": {func(*testing.T, *Config) {}, false},
		"the disk is lost, but for the key": {func(t *testing.T, cfg *Config) {
			lose(t, cfg.Data, networkKeyFile)
		}, true},
		"the tables are lost, but for the files beside them": {func(t *testing.T, cfg *Config) {
			lose(t, cfg.Data, networkKeyFile, hostKeyFile, runFile)
		}, true},
		"an older copy of the tables": {func(t *testing.T, cfg *Config) {
			old := filepath.Join(t.TempDir(), "copy")
			copyDir(t, cfg.Data, old)
			start(t, *cfg).close()
			run, err := os.ReadFile(filepath.Join(cfg.Data, runFile))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(old, runFile), run, 0o600); err != nil {
				t.Fatal(err)
			}
			cfg.Data = old
		}, true},
		"a crash": {func(t *testing.T, cfg *Config) {
			r := start(t, *cfg)
			crashed := filepath.Join(t.TempDir(), "copy")
			copyDir(t, cfg.Data, crashed) // as it lies on the disk at that moment
			r.close()
			cfg.Data = crashed
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t)
			start(t, cfg).close()
			tt.change(t, &cfg)
			r := start(t, cfg)
			if got := r.Info().Quiet; (got == quietWindow) != tt.quiet || got != 0 && !tt.quiet {
				t.Errorf("quiet for %v", got)
			}
			r.close()
			if again := start(t, cfg); again.Info().Quiet != 0 {
				t.Error("quiet once more after it was closed cleanly")
			}
		})
	}
}

// After a lost disk the city that its head shows comes back as it was; a city that nobody shows waits for the end of
// the window, and is appointed then.
func TestQuietWindow(t *testing.T) {
	cfg := testConfig(t)
	cfg.Quiet = 3 * time.Second
	r := start(t, cfg)
	head := r.join("127.61.187.2")
	cert, _ := head.becomeHead()
	lead := head.lead(cert, 5, 1)
	head.call(cluster.Request{Kind: cluster.CallTakeover, Cert: cert, Lead: lead, Admission: head.adm})
	r.close()
	lost := t.TempDir()
	for _, name := range []string{networkKeyFile, hostKeyFile} {
		raw, err := os.ReadFile(filepath.Join(cfg.Data, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(lost, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg.Data = lost
	began := time.Now()
	r = start(t, cfg)
	early := r.join("127.61.187.3")
	a := early.register(cluster.Request{})
	if time.Since(began) < cfg.Quiet && (!a.Quiet || !a.Cert.Empty()) {
		t.Fatalf("a second first node of a living city: %+v", a)
	}
	head = r.joinAs(head.key, "127.61.187.2")
	if b := head.register(cluster.Request{Cert: cert, Lead: lead}); b.Quiet || b.Cert.Hash() != cert.Hash() {
		t.Errorf("its head shows the city, and is answered %+v", b)
	}
	if b := early.register(cluster.Request{}); b.Quiet || b.Cert.Hash() != cert.Hash() || len(b.Leads) != 1 || b.Leads[0].Hash() != lead.Hash() {
		t.Errorf("after the head has shown itself: %+v", b)
	}
	other := r.join("127.61.183.2")
	for deadline := time.Now().Add(testWait); ; {
		b := other.register(cluster.Request{})
		if !b.Cert.Empty() {
			if took := time.Since(began); took < cfg.Quiet {
				t.Errorf("a new city is appointed after %v", took)
			}
			break
		}
		if !b.Quiet || time.Now().After(deadline) {
			t.Fatalf("answered %+v after %v", b, time.Since(began))
		}
	}
}
