package probe

import (
	"encoding/json"
	"time"
)

// ResultSchema is the version of the result: fields may be added under it,
// never renamed, reused or given another unit.
const ResultSchema = 1

// How a session ended.
const (
	StatusFinished = "finished" // everything that was asked for was measured
	StatusPartial  = "partial"  // cut short; what was measured counts, and Error says why
	StatusFailed   = "failed"   // nothing was measured; Error says why
)

// Stages at which a session can fail.
const (
	StageLookup  = "lookup"  // finding the place and a node in it
	StageTicket  = "ticket"  // permission of the target's head
	StageSession = "session" // agreeing with the target
	StagePath    = "path"    // finding an address pair that answers
	StageRun     = "run"     // measuring
	StageFinish  = "finish"  // fetching the target's statement, signing, storing
)

// Codes are a closed set: what is not known is CodeInternal.
const (
	CodeRefused     = "refused"     // the far end said no
	CodeUnreachable = "unreachable" // nothing came back
	CodeTimeout     = "timeout"     // it took too long
	CodeCancelled   = "cancelled"   // the user or the program stopped it
	CodePeerGone    = "peer-gone"   // the far end vanished midway
	CodeBusy        = "busy"        // try later
	CodeBadRequest  = "bad-request" // parameters make no sense
	CodeNoSuchPlace = "no-such-place"
	CodeNoCandidate = "no-candidate"
	CodeNotAllowed  = "not-allowed" // a rule of the network or the host forbids it
	CodeDisagree    = "disagree"    // the two ends' accounts do not fit together
	CodeInternal    = "internal"
)

// How the path was made (Path.Mode).
const (
	ModeDirect  = "direct"
	ModePunched = "punched"
	ModeRelayed = "relayed"
)

// Where stamps were taken (Latency.Timestamps).
const (
	TimestampsUser   = "user"   // in this process, beside the system call
	TimestampsKernel = "kernel" // by the kernel
)

// SchedulePeriodic is fixed spacing with a random offset at the start
// (RFC 3432 sec. 4).
const SchedulePeriodic = "periodic"

// Result is one session as the initiator saw it, with the target's account in
// the figures. CBOR: integer keys, times as unix nanoseconds; JSON: RFC 3339,
// nanoseconds, UTC.
type Result struct {
	Schema        uint       `cbor:"1,keyasint" json:"schema"`
	Key           Key        `cbor:"2,keyasint" json:"key"`
	Tool          string     `cbor:"3,keyasint" json:"tool"`
	ToolVersion   string     `cbor:"4,keyasint" json:"toolVersion"`
	Started       time.Time  `cbor:"-" json:"started"` // CBOR key 5
	Ended         time.Time  `cbor:"-" json:"ended"`   // CBOR key 6
	Initiator     End        `cbor:"7,keyasint" json:"initiator"`
	Target        End        `cbor:"8,keyasint" json:"target"`
	Path          Path       `cbor:"9,keyasint" json:"path"`
	Params        Params     `cbor:"10,keyasint" json:"params"` // as used
	Status        string     `cbor:"11,keyasint" json:"status"`
	Error         *Error     `cbor:"12,keyasint" json:"error"`
	BytesUsed     uint64     `cbor:"13,keyasint" json:"bytesUsed"` // UDP payload, both directions, as the initiator saw it
	Schedule      string     `cbor:"14,keyasint" json:"schedule"`
	LossTimeoutMs float64    `cbor:"15,keyasint" json:"lossTimeoutMs"`
	Clock         Clock      `cbor:"16,keyasint" json:"clock"`
	Latency       *Latency   `cbor:"17,keyasint" json:"latency"`
	Samples       []Sample   `cbor:"18,keyasint,omitempty" json:"samples,omitempty"` // on request (Params.KeepSamples)
	Sig           Signatures `cbor:"19,keyasint" json:"sig"`
}

// MarshalJSON writes times in UTC, whatever location they carry.
func (r Result) MarshalJSON() ([]byte, error) {
	type plain Result
	r.Started, r.Ended = r.Started.UTC(), r.Ended.UTC()
	return json.Marshal(plain(r))
}

