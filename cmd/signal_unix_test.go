//go:build unix

package cmd

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// The first Ctrl-C is for the command; where that hangs, the second one ends it.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), actAs+"=stubborn")
	in, err := c.StdinPipe() // held open: it never ends by itself
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	lines := bufio.NewScanner(out)
	expect := func(want string) {
		t.Helper()
		if !lines.Scan() || lines.Text() != want {
			c.Process.Kill()
			t.Fatalf("it said %q, want %q", lines.Text(), want)
		}
	}
	expect("ready")
	c.Process.Signal(syscall.SIGINT)
	expect("stopping")
	go func() { c.Wait(); close(ended) }()
	// Until sameSignal has passed, further signals are the first one.
	began := time.Now()
	c.Process.Signal(syscall.SIGINT)
	again := time.NewTicker(sameSignal / 4)
	defer again.Stop()
	for giveUp := time.After(comesUp); ; {
		select {
		case <-again.C:
			c.Process.Signal(syscall.SIGINT)
		case <-ended:
			if ws := c.ProcessState.Sys().(syscall.WaitStatus); !ws.Signaled() || ws.Signal() != syscall.SIGINT {
				t.Errorf("it ended with %v, not by the signal", c.ProcessState)
			}
			if took := time.Since(began); took < sameSignal/2 {
				t.Errorf("it ended after %v: timeout(1) could not stop it in order", took)
			}
			return
		case <-giveUp:
			c.Process.Kill()
			<-ended
			t.Fatal("further signals did not end it")
		}
	}
}
