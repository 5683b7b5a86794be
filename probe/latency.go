package probe

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

// ErrPeerGone as the cause of a cancelled context says that the far end
// vanished: the result then says CodePeerGone.
var ErrPeerGone = errors.New("the far end is gone")

// SessionInfo is what both ends have agreed on before the first packet.
type SessionInfo struct {
	ID         [16]byte
	Key        [32]byte // of this session only; authenticates every packet
	TicketHash [32]byte
	Params     Params // as granted
}

// Sent is one packet that left.
type Sent struct {
	Slot time.Time // when it was due
	T1   time.Time // when it left
}

// Reply is one answer that came.
type Reply struct {
	Seq     uint32 // of the packet that it answers
	ReplyNo uint32 // the reflector's number of the reply, from 1
	T2, T3  time.Time
	T4      time.Time
	TTL     uint8
}

// LatencyRun is what one run saw: stamps, not figures. Sent is indexed by
// sequence number; Replies are in order of arrival, duplicates included.
type LatencyRun struct {
	Params     Params
	Session    [16]byte
	TicketHash [32]byte
	Started    time.Time
	Ended      time.Time
	Local      netip.AddrPort
	Remote     netip.AddrPort
	Sent       []Sent
	Replies    []Reply
	Bytes      uint64 // UDP payload, both directions
	BadMAC     uint64 // packets dropped: not from the target of this session
	Dropped    uint64 // replies beyond what a run keeps
	Clock      ClockState
	Timestamps string
	Err        *Error // nil: ran to its end
}

// RunLatency sends the granted packets to remote and gathers the answers.
// It returns a run for as much as was measured, also when ctx ends (Err says
// so); an error means that nothing could be sent at all.
//
// on, if not nil, is called once for every packet when its fate is known, from
// one goroutine; it must not block, or sending slips.
func RunLatency(ctx context.Context, s SessionInfo, sock Socket, remote netip.AddrPort, on func(Sample)) (*LatencyRun, error) {
	return nil, errors.ErrUnsupported
}

// Reflector answers one session.
type Reflector struct{}

// NewReflector starts nothing. rnd makes the cookie's secret.
func NewReflector(s SessionInfo, sock Socket, rnd io.Reader) *Reflector { return &Reflector{} }

// Run answers until ctx ends.
func (r *Reflector) Run(ctx context.Context) error { return errors.ErrUnsupported }

// Statement says what was seen so far.
func (r *Reflector) Statement() Statement { return Statement{} }

// ListenUDP opens a socket on local; port 0 takes a free one.
func ListenUDP(local netip.AddrPort) (Socket, error) { return nil, errors.ErrUnsupported }

// Analyse makes figures of stamps.
func Analyse(run *LatencyRun, peer *Statement) Latency { return Latency{} }

// ReadClock asks the system about its clock.
func ReadClock() ClockState { return ClockState{Source: "unknown"} }

// ClockVerdict says whether one-way delays of run mean anything.
func ClockVerdict(own, peer ClockState, run *LatencyRun) Clock { return Clock{} }

// MinSize is the smallest packet between nodes.
const MinSize = 172

func packetSize(n, most int) int { return n }
