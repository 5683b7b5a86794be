package node

import (
	"fmt"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
)

// Frames of the streams /peerprobe/task/1 and /peerprobe/session/1: CBOR with integer keys, one frame a
// message, behind the admission that every stream begins with.
//
// Version log
//
//	1  first; a head's succession (View 7) was added without a new one: who does not know it passes over it

// WireVersion is the version that requests carry. An unknown one is refused with a sentence.
const WireVersion = 1

// Limits of frames, in bytes.
const (
	maxTaskFrame    = 64 << 10 // control messages (a view of a thousand members is split into pages of this)
	maxSessionFrame = 64 << 10 // an admission, a ticket with its Lead, parameters
)

// Codes of refusals, a closed set: callers branch on them, people read the message.
const (
	codeNotHead     = "not-head" // the node that was asked does not lead; its Lead is in the answer
	codeNoSuchPlace = "no-such-place"
	codeNoCandidate = "no-candidate"
	codeRefused     = "refused"
	codeBusy        = "busy"
	codeBadRequest  = "bad-request"
	codeUnreachable = "unreachable"
	codeStale       = "stale" // the ticket is of a term or a boot that is over: ask the head again
)

// wireError is a refusal as it travels.
type wireError struct {
	Code    string   `cbor:"1,keyasint"`
	Message string   `cbor:"2,keyasint"`
	Alive   []string `cbor:"3,keyasint,omitempty"` // with codeNoSuchPlace: the cities that answer
}

func (e *wireError) Error() string { return e.Message }

func refuse(code, format string, args ...any) *wireError {
	return &wireError{Code: code, Message: fmt.Sprintf(format, args...)}
}

// taskRequest is the first frame of a task stream: exactly one question.
type taskRequest struct {
	Version uint         `cbor:"1,keyasint"`
	Find    *findRequest `cbor:"2,keyasint,omitempty"` // member -> its own head
	Ask     *askRequest  `cbor:"3,keyasint,omitempty"` // head -> the head of the place
	View    *viewRequest `cbor:"4,keyasint,omitempty"` // anyone admitted -> a head
}

// taskAnswer is the only answer.
type taskAnswer struct {
	Error *wireError     `cbor:"1,keyasint,omitempty"`
	Lead  cluster.Signed `cbor:"2,keyasint,omitempty"` // the answering node's highest Lead
	Found *findAnswer    `cbor:"3,keyasint,omitempty"`
	View  *viewAnswer    `cbor:"4,keyasint,omitempty"`
}

// findRequest asks the own head for nodes of a place (the paper's stage 1 and 2).
type findRequest struct {
	Task      string       `cbor:"1,keyasint"` // the asking node's id of the task; the same when it asks again
	City      cluster.City `cbor:"2,keyasint"`
	Tool      string       `cbor:"3,keyasint"`
	PreferDHT bool         `cbor:"4,keyasint,omitempty"`
}

// findAnswer has up to four candidates, best first, and the way that was taken.
type findAnswer struct {
	Candidates []candidate `cbor:"1,keyasint"`
	Steps      []wireStep  `cbor:"2,keyasint,omitempty"`
}

// candidate is a node that may be measured, with the ticket of its head.
type candidate struct {
	Peer      cluster.Peer   `cbor:"1,keyasint"`
	Admission cluster.Signed `cbor:"2,keyasint"`
	Ticket    cluster.Signed `cbor:"3,keyasint"`
}

// wireStep is a Step in integers.
type wireStep struct {
	Stage string `cbor:"1,keyasint"`
	Text  string `cbor:"2,keyasint"`
	Took  int64  `cbor:"3,keyasint"` // microseconds
	At    int64  `cbor:"4,keyasint"` // microseconds since the head was asked
	Found bool   `cbor:"5,keyasint,omitempty"`
}

// askRequest asks the head of a place for candidates. The asking head shows that it leads, and the
// initiator's admission.
type askRequest struct {
	Task      string         `cbor:"1,keyasint"`
	Lead      cluster.Signed `cbor:"2,keyasint"`
	Initiator cluster.Signed `cbor:"3,keyasint"`
	City      cluster.City   `cbor:"4,keyasint"`
	Tool      string         `cbor:"5,keyasint"`
}

// viewRequest asks a head what it knows.
type viewRequest struct {
	Clusters  bool         `cbor:"1,keyasint,omitempty"` // its table of heads
	Members   bool         `cbor:"2,keyasint,omitempty"` // its members
	After     cluster.ID   `cbor:"3,keyasint,omitempty"` // members behind this one: the next page
	AfterCity cluster.City `cbor:"4,keyasint,omitempty"` // heads behind this one's: the next page
}

// viewAnswer is what a head knows.
type viewAnswer struct {
	Heads     []cluster.Signed `cbor:"1,keyasint,omitempty"`
	Members   []viewMember     `cbor:"2,keyasint,omitempty"`
	More      bool             `cbor:"3,keyasint,omitempty"` // members: ask for the next page
	Total     int              `cbor:"4,keyasint,omitempty"` // live members, the head included
	Backup    cluster.ID       `cbor:"5,keyasint,omitempty"`
	MoreHeads bool             `cbor:"6,keyasint,omitempty"`
	Line      []wireCandidate  `cbor:"7,keyasint,omitempty"` // the succession in the order of take-over
}

// viewMember is one live member.
type viewMember struct {
	Peer      cluster.Peer   `cbor:"1,keyasint"`
	SilentMs  int64          `cbor:"2,keyasint"`
	Admission cluster.Signed `cbor:"3,keyasint"`
}

// sessionOpen is the initiator's first frame on a session stream.
type sessionOpen struct {
	Version uint           `cbor:"1,keyasint"`
	Ticket  cluster.Signed `cbor:"2,keyasint"`
	Tool    string         `cbor:"3,keyasint"`
	Params  probe.Params   `cbor:"4,keyasint"`
}

// sessionGrant is the target's answer: parameters and where its socket waits, or a refusal.
type sessionGrant struct {
	Error   *wireError     `cbor:"1,keyasint,omitempty"`
	Lead    cluster.Signed `cbor:"2,keyasint,omitempty"` // with a refusal: the issuer's term is over
	Params  probe.Params   `cbor:"3,keyasint,omitempty"`
	Lowered []string       `cbor:"4,keyasint,omitempty"`
	Key     []byte         `cbor:"5,keyasint,omitempty"` // 32 bytes; the stream is encrypted
	Port    uint16         `cbor:"6,keyasint,omitempty"` // UDP, at the address of the stream
}

// sessionDone ends the measuring: the initiator asks for the target's statement.
type sessionDone struct {
	Sent    uint64 `cbor:"1,keyasint"`
	Stopped string `cbor:"2,keyasint,omitempty"` // why before its time
}

// sessionStatement is what the target saw, signed by it.
type sessionStatement struct {
	Statement cluster.Signed `cbor:"1,keyasint"`
}

// sessionReceipt is the initiator's half, for the target's store.
type sessionReceipt struct {
	Result     []byte         `cbor:"1,keyasint"`
	Transcript cluster.Signed `cbor:"2,keyasint"`
}
