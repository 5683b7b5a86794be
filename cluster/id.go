package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"math/big"
	"strings"
)

// ID is a node's identity: the raw bytes of an Ed25519 libp2p peer id (identity multihash, 38 bytes).
// It converts to and from peer.ID by a plain type conversion.
type ID string

// Network is the name of a network: lower-case base32 without padding of the first 16 bytes of the
// SHA-256 of its public key; 26 characters.
type Network string

// City is the slug of a cluster: "changsha", "suzhou-anhui", "cn-unknown".
type City string

// idPrefix is the identity multihash of a 36-byte protobuf: key type Ed25519, 32 bytes of key.
const idPrefix = "\x00\x24\x08\x01\x12\x20"

// idLen is the length of every ID.
const idLen = len(idPrefix) + ed25519.PublicKeySize

// maxCity bounds a city's name: it is part of DHT keys and of file names.
const maxCity = 64

// ErrNotEd25519 says that a peer id does not carry an Ed25519 key: such nodes cannot be admitted.
var ErrNotEd25519 = errors.New("peer id does not carry an Ed25519 key")

// IDOf is the peer id of a public key.
func IDOf(key ed25519.PublicKey) ID { return ID(idPrefix + string(key)) }

// PublicKey is the key inside the id.
func (id ID) PublicKey() (ed25519.PublicKey, error) {
	if len(id) != idLen || !strings.HasPrefix(string(id), idPrefix) {
		return nil, fmt.Errorf("%w: %d bytes starting %x; make a new Ed25519 identity", ErrNotEd25519, len(id), id[:min(len(id), 6)])
	}
	return ed25519.PublicKey(id[len(idPrefix):]), nil
}

// String is the id in base58btc, as libp2p prints it: 12D3KooW...
func (id ID) String() string {
	const alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
	if len(id) > 2*idLen {
		return fmt.Sprintf("invalid-id-of-%d-bytes", len(id))
	}
	var out []byte
	n, base, digit := new(big.Int).SetBytes([]byte(id)), big.NewInt(58), new(big.Int)
	for n.Sign() > 0 {
		n.DivMod(n, base, digit)
		out = append(out, alphabet[digit.Int64()])
	}
	for i := 0; i < len(id) && id[i] == 0; i++ {
		out = append(out, alphabet[0])
	}
	for i, j := 0, len(out)-1; i < j; i, j = i+1, j-1 {
		out[i], out[j] = out[j], out[i]
	}
	return string(out)
}

// Short is the id's last eight characters, for tables and logs.
func (id ID) Short() string {
	s := id.String()
	return s[max(0, len(s)-8):]
}

// MarshalCBOR encodes the id as a byte string.
func (id ID) MarshalCBOR() ([]byte, error) { return encoder.Marshal([]byte(id)) }

// UnmarshalCBOR decodes a byte string: empty, or a well-formed Ed25519 peer id.
func (id *ID) UnmarshalCBOR(data []byte) error {
	var raw []byte
	if err := decoder.Unmarshal(data, &raw); err != nil {
		return err
	}
	got := ID(raw)
	if len(raw) > 0 {
		if _, err := got.PublicKey(); err != nil {
			return err
		}
	}
	*id = got
	return nil
}

// NetworkName is the name of the network whose public key this is.
func NetworkName(key ed25519.PublicKey) Network {
	sum := sha256.Sum256(key)
	return Network(strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])))
}

// Validate refuses what cannot be a city's slug: 1 to 64 characters out of a-z, 0-9 and '-'.
func (c City) Validate() error {
	if len(c) == 0 || len(c) > maxCity {
		return fmt.Errorf("city name of %d characters: want 1 to %d", len(c), maxCity)
	}
	if i := bytes.IndexFunc([]byte(c), func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-')
	}); i >= 0 {
		return fmt.Errorf("city name %q: only a-z, 0-9 and '-' are allowed", string(c))
	}
	return nil
}
