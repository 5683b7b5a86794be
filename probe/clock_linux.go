package probe

import "golang.org/x/sys/unix"

// Of linux/timex.h: x/sys/unix has the call but not these.
const (
	staUnsync = 0x40
	timeError = 5
)

// ReadClock asks the kernel about its clock: adjtimex(2), reading only.
// ErrorMs is the kernel's maximum error, which it raises by 500 ppm of the time
// since the last update.
func ReadClock() ClockState {
	var t unix.Timex
	state, err := unix.Adjtimex(&t)
	if err != nil {
		return ClockState{Source: ClockUnknown}
	}
	c := ClockState{Source: ClockAdjtimex, Synchronised: state != timeError && t.Status&staUnsync == 0}
	if c.Synchronised {
		bound := float64(t.Maxerror) / 1000
		c.ErrorMs = &bound
	}
	return c
}
