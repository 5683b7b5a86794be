package node

import (
	"time"

	"github.com/peerprobe/peerprobe/probe"
)

// Request says what to measure.
type Request struct {
	To         string         `json:"to"`                  // a city: "wuhan", "武汉"
	Tool       string         `json:"tool,omitempty"`      // "" means latency
	Params     probe.Params   `json:"params"`              // what is asked for; the target may grant less
	PreferDHT  bool           `json:"preferDht,omitempty"` // skip the head's table of heads in the look-up, to exercise the DHT
	OnProgress func(Progress) `json:"-"`                   // called in order, from one goroutine; must not block
}

// Progress is one thing that happened while a measurement ran: exactly one field is set.
type Progress struct {
	Step   *Step         `json:"step,omitempty"`
	Start  *Start        `json:"start,omitempty"`
	Sample *probe.Sample `json:"sample,omitempty"`
}

// Start says with whom a session began and under which parameters.
type Start struct {
	Initiator probe.End    `json:"initiator"`
	Target    probe.End    `json:"target"`
	Path      probe.Path   `json:"path"`
	Params    probe.Params `json:"params"`            // as granted
	Lowered   []string     `json:"lowered,omitempty"` // what the target granted less of, in words
}

// Step is one step of the way that a look-up took (--explain).
type Step struct {
	Stage  string  `json:"stage"`  // queue, own-cluster, table, dht, remote-head, candidates, session
	Text   string  `json:"text"`   // one sentence
	AtMs   float64 `json:"atMs"`   // since the measurement was asked for
	TookMs float64 `json:"tookMs"` // the step's own duration
	Found  bool    `json:"found"`  // the step answered the question; the next one was not needed for it
}

// Measurement is one request and what came of it.
type Measurement struct {
	ID      string         `json:"id"`
	To      string         `json:"to"`
	Tool    string         `json:"tool"`
	Status  string         `json:"status"` // finished, partial, failed
	Created time.Time      `json:"createdAt"`
	Updated time.Time      `json:"updatedAt"`
	Steps   []Step         `json:"steps"`
	Notes   []string       `json:"notes,omitempty"` // what a person should know: candidates passed over, lowered parameters
	Results []probe.Result `json:"results"`
}

// Status is what a node says of itself.
type Status struct {
	Node       string          `json:"node"` // peer id
	Network    string          `json:"network"`
	City       string          `json:"city"`
	Place      string          `json:"place,omitempty"`    // how the registry found the city
	Role       string          `json:"role"`               // head, backup, candidate, endpoint, orphan
	Shard      uint            `json:"shard"`              // of the city, from 0
	Shards     uint            `json:"shards"`             // that the city has: as many heads
	Term       string          `json:"term"`               // epoch/k
	Head       string          `json:"head"`               // peer id of the head it follows
	HeadAddr   string          `json:"headAddr,omitempty"` // the first at which its claim says that it listens
	Backup     string          `json:"backup,omitempty"`
	Members    int             `json:"members"`              // of the cluster, as far as this node knows
	Heads      int             `json:"heads"`                // heads in the table: of other cities, and of other shards of this one
	LastChange string          `json:"lastChange,omitempty"` // why the term last rose
	Change     *HeadChange     `json:"change,omitempty"`     // when another head last took over, and why; nil: not since the start
	Succession []CandidateInfo `json:"succession"`           // in the order of take-over, who leads first
	InLine     int             `json:"inLine"`               // this node's place in it, 1: next; 0: it leads, or is not listed
	Watches    string          `json:"watches,omitempty"`    // peer id of whom it watches, to take over
	// After so much silence of the head it asks the others, and then takes over; 0: it is not in line.
	ClaimsAfterMs float64           `json:"claimsAfterMs,omitempty"`
	WhyNot        string            `json:"whyNot,omitempty"`   // why it is not a candidate
	CutOffMs      float64           `json:"cutOffMs,omitempty"` // for so long it has heard no head
	Unsure        bool              `json:"unsure,omitempty"`   // it leads, and after a pause is in doubt whether it still does
	Attested      *AttestedInfo     `json:"attested,omitempty"` // what its head has measured of it, as far as it knows
	Health        string            `json:"health,omitempty"`   // why this node should not lead; empty: nothing speaks against it
	Vitals        VitalsStatus      `json:"vitals"`
	Registry      RegistryStatus    `json:"registry"`
	Addrs         []string          `json:"addrs"`
	Started       time.Time         `json:"started"`
	Sessions      SessionStatus     `json:"sessions"`
	Spool         SpoolStatus       `json:"spool"`
	Held          HeldStatus        `json:"held"`
	Refused       map[string]uint64 `json:"refused,omitempty"` // reason -> count
	Cache         CacheStatus       `json:"cache"`
	Data          string            `json:"data"`
	Control       string            `json:"control"` // local API socket
	PID           int               `json:"pid"`
	Version       string            `json:"version"`
}

// HeadChange is the last change of head that a node saw since its start.
type HeadChange struct {
	At     time.Time `json:"at"`
	From   string    `json:"from,omitempty"` // peer id; empty: the first that it heard of
	To     string    `json:"to"`
	Term   string    `json:"term"`
	Reason string    `json:"reason"`
}

// CandidateInfo is one name of a succession.
type CandidateInfo struct {
	Node     string   `json:"node"`             // peer id
	Place    int      `json:"place"`            // 0: it leads, 1: next in line
	State    string   `json:"state"`            // head, backup, alive, unwell, silent, unknown
	SilentMs *float64 `json:"silentMs"`         // since it was last heard, by whom this list is of; null: not heard there
	Self     bool     `json:"self,omitempty"`   // the node that was asked
	Unwell   string   `json:"unwell,omitempty"` // why it should not lead
}

