package lab

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How long things may take before the lab gives up on them. The program may be built with the race detector and the
// machine busy with other work: these are limits of patience, not of performance.
const (
	readyPatience = 2 * time.Minute
	stopPatience  = 40 * time.Second
)

// Process is one long-running peerprobe in a namespace of its own.
type Process struct {
	Addr string
	Line string // the first line that it printed on stdout: it is ready

	cmd   *exec.Cmd
	verb  string
	lines chan string   // the first line, once
	done  chan struct{} // closed when it has ended and err is set
	err   error
	log   *syncBuffer // what it wrote on stderr
	term  sync.Once   // a second SIGTERM would end it at once
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

// Start runs the program on the host, in the directory, and waits for its first line. It ends with the test at the
// latest.
func (l *Lab) Start(t T, b *Binary, addr, dir string, args ...string) *Process {
	t.Helper()
	p := l.Launch(t, b, addr, dir, args...)
	p.Await(t)
	return p
}

// Launch is Start without the waiting: Await does that.
func (l *Lab) Launch(t T, b *Binary, addr, dir string, args ...string) *Process {
	t.Helper()
	p := &Process{Addr: addr, verb: args[0], lines: make(chan string, 1), done: make(chan struct{}), log: &syncBuffer{}}
	p.cmd = exec.Command("ip", append([]string{"netns", "exec", l.Namespace(addr), b.Path}, args...)...)
	p.cmd.Dir = dir
	p.cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+filepath.Join(b.Dir, "run"), "CI=true")
	p.cmd.Stderr = p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // should this process be killed
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("%v", err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("%v", err)
	}
	go func() {
		defer close(p.done)
		in := bufio.NewScanner(out)
		for first := true; in.Scan(); first = false {
			if first {
				p.lines <- in.Text()
			}
		}
		p.err = p.cmd.Wait()
	}()
	t.Cleanup(func() { p.End(t) })
	return p
}

// Await waits for the first line.
func (p *Process) Await(t T) {
	t.Helper()
	select {
	case p.Line = <-p.lines:
	case <-p.done:
		t.Fatalf("peerprobe %s on %s ended before it was ready: %v\n%s", p.verb, p.Addr, p.err, p.log)
	case <-time.After(readyPatience):
		t.Fatalf("peerprobe %s on %s is not ready after %v\n%s", p.verb, p.Addr, readyPatience, p.log)
	}
}

// Said is what the process wrote on stderr so far.
func (p *Process) Said() string { return p.log.String() }

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Gone is closed when the process has ended.
func (p *Process) Gone() <-chan struct{} { return p.done }

// Ended says whether the process is gone.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Kill is kill -9: no farewell. It returns, when the process is gone, the moment at which kill(2) returned.
func (p *Process) Kill(t T) Moment {
	t.Helper()
	at := p.Signal(t, syscall.SIGKILL)
	<-p.done
	return at
}

// Signal sends a signal and returns the moment at which kill(2) returned.
func (p *Process) Signal(t T, sig syscall.Signal) Moment {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatalf("%v to %s: %v", sig, p.Addr, err)
	}
	return Now()
}

// Terminate asks the process to stop in order; End waits for that.
func (p *Process) Terminate() Moment {
	p.term.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended already
	})
	return Now()
}

// End stops the process in order, if it still runs, and judges how it lived.
func (p *Process) End(t T) {
	t.Helper()
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Signal(syscall.SIGCONT) // it may be stopped
		p.Terminate()
		select {
		case <-p.done:
			if p.err != nil {
				t.Errorf("%s: SIGTERM ended it with: %v", p.Addr, p.err)
			}
		case <-time.After(stopPatience):
			t.Errorf("%s: still runs %v after SIGTERM", p.Addr, stopPatience)
			p.Kill(t)
		}
	}
	said := p.log.String()
	for _, bad := range []string{"DATA RACE", "panic:", "fatal error:"} {
		if strings.Contains(said, bad) {
			t.Errorf("%s: %s", p.Addr, bad)
		}
	}
	if t.Failed() {
		t.Logf("--- %s said:\n%s", p.Addr, tail(said))
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

// Moment is nanoseconds of CLOCK_BOOTTIME: the one clock of all processes of a machine.
type Moment int64

// Now reads the clock.
func Now() Moment {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux that this runs on has it
	}
	return Moment(ts.Nano())
}

// Sub is the time between two moments.
func (m Moment) Sub(earlier Moment) time.Duration { return time.Duration(m - earlier) }
