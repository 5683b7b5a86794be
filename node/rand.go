package node

import (
	crand "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
)

// newRand is the machine's source of chance, seeded by the system.
func newRand() *rand.Rand {
	var seed [16]byte
	crand.Read(seed[:])
	return rand.New(rand.NewPCG(binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])))
}
