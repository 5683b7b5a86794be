//go:build !unix

package dhtsim

import "testing"

func processorTime(b *testing.B) float64 {
	b.Skip("processor time is measured on Unix only")
	return 0
}
