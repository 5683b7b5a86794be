package cluster

import (
	"errors"
	"fmt"
)

// The member protocol, /peerprobe/member/1: one Message is one frame, exactly one field is set.
//
//	1 Beacon     head -> candidates (Timers.Beacon), all (Timers.BeaconAll)
//	2 Lead       head -> all, on a claim; to anyone behind; in answer to WhoIs
//	3 Heartbeat  node -> head, one way, never answered
//	4 Stale      anyone -> sender of a lower term: the higher Lead
//	5 WhoIs      orphan, booted node -> last head and candidates
//	6 Probe      candidate -> head and three witnesses
//	7 ProbeRes   the answer; once more, unasked, as a correction
//	8 Resign     head -> candidates
//	9 Replicate  head -> candidates: members and heads of other cities
//	10 ReplAck   candidate -> head
//	11 Heads     head <-> head of another city
//	12 Cert      anyone -> the names of a certificate
//	13 ResAck    head -> owner of results: at which level they are (ledgermsg.go, so are the next)
//	14 Offer     who holds results that are not in the registry -> head
//	15 Want      head -> who offered
//	16 Trim      head -> who holds copies: they are in the registry
//
// Version log: 1 first version; kinds 13 to 16 and results in ReplAck were added without a new one: a node that does not
// know them refuses the frame, and loses only what they are for. So were the fields Heartbeat 9 and Resign 3.

// MaxMessage is the size of the largest frame of the member and register protocols, in bytes.
const MaxMessage = 64 << 10

// Limits inside a message. A frame of MaxMessage holds no more of the real thing.
const (
	maxRows     = 1024 // rows in a Replicate or Request
	maxLeads    = 256  // Leads in a Heads, Replicate or Answer
	maxRefs     = 1024 // entries of a digest, ids in a list
	maxAddrs    = 16   // addresses of one peer
	maxAddrLen  = 256  // bytes of one address
	maxText     = 512  // bytes of a reason or other text
	maxTags     = 32
	maxSessions = 1 << 20
	maxPrefix   = 64 // bytes of a network's name
)

// ErrMessage says that a frame is not a message of this protocol.
var ErrMessage = errors.New("malformed message")

// Message is one frame: a union tagged by its integer key.
type Message struct {
	Beacon    *Beacon      `cbor:"1,keyasint,omitempty"`
	Lead      *Signed      `cbor:"2,keyasint,omitempty"`
	Heartbeat *Heartbeat   `cbor:"3,keyasint,omitempty"`
	Stale     *Signed      `cbor:"4,keyasint,omitempty"`
	WhoIs     *WhoIs       `cbor:"5,keyasint,omitempty"`
	Probe     *Probe       `cbor:"6,keyasint,omitempty"`
	ProbeRes  *ProbeRes    `cbor:"7,keyasint,omitempty"`
	Resign    *Resign      `cbor:"8,keyasint,omitempty"`
	Replicate *Replicate   `cbor:"9,keyasint,omitempty"`
	ReplAck   *ReplAck     `cbor:"10,keyasint,omitempty"`
	Heads     *Heads       `cbor:"11,keyasint,omitempty"`
	Cert      *CertMessage `cbor:"12,keyasint,omitempty"`
	ResAck    *ResAck      `cbor:"13,keyasint,omitempty"`
	Offer     *Offer       `cbor:"14,keyasint,omitempty"`
	Want      *Want        `cbor:"15,keyasint,omitempty"`
	Trim      *Trim        `cbor:"16,keyasint,omitempty"`
}

// Beacon says that the head of Term is alive.
type Beacon struct {
	Term    Term   `cbor:"1,keyasint"`
	Boot    uint64 `cbor:"2,keyasint"`
	Seq     uint64 `cbor:"3,keyasint"`
	Load    uint32 `cbor:"4,keyasint,omitempty"`
	Members uint32 `cbor:"5,keyasint"`
	Backup  ID     `cbor:"6,keyasint,omitempty"`
}

