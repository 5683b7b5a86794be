package registry

import (
	"crypto/ed25519"

	"github.com/peerprobe/peerprobe/node/keyfile"
)

// Files of the data directory.
const (
	networkKeyFile = "network.key"
	hostKeyFile    = "host.key"
	tokenFile      = "token"
)

const dirMode = 0o700 // keys, and who measured what

// loadKey reads a private key, or makes one where there is none. what is its
// name in errors.
func loadKey(path, what string) (ed25519.PrivateKey, error) {
	return keyfile.Load(path, what, "restore it from a copy; nothing else can replace it")
}
