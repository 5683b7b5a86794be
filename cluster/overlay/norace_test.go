//go:build !race

package overlay

// Sizes without the race detector.
const (
	exactUpTo = 1024
	raced     = false
)