// Heartbeat says that a member is alive. The first to a new head and every tenth carry the full row.
type Heartbeat struct {
	Term     Term     `cbor:"1,keyasint"`
	Boot     uint64   `cbor:"2,keyasint"`
	Seq      uint64   `cbor:"3,keyasint"`
	Priority Priority `cbor:"4,keyasint"`
	Spool    uint64   `cbor:"5,keyasint,omitempty"` // results not yet released
	Load     uint32   `cbor:"6,keyasint,omitempty"` // running sessions
	Row      *Row     `cbor:"7,keyasint,omitempty"`
	Leaving  bool     `cbor:"8,keyasint,omitempty"` // the last one: the node stops
	Unwell   string   `cbor:"9,keyasint,omitempty"` // why it should not lead; empty: nothing speaks against it
}

// WhoIs asks who leads and shows the highest Lead that the asker knows (empty: none).
type WhoIs struct {
	High Signed `cbor:"1,keyasint"`
	Boot uint64 `cbor:"2,keyasint"`
}

// Probe asks whether the head of Term is alive.
type Probe struct {
	Term Term   `cbor:"1,keyasint"`
	Req  uint64 `cbor:"2,keyasint"`
}

// ProbeRes answers a Probe. A witness that answered fresh sends one more, unasked, when its own
// connection to the head breaks; the latest counts.
type ProbeRes struct {
	Term   Term   `cbor:"1,keyasint"`
	Req    uint64 `cbor:"2,keyasint"`
	Fresh  bool   `cbor:"3,keyasint"` // Stands, and heard within 2.5 of the witness's beacon intervals; the head itself: I lead
	Stands bool   `cbor:"4,keyasint"`
	Seq    uint64 `cbor:"5,keyasint"`           // of the last beacon heard
	AgeMs  uint64 `cbor:"6,keyasint"`           // of that beacon
	High   Signed `cbor:"7,keyasint,omitempty"` // the witness's High where it differs from Term
}

// Resign says that the head of Term does not lead any more, or will not for long.
type Resign struct {
	Term   Term   `cbor:"1,keyasint"`
	To     ID     `cbor:"2,keyasint,omitempty"` // who should claim at once; empty: the next in line
	Reason string `cbor:"3,keyasint,omitempty"` // of a hand-over, for people
}

// Replicate brings a candidate's copy of the head's tables up to Upto. Rows of earlier terms go when
// a frame without More has been taken in: then everything alive carries the present term.
type Replicate struct {
	Term  Term     `cbor:"1,keyasint"`
	From  uint64   `cbor:"2,keyasint"` // what the copy must have already; 0: from the start
	Upto  uint64   `cbor:"3,keyasint"`
	More  bool     `cbor:"4,keyasint,omitempty"`
	Rows  []Row    `cbor:"5,keyasint,omitempty"`
	Gone  []ID     `cbor:"6,keyasint,omitempty"`
	Heads []Signed `cbor:"7,keyasint,omitempty"`
}

// ReplAck says how far the copy is. It may be below what was asked: the head goes on from there. One with Results says
// instead that these are durable at the sender: copies at a backup, or at the head what somebody offered.
type ReplAck struct {
	Term    Term        `cbor:"1,keyasint"`
	Upto    uint64      `cbor:"2,keyasint"`
	Results []ResultKey `cbor:"3,keyasint,omitempty"`
}

// HeadRef names the Lead that somebody knows of a city.
type HeadRef struct {
	City  City   `cbor:"1,keyasint"`
	Shard uint   `cbor:"2,keyasint,omitempty"`
	Epoch uint64 `cbor:"3,keyasint"`
	K     uint64 `cbor:"4,keyasint"`
	Seq   uint64 `cbor:"5,keyasint"`
}

// Heads compares tables of heads: digest, then what is newer plus what is wanted, then the wanted.
type Heads struct {
	Step   uint      `cbor:"1,keyasint"` // 1 digest, 2 newer and wanted, 3 the wanted
	Digest []HeadRef `cbor:"2,keyasint,omitempty"`
	Leads  []Signed  `cbor:"3,keyasint,omitempty"`
	Want   []HeadRef `cbor:"4,keyasint,omitempty"` // cities of which the asker's Lead is newer
}

// CertMessage carries a certificate without a Lead, and the list of barred nodes.
type CertMessage struct {
	Certificate Signed `cbor:"1,keyasint"`
	Barred      Signed `cbor:"2,keyasint"`
}

