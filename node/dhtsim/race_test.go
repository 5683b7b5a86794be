//go:build race

package dhtsim

// headCount is smaller under the race detector, where a handshake takes ten times as long.
const headCount = 22 // default of -heads
