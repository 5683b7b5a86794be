package cmd

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestMain lets scripts in testdata/script run this test binary as peerprobe.
func TestMain(m *testing.M) {
	if os.Getenv(actAs) == "stubborn" {
		stubborn()
		return
	}
	time.Local = time.UTC // tables show local time, and goldens are the same everywhere
	testscript.Main(m, map[string]func(){
		"peerprobe": func() {
			os.Exit(Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
		},
	})
}

// actAs makes this test binary something else, for tests that need a process of its own.
const actAs = "PEERPROBE_TEST_ACT_AS"

// stubborn hears the first signal and does not end by itself.
func stubborn() {
	ctx, stop := withSignals(context.Background())
	defer stop()
	fmt.Println("ready")
	<-ctx.Done()
	fmt.Println("stopping")
	io.Copy(io.Discard, os.Stdin)
}

var update = flag.Bool("update", false, "write the goldens anew; read the difference before committing it")

func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/script/*.txtar")
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d scripts (%v): the glob looks in the wrong place", len(files), err)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		UpdateScripts:       *update,
		Setup: func(e *testscript.Env) error {
			// No running node of the person who tests is found, and none of theirs is asked.
			e.Setenv("XDG_RUNTIME_DIR", filepath.Join(e.WorkDir, "run"))
			e.Setenv("XDG_CONFIG_HOME", filepath.Join(e.WorkDir, "config"))
			e.Setenv("TMPDIR", filepath.Join(e.WorkDir, ".tmp"))
			return nil
		},
	})
}

// golden compares got with a file in testdata/golden.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", "golden", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (make it with: go test ./cmd -run '^%s$' -update)", err, t.Name())
	}
	if !bytes.Equal(want, got) {
		t.Errorf("%s differs.\n--- want\n%s\n--- got\n%s", path, want, got)
	}
}

// runner runs command lines in an environment with one fake node.
type runner struct {
	node     *fakeNode
	sockets  []string
	dialErr  error
	env      map[string]string
	out, err bytes.Buffer
	joined   []joinedAs
}

func newRunner(t *testing.T) *runner {
	t.Helper()
	dir := t.TempDir()
	sock := filepath.Join(dir, "control.sock")
	if err := os.WriteFile(sock, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return &runner{node: &fakeNode{}, sockets: []string{sock}, env: map[string]string{}}
}

// run returns the exit code; out and err hold what this run wrote.
func (r *runner) run(t *testing.T, args ...string) int {
	t.Helper()
	r.out.Reset()
	r.err.Reset()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r.node.cancel = cancel
	e := &env{in: &bytes.Buffer{}, out: &r.out, err: &r.err,
		getenv:      func(k string) string { return r.env[k] },
		sockets:     func() []string { return r.sockets },
		controlPath: func(data string) string { return filepath.Join(data, "control.sock") },
		dial:        func(string) (api, error) { return r.node, r.dialErr },
		join:        r.join,
	}
	return e.run(ctx, args)
}
