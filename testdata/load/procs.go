package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long a process may take to say that it is ready, or to end when it is asked to.
const patience = 30 * time.Second

// clockTicks of /proc/*/stat, a second: a constant of the kernel's interface.
const clockTicks = 100

// proc is a running program of which the output up to a certain line was seen.
type proc struct {
	cmd   *exec.Cmd
	line  string // the line that was waited for
	lines chan string
	in    io.WriteCloser
	done  chan error
}

// launch starts a program and waits for the first line of its stdout that holds the text. Later lines come in lines,
// and what it says on stderr is kept in the folder logs.
func launch(ctx context.Context, logs string, env []string, text, bin string, args ...string) (*proc, error) {
	p := &proc{cmd: exec.CommandContext(ctx, bin, args...), done: make(chan error, 1), lines: make(chan string, 16)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives a load that is killed
	said, err := os.CreateTemp(logs, filepath.Base(bin)+"-*.log")
	if err != nil {
		return nil, err
	}
	defer said.Close() // the process has its own
	p.cmd.Stderr = said
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.lines)
		in := bufio.NewScanner(out)
		in.Buffer(nil, maxAnswer)
		for in.Scan() {
			p.lines <- in.Text()
		}
		p.done <- errors.Join(in.Err(), p.cmd.Wait())
	}()
	for {
		line, err := p.next(patience)
		if err != nil {
			p.kill()
			text, _ := os.ReadFile(said.Name())
			return nil, fmt.Errorf("%s %s: %w: %s", bin, strings.Join(args, " "), err, text)
		}
		if strings.Contains(line, text) {
			p.line = line
			return p, nil
		}
	}
}

// maxAnswer bounds a line of a crowd: two numbers of 20 digits a member.
const maxAnswer = 4 << 20

// next is the next line of stdout.
func (p *proc) next(wait time.Duration) (string, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case line, ok := <-p.lines:
		if !ok {
			return "", errors.New("it has ended")
		}
		return line, nil
	case <-timer.C:
		return "", fmt.Errorf("silent for %v", wait)
	}
}

// kill is kill -9. It returns when the process has gone.
func (p *proc) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	p.drain()
}

// drain reads what is left, so that the goroutine of launch can end.
func (p *proc) drain() {
	for range p.lines {
	}
	<-p.done
}

// residentMB is the process's resident memory in MB, by the kernel's count.
func (p *proc) residentMB() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1000, err
		}
	}
	return 0, errors.New("no VmRSS in the process's status")
}

// seconds is the processor time that the process has used, in user and kernel.
func (p *proc) seconds() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), ") ") // the name before it may hold anything
	f := strings.Fields(rest)
	if !ok || len(f) < 13 {
		return 0, fmt.Errorf("unexpected %q", b)
	}
	user, err1 := strconv.ParseFloat(f[11], 64)
	system, err2 := strconv.ParseFloat(f[12], 64)
	return (user + system) / clockTicks, errors.Join(err1, err2)
}

// monotonic is a clock that all processes of this machine share, in nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // Linux has it
	}
	return t.Nano()
}

// pause waits, or returns false when ctx ends before.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
