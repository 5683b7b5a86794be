package sim

import (
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// startMs is the true wall clock, in unix ms, when a schedule begins.
const startMs = 1_700_000_000_000

// clock is what a host takes for the time: a monotonic reading that runs at a rate of its own, and a wall clock that
// can be stepped.
type clock struct {
	since cluster.Instant // true time of the last change
	read  cluster.Instant // the monotonic reading then
	ppm   int64           // so many millionths it runs too fast
	step  time.Duration   // the wall clock is ahead by this
}

// local is the monotonic reading at a true time.
func (c *clock) local(now cluster.Instant) cluster.Instant {
	d := int64(now - c.since)
	return c.read + cluster.Instant(d+d/1e6*c.ppm+d%1e6*c.ppm/1e6)
}

// when is the first true time at which the reading is at least the given one.
func (c *clock) when(local cluster.Instant) cluster.Instant {
	d := int64(local - c.read)
	if c.ppm == 0 || d <= 0 {
		return c.since + cluster.Instant(d)
	}
	at := c.since + cluster.Instant(d/(1e6+c.ppm)*1e6+d%(1e6+c.ppm)*1e6/(1e6+c.ppm))
	for c.local(at) < local {
		at++
	}
	return at
}

// adjust changes rate and reading from now on.
func (c *clock) adjust(now cluster.Instant, ppm int64, jump time.Duration) {
	c.read, c.since, c.ppm = c.local(now).Add(jump), now, ppm
}

// wallMs is the wall clock in unix ms.
func (c *clock) wallMs(now cluster.Instant) int64 {
	return startMs + (int64(now)+int64(c.step))/int64(time.Millisecond)
}
