package node

import (
	"github.com/peerprobe/peerprobe/cluster"
	"golang.org/x/sys/unix"
)

// now reads CLOCK_BOOTTIME, which goes on while the machine is suspended: a head that slept must notice
// that its term may have passed on.
func now() cluster.Instant {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return fallbackNow()
	}
	return cluster.Instant(ts.Nano())
}
