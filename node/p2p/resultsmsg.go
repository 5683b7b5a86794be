package p2p

import (
	"crypto/sha256"

	"github.com/peerprobe/peerprobe/cluster"
)

// Frames of /peerprobe/results/1: one ResultsMsg, one ResultsAck, any number of times on a stream. All hops speak it: a
// member to its head, a head to its backup, a former head to the new one, and a head to the registry.
//
// Version log
//
//	1  first; Kind, Term and Stores between nodes, Lead and Store in answers were added without a new version

// ResultsVersion is the version of ResultsMsg.
const ResultsVersion = 1

// MaxResults bounds a frame of ProtoResults, in bytes.
const MaxResults = 1 << 20

// Codes of refusals between nodes, beside those of package cluster.
const (
	CodeInvalid = "invalid" // because of what is in the batch: the same batch will not do again
	CodeStale   = "stale"   // of a term that has passed: the answer carries the Lead of the present one
	CodeFull    = "full"    // as many results are held as may be, or the disk is full: later
)

// ResultsMsg is one batch of results.
type ResultsMsg struct {
	Version     uint                 `cbor:"1,keyasint"`
	Batch       []byte               `cbor:"2,keyasint"`           // store.EncodeBatch; to a registry also empty: a question for Store
	Lead        cluster.Signed       `cbor:"3,keyasint,omitempty"` // the claim of the head of Term, as the sender knows it; to a registry the sender's own
	Sig         cluster.Signed       `cbor:"4,keyasint,omitempty"` // head -> registry: BatchDigest(Batch) under DomainBatch by the head's key
	Transcripts []cluster.Signed     `cbor:"5,keyasint,omitempty"` // between nodes: one a result, in order, signed by its initiator
	Kind        cluster.TransferKind `cbor:"6,keyasint,omitempty"` // between nodes
	Term        cluster.Term         `cbor:"7,keyasint,omitzero"`  // between nodes: of the head that sends or receives
	Stores      []StoreName          `cbor:"8,keyasint,omitempty"` // with copies: ResultsAck.Store of each registry, as the head last saw it
}

// MaxStores bounds the registries named in a ResultsMsg.
const MaxStores = 16

// StoreName names the tables of a registry.
type StoreName struct {
	Registry cluster.ID `cbor:"1,keyasint"`
	Name     string     `cbor:"2,keyasint"`
}

// ResultsAck says that a batch is durable where it was sent to.
type ResultsAck struct {
	Version uint               `cbor:"1,keyasint"`
	Error   *cluster.WireError `cbor:"2,keyasint,omitempty"`
	Added   int                `cbor:"3,keyasint,omitempty"`
	Known   int                `cbor:"4,keyasint,omitempty"` // results that were there already
	Lead    cluster.Signed     `cbor:"5,keyasint,omitzero"`  // with CodeStale: the higher claim
	Store   string             `cbor:"6,keyasint,omitempty"` // a registry's: the name of its tables; another one than before: what it had may be lost
}

// BatchDigest is what a head signs of a batch.
func BatchDigest(batch []byte) []byte {
	sum := sha256.Sum256(batch)
	return sum[:]
}
