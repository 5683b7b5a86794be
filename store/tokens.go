package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
)

// Table "tokens": permissions to join. The secret itself is never stored.
//
//	TokenHash of the secret, 32 bytes -> CBOR {1 label, 2 class, 3 city, 4 uses, 5 used, 6 created,
//	7 expires (unix ms, 0: never), 8 revoked}
//
// Table "tokens.peers": who used them.
//
//	token hash, node id (raw bytes) -> first use, unix ms, uint64 big endian
const (
	tableTokens     = "tokens"
	tableTokenPeers = "tokens.peers"
)

// MaxTokenUses bounds the nodes that one token may admit.
const MaxTokenUses = 100_000

// Why a token does not admit a node.
var (
	ErrTokenExpired = errors.New("the token has expired")
	ErrTokenUsed    = errors.New("the token was used up by other nodes")
	ErrTokenRevoked = errors.New("the token was revoked")
)

// Token is a permission to join.
type Token struct {
	Hash    [32]byte     // TokenHash of the secret
	Label   string       // for people
	Class   string       // of the admissions that it gives: cluster.ClassOwn or ClassGuest
	City    cluster.City // it admits to this city only; empty: any. The caller compares.
	Uses    int          // so many different nodes may use it, each as often as it likes
	Used    int          // so many have; kept by UseToken
	Created time.Time
	Expires time.Time // no new node after this; zero: never
	Revoked bool      // nobody, not even those that used it before
}

type tokenWire struct {
	Label   string       `cbor:"1,keyasint"`
	Class   string       `cbor:"2,keyasint"`
	City    cluster.City `cbor:"3,keyasint"`
	Uses    int          `cbor:"4,keyasint"`
	Used    int          `cbor:"5,keyasint"`
	Created int64        `cbor:"6,keyasint"`
	Expires int64        `cbor:"7,keyasint"`
	Revoked bool         `cbor:"8,keyasint"`
}

// TokenHash is what is stored of a token's secret: SHA-256 over a domain and the secret. Secrets are
// long and random, so nothing slower is needed.
func TokenHash(secret string) [32]byte {
	return sha256.Sum256([]byte("peerprobe/token/v1\x00" + secret))
}

func encodeToken(t Token) ([]byte, error) {
	return encodeRecord(tokenWire{
		validText(t.Label), t.Class, t.City, t.Uses, t.Used, unixMs(t.Created), unixMs(t.Expires), t.Revoked,
	})
}

func decodeToken(hash, raw []byte) (Token, error) {
	var w tokenWire
	if err := decodeRecord(raw, &w); err != nil {
		return Token{}, err
	}
	if len(hash) != 32 {
		return Token{}, fmt.Errorf("%w: token hash of %d bytes", ErrCorrupt, len(hash))
	}
	return Token{
		[32]byte(hash), w.Label, w.Class, w.City, w.Uses, w.Used, fromUnixMs(w.Created), fromUnixMs(w.Expires), w.Revoked,
	}, nil
}

// PutToken stores or replaces a token. Who used it before, and how many, is kept whatever t.Used says.
func (r *Registry) PutToken(t Token) error {
	if t.Uses < 1 || t.Uses > MaxTokenUses {
		return fmt.Errorf("store: put token: %w: %d uses, 1 to %d", ErrInvalid, t.Uses, MaxTokenUses)
	}
	if t.Hash == ([32]byte{}) {
		return fmt.Errorf("store: put token: %w: no hash", ErrInvalid)
	}
	return r.file.update("put token", func(tx *bbolt.Tx) error {
		b := tx.Bucket([]byte(tableTokens))
		t.Used = 0
		if raw := b.Get(t.Hash[:]); raw != nil {
			old, err := decodeToken(t.Hash[:], raw)
			if err != nil {
				return err
			}
			t.Used = old.Used
		}
		raw, err := encodeToken(t)
		if err != nil {
			return err
		}
		return b.Put(t.Hash[:], raw)
	})
}

// Token returns a token by its hash, or ErrNotFound.
func (r *Registry) Token(hash [32]byte) (t Token, err error) {
	err = r.file.view("read token", func(tx *bbolt.Tx) (err error) {
		t, err = getToken(tx, hash)
		return err
	})
	return t, err
}

func getToken(tx *bbolt.Tx, hash [32]byte) (Token, error) {
	raw := tx.Bucket([]byte(tableTokens)).Get(hash[:])
	if raw == nil {
		return Token{}, ErrNotFound
	}
	return decodeToken(hash[:], raw)
}

// Tokens returns all tokens, in the order of their hashes.
func (r *Registry) Tokens() (all []Token, err error) {
	err = r.file.view("list tokens", func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(tableTokens)).ForEach(func(k, v []byte) error {
			t, err := decodeToken(k, v)
			all = append(all, t)
			return err
		})
	})
	return all, err
}

// UseToken binds the token to a node at its first use. A node that used it before may use it again,
// also after it expired or is used up, so that a restart needs no new token. Durable when it returns nil;
// otherwise ErrNotFound, ErrTokenExpired, ErrTokenUsed or ErrTokenRevoked.
func (r *Registry) UseToken(hash [32]byte, id cluster.ID, nowMs int64) error {
	if err := checkID(id); err != nil {
		return fmt.Errorf("store: use token: %w", err)
	}
	peer := append(bytes.Clone(hash[:]), id...)
	return r.file.update("use token", func(tx *bbolt.Tx) error {
		t, err := getToken(tx, hash)
		if err != nil {
			return err
		}
		peers := tx.Bucket([]byte(tableTokenPeers))
		switch {
		case t.Revoked:
			return ErrTokenRevoked
		case peers.Get(peer) != nil:
			return nil
		case !t.Expires.IsZero() && nowMs >= t.Expires.UnixMilli():
			return ErrTokenExpired
		case t.Used >= t.Uses:
			return ErrTokenUsed
		}
		t.Used++
		raw, err := encodeToken(t)
		if err != nil {
			return err
		}
		if err := tx.Bucket([]byte(tableTokens)).Put(hash[:], raw); err != nil {
			return err
		}
		return peers.Put(peer, appendTime(nil, nowMs))
	})
}

// checkTokens: the number of nodes bound to a token is the number of its uses.
func checkTokens(tx *bbolt.Tx) error {
	bound := map[[32]byte]int{}
	err := tx.Bucket([]byte(tableTokenPeers)).ForEach(func(k, v []byte) error {
		if len(k) <= 32 || len(v) != 8 {
			return fmt.Errorf("tokens.peers: key %x", k)
		}
		bound[[32]byte(k[:32])]++
		return nil
	})
	if err != nil {
		return err
	}
	err = tx.Bucket([]byte(tableTokens)).ForEach(func(k, v []byte) error {
		t, err := decodeToken(k, v)
		if err != nil {
			return err
		}
		if bound[t.Hash] != t.Used {
			return fmt.Errorf("tokens: %x was used %d times, by %d nodes", k, t.Used, bound[t.Hash])
		}
		delete(bound, t.Hash)
		return nil
	})
	if err == nil && len(bound) > 0 {
		err = fmt.Errorf("tokens.peers: nodes of %d unknown tokens", len(bound))
	}
	return err
}

func unixMs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromUnixMs(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
