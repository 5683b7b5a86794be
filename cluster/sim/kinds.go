package sim

import (
	"fmt"
	"slices"
)

// Kind is a kind of fault.
type Kind uint8

// The kinds of faults.
const (
	Crash Kind = iota
	Restart
	SilentDeath
	LostDisk
	Pause
	SlowLoop
	ClockStep
	ClockRate
	Loss
	DelaySpike
	Duplication
	Reordering
	Partition
	OneWay
	Blink
	Reset
	LyingWitness
	NeedlessClaim
	GarbageTerms
	Replay
	RegistryDown
	RegistryRestart
	RegistryLostDisk
	RegistryOldDisk
	Pair
	Extinction
	Reshard
	ClonedKey
	FullDisk
	Churn
	HandOver
	Fifty
	kindCount
)

// kinds name the faults and carry them out. begin gives what ends the fault; nil: it ends by itself, or never.
var kinds [kindCount]struct {
	name  string
	begin func(w *world, f *fault) (end func(w *world))
}

func init() {
	set := func(k Kind, name string, begin func(w *world, f *fault) func(w *world)) {
		kinds[k].name, kinds[k].begin = name, begin
	}
	set(Crash, "crash", crash)
	set(Restart, "restart", restart)
	set(SilentDeath, "silent-death", silentDeath)
	set(LostDisk, "lost-disk", lostDisk)
	set(Pause, "pause", pause)
	set(SlowLoop, "slow-loop", slowLoop)
	set(ClockStep, "clock-step", clockStep)
	set(ClockRate, "clock-rate", clockRate)
	set(Loss, "loss", loss)
	set(DelaySpike, "delay-spike", delaySpike)
	set(Duplication, "duplication", duplication)
	set(Reordering, "reordering", reordering)
	set(Partition, "partition", partition)
	set(OneWay, "one-way", oneWay)
	set(Blink, "blink", blink)
	set(Reset, "reset", reset)
	set(LyingWitness, "lying-witness", lies(witness))
	set(NeedlessClaim, "needless-claim", lies(claimer))
	set(GarbageTerms, "garbage-terms", lies(garbler))
	set(Replay, "replay", lies(replayer))
	set(RegistryDown, "registry-down", registryDown)
	set(RegistryRestart, "registry-restart", registryRestart)
	set(RegistryLostDisk, "registry-lost-disk", registryLostDisk)
	set(RegistryOldDisk, "registry-old-disk", registryOldDisk)
	set(Pair, "head-and-backup", pair)
	set(Extinction, "all-candidates", extinction)
	set(Reshard, "reshard", reshard)
	set(ClonedKey, "cloned-key", clonedKey)
	set(FullDisk, "full-disk", fullDisk)
	set(Churn, "churn", churn)
	set(HandOver, "hand-over", handOver)
	set(Fifty, "fifty-at-once", fifty)
}

// String is the kind's name.
func (k Kind) String() string {
	if k >= kindCount {
		return fmt.Sprintf("kind %d", uint8(k))
	}
	return kinds[k].name
}

// Kinds are all kinds of faults.
func Kinds() []Kind {
	out := make([]Kind, kindCount)
	for i := range out {
		out[i] = Kind(i)
	}
	return out
}

// ParseKind finds a kind by its name.
func ParseKind(name string) (Kind, error) {
	if i := slices.IndexFunc(kinds[:], func(k struct {
		name  string
		begin func(w *world, f *fault) (end func(w *world))
	}) bool {
		return k.name == name
	}); i >= 0 {
		return Kind(i), nil
	}
	return 0, fmt.Errorf("no kind of fault is called %q: there is %v", name, Kinds())
}
