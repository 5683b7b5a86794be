package probe

import (
	"errors"
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