// AttestedInfo is what a head has measured of a member.
type AttestedInfo struct {
	At        time.Time `json:"at"`
	Reachable bool      `json:"reachable"` // a fresh connection to where it says that it listens came about
	Capacity  uint8     `json:"capacity"`  // 0 to 10, of what it sent
	Prefix    string    `json:"prefix"`    // the network that it is seen in
}

// VitalsStatus is how fit a node is to lead, by its own measurements of the last minute.
type VitalsStatus struct {
	Unfit    string   `json:"unfit,omitempty"`    // why it should not lead: draining, disk full, disk failing, slow disk, slow loop
	Draining bool     `json:"draining,omitempty"` // it was asked not to lead
	Capacity uint8    `json:"capacity"`           // what it claims, 0 to 10: the lesser of processor and disk
	CPU      uint8    `json:"cpu"`                // 0 to 10
	SyncMs   *float64 `json:"syncMs"`             // 90th percentile of its fsyncs; null: none in the last minute
	LateMs   *float64 `json:"lateMs"`             // 90th percentile of how late its loop was
}

// RegistryStatus is the registry as this node last saw it.
type RegistryStatus struct {
	Address string    `json:"address"`
	ID      string    `json:"id"`
	Up      bool      `json:"up"`   // the last call was answered
	Last    time.Time `json:"last"` // when it last answered
	Error   string    `json:"error,omitempty"`
	Quiet   bool      `json:"quiet,omitempty"` // it has just started, and appoints no first head of a city for half a minute; this node waits
}

// SessionStatus counts the sessions that this node served and started, and its limits.
type SessionStatus struct {
	Serving   int    `json:"serving"`
	Served    uint64 `json:"served"`
	Started   uint64 `json:"started"`
	MaxAtOnce int    `json:"maxAtOnce"`
}

// SpoolStatus is the state of results that are not yet durable at the registry.
type SpoolStatus struct {
	Depth   int    `json:"depth"`
	Dropped uint64 `json:"dropped"`
	Level1  int    `json:"level1"` // of depth: on the head
	Level2  int    `json:"level2"` // of depth: on head and backup
	Aside   int    `json:"aside"`  // of depth: refused for what is in them, tried again within the hour
}

// HeldStatus counts the results that a node holds for its cluster.
type HeldStatus struct {
	Held     int    `json:"held"`     // as head: not in the registry yet
	Copied   int    `json:"copied"`   // of held: on the backup too
	Copies   int    `json:"copies"`   // not as head: copies of the head's, and what is left of an own headship
	Kept     int    `json:"kept"`     // in the registry; kept for a day in case it loses its disk
	Bytes    int64  `json:"bytes"`    // of all these on disk
	Released uint64 `json:"released"` // since the start: held here, and in the registry now
	Refused  uint64 `json:"refused"`  // since the start: not acknowledged, because the table was full
}

// CacheStatus counts reads of the store that the cache answered.
type CacheStatus struct {
	Hits   uint64 `json:"hits"`
	Misses uint64 `json:"misses"`
}

// NodeInfo is one node of the mesh as the heads know it.
type NodeInfo struct {
	ID       string   `json:"id"`
	City     string   `json:"city"`
	IP       string   `json:"ip"`
	Addrs    []string `json:"addrs"`
	Role     string   `json:"role"` // head, backup, candidate, endpoint
	Tags     []string `json:"tags,omitempty"`
	Country  string   `json:"country,omitempty"` // ISO 3166-1 alpha-2
	ASN      uint32   `json:"asn,omitempty"`     // number of the network that announces its address
	Network  string   `json:"network,omitempty"` // name of that network
	Place    string   `json:"place,omitempty"`   // how the registry found the city
	Doubt    string   `json:"doubt,omitempty"`   // why the city may be wrong; empty: nothing speaks against it
	SilentMs float64  `json:"silentMs"`          // since the head last heard it
}

// ClusterInfo is one cluster as this node's head knows it.
type ClusterInfo struct {
	City       string          `json:"city"`
	Head       string          `json:"head"`
	HeadIP     string          `json:"headIp"`
	Term       string          `json:"term"`
	Members    int             `json:"members"`    // -1: its head did not answer
	Succession []string        `json:"succession"` // peer ids, the order of the certificate
	Reason     string          `json:"reason"`     // why the head leads
	Shard      uint            `json:"shard"`      // of the city, from 0
	Shards     uint            `json:"shards"`     // that the city has: as many heads
	Backup     string          `json:"backup,omitempty"`
	Line       []CandidateInfo `json:"line,omitempty"`  // the succession in the order of take-over, as the head says
	Own        bool            `json:"own"`             // the cluster of the node that was asked
	Error      string          `json:"error,omitempty"` // why the head did not answer
}

// ResultQuery selects stored results, newest first.
type ResultQuery struct {
	From  string `json:"from,omitempty"` // initiator's city
	To    string `json:"to,omitempty"`   // target's city
	Limit int    `json:"limit,omitempty"`
	After string `json:"after,omitempty"` // cursor of the last page
}

// ResultPage is one page of stored results.
type ResultPage struct {
	Results []probe.Result `json:"results"`
	Next    string         `json:"next,omitempty"` // cursor; empty: no more
}
