package node

import (
	"crypto/ed25519"
	"crypto/sha256"
	"math/bits"
	"sync"
	"time"
)

// What a node claims to be capable of is the lesser of its processor and its disk, in the scale of
// cluster.CapacityBucket, 0 to 10. The head's own measurement caps it.

const (
	cpuRounds = 5  // the best counts: the others shared the processor with somebody
	cpuChecks = 16 // signatures a round, about a millisecond
	// cpuUnit is the rate that fills the first bucket, in checks a second on one core; each bucket above is twice the
	// one below. A small board checks 2,000, a server 20,000.
	cpuUnit = 250.0

	bestCapacity = 10
	// syncUnit is the fsync that a capacity of 10 needs; each four times of it cost syncStep.
	syncUnit = time.Millisecond
	syncStep = 2
)

// cpuBucket is measured once a process: what a head spends its time on is checking signatures.
var cpuBucket = sync.OnceValue(func() uint8 { return cpuBucketOf(checksPerSecond()) })

func checksPerSecond() float64 {
	seed := sha256.Sum256([]byte("peerprobe processor benchmark"))
	key := ed25519.NewKeyFromSeed(seed[:])
	public, sig := key.Public().(ed25519.PublicKey), ed25519.Sign(key, seed[:])
	best := time.Duration(0)
	for range cpuRounds {
		began := time.Now()
		for range cpuChecks {
			ed25519.Verify(public, seed[:], sig)
		}
		if took := time.Since(began); best == 0 || took < best {
			best = took
		}
	}
	return cpuChecks / max(best, time.Microsecond).Seconds()
}

func cpuBucketOf(perSecond float64) uint8 {
	return uint8(min(bits.Len(uint(perSecond/cpuUnit)), bestCapacity))
}

// syncBucketOf is 10 for an fsync of up to a millisecond.
func syncBucketOf(d time.Duration) uint8 {
	n := uint8(bestCapacity)
	for limit := syncUnit; d > limit && n > 0; limit *= 4 {
		n -= syncStep
	}
	return n
}

// capacityClaim is what this node claims. It changes only when another value has stood for capacityHold, because
// each change may order the succession anew.
type capacityClaim struct {
	cpu, disk uint8
	next      uint8
	since     time.Time
}

// settle takes in the fsyncs of the last minute.
func (c *capacityClaim) settle(at time.Time, syncs []time.Duration) {
	if len(syncs) == 0 {
		return
	}
	found := syncBucketOf(quantile(syncs, 0.5))
	switch {
	case found == c.disk:
		c.since = time.Time{}
	case c.since.IsZero() || found != c.next:
		c.next, c.since = found, at
	case at.Sub(c.since) >= capacityHold:
		c.disk, c.since = found, time.Time{}
	}
}

func (c *capacityClaim) capacity() uint8 { return min(c.cpu, c.disk) }

// first takes the measurements of the start. A disk that cannot be written to is no reason not to start: it is one
// not to lead.
func (v *vitals) first() {
	cpu := cpuBucket()
	v.room()
	v.sync() // makes the file
	v.sync()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.claim.cpu = cpu
	if syncs := v.syncs.lately(time.Now()); len(syncs) > 0 {
		v.claim.disk = syncBucketOf(syncs[0])
	}
}

// capacity is what this node claims now.
func (v *vitals) capacity() uint8 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.claim.capacity()
}

// loadBucket is 0 without sessions and one more with each doubling of their number.
func loadBucket(sessions int64) uint8 { return uint8(bits.Len64(uint64(max(sessions, 0)))) }
