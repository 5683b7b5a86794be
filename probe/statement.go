package probe

// StatementVersion of Statement and Transcript.
const StatementVersion = 1

// Why a reflector stopped (Statement.Stopped).
const (
	StoppedDone    = "done"    // all packets that were granted have come
	StoppedEnded   = "ended"   // its context ended: the stream was closed, or time was up
	StoppedFailed  = "failed"  // the socket failed
	StoppedRunning = "running" // it has not stopped
)

// Statement is what the target saw of a session; the caller signs its encoding
// with the target's key.
type Statement struct {
	Version    uint       `cbor:"1,keyasint" json:"version"`
	Session    [16]byte   `cbor:"2,keyasint" json:"session"`
	TicketHash [32]byte   `cbor:"3,keyasint" json:"ticketHash"`
	Params     Params     `cbor:"4,keyasint" json:"params"`     // as granted
	Received   uint64     `cbor:"5,keyasint" json:"received"`   // distinct packets of the session that came
	Replied    uint64     `cbor:"6,keyasint" json:"replied"`    // of these, answered
	Duplicates uint64     `cbor:"7,keyasint" json:"duplicates"` // came again; not answered
	BadMAC     uint64     `cbor:"8,keyasint" json:"badMac"`     // not answered
	BadCookie  uint64     `cbor:"9,keyasint" json:"badCookie"`  // not answered: no or a wrong cookie, or from another address
	Bytes      uint64     `cbor:"10,keyasint" json:"bytes"`     // UDP payload of the session, both directions
	Clock      ClockState `cbor:"11,keyasint" json:"clock"`
	LastReply  uint32     `cbor:"12,keyasint" json:"lastReply"` // the reflector's number of its last reply (1 is the first); 0: none
	LastSentNs int64      `cbor:"13,keyasint" json:"lastSentNs"`
	Digest     [16]byte   `cbor:"14,keyasint" json:"digest"` // of its stamps: see stampDigest
	Stopped    string     `cbor:"15,keyasint" json:"stopped"`
}

// Transcript is the initiator's part: it signs this encoding. Target is the
// target's signed statement as it came, empty when it never did.
type Transcript struct {
	Version    uint     `cbor:"1,keyasint" json:"version"`
	Session    [16]byte `cbor:"2,keyasint" json:"session"`
	TicketHash [32]byte `cbor:"3,keyasint" json:"ticketHash"`
	Key        Key      `cbor:"4,keyasint" json:"key"`
	Target     []byte   `cbor:"5,keyasint" json:"target"`
	TargetSig  []byte   `cbor:"6,keyasint" json:"targetSig"`
	Figures    [16]byte `cbor:"7,keyasint" json:"figures"` // Result.FiguresDigest
	Sent       uint64   `cbor:"8,keyasint" json:"sent"`
	Received   uint64   `cbor:"9,keyasint" json:"received"`
	Duplicates uint64   `cbor:"10,keyasint" json:"duplicates"`
	BadMAC     uint64   `cbor:"11,keyasint" json:"badMac"`
	Bytes      uint64   `cbor:"12,keyasint" json:"bytes"`
}