// End is one end of a session.
type End struct {
	Node string `cbor:"1,keyasint" json:"node"` // peer id in text form
	City string `cbor:"2,keyasint" json:"city"`
	ASN  uint32 `cbor:"3,keyasint,omitempty" json:"asn,omitempty"` // absent when not known
	IP   string `cbor:"4,keyasint,omitempty" json:"ip,omitempty"`
}

// Path says how the packets went.
type Path struct {
	Mode      string `cbor:"1,keyasint" json:"mode"`      // direct, punched, relayed
	IPVersion int    `cbor:"2,keyasint" json:"ipVersion"` // 4 or 6; 0 when no path was found
	Local     string `cbor:"3,keyasint" json:"local"`     // ip:port
	Remote    string `cbor:"4,keyasint" json:"remote"`    // ip:port
	Transport string `cbor:"5,keyasint" json:"transport"` // udp
}

// Error says where a session stopped and why. Stage and Code are of the closed
// sets above; Message is for people.
type Error struct {
	Stage   string `cbor:"1,keyasint" json:"stage"`
	Code    string `cbor:"2,keyasint" json:"code"`
	Message string `cbor:"3,keyasint" json:"message"`
}

// Error makes it an error: "stage: message (code)".
func (e *Error) Error() string { return e.Stage + ": " + e.Message + " (" + e.Code + ")" }

// Clock is what is known about the two clocks, and whether one-way delays mean
// anything.
type Clock struct {
	Initiator   ClockState `cbor:"1,keyasint" json:"initiator"`
	Target      ClockState `cbor:"2,keyasint" json:"target"`
	OffsetMs    *float64   `cbor:"3,keyasint" json:"offsetMs"`    // target minus initiator
	OffsetErrMs *float64   `cbor:"4,keyasint" json:"offsetErrMs"` // +- bound of OffsetMs: half of the round trip it was taken from
	Method      string     `cbor:"5,keyasint" json:"method"`      // how OffsetMs was estimated
	OWDValid    bool       `cbor:"6,keyasint" json:"owdValid"`
}

// ClockState is what one host says about its own clock.
type ClockState struct {
	Source       string   `cbor:"1,keyasint" json:"source"` // "adjtimex", "unknown"
	Synchronised bool     `cbor:"2,keyasint" json:"synchronised"`
	ErrorMs      *float64 `cbor:"3,keyasint" json:"errorMs"` // bound on the distance from UTC
}

// Signatures: both ends' signatures over Statement and Transcript, the hash of
// the ticket, and the digest of the figures (Result.FiguresDigest).
type Signatures struct {
	Initiator  []byte `cbor:"1,keyasint" json:"initiator"`
	Target     []byte `cbor:"2,keyasint" json:"target"`
	TicketHash []byte `cbor:"3,keyasint" json:"ticketHash"`
	Digest     []byte `cbor:"4,keyasint" json:"digest"`
}

