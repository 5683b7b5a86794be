package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long a process may take to say that it is ready, or to end when it is asked to.
const patience = 20 * time.Second

// proc is a running program of which the output up to a certain line was seen.
type proc struct {
	cmd   *exec.Cmd
	line  string        // the line that was waited for
	after time.Duration // from the start of the process to that line
	done  chan error
}

// launch starts the program and waits for the first line of its stdout that holds the text ("" is any line).
func launch(ctx context.Context, text, bin string, args ...string) (*proc, error) {
	p := &proc{cmd: exec.CommandContext(ctx, bin, args...), done: make(chan error, 1)}
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = patience
	var said strings.Builder // read only after the process has ended
	p.cmd.Stderr = &said
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	lines := make(chan string)
	go func() {
		in := bufio.NewScanner(out)
		for in.Scan() {
			if strings.Contains(in.Text(), text) {
				lines <- in.Text()
				break
			}
		}
		_, _ = io.Copy(io.Discard, out)
		p.done <- p.cmd.Wait()
	}()
	select {
	case p.line = <-lines:
		p.after = time.Since(began)
		return p, nil
	case err := <-p.done:
		return nil, fmt.Errorf("%s %s ended before it was ready: %w: %s", bin, strings.Join(args, " "), err, said.String())
	case <-time.After(patience):
		return nil, errors.Join(fmt.Errorf("%s %s is not ready after %v", bin, strings.Join(args, " "), patience), p.cmd.Process.Kill())
	}
}

// stop ends the process in order, or not.
func (p *proc) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
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
