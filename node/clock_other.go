//go:build !linux

package node

import "github.com/peerprobe/peerprobe/cluster"

// now reads Go's monotonic clock.
func now() cluster.Instant { return fallbackNow() }
