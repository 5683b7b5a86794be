//go:build race

package overlay

// Sizes that keep the tests short under the race detector.
const (
	exactUpTo = 256
	raced     = true
)
