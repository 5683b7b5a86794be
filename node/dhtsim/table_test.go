package dhtsim

import (
	"math"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/cluster/overlay/scale"
)

// The cost table is that of the messages as they are encoded today: a message that grows shows here.
func TestCostsAreThoseOfTheCodec(t *testing.T) {
	costs := scale.MeasuredCosts()
	const tolerance = 0.1
	for name, frame := range newMesh().messages() {
		want := float64(len(frame))
		if got := costs.Of(name); math.Abs(got-want) > tolerance*want {
			t.Errorf("%s has %v bytes, the table says %v: measure anew and date it", name, want, got)
		}
	}
}

// Members' memory and the table's bound, from the real machine.
func TestCostsAreThoseOfTheMachine(t *testing.T) {
	if cluster.DefaultMaxMembers != 20000 || cluster.MaxSuccession-1 != 7 {
		t.Errorf("a head takes %d members and names %d candidates: package scale has other figures", cluster.DefaultMaxMembers, cluster.MaxSuccession-1)
	}
	d := cluster.DefaultTimers()
	for name, got := range map[string]float64{
		"heartbeat": d.Heartbeat.Seconds() - 1, "heartbeat of all": d.HeartbeatAll.Seconds() - 2, "beacon": d.Beacon.Seconds() - 0.5,
		"beacon to all": d.BeaconAll.Seconds() - 10, "evict": d.Evict.Seconds() - 10,
	} {
		if got != 0 {
			t.Errorf("the default timer %s is off what package scale assumes by %v s", name, got)
		}
	}
}
