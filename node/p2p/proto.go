package p2p

import (
	"errors"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
)

// Protocol identifiers. The number at the end changes when old and new cannot
// talk to one another; fields may be added without that.
const (
	// ProtoRegister carries registrations, proposals and reports to a registry.
	// Version 1: frames cluster.Request and cluster.Answer in turn; a request of
	// kind "join" is answered by the signed join document (see JoinDoc).
	ProtoRegister = "/peerprobe/register/1"
	// ProtoMember carries cluster.Message frames inside a city. Long-lived.
	ProtoMember = "/peerprobe/member/1"
	// ProtoTask carries requests for candidates and tickets.
	ProtoTask = "/peerprobe/task/1"
	// ProtoSession carries the negotiation and the statements of one measurement.
	ProtoSession = "/peerprobe/session/1"
	// ProtoResults carries batches of results.
	ProtoResults = "/peerprobe/results/1"
	// ProtoAttest carries the short transfer by which a head measures a member.
	ProtoAttest = "/peerprobe/attest/1"
	// ProtoRecall carries a registry's request to register again.
	ProtoRecall = "/peerprobe/recall/1"
	// ProtoHello exchanges admissions, once a connection, before DHT streams.
	ProtoHello = "/peerprobe/hello/1"
)

// Limits of a stream.
const (
	// DefaultMaxFrame bounds a control message; larger ones are an attack or a mistake.
	DefaultMaxFrame = 64 << 10
	// MaxResultFrame bounds a batch of results, compressed.
	MaxResultFrame = 1 << 20
	// DefaultPerPeer is how many streams of one protocol a peer may hold open here.
	DefaultPerPeer = 8
	// DefaultIdle is how long a stream may wait for the next frame.
	DefaultIdle = 30 * time.Second
	// NoIdle, as HandleOptions.Idle, lets a stream wait for ever: long-lived
	// member streams, where silence is judged by the heartbeat and not here.
	NoIdle = time.Duration(-1)
	// ControlRate and ControlBurst are the budget of control messages a peer.
	ControlRate, ControlBurst = 50.0, 200
)

const (
	// maxHello bounds the first frame: an admission with a full set of tags is below 2 KiB.
	maxHello = 4 << 10
	// helloTimeout is how long an opened stream may wait for its first frame: it
	// travels with the opening, so only a stalled peer takes longer.
	helloTimeout = 5 * time.Second
	// frameTimeout is how long one frame may take from its first byte, or to be written.
	frameTimeout = 10 * time.Second
	// closeTimeout bounds the wait for the end of protocol negotiation on Close.
	closeTimeout = 2 * time.Second
	// DialTimeout bounds a dial: two retransmissions of a SYN; libp2p's own 15 s
	// would outlast every timer of the election.
	DialTimeout = 2 * time.Second
)

// Errors that a peer gives as the code of a reset, and that Open, ReadFrame and
// WriteFrame return on the other side.
var (
	// ErrNotAdmitted: no admission, one that does not verify, or another peer's.
	ErrNotAdmitted = errors.New("not admitted to this network")
	// ErrWrongNetwork: the peer belongs to another network.
	ErrWrongNetwork = errors.New("peer belongs to another network")
	// ErrBarred: the network has barred the peer.
	ErrBarred = errors.New("barred from this network")
	// ErrFrameTooLarge: a frame above the protocol's limit.
	ErrFrameTooLarge = errors.New("frame too large")
	// ErrTooManyStreams: the peer holds its share of streams already.
	ErrTooManyStreams = errors.New("too many streams")
	// ErrVersion: the other side speaks another version of the hello.
	ErrVersion = errors.New("unknown protocol version")
	// ErrRefused: the handler at the other side gave up on the stream.
	ErrRefused = errors.New("stream refused by the peer")
)

// Errors of this side.
var (
	// ErrUnreachable: no address of the peer answered within DialTimeout.
	ErrUnreachable = errors.New("peer unreachable")
	// ErrIdentity: somebody else answers at the peer's address.
	ErrIdentity = errors.New("another identity answers")
	// ErrNoProtocol: the peer does not serve the protocol (a node that is no
	// registry, a head that is one no more).
	ErrNoProtocol = errors.New("peer does not serve this protocol")
	// ErrNoNetwork: SetTrust and SetAdmission have not been called yet.
	ErrNoNetwork = errors.New("no network joined yet")
	// ErrClosed: the host is closed.
	ErrClosed = errors.New("host is closed")
	// ErrNotFound: the DHT holds no valid record for the city.
	ErrNotFound = errors.New("no head record found")
	// ErrOldRecord: the DHT knows a higher term than the one to be put.
	ErrOldRecord = errors.New("a higher term is known in the DHT")
)

// Codes of a reset stream. libp2p's own are 0x1000 to 0x1fff.
const (
	codeNotAdmitted  network.StreamErrorCode = 0x5001
	codeWrongNetwork network.StreamErrorCode = 0x5002
	codeBarred       network.StreamErrorCode = 0x5003
	codeTooLarge     network.StreamErrorCode = 0x5004
	codeTooMany      network.StreamErrorCode = 0x5005
	codeVersion      network.StreamErrorCode = 0x5006
	codeRefused      network.StreamErrorCode = 0x5007
)

var codes = []struct {
	err  error
	code network.StreamErrorCode
}{
	{ErrNotAdmitted, codeNotAdmitted},
	{ErrWrongNetwork, codeWrongNetwork},
	{ErrBarred, codeBarred},
	{ErrFrameTooLarge, codeTooLarge},
	{ErrTooManyStreams, codeTooMany},
	{ErrVersion, codeVersion},
	{ErrRefused, codeRefused},
}

func codeOf(err error) network.StreamErrorCode {
	for _, c := range codes {
		if errors.Is(err, c.err) {
			return c.code
		}
	}
	return codeRefused
}