// Kind is the name of the field that is set, or "".
func (m *Message) Kind() string {
	kind := ""
	for _, f := range m.fields() {
		if f.set {
			kind = f.name
		}
	}
	return kind
}

type messageField struct {
	name string
	set  bool
}

func (m *Message) fields() [16]messageField {
	return [...]messageField{
		{"beacon", m.Beacon != nil}, {"lead", m.Lead != nil}, {"heartbeat", m.Heartbeat != nil}, {"stale", m.Stale != nil},
		{"whois", m.WhoIs != nil}, {"probe", m.Probe != nil}, {"proberes", m.ProbeRes != nil}, {"resign", m.Resign != nil},
		{"replicate", m.Replicate != nil}, {"replack", m.ReplAck != nil}, {"heads", m.Heads != nil}, {"cert", m.Cert != nil},
		{"resack", m.ResAck != nil}, {"offer", m.Offer != nil}, {"want", m.Want != nil}, {"trim", m.Trim != nil},
	}
}

// Encode is the frame's payload.
func (m *Message) Encode() []byte { return Marshal(m) }

// DecodeMessage decodes a frame's payload and checks its shape; signatures and terms are the machine's.
func DecodeMessage(data []byte) (*Message, error) {
	if len(data) > MaxMessage {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are allowed", ErrMessage, len(data), MaxMessage)
	}
	m := new(Message)
	if err := Unmarshal(data, m); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	return m, nil
}

func (m *Message) check() error {
	set := 0
	for _, f := range m.fields() {
		set += number(f.set)
	}
	if set != 1 {
		return fmt.Errorf("%d kinds in one frame, want one", set)
	}
	switch {
	case m.Heartbeat != nil:
		return m.Heartbeat.check()
	case m.Resign != nil && len(m.Resign.Reason) > maxHealth:
		return fmt.Errorf("resign: reason of %d bytes", len(m.Resign.Reason))
	case m.Replicate != nil:
		return m.Replicate.check()
	case m.Heads != nil:
		return m.Heads.check()
	}
	return m.checkResults()
}

func (h *Heartbeat) check() error {
	if len(h.Unwell) > maxHealth {
		return fmt.Errorf("heartbeat: health of %d bytes", len(h.Unwell))
	}
	if h.Row != nil {
		return h.Row.check()
	}
	return nil
}

func (h *Heads) check() error {
	if h.Step < 1 || h.Step > 3 || len(h.Digest) > maxRefs || len(h.Want) > maxRefs || len(h.Leads) > maxLeads {
		return fmt.Errorf("heads: step %d, %d digests, %d wanted, %d leads", h.Step, len(h.Digest), len(h.Want), len(h.Leads))
	}
	for _, refs := range [][]HeadRef{h.Digest, h.Want} {
		for _, r := range refs {
			if err := r.City.Validate(); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Replicate) check() error {
	if len(r.Rows) > maxRows || len(r.Gone) > maxRefs || len(r.Heads) > maxLeads || r.Upto < r.From {
		return fmt.Errorf("replicate: %d rows, %d gone, %d heads, from %d to %d", len(r.Rows), len(r.Gone), len(r.Heads), r.From, r.Upto)
	}
	for i := range r.Rows {
		if err := r.Rows[i].check(); err != nil {
			return err
		}
	}
	return nil
}

func (r *Row) check() error {
	if r.ID == "" || r.Load > maxSessions {
		return fmt.Errorf("row: id %q, load %d", r.ID.Short(), r.Load)
	}
	if err := r.Attested.check(); err != nil {
		return err
	}
	return checkAddrs(r.Addrs)
}

func (a *Attestation) check() error {
	if a.At < 0 || a.Capacity > maxCapacity || len(a.Prefix) > maxPrefix {
		return fmt.Errorf("attestation of %d: capacity %d, prefix of %d bytes", a.At, a.Capacity, len(a.Prefix))
	}
	return nil
}

func checkAddrs(addrs [][]byte) error {
	if len(addrs) > maxAddrs {
		return fmt.Errorf("%d addresses of one peer, at most %d are allowed", len(addrs), maxAddrs)
	}
	for _, a := range addrs {
		if len(a) == 0 || len(a) > maxAddrLen {
			return fmt.Errorf("address of %d bytes: want 1 to %d", len(a), maxAddrLen)
		}
	}
	return nil
}
