package cluster

import (
	"bytes"
	"crypto/sha256"
)

// domainShard separates the hashes of ShardOf from others.
const domainShard = "peerprobe/shard/v1\x00"

// ShardOf is the shard, of so many (at most maxShards), that a node of a city belongs to: rendezvous hashing, the
// highest of SHA-256(domain, shard as one byte, id). When the number grows by one, only the new shard gains members.
func ShardOf(id ID, shards uint) uint {
	best, top := uint(0), [sha256.Size]byte{}
	for s := range min(shards, maxShards) {
		sum := sha256.Sum256(append(append([]byte(domainShard), byte(s)), id...))
		if bytes.Compare(sum[:], top[:]) > 0 {
			best, top = s, sum
		}
	}
	return best
}
