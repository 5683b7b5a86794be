package sim

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"sync"

	"github.com/peerprobe/peerprobe/cluster"
)

// realEvery: of so many schedules one signs and verifies as nodes do. The others spend a hash where those spend
// 85 us: nobody in a schedule forges, so that a hash of key and message says as much.
const realEvery = 32

// Memory is what schedules of one goroutine may share: what they verified, which says nothing about what they do.
type Memory struct{ quick, real *cluster.Trust }

// NewMemory remembers nothing yet.
func NewMemory() *Memory {
	return &Memory{quick: cluster.NewTrustBy(networkPublic(), verifyQuick), real: cluster.NewTrust(networkPublic())}
}

func signQuick(key ed25519.PublicKey) cluster.Signer {
	return func(message []byte) []byte {
		sum := sha512.Sum512(append(bytes.Clone(key), message...))
		return sum[:]
	}
}

func verifyQuick(key ed25519.PublicKey, message, sig []byte) bool {
	return bytes.Equal(signQuick(key)(message), sig)
}

// identity is a key with what follows from it. Keys come from names, so that they are the same in every schedule.
type identity struct {
	id    cluster.ID
	real  cluster.Signer
	quick cluster.Signer
}

var identities = struct {
	sync.Mutex
	byNumber map[int]identity
}{byNumber: make(map[int]identity)}

// identityOf is the identity of the node with a number.
func identityOf(n int) identity {
	identities.Lock()
	defer identities.Unlock()
	i, ok := identities.byNumber[n]
	if !ok {
		key := keyOf(fmt.Sprintf("node %d", n))
		public := key.Public().(ed25519.PublicKey)
		i = identity{cluster.IDOf(public), cluster.SignerOf(key), signQuick(public)}
		identities.byNumber[n] = i
	}
	return i
}

func keyOf(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("peerprobe sim: " + name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// networkKey signs what the registry signs.
var networkKey = sync.OnceValue(func() ed25519.PrivateKey { return keyOf("network") })

func networkPublic() ed25519.PublicKey { return networkKey().Public().(ed25519.PublicKey) }

// trust is what everybody of a world shares.
func (w *world) trust() *cluster.Trust {
	if w.cfg.real {
		return w.cfg.memory.real
	}
	return w.cfg.memory.quick
}

func (w *world) signer(i identity) cluster.Signer {
	if w.cfg.real {
		return i.real
	}
	return i.quick
}

func (w *world) networkSigner() cluster.Signer {
	if w.cfg.real {
		return cluster.SignerOf(networkKey())
	}
	return signQuick(networkPublic())
}
