//go:build !race

package overlay

// Sizes without the race detector.
const (
	exactUpTo = 2048
	raced     = false
)
