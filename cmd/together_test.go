package cmd

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
)

// lockedBuffer may be written by a command while a test reads it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// comesUp is how long a command may take to print its line, on a busy machine.
const comesUp = 30 * time.Second

// started is a command that runs until stop is called.
type started struct {
	line string // what it printed when it was ready
	said lockedBuffer
	stop func() int
}

// start runs a command that stays and waits for its line on stdout.
func start(t *testing.T, args ...string) *started {
	t.Helper()
	s := &started{}
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- Main(ctx, args, &bytes.Buffer{}, w, &s.said)
		w.Close()
	}()
	lines := make(chan string, 1)
	go func() {
		defer close(lines)
		for in := bufio.NewScanner(r); in.Scan(); {
			lines <- in.Text()
		}
	}()
	s.stop = sync.OnceValue(func() int { cancel(); return <-code })
	t.Cleanup(func() { s.stop() })
	select {
	case s.line = <-lines:
	case <-time.After(comesUp):
	}
	if s.line == "" {
		s.stop()
		t.Fatalf("%v printed nothing on stdout; stderr:\n%s", args, &s.said)
	}
	return s
}

// once runs a command that ends.
func once(t *testing.T, args ...string) (code int, out, said string) {
	t.Helper()
	var o, e bytes.Buffer
	code = Main(t.Context(), args, &bytes.Buffer{}, &o, &e)
	return code, o.String(), e.String()
}

// The README's commands, one after the other: a registry, two nodes, a measurement, a look around.
func TestCommandsTogether(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
	rs := start(t, "rs", "--data", filepath.Join(dir, "rs"), "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0", "--p2p", "/ip4/127.0.0.1/tcp/0")
	words := strings.Fields(rs.line)
	if len(words) < 4 || words[0] != "peerprobe" || words[1] != "join" || words[2] != "--rs" {
		t.Fatalf("rs printed %q", rs.line)
	}
	addr := words[3]
	c1, w1 := filepath.Join(dir, "c1"), filepath.Join(dir, "w1")
	join := func(city, data string) *started {
		return start(t, "join", "--rs", addr, "--city", city, "--data", data, "--listen", "/ip4/127.0.0.1/tcp/0", "--bind", "127.0.0.1")
	}
	first, second := join("changsha", c1), join("wuhan", w1)
	if !strings.HasPrefix(first.line, "joined changsha as head: 12D3KooW") || !strings.HasPrefix(second.line, "joined wuhan as head: ") {
		t.Errorf("the nodes printed %q and %q", first.line, second.line)
	}

	out := measureWhenUp(t, "measure", "--to", "wuhan", "--data", c1, "-c", "5", "-i", "10ms", "-J", "--explain")
	var doc measureJSON
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Results) != 1 || doc.Status != "finished" || *doc.Results[0].Peer.City != "wuhan" || len(doc.Explain) < 3 {
		t.Errorf("measure printed %s", out)
	}
	if code, out, said := once(t, "measure", "--to", "wuhan", "--data", c1, "-c", "3", "-i", "10ms"); code != exitOK || !strings.Contains(out, "3 sent, 3 received, 0 lost") {
		t.Errorf("measure: exit code %d\n%s%s", code, out, said)
	}
	lookAround(t, c1)
	checkHistory(t, rs)

	// Without --data two nodes are too many; with one of them gone the other is found.
	if code, _, said := once(t, "status"); code != exitUsage || !strings.Contains(said, "2 nodes of this user run here") {
		t.Errorf("status of two: exit code %d: %s", code, said)
	}
	if code, _, said := once(t, "measure", "--to", "atlantis", "--data", c1); code != exitUsage || !strings.Contains(said, "changsha, wuhan") {
		t.Errorf("measure to nowhere: exit code %d: %s", code, said)
	}
	if code := second.stop(); code != exitOK {
		t.Errorf("join ended with %d: %s", code, &second.said)
	}
	if code, out, said := once(t, "status"); code != exitOK || !strings.Contains(out, "changsha") {
		t.Errorf("status of one: exit code %d: %s", code, said)
	}
	if code := first.stop(); code != exitOK {
		t.Errorf("join ended with %d: %s", code, &first.said)
	}
	if code := rs.stop(); code != exitOK {
		t.Errorf("rs ended with %d: %s", code, &rs.said)
	}
}

