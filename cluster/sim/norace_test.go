//go:build !race

package sim

// How much the tests do without the race detector.
const (
	fewSchedules = 600
	peaceHours   = 8
	blowTrials   = 40
)
