package p2p

import (
	"crypto/sha256"

	"github.com/peerprobe/peerprobe/cluster"
)

// Frames of /peerprobe/results/1: one ResultsMsg, one ResultsAck, any number of times on a stream. Both
// hops speak it: a member to its head, and a head to the registry.
//
// Version log
//
//	1  first

// ResultsVersion is the version of ResultsMsg.
const ResultsVersion = 1

// MaxResults bounds a frame of ProtoResults, in bytes.
const MaxResults = 1 << 20

// ResultsMsg is one batch of results.
type ResultsMsg struct {
	Version     uint             `cbor:"1,keyasint"`
	Batch       []byte           `cbor:"2,keyasint"`           // store.EncodeBatch
	Lead        cluster.Signed   `cbor:"3,keyasint,omitempty"` // head -> registry: the sender's claim
	Sig         cluster.Signed   `cbor:"4,keyasint,omitempty"` // head -> registry: BatchDigest(Batch) under DomainBatch by the head's key
	Transcripts []cluster.Signed `cbor:"5,keyasint,omitempty"` // member -> head: one a result, in order, signed by its initiator
}

// ResultsAck says that a batch is durable where it was sent to: at the registry; a head answers only when
// the registry has answered.
type ResultsAck struct {
	Version uint               `cbor:"1,keyasint"`
	Error   *cluster.WireError `cbor:"2,keyasint,omitempty"`
	Added   int                `cbor:"3,keyasint,omitempty"`
	Known   int                `cbor:"4,keyasint,omitempty"` // results that were there already
}

// BatchDigest is what a head signs of a batch.
func BatchDigest(batch []byte) []byte {
	sum := sha256.Sum256(batch)
	return sum[:]
}
