package cluster

import (
	"fmt"
	"time"
)

// Timers are a certificate's timers, so that a city never mixes settings. Every threshold of the
// election is a multiple of one of them. They travel as whole milliseconds.
type Timers struct {
	Beacon       time.Duration // head to candidates
	BeaconAll    time.Duration // head to all members
	Heartbeat    time.Duration // candidate to head
	HeartbeatAll time.Duration // member to head
	Suspect      time.Duration // silence after which the first in line probes
	Stagger      time.Duration // further wait of each next in line
	ProbeWait    time.Duration // how long answers to a probe are awaited
	Evict        time.Duration // silence after which a head drops a member
	Orphan       time.Duration // silence after which a member asks who leads
}

// DefaultTimers suit cities on the open internet.
func DefaultTimers() Timers {
	return Timers{
		Beacon: 500 * time.Millisecond, BeaconAll: 10 * time.Second,
		Heartbeat: time.Second, HeartbeatAll: 2 * time.Second,
		Suspect: 1750 * time.Millisecond, Stagger: time.Second, ProbeWait: 400 * time.Millisecond,
		Evict: 10 * time.Second, Orphan: 30 * time.Second,
	}
}

// LANTimers suit a fast local network.
func LANTimers() Timers {
	return Timers{
		Beacon: 200 * time.Millisecond, BeaconAll: 5 * time.Second,
		Heartbeat: 500 * time.Millisecond, HeartbeatAll: time.Second,
		Suspect: 700 * time.Millisecond, Stagger: 400 * time.Millisecond, ProbeWait: 200 * time.Millisecond,
		Evict: 10 * time.Second, Orphan: 15 * time.Second,
	}
}

// WANTimers suit long or lossy paths.
func WANTimers() Timers {
	return Timers{
		Beacon: time.Second, BeaconAll: 20 * time.Second,
		Heartbeat: 2 * time.Second, HeartbeatAll: 4 * time.Second,
		Suspect: 4 * time.Second, Stagger: 2 * time.Second, ProbeWait: time.Second,
		Evict: 20 * time.Second, Orphan: 60 * time.Second,
	}
}

// Relations between the timers, and the range in which each must lie.
const (
	minTimer = 10 * time.Millisecond
	maxTimer = time.Hour
)

// Validate checks the range of each timer and how they relate.
func (t Timers) Validate() error {
	for _, d := range t.list() {
		if *d.at < minTimer || *d.at > maxTimer || *d.at%time.Millisecond != 0 {
			return fmt.Errorf("timer %s is %v: want whole milliseconds from %v to %v", d.name, *d.at, minTimer, maxTimer)
		}
	}
	switch {
	case t.Suspect < 2*t.Beacon:
		return fmt.Errorf("timer suspect (%v) must be at least two beacons (%v): one lost beacon would depose a head", t.Suspect, t.Beacon)
	case t.Suspect < t.ProbeWait:
		return fmt.Errorf("timer suspect (%v) must not be below probe wait (%v)", t.Suspect, t.ProbeWait)
	case t.Evict < 3*t.HeartbeatAll:
		return fmt.Errorf("timer evict (%v) must be at least three heartbeats (%v)", t.Evict, t.HeartbeatAll)
	case t.BeaconAll < t.Beacon || t.HeartbeatAll < t.Heartbeat:
		return fmt.Errorf("candidates must not beat slower than others: beacon %v to all %v, heartbeat %v of all %v", t.Beacon, t.BeaconAll, t.Heartbeat, t.HeartbeatAll)
	case t.Orphan < t.BeaconAll:
		return fmt.Errorf("timer orphan (%v) must not be below the beacon to all (%v)", t.Orphan, t.BeaconAll)
	}
	return nil
}

type namedTimer struct {
	name string
	at   *time.Duration
}

func (t *Timers) list() []namedTimer {
	return []namedTimer{
		{"beacon", &t.Beacon}, {"beacon-all", &t.BeaconAll}, {"heartbeat", &t.Heartbeat}, {"heartbeat-all", &t.HeartbeatAll},
		{"suspect", &t.Suspect}, {"stagger", &t.Stagger}, {"probe-wait", &t.ProbeWait}, {"evict", &t.Evict}, {"orphan", &t.Orphan},
	}
}

// MarshalCBOR encodes the timers as an array of milliseconds in the order of the struct.
func (t Timers) MarshalCBOR() ([]byte, error) {
	ms := make([]uint64, 0, 9)
	for _, d := range t.list() {
		ms = append(ms, uint64(max(*d.at, 0)/time.Millisecond))
	}
	return encoder.Marshal(ms)
}

// UnmarshalCBOR decodes an array of at least nine numbers of milliseconds; later versions may append.
func (t *Timers) UnmarshalCBOR(data []byte) error {
	var ms []uint64
	if err := decoder.Unmarshal(data, &ms); err != nil {
		return err
	}
	all := t.list()
	if len(ms) < len(all) {
		return fmt.Errorf("timers: %d values, want %d", len(ms), len(all))
	}
	for i, d := range all {
		if ms[i] > uint64(maxTimer/time.Millisecond) {
			return fmt.Errorf("timer %s of %d ms: above %v", d.name, ms[i], maxTimer)
		}
		*d.at = time.Duration(ms[i]) * time.Millisecond
	}
	return nil
}
