// Command peerprobe measures the network between hosts that belong to the same mesh.
// Everything is in package cmd; this is the exit code.
package main

import (
	"context"
	"os"

	"github.com/peerprobe/peerprobe/cmd"
)

func main() {
	os.Exit(cmd.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
