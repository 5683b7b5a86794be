package cluster

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Domains separate signatures: what was signed as one kind of object never verifies as another.
const (
	DomainAdmission = "peerprobe/admission/v1\x00"
	DomainBarred    = "peerprobe/barred/v1\x00"
	DomainBatch     = "peerprobe/batch/v1\x00"
	DomainCert      = "peerprobe/cert/v1\x00"
	DomainJoin      = "peerprobe/join/v1\x00"
	DomainLead      = "peerprobe/lead/v1\x00"
	DomainStatement = "peerprobe/statement/v1\x00"
	DomainTicket    = "peerprobe/ticket/v1\x00"
	DomainResult    = "peerprobe/result/v1\x00"
)

// ErrSignature says that a signature does not verify under the key that should have made it.
var ErrSignature = errors.New("signature does not verify")

// Sign encodes v and signs domain || payload.
func Sign(domain string, v any, sign Signer) Signed {
	payload := Marshal(v)
	return Signed{Payload: payload, Sig: sign(append([]byte(domain), payload...))}
}

// SignerOf is the Signer of a private key.
func SignerOf(key ed25519.PrivateKey) Signer {
	return func(message []byte) []byte { return ed25519.Sign(key, message) }
}

// Verify checks the signature over domain || payload.
func (s Signed) Verify(domain string, key ed25519.PublicKey) error {
	return s.verify(domain, key, ed25519.Verify)
}

func (s Signed) verify(domain string, key ed25519.PublicKey, verify Verifier) error {
	if len(key) != ed25519.PublicKeySize || len(s.Sig) != ed25519.SignatureSize ||
		!verify(key, append([]byte(domain), s.Payload...), s.Sig) {
		return fmt.Errorf("%w: %.*s of %d bytes", ErrSignature, len(domain)-1, domain, len(s.Payload))
	}
	return nil
}

// Empty says that there is no object.
func (s Signed) Empty() bool { return len(s.Payload) == 0 && len(s.Sig) == 0 }

// Hash is the SHA-256 of payload || signature: the object's name in caches and in the order of certificates.
func (s Signed) Hash() [32]byte {
	h := sha256.New()
	h.Write(s.Payload)
	h.Write(s.Sig)
	return [32]byte(h.Sum(nil))
}
