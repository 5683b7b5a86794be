//go:build linux

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// How long things may take before the test gives up on them. The program is built with the race detector and
// the machine may be busy with other packages' tests: these are limits of patience, not of performance.
const (
	readyPatience   = 30 * time.Second
	stopPatience    = 15 * time.Second
	commandPatience = 30 * time.Second
	eventPatience   = 30 * time.Second
	askEvery        = 100 * time.Millisecond
)

// getEnv names an URL: this test program then fetches it and ends, so that it can do so inside a namespace.
const getEnv = "PEERPROBE_E2E_GET"

func TestMain(m *testing.M) {
	if url := os.Getenv(getEnv); url != "" {
		os.Exit(fetch(url))
	}
	code := m.Run()
	if binary.dir != "" {
		os.RemoveAll(binary.dir)
	}
	os.Exit(code)
}

func fetch(url string) int {
	client := http.Client{Timeout: commandPatience}
	res, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer res.Body.Close()
	if _, err := io.Copy(os.Stdout, res.Body); err != nil || res.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, res.Status, err)
		return 1
	}
	return 0
}

// binary is the program under test, built once a run with the race detector.
var binary struct {
	once      sync.Once
	dir, path string
	err       error
}

// scratch is a new directory with a short path: control sockets lie in it.
func scratch(t *testing.T) string {
	t.Helper()
	program(t)
	dir, err := os.MkdirTemp(binary.dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func program(t *testing.T) string {
	t.Helper()
	binary.once.Do(func() {
		if binary.dir, binary.err = os.MkdirTemp("", "pp"); binary.err != nil {
			return
		}
		if binary.err = os.Mkdir(filepath.Join(binary.dir, "run"), 0o700); binary.err != nil {
			return
		}
		binary.path = filepath.Join(binary.dir, "peerprobe")
		build := exec.Command("go", "build", "-race", "-o", binary.path, "github.com/peerprobe/peerprobe")
		if out, err := build.CombinedOutput(); err != nil {
			binary.err = fmt.Errorf("go build: %w: %s", err, out)
		}
	})
	if binary.err != nil {
		t.Fatal(binary.err)
	}
	return binary.path
}

// process is one long-running peerprobe in a namespace of its own.
type process struct {
	addr string
	data string
	cmd  *exec.Cmd
	line string        // the first line that it printed on stdout: it is ready
	done chan struct{} // closed when it has ended and err is set
	err  error
	log  *syncBuffer // what it wrote on stderr
	term sync.Once   // a second SIGTERM would end it at once
}

// syncBuffer is written by the process's copier and read by the test.
type syncBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs the program in the namespace, in the directory, and waits for its first line. It ends with the test at
// the latest.
func start(t *testing.T, ns, addr, dir string, args ...string) *process {
	t.Helper()
	p := &process{addr: addr, done: make(chan struct{}), log: &syncBuffer{}}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", ns, program(t)}, args...)...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Join(binary.dir, "run"), "CI=true")
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should this test be killed
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := make(chan string, 1)
	go func() {
		defer close(p.done)
		in := bufio.NewScanner(out)
		for first := true; in.Scan(); first = false {
			if first {
				lines <- in.Text()
			}
		}
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.end(t) })
	select {
	case p.line = <-lines:
	case <-p.done:
		t.Fatalf("peerprobe %s on %s ended before it was ready: %v\n%s", args[0], addr, p.err, p.log)
	case <-time.After(readyPatience):
		t.Fatalf("peerprobe %s on %s is not ready after %v\n%s", args[0], addr, readyPatience, p.log)
	}
	return p
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// kill is kill -9: no farewell. It returns when the process is gone.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatalf("kill -9 %s: %v", p.addr, err)
	}
	<-p.done
}

// terminate asks the process to stop in order; end waits for that.
func (p *process) terminate() {
	p.term.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	})
}

// end stops the process in order, if it still runs, and judges how it lived.
func (p *process) end(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
	default:
		p.terminate()
		select {
		case <-p.done:
			if p.err != nil {
				t.Errorf("%s: SIGTERM ended it with: %v", p.addr, p.err)
			}
		case <-time.After(stopPatience):
			t.Errorf("%s: still runs %v after SIGTERM", p.addr, stopPatience)
			p.kill(t)
		}
	}
	said := p.log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(said, bad) {
			t.Errorf("%s: %s", p.addr, bad)
		}
	}
	if t.Failed() {
		t.Logf("--- %s said:\n%s", p.addr, tail(said))
	}
}

// tail is the end of a log: enough to see what went wrong in a test's output.
func tail(s string) string {
	const most = 3000
	if len(s) > most {
		return "...\n" + s[len(s)-most:]
	}
	return s
}

// ask runs a command of the program beside the node with this data directory and decodes its JSON.
func ask(data string, into any, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary.path, append(args, "--data", data, "-J")...)
	cmd.Env = append(os.Environ(), "CI=true")
	out, err := cmd.Output()
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return fmt.Errorf("peerprobe %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("peerprobe %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// get fetches an URL from inside a namespace and decodes its JSON.
func get(ns, url string, into any) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command("ip", "netns", "exec", ns, self)
	cmd.Env = append(os.Environ(), getEnv+"="+url)
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("get %s: %w: %s", url, err, out)
	}
	return json.Unmarshal(out, into)
}

// eventually asks again until cond has nothing to complain about, and returns how long that took.
func eventually(t *testing.T, what string, cond func() error) time.Duration {
	t.Helper()
	began := time.Now()
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		err := cond()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > eventPatience {
			t.Fatalf("%s: not after %v: %v", what, eventPatience, err)
		}
		<-ticker.C
	}
}
