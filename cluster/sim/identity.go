package sim

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"sync"

	"github.com/peerprobe/peerprobe/cluster"
)

// identity is a key with what follows from it. Keys come from names, so that they are the same in every schedule.
type identity struct {
	id   cluster.ID
	sign cluster.Signer
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
		i = identity{cluster.IDOf(key.Public().(ed25519.PublicKey)), cluster.SignerOf(key)}
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
