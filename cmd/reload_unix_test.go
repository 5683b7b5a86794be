//go:build unix

package cmd

import (
	"context"
	"os"
	"syscall"
	"testing"
)

func TestHangup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	called := make(chan struct{}, 8)
	wait := onHangup(ctx, func() { called <- struct{}{} })
	for range 2 {
		if err := syscall.Kill(os.Getpid(), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		<-called
	}
	cancel()
	wait()
}
