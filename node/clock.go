package node

import (
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

var processStart = time.Now()

// fallbackNow is the monotonic clock of the Go runtime, in nanoseconds since the process started.
func fallbackNow() cluster.Instant { return cluster.Instant(time.Since(processStart)) }
