package cluster

import (
	"cmp"
	"math/bits"
	"time"
)

// Priority orders candidates, in coarse buckets. Reachability stands first, then stability: heads must
// last, and ranking by bandwidth gives heads that live an hour where ranking by age gives days.
type Priority struct {
	Reachable bool  `cbor:"1,keyasint,omitempty"` // can be dialled from outside
	Stability uint8 `cbor:"2,keyasint,omitempty"` // StabilityBucket of the time since first seen
	Capacity  uint8 `cbor:"3,keyasint,omitempty"` // bandwidth and CPU, as attested; higher is better
	Load      uint8 `cbor:"4,keyasint,omitempty"` // higher is worse
}

// Compare is above 0 where p is the better candidate, below 0 where q is, else 0 (ids then decide).
func (p Priority) Compare(q Priority) int {
	return cmp.Or(
		cmp.Compare(number(p.Reachable), number(q.Reachable)),
		cmp.Compare(p.Stability, q.Stability),
		cmp.Compare(p.Capacity, q.Capacity),
		cmp.Compare(q.Load, p.Load),
	)
}

// stabilityUnit is the age that fills the first bucket: the length of the probation.
const stabilityUnit = 10 * time.Minute

// StabilityBucket is 0 below ten minutes and one more with each doubling of the age after that.
func StabilityBucket(age time.Duration) uint8 {
	if age < stabilityUnit {
		return 0
	}
	return uint8(bits.Len64(uint64(age / stabilityUnit)))
}

func number(b bool) int {
	if b {
		return 1
	}
	return 0
}

// capacityUnit is the rate that fills the first bucket of CapacityBucket, in bits a second.
const capacityUnit = 1e6

// maxCapacity is the highest bucket: 262 Gbit/s.
const maxCapacity = 10

// CapacityBucket is 0 below a million bits a second and one more with each fourfold of it: coarse, so that the order
// of candidates does not change with every measurement.
func CapacityBucket(bitsPerSecond float64) uint8 {
	n := uint8(0)
	for ; bitsPerSecond >= capacityUnit && n < maxCapacity; bitsPerSecond /= 4 {
		n++
	}
	return n
}