// measureWhenUp measures again while the heads of two cities that came up this moment do not know one another.
func measureWhenUp(t *testing.T, args ...string) string {
	t.Helper()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	for giveUp := time.After(comesUp); ; {
		code, out, said := once(t, args...)
		if code == exitOK {
			return out
		}
		select {
		case <-again.C:
		case <-giveUp:
			t.Fatalf("%v: exit code %d after %v: %s", args, code, comesUp, said)
		}
	}
}

// checkHistory: the registry says who came to lead.
func checkHistory(t *testing.T, rs *started) {
	t.Helper()
	_, web, ok := strings.Cut(rs.said.String(), "nodes, clusters and results at http://")
	web, _, _ = strings.Cut(web, "\n")
	if !ok {
		t.Fatalf("rs does not say where it is: %s", &rs.said)
	}
	var rows []headRow
	code, out, said := once(t, "rs", "history", "--web", strings.TrimSuffix(web, "/"), "-J")
	if err := json.Unmarshal([]byte(out), &rows); err != nil || code != exitOK || len(rows) < 2 || rows[0].City != "changsha" || rows[0].Reason != "appointed" {
		t.Errorf("rs history: exit code %d, %v\n%s%s", code, err, out, said)
	}
	code, out, said = once(t, "rs", "history", "--web", strings.TrimSuffix(web, "/"), "--city", "武汉")
	if code != exitOK || !strings.Contains(out, "wuhan") || strings.Contains(out, "changsha") || !strings.Contains(out, "appointed") {
		t.Errorf("rs history: exit code %d\n%s%s", code, out, said)
	}
	if code, _, said := once(t, "rs", "history", "--web", "127.0.0.1:1"); code != exitUsage || !strings.Contains(said, "no registry answers at 127.0.0.1:1") {
		t.Errorf("rs history of nothing: exit code %d: %s", code, said)
	}
}

func lookAround(t *testing.T, data string) {
	t.Helper()
	var clusters []node.ClusterInfo
	_, out, _ := once(t, "clusters", "--data", data, "-J")
	if err := json.Unmarshal([]byte(out), &clusters); err != nil || len(clusters) != 2 {
		t.Errorf("clusters: %v\n%s", err, out)
	}
	var nodes []node.NodeInfo
	_, out, _ = once(t, "nodes", "--data", data, "-J")
	if err := json.Unmarshal([]byte(out), &nodes); err != nil || len(nodes) != 2 {
		t.Errorf("nodes: %v\n%s", err, out)
	}
	if code, out, _ := once(t, "results", "--data", data, "-o", "csv"); code != exitOK || strings.Count(out, "\n") != 3 {
		t.Errorf("results: exit code %d\n%s", code, out)
	}
}

// A one-shot joins, measures and leaves nothing behind.
func TestMeasureOnceForReal(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "run"))
	t.Setenv("TMPDIR", dir)
	rs := start(t, "rs", "--data", filepath.Join(dir, "rs"), "--listen", "127.0.0.1:0", "--web", "", "--p2p", "/ip4/127.0.0.1/tcp/0", "--tokens")
	words := strings.Fields(rs.line)
	var addr string
	for i, w := range words[:len(words)-1] {
		if w == "--rs" {
			addr = words[i+1]
		}
	}
	if addr == "" {
		t.Fatalf("no address in %q", rs.line)
	}
	if code, _, said := once(t, "measure", "--to", "wuhan", "--rs", addr, "--city", "changsha", "--bind", "127.0.0.1"); code == exitOK || !strings.Contains(said, "token") {
		t.Errorf("without a token: exit code %d: %s", code, said)
	}
	tokens, err := filepath.Glob(filepath.Join(dir, "rs", "*token*"))
	if err != nil || len(tokens) != 1 {
		t.Fatalf("token files %v, %v; rs said %s", tokens, err, &rs.said)
	}
	for _, city := range []string{"changsha", "wuhan"} {
		start(t, "join", "--rs", addr, "--city", city, "--data", filepath.Join(dir, city), "--bind", "127.0.0.1", "--token-file", tokens[0])
	}
	t.Setenv("XDG_RUNTIME_DIR", filepath.Join(dir, "elsewhere")) // as on a host where no node runs
	out := measureWhenUp(t, "measure", "--to", "wuhan", "--rs", addr, "--city", "changsha", "--bind", "127.0.0.1", "--token-file", tokens[0], "-c", "3", "-i", "10ms")
	if !strings.Contains(out, "3 sent, 3 received") {
		t.Errorf("one-shot printed %s", out)
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "peerprobe-once-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}
