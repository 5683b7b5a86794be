//go:build !race

package dhtsim

// headCount is large enough that not every head knows every other.
const headCount = 60 // default of -heads
