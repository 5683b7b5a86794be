package cluster

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// The register protocol, /peerprobe/register/1: a frame Request, a frame Answer, any number of times.
//
// Version log: 1 first version; before its first release CutOffMs was added to Request.

// Request is what a node asks of the registry.
type Request struct {
	Version     uint         `cbor:"1,keyasint"`
	Kind        RegistryCall `cbor:"2,keyasint"` // also "join", which carries nothing else
	Self        Peer         `cbor:"3,keyasint"`
	City        City         `cbor:"4,keyasint,omitempty"` // as declared: only a hint
	Tags        []string     `cbor:"5,keyasint,omitempty"`
	Transient   bool         `cbor:"6,keyasint,omitempty"`
	Token       string       `cbor:"7,keyasint,omitempty"`
	Admission   Signed       `cbor:"8,keyasint"`            // the caller's own, so that a lost disk heals
	Cert        Signed       `cbor:"9,keyasint"`            // the highest that the caller knows
	Lead        Signed       `cbor:"10,keyasint"`           // its High
	Living      []ID         `cbor:"11,keyasint,omitempty"` // Propose: by priority, the head first; Report: members alive
	Rows        []Row        `cbor:"12,keyasint,omitempty"` // some of the members, in turn
	HeadsDigest []HeadRef    `cbor:"13,keyasint,omitempty"` // heads of other cities that the caller knows
	CutOffMs    uint64       `cbor:"14,keyasint,omitempty"` // Register: for how long the caller has heard no head; 0: it hears one
}

// Answer is what the registry says. With an Error it may still carry the higher certificate and Leads.
type Answer struct {
	Version   uint       `cbor:"1,keyasint"`
	Error     *WireError `cbor:"2,keyasint,omitempty"`
	Admission Signed     `cbor:"3,keyasint"`
	Cert      Signed     `cbor:"4,keyasint"`
	Leads     []Signed   `cbor:"5,keyasint,omitempty"` // the best of each shard of the caller's city
	Heads     []Signed   `cbor:"6,keyasint,omitempty"` // of other cities, at most MaxAnswerHeads
	FirstSeen int64      `cbor:"7,keyasint,omitempty"` // unix ms
	Quiet     bool       `cbor:"8,keyasint,omitempty"`
	Barred    Signed     `cbor:"9,keyasint"`
}

// WireError is a refusal with a code to branch on.
type WireError struct {
	Code    string `cbor:"1,keyasint"`
	Message string `cbor:"2,keyasint"`
}

// Error is the message.
func (e *WireError) Error() string { return e.Message }

// Codes of refusals by the registry.
const (
	CodeMalformed   = "malformed"
	CodeVersion     = "version"
	CodeBarred      = "barred"
	CodeNotAdmitted = "not-admitted"
	CodeNotHead     = "not-head"
	CodeTooSoon     = "too-soon"
	CodeToken       = "token" // for the registry role: missing, unknown, spent or expired token
	CodeInternal    = "internal"
)

// MaxAnswerHeads bounds the heads of other cities in one answer.
const MaxAnswerHeads = 32

// ErrRequest and ErrAnswer say that a frame is not one of this protocol.
var (
	ErrRequest = errors.New("malformed request")
	ErrAnswer  = errors.New("malformed answer")
)

// DecodeRequest decodes a request and checks its shape. A request of another version is refused by Table, with a reason.
func DecodeRequest(data []byte) (*Request, error) {
	r := new(Request)
	if err := decodeBounded(data, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	return r, nil
}

// DecodeAnswer decodes an answer and checks its shape.
func DecodeAnswer(data []byte) (*Answer, error) {
	a := new(Answer)
	if err := decodeBounded(data, a); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrAnswer, err)
	}
	if len(a.Leads) > maxLeads || len(a.Heads) > maxLeads {
		return nil, fmt.Errorf("%w: %d leads, %d heads", ErrAnswer, len(a.Leads), len(a.Heads))
	}
	return a, nil
}

func decodeBounded(data []byte, v any) error {
	if len(data) > MaxMessage {
		return fmt.Errorf("%d bytes, at most %d are allowed", len(data), MaxMessage)
	}
	return Unmarshal(data, v)
}

func (r *Request) check() error {
	if len(r.Living) > maxRefs || len(r.Rows) > maxRows || len(r.HeadsDigest) > maxRefs || len(r.Tags) > maxTags || len(r.Token) > maxText {
		return fmt.Errorf("%d living, %d rows, %d digests, %d tags, token of %d bytes", len(r.Living), len(r.Rows), len(r.HeadsDigest), len(r.Tags), len(r.Token))
	}
	for _, tag := range r.Tags {
		if len(tag) > maxText {
			return fmt.Errorf("tag of %d bytes, at most %d are allowed", len(tag), maxText)
		}
	}
	for i := range r.Rows {
		if err := r.Rows[i].check(); err != nil {
			return err
		}
	}
	return checkAddrs(r.Self.Addrs)
}

