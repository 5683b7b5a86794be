package p2p

import (
	"errors"
	"sync/atomic"
)

// Counters says what the host accepted and refused since its start.
type Counters struct {
	Accepted     uint64 // streams handed to a handler
	NotAdmitted  uint64 // streams without a valid admission, DHT streams included
	WrongNetwork uint64 // streams of another network
	Barred       uint64 // streams and connections of barred peers
	TooMany      uint64 // streams above a peer's share
	TooLarge     uint64 // frames above the limit
	BadHello     uint64 // first frames that were late, garbled or of another version
	Throttled    uint64 // frames that had to wait for the peer's budget
	Failed       uint64 // streams whose handler returned an error
}

type counters struct {
	accepted, notAdmitted, wrongNetwork, barred, tooMany,
	tooLarge, badHello, throttled, failed atomic.Uint64
}

func (c *counters) read() Counters {
	return Counters{
		Accepted: c.accepted.Load(), NotAdmitted: c.notAdmitted.Load(), WrongNetwork: c.wrongNetwork.Load(),
		Barred: c.barred.Load(), TooMany: c.tooMany.Load(), TooLarge: c.tooLarge.Load(),
		BadHello: c.badHello.Load(), Throttled: c.throttled.Load(), Failed: c.failed.Load(),
	}
}

// refused counts a stream that was turned away at its first frame.
func (c *counters) refused(err error) {
	switch {
	case errors.Is(err, ErrNotAdmitted):
		c.notAdmitted.Add(1)
	case errors.Is(err, ErrWrongNetwork):
		c.wrongNetwork.Add(1)
	case errors.Is(err, ErrBarred):
		c.barred.Add(1)
	case errors.Is(err, ErrTooManyStreams):
		c.tooMany.Add(1)
	case errors.Is(err, ErrFrameTooLarge):
		// Counted where the length was read.
	default:
		c.badHello.Add(1)
	}
}

// Counters returns what was accepted and refused so far.
func (h *Host) Counters() Counters { return h.count.read() }
