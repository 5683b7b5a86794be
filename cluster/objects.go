package cluster

import "time"

// Version is the version of every object and protocol here. Others are refused, with both numbers in the error.
const Version = 1

// MaxSuccession is the number of candidates that one shard's succession may name.
const MaxSuccession = 8

// MaxK bounds the take-overs inside one epoch: a Lead at or above it is not valid.
const MaxK = 1 << 16

// Class of an admission.
const (
	ClassOwn      = "own"      // tokens that the operator makes: no hourly caps
	ClassGuest    = "guest"    // an open registry or a guest token: capped
	ClassRegistry = "registry" // a registry's own host key
)

// Signed is a signed object as it travels: verified and forwarded as received, never re-encoded.
type Signed struct {
	Payload []byte `cbor:"1,keyasint"`
	Sig     []byte `cbor:"2,keyasint"`
}

// Signer signs a message with an Ed25519 key that the caller holds. It must be deterministic (RFC 8032 is).
type Signer func(message []byte) []byte

// Admission is a node's passport, signed by the network key. A higher serial replaces a lower one.
type Admission struct {
	Version   uint     `cbor:"1,keyasint"`
	Network   Network  `cbor:"2,keyasint"`
	ID        ID       `cbor:"3,keyasint"`
	City      City     `cbor:"4,keyasint"`
	Place     string   `cbor:"5,keyasint,omitempty"` // for people: "Changsha, CN"
	Tags      []string `cbor:"6,keyasint,omitempty"`
	Transient bool     `cbor:"7,keyasint,omitempty"` // one measurement long: never listed, never first of a city
	Class     string   `cbor:"8,keyasint"`
	Serial    uint64   `cbor:"9,keyasint"`
	About     *About   `cbor:"10,keyasint,omitempty"`
}

// About is what else the registry knows of where a node is. Peers show it; nothing is decided by it.
type About struct {
	Country string `cbor:"1,keyasint,omitempty"` // ISO 3166-1 alpha-2
	ASN     uint32 `cbor:"2,keyasint,omitempty"` // number of the network that announces its address
	Network string `cbor:"3,keyasint,omitempty"` // name of that network
	Doubt   string `cbor:"4,keyasint,omitempty"` // why the city may be wrong; empty: nothing speaks against it
}

// same tells whether two say the same.
func (a *About) same(b *About) bool { return a == b || a != nil && b != nil && *a == *b }

// Barred lists the nodes that every peer refuses, signed by the network key. The highest serial wins.
type Barred struct {
	Version uint    `cbor:"1,keyasint"`
	Network Network `cbor:"2,keyasint"`
	Serial  uint64  `cbor:"3,keyasint"`
	IDs     []ID    `cbor:"4,keyasint"`
}

// Certificate names the successions of one city in one epoch; signed by the network key. It has no
// expiry: only a higher epoch revokes it.
type Certificate struct {
	Version     uint    `cbor:"1,keyasint"`
	Network     Network `cbor:"2,keyasint"`
	City        City    `cbor:"3,keyasint"`
	Epoch       uint64  `cbor:"4,keyasint"`
	Successions [][]ID  `cbor:"5,keyasint"` // one a shard, the head first, at most MaxSuccession names each
	Timers      Timers  `cbor:"6,keyasint"`
	Issued      int64   `cbor:"7,keyasint"` // unix ms, for display only
}

// Lead is the claim "I lead", signed by the head. It is valid only as election allows: see Trust.Lead.
type Lead struct {
	Certificate Signed  `cbor:"1,keyasint"`
	Network     Network `cbor:"2,keyasint"`
	City        City    `cbor:"3,keyasint"`
	Shard       uint    `cbor:"4,keyasint"`
	K           uint64  `cbor:"5,keyasint"`
	Head        ID      `cbor:"6,keyasint"`
	Boot        uint64  `cbor:"7,keyasint"`
	Seq         uint64  `cbor:"8,keyasint"`
	Addrs       []Peer  `cbor:"9,keyasint"` // the head first, then up to three live candidates
	Reason      string  `cbor:"10,keyasint,omitempty"`
}