// TableConfig of a registry's table.
type TableConfig struct {
	Timers  Timers // of new certificates
	Rebirth RebirthTimes
	Heads   map[City]uint // how many heads a city should have, at most MaxHeads; where nothing is said: 1
	Trust   *Trust        // of the network; several tables may share what one has verified; nil: its own
}

// DefaultTableConfig has the default timers and times.
func DefaultTableConfig() TableConfig {
	return TableConfig{Timers: DefaultTimers(), Rebirth: DefaultRebirthTimes()}
}

// Validate checks the timers, times and numbers.
func (c TableConfig) Validate() error {
	errs := []error{c.Timers.Validate(), c.Rebirth.Validate()}
	for _, city := range slices.Sorted(maps.Keys(c.Heads)) {
		errs = append(errs, checkHeads(city, c.Heads[city]))
	}
	return errors.Join(errs...)
}

// checkHeads refuses what cannot be a city's number of heads.
func checkHeads(city City, n uint) error {
	if err := city.Validate(); err != nil {
		return err
	}
	if n < 1 || n > MaxHeads {
		return fmt.Errorf("%d heads for %s: want 1 to %d", n, city, MaxHeads)
	}
	return nil
}

// NodeState is what the registry keeps of a node.
type NodeState struct {
	ID        ID       `cbor:"1,keyasint"`
	Addrs     [][]byte `cbor:"2,keyasint"`
	City      City     `cbor:"3,keyasint"`
	Place     string   `cbor:"4,keyasint,omitempty"`
	Tags      []string `cbor:"5,keyasint,omitempty"`
	Class     string   `cbor:"6,keyasint"`
	Transient bool     `cbor:"7,keyasint,omitempty"`
	Admission Signed   `cbor:"8,keyasint"`
	Serial    uint64   `cbor:"9,keyasint"`
	FirstSeen int64    `cbor:"10,keyasint"`           // unix ms
	LastSeen  int64    `cbor:"11,keyasint"`           // unix ms: registered, or reported alive by its head
	Observed  string   `cbor:"12,keyasint,omitempty"` // the address from which it last registered, filled by the caller
	About     *About   `cbor:"13,keyasint,omitempty"`
	Earlier   []City   `cbor:"14,keyasint,omitempty"` // cities it was in before, the last one first, at most earlierCities
	Evidence  []byte   `cbor:"15,keyasint,omitempty"` // why it is in its city; the caller's, and opaque here
}

// earlierCities: results that a node handed to a former head may still be on their way.
const earlierCities = 4

// Placement is where the caller has placed a node, and as what.
type Placement struct {
	City  City
	Place string // for people, with the evidence
	Class string
	About *About // nil: nothing more is known
}

// CityState is what the registry keeps of a city.
type CityState struct {
	City    City         `cbor:"1,keyasint"`
	Cert    Signed       `cbor:"2,keyasint"`
	Lead    Signed       `cbor:"3,keyasint"` // the best of shard 0; empty: none
	History []HeadChange `cbor:"4,keyasint"` // oldest first, bounded
	Heard   int64        `cbor:"5,keyasint"` // unix ms at which its head last called

	// Leads are the best of the shards above 0, by shard. Records from before cities had shards lack it.
	Leads []Signed `cbor:"6,keyasint,omitempty"`
}

// AllLeads are the best Leads of all shards, by shard; of a shard that nobody has led there is none.
func (c CityState) AllLeads() []Signed {
	var out []Signed
	if !c.Lead.Empty() {
		out = append(out, c.Lead)
	}
	return append(out, c.Leads...)
}

// HeadChange is one change of head as the registry learned it.
type HeadChange struct {
	Term   Term   `cbor:"1,keyasint"`
	Head   ID     `cbor:"2,keyasint"`
	At     int64  `cbor:"3,keyasint"` // unix ms
	Reason string `cbor:"4,keyasint,omitempty"`
	Late   bool   `cbor:"5,keyasint,omitempty"` // a higher term of its shard was known already
}

// CityChange is a change of head and its city.
type CityChange struct {
	City City
	HeadChange
}

// TableState is a whole table as it was stored.
type TableState struct {
	Nodes  []NodeState `cbor:"1,keyasint"`
	Cities []CityState `cbor:"2,keyasint"`
	Barred Signed      `cbor:"3,keyasint"`
}

// Changes must be durable before the answer leaves.
type Changes struct {
	Nodes  []NodeState
	Cities []CityState
	Barred Signed       // empty: unchanged
	Heads  []CityChange // for the audit: what the cities' histories have more now
}
