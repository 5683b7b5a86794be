//go:build race

package sim

// How much the tests do under the race detector, which makes everything ten times slower.
const (
	fewSchedules = 60
	peaceHours   = 1
	blowTrials   = 10
)