// Peer is a node and where it listens (binary multiaddrs, opaque to this package).
type Peer struct {
	ID    ID       `cbor:"1,keyasint"`
	Addrs [][]byte `cbor:"2,keyasint"`
}

// Row is one member as the head knows it and replicates it.
type Row struct {
	ID        ID       `cbor:"1,keyasint"`
	Addrs     [][]byte `cbor:"2,keyasint"`
	Priority  Priority `cbor:"3,keyasint"`
	FirstSeen int64    `cbor:"4,keyasint"` // unix ms at which the registry first admitted it to the city
	Boot      uint64   `cbor:"5,keyasint"`
	Admission Signed   `cbor:"6,keyasint"`
	Load      uint32   `cbor:"7,keyasint,omitempty"` // running sessions

	// Attested is what a head measured of this member. Only heads fill it; what a member says of itself here is ignored.
	Attested Attestation `cbor:"8,keyasint,omitzero"`
}

// Attestation is what a head measured of a member.
type Attestation struct {
	At        int64  `cbor:"1,keyasint"`           // unix ms, for display and renewal; 0: never measured
	Reachable bool   `cbor:"2,keyasint,omitempty"` // a fresh connection to its address came about
	Capacity  uint8  `cbor:"3,keyasint,omitempty"` // CapacityBucket of what was transferred
	Prefix    string `cbor:"4,keyasint,omitempty"` // the network that it is in as the head sees it, "61.187.64.0/24": candidates should not share one
}

// ResultKey names one result: see probe.Key, of which it is the binary form.
type ResultKey struct {
	Node ID     `cbor:"1,keyasint"`
	Boot uint64 `cbor:"2,keyasint"`
	Seq  uint64 `cbor:"3,keyasint"`
}

// Ticket is a head's signed permission for one session. A zero limit leaves it to the target's own.
type Ticket struct {
	Version   uint     `cbor:"1,keyasint"`
	Network   Network  `cbor:"2,keyasint"`
	Lead      Signed   `cbor:"3,keyasint"` // the issuer's claim: names term and issuer
	Session   [16]byte `cbor:"4,keyasint"`
	Initiator ID       `cbor:"5,keyasint"`
	Target    ID       `cbor:"6,keyasint"`
	Tool      string   `cbor:"7,keyasint"`
	MaxRate   uint64   `cbor:"8,keyasint"` // packets a second
	Packets   uint64   `cbor:"9,keyasint"`
	Bytes     uint64   `cbor:"10,keyasint"`
	Seconds   uint64   `cbor:"11,keyasint"`
	Boot      uint64   `cbor:"12,keyasint"` // of the target's last heartbeat that the issuer heard
	Seq       uint64   `cbor:"13,keyasint"`
}

// HardState is what must be durable before anything is sent that depends on it.
type HardState struct {
	High   Signed `cbor:"1,keyasint"` // highest valid Lead ever seen; empty: none
	Cert   Signed `cbor:"2,keyasint"` // highest verified certificate; empty: none
	Boot   uint64 `cbor:"3,keyasint"`
	Barred Signed `cbor:"4,keyasint"` // highest list of barred nodes; empty: none
}

// NextBoot is the boot number of a process that starts now: it grows even where the clock went back.
func NextBoot(persisted uint64, nowMs int64) uint64 {
	return max(persisted+1, uint64(max(nowMs, 0)))
}

// NextEpoch is the only formula for epochs: above everything stored or shown, roughly the time of its
// issue, with 16 random bits so that two registries do not meet in one number.
func NextEpoch(last uint64, nowMs int64, rnd uint16) uint64 {
	return max(last>>16+1, uint64(max(nowMs, 0)))<<16 | uint64(rnd)
}

// Instant is a reading of the caller's monotonic clock, in nanoseconds since a moment of its choice.
type Instant int64

// Add returns the instant d later.
func (t Instant) Add(d time.Duration) Instant { return t + Instant(d) }

// Sub returns the time from u to t.
func (t Instant) Sub(u Instant) time.Duration { return time.Duration(t - u) }