// Latency holds the figures of the latency tool. Counts are of packets; delays
// are milliseconds; nil was not measured.
//
// Sent = Received + Lost + Pending, and, when the target's statement is there
// and nothing is pending, Lost = LossForward + LossBackward + Late.
type Latency struct {
	Sent           int      `cbor:"1,keyasint" json:"sent"`
	Received       int      `cbor:"2,keyasint" json:"received"` // answered within the loss timeout
	Lost           int      `cbor:"3,keyasint" json:"lost"`     // not answered within the loss timeout (RFC 6673)
	Pending        int      `cbor:"4,keyasint" json:"pending"`  // undecided when the run was cut short
	LossPct        *float64 `cbor:"5,keyasint" json:"lossPct"`  // of Received + Lost
	LossForward    *int     `cbor:"6,keyasint" json:"lossForward"`
	LossBackward   *int     `cbor:"7,keyasint" json:"lossBackward"`
	Duplicates     int      `cbor:"8,keyasint" json:"duplicates"` // RFC 5560, both directions where the statement is there
	Reordered      int      `cbor:"9,keyasint" json:"reordered"`  // RFC 4737 sec. 3, in order of arrival at the initiator
	Late           int      `cbor:"10,keyasint" json:"late"`      // answered after the loss timeout; counted in Lost
	MaxBurst       int      `cbor:"11,keyasint" json:"maxBurst"`  // longest run of consecutive losses
	RTT            Summary  `cbor:"12,keyasint" json:"rtt"`       // (t4 - t1) - (t3 - t2), RFC 2681
	Forward        Summary  `cbor:"13,keyasint" json:"forward"`   // t2 - t1, RFC 7679; all nil unless Clock.OWDValid
	Backward       Summary  `cbor:"14,keyasint" json:"backward"`  // t4 - t3; all nil unless Clock.OWDValid
	Jitter         Jitter   `cbor:"15,keyasint" json:"jitter"`
	TTL            *int     `cbor:"16,keyasint" json:"ttl"`            // of the last reply, as received
	ServerProcUs   *float64 `cbor:"17,keyasint" json:"serverProcUs"`   // median of t3 - t2, microseconds
	SendTimerErrUs *float64 `cbor:"18,keyasint" json:"sendTimerErrUs"` // p99 of |t1 - slot|, microseconds
	Timestamps     string   `cbor:"19,keyasint" json:"timestamps"`     // user or kernel
}

// Summary of one delay in milliseconds. Percentiles are nearest rank
// (RFC 2330 sec. 11.3), over answered packets only; Stddev is of the sample.
type Summary struct {
	Min    *float64 `cbor:"1,keyasint" json:"min"`
	Mean   *float64 `cbor:"2,keyasint" json:"mean"`
	Median *float64 `cbor:"3,keyasint" json:"median"`
	P90    *float64 `cbor:"4,keyasint" json:"p90"`
	P95    *float64 `cbor:"5,keyasint" json:"p95"`
	P99    *float64 `cbor:"6,keyasint" json:"p99"`
	Max    *float64 `cbor:"7,keyasint" json:"max"`
	Stddev *float64 `cbor:"8,keyasint" json:"stddev"`
}

// Jitter names five figures that all go by that name, in milliseconds, of the
// round trip.
type Jitter struct {
	RFC3550     *float64 `cbor:"1,keyasint" json:"rfc3550"`     // RFC 3550 A.8, smoothed by 1/16, in order of arrival
	IPDVMeanAbs *float64 `cbor:"2,keyasint" json:"ipdvMeanAbs"` // RFC 3393, mean of |difference| of consecutive packets
	IPDVP95     *float64 `cbor:"3,keyasint" json:"ipdvP95"`     // RFC 3393, 95th percentile of the same
	PDVP95      *float64 `cbor:"4,keyasint" json:"pdvP95"`      // RFC 5481 sec. 4.2, 95th percentile above the minimum
	PDVP99      *float64 `cbor:"5,keyasint" json:"pdvP99"`
}

// Sample is one packet. Forward and Backward are raw: they contain the
// difference of the clocks and mean something only if Clock.OWDValid.
type Sample struct {
	Seq      uint32   `cbor:"1,keyasint" json:"seq"`
	SentMs   float64  `cbor:"2,keyasint" json:"sentMs"` // after Result.Started
	RTT      *float64 `cbor:"3,keyasint" json:"rttMs"`
	Forward  *float64 `cbor:"4,keyasint" json:"forwardMs"`
	Backward *float64 `cbor:"5,keyasint" json:"backwardMs"`
	TTL      uint8    `cbor:"6,keyasint,omitempty" json:"ttl,omitempty"` // absent when not known
	Lost     bool     `cbor:"7,keyasint,omitempty" json:"lost,omitempty"`
	Late     bool     `cbor:"8,keyasint,omitempty" json:"late,omitempty"`
	Dups     uint16   `cbor:"9,keyasint,omitempty" json:"dups,omitempty"` // further replies to the same packet
}
