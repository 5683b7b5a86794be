package cluster

import (
	"crypto/ed25519"
	"time"
)

// Config of a Machine.
type Config struct {
	Network    ed25519.PublicKey // the network key, pinned
	City       City
	Registry   ID     // for display only
	MaxMembers int    // bound of the member table; 0: DefaultMaxMembers
	MaxHeld    int    // bound of the results held for others; 0: DefaultMaxHeld
	Trust      *Trust // of Network; several machines may share what one has verified; nil: its own
}

// DefaultMaxMembers bounds a head's member table: about 400 bytes a row.
const DefaultMaxMembers = 20000

// Input is what comes in from outside.
type Input interface{ isInput() }

// Received is a message from an authenticated, admitted peer.
type Received struct {
	From    ID
	Message *Message
}

// Connected says that the first connection to a peer opened. It must come before anything Received over it.
type Connected struct{ Peer ID }

// Disconnected says that the last connection to a peer closed: a hint, never a verdict (R2).
type Disconnected struct{ Peer ID }

// Answered is the outcome of a call to the registry: an Answer, or an error.
type Answered struct {
	Kind   RegistryCall
	Answer *Answer
	Err    error
}

// Learned is a Lead that came by any other path: the DHT, a request, an answer; and peers with addresses.
type Learned struct {
	Lead  Signed
	Peers []Peer
}

// SelfChanged brings the node's own addresses, priority, load or admission.
type SelfChanged struct{ Row Row }

// Stopping says that the node shuts down: a head resigns to the best live candidate, a member says good-bye.
type Stopping struct{}

// Health brings what the node notices of itself. Reason is empty while nothing speaks against leading; else it says
// in a few words what does: "slow disk", "slow loop", "draining". A head that is not well hands over (R8), and a
// candidate that is not goes to the tail of the list.
type Health struct{ Reason string }

// Attested brings what a head has measured of one of its members.
type Attested struct {
	ID          ID
	Attestation Attestation
}

// Submitted says that results of this node are durable in its spool and are to be delivered.
type Submitted struct{ Keys []ResultKey }

// Stored says that results which came from a peer (or from this node itself) are durable on this node's disk:
// as the head's, or as the copy of the head of Term.
type Stored struct {
	From ID
	Term Term
	Keys []ResultKey
}

// Released says that the registry has results: level 3 (R9).
type Released struct{ Keys []ResultKey }

// Withdrawn says that results of this node are not to be delivered any more: a full spool dropped them, or they were
// refused for what is in them. Submitted brings them back.
type Withdrawn struct{ Keys []ResultKey }

func (Received) isInput()     {}
func (Connected) isInput()    {}
func (Disconnected) isInput() {}
func (Answered) isInput()     {}
func (Learned) isInput()      {}
func (SelfChanged) isInput()  {}
func (Stopping) isInput()     {}
func (Health) isInput()       {}
func (Attested) isInput()     {}
func (Submitted) isInput()    {}
func (Stored) isInput()       {}
func (Released) isInput()     {}
func (Withdrawn) isInput()    {}

// Output is what the caller carries out, in this order. The machine keeps nothing of it and changes nothing in it later:
// other goroutines may encode it at their own pace.
type Output struct {
	Hard   *HardState // 1. make durable, if not nil
	Out    []Envelope // 2. send
	Calls  []Call     // 2. call the registry, never waited for
	Moves  []Transfer // 2. send results, never waited for
	Events []Event    // 3. hand on
}

// Envelope is one message to one peer, with its addresses where they are known.
type Envelope struct {
	To      ID
	Addrs   [][]byte
	Message *Message
}

// Transfer asks the caller to send the results under Keys, which are durable here, to a peer. The receiver makes them
// durable and steps Stored. A transfer that fails is asked for again.
type Transfer struct {
	To    ID
	Addrs [][]byte
	Kind  TransferKind
	Term  Term // of the head that sends or receives; whoever knows a higher one refuses
	Keys  []ResultKey
}

// TransferKind is why results travel.
type TransferKind string

// The transfers.
const (
	TransferSubmit TransferKind = "submit" // a node's own results, to its head
	TransferCopy   TransferKind = "copy"   // the head's results, to its backup
	TransferOffer  TransferKind = "offer"  // what a former head holds, to the head that wants it
)

// RegistryCall is the kind of a request to the registry.
type RegistryCall string

// The registry's calls. A machine never asks for Register: that is the caller's, at its start and while Status
// says orphan.
const (
	CallRegister RegistryCall = "register"
	CallPropose  RegistryCall = "propose"
	CallTakeover RegistryCall = "takeover"
	CallReport   RegistryCall = "report"
)

// Call asks the caller to send a request to the registry.
type Call struct {
	Kind    RegistryCall
	Request *Request
}

// Event tells what happened.
type Event interface{ isEvent() }

// LeadChanged says that High rose. Self: this node now leads.
type LeadChanged struct {
	Old, New *Lead // Old is nil at first
	Raw      Signed
	Term     Term
	Self     bool
	Reason   string
}

