//go:build unix

package cmd

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// onHangup calls f for each SIGHUP until ctx ends; the returned function waits for that.
func onHangup(ctx context.Context, f func()) (wait func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer signal.Stop(c)
		for {
			select {
			case <-c:
				f()
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { <-done }
}