// LeadRefreshed says that this node signed its Lead anew, in the same term: the addresses in it changed.
type LeadRefreshed struct {
	Raw  Signed
	Term Term
}

// SteppedDown says that this node does not lead any more.
type SteppedDown struct {
	Term   Term
	Reason string
}

// MemberJoined says that the head heard a member for the first time.
type MemberJoined struct{ Row Row }

// MemberEvicted says that the head dropped a member, after this much silence (0: it said good-bye).
type MemberEvicted struct {
	ID      ID
	Silence time.Duration
}

// HeadLearned says that the Lead of another city rose.
type HeadLearned struct {
	City  City
	Shard uint
	Lead  Signed
}

// BarredChanged says that a higher list of barred nodes is known.
type BarredChanged struct {
	Raw    Signed
	Barred *Barred
}

// Acked says that results of this node have reached a level of durability (R9): 1 on the head, 2 on head and
// backup, 3 in the registry.
type Acked struct {
	Keys  []ResultKey
	Level uint
}

// Trimmed says that results which this node held as a copy, or as a former head, are in the registry: it keeps them for
// Retention, in case the registry loses its disk, and then lets them go.
type Trimmed struct{ Keys []ResultKey }

// Unsure says that a head began or ceased to doubt that it still leads, after a pause (R6). While On it acknowledges,
// evicts and permits nothing and writes nothing to the DHT.
type Unsure struct {
	On    bool
	Pause time.Duration
}

// HandOver says that this head resigned to a candidate, and why. It leads on until that one does (R8).
type HandOver struct {
	To     ID
	Reason string
}

// Alarm says that something happened that should not, in one sentence for people.
type Alarm struct{ Text string }

func (LeadChanged) isEvent()   {}
func (LeadRefreshed) isEvent() {}
func (SteppedDown) isEvent()   {}
func (MemberJoined) isEvent()  {}
func (MemberEvicted) isEvent() {}
func (HeadLearned) isEvent()   {}
func (BarredChanged) isEvent() {}
func (Acked) isEvent()         {}
func (Trimmed) isEvent()       {}
func (Unsure) isEvent()        {}
func (HandOver) isEvent()      {}
func (Alarm) isEvent()         {}

// Roles as Status names them.
const (
	RoleHead      = "head"
	RoleBackup    = "backup"
	RoleCandidate = "candidate"
	RoleEndpoint  = "endpoint"
	RoleOrphan    = "orphan"
)

// Status is the machine at a glance. Pointers are shared and must not be written through.
type Status struct {
	Self       ID
	City       City
	Role       string
	Term       Term
	High       *Lead
	HighRaw    Signed
	Cert       *Certificate
	CertRaw    Signed
	CutOff     time.Duration // as of the last step: for how long no head was heard; 0: this node leads, or hears one
	Members    int
	Heads      int
	Leading    bool
	Backup     ID
	LastChange string        // why High last rose
	ChangedAgo time.Duration // how long ago, as of the last step; 0: not since the boot
	Seq        uint64
	Boot       uint64
	Refused    uint64 // inputs that were malformed, foreign or above a bound
	Shard      uint   // of this node
	Shards     uint   // of the city
	Unsure     bool   // a head that doubts that it still leads (R6)
	Health     string // why this node should not lead; empty: nothing speaks against it
	WhyNot     string // why this node is not a candidate, in one sentence; empty: it is one, or it leads
	InLine     int    // its place in line for the next take-over, 1: next; 0: not in line
	Watches    ID     // whom this node watches: the head of High; empty: nobody
	Ledger     LedgerStatus
}

// CandidateInfo is one name of a succession. A head knows most: it hears them all. A candidate knows what the head
// replicated, and hears the head itself.
type CandidateInfo struct {
	ID       ID
	Self     bool
	Head     bool          // of High
	Line     int           // its place in line for the next take-over, 1: next; 0: it leads
	Alive    bool          // not evicted, as far as is known here
	Heard    bool          // this node hears it itself
	Silence  time.Duration // then: for how long not, as of the last step
	Current  bool          // on a head: its copy of the tables is up to date, so that it may be the backup
	Flapping bool          // on a head: it booted too often of late
	Unwell   string        // why it should not lead, as it says itself; empty: nothing speaks against it
}

// MemberInfo is one member. On a head LastHeard is the arrival of its last heartbeat; elsewhere rows are
// replicated and Heard is false.
type MemberInfo struct {
	Row       Row
	Heard     bool
	LastHeard Instant
	Silence   time.Duration // as of the machine's last step
	Seq       uint64
}

// KnownHead is the head of another city.
type KnownHead struct {
	City  City
	Shard uint
	Raw   Signed
	Lead  *Lead
	Term  Term
}

// Picked is a member chosen for a session, with its last heartbeat that the head heard.
type Picked struct {
	Row  Row
	Boot uint64
	Seq  uint64
}

// TicketLimits are the head's limits on a session. Zero leaves it to the target's own.
type TicketLimits struct {
	MaxRate uint64 // packets a second
	Packets uint64
	Bytes   uint64
	Seconds uint64
}
