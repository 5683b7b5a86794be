package probe

import (
	_ "embed" // the schema
	"fmt"
	"strings"
	"time"
)

// EnvelopeSchema is the JSON Schema (2020-12) of Envelope.
//
//go:embed schema.json
var EnvelopeSchema []byte

// Envelope is a measurement as JSON shows it at the edge: Globalping's names
// where it has them, ours beside. What is not known or was not measured is null.
type Envelope struct {
	Schema    int            `json:"schema"`
	ID        string         `json:"id"`
	Type      string         `json:"type"` // the tool
	Status    string         `json:"status"`
	CreatedAt time.Time      `json:"createdAt"`
	UpdatedAt time.Time      `json:"updatedAt"`
	Target    string         `json:"target"` // as it was asked for
	Results   []EnvelopeItem `json:"results"`
	Error     *Error         `json:"error,omitempty"` // why nothing was measured: only where Results is empty
	Notes     []string       `json:"notes,omitempty"` // what a person should know
}

// EnvelopeItem is one session: Probe measured towards Peer.
type EnvelopeItem struct {
	Probe  EnvelopeProbe  `json:"probe"`
	Peer   EnvelopeProbe  `json:"peer"`
	Result EnvelopeResult `json:"result"`
}

// EnvelopeProbe is one end, with Globalping's names.
type EnvelopeProbe struct {
	Continent *string  `json:"continent"`
	Region    *string  `json:"region"`
	Country   *string  `json:"country"`
	State     *string  `json:"state"`
	City      *string  `json:"city"`
	ASN       *uint32  `json:"asn"`
	Network   *string  `json:"network"`
	Latitude  *float64 `json:"latitude"`
	Longitude *float64 `json:"longitude"`
	Tags      []string `json:"tags"`
	NodeID    *string  `json:"nodeId"`
	IP        *string  `json:"ip"`
}

// EnvelopeResult has Globalping's result first, then ours.
type EnvelopeResult struct {
	Status    string           `json:"status"` // finished, partial, failed
	RawOutput string           `json:"rawOutput"`
	Timings   []EnvelopeTiming `json:"timings"` // of answered packets, when samples were asked for
	Stats     EnvelopeStats    `json:"stats"`

	Schema        uint       `json:"schema"`
	Key           string     `json:"key"`
	Tool          string     `json:"tool"`
	ToolVersion   string     `json:"toolVersion"`
	StartedAt     time.Time  `json:"startedAt"`
	EndedAt       time.Time  `json:"endedAt"`
	Path          Path       `json:"path"`
	Params        Params     `json:"params"`
	Error         *Error     `json:"error"`
	BytesUsed     uint64     `json:"bytesUsed"`
	Schedule      string     `json:"schedule"`
	LossTimeoutMs float64    `json:"lossTimeoutMs"`
	Clock         Clock      `json:"clock"`
	Latency       *Latency   `json:"latency"`
	Jitter        *Jitter    `json:"jitter"`   // latency.jitter
	Forward       *Summary   `json:"forward"`  // latency.forward
	Backward      *Summary   `json:"backward"` // latency.backward
	Samples       []Sample   `json:"samples"`
	Sig           Signatures `json:"sig"`
}

// EnvelopeTiming is one answered packet: milliseconds, and the answer's TTL.
type EnvelopeTiming struct {
	RTT float64 `json:"rtt"`
	TTL *int    `json:"ttl"`
}

// EnvelopeStats are Globalping's ping statistics: milliseconds, packets, percent.
type EnvelopeStats struct {
	Min   *float64 `json:"min"`
	Avg   *float64 `json:"avg"`
	Max   *float64 `json:"max"`
	Total *int     `json:"total"`
	Rcv   *int     `json:"rcv"`
	Drop  *int     `json:"drop"`
	Loss  *float64 `json:"loss"`
}

// Place is what is known about where a node is, beyond what a result says.
type Place struct {
	Node                              string // peer id in text form
	Continent, Region, Country, State string
	Network                           string
	Latitude, Longitude               *float64
	Tags                              []string
}

// NewEnvelope makes the JSON form of a measurement. places adds to the ends
// what is known of their nodes; it may be empty.
func NewEnvelope(id, typ, status string, created, updated time.Time, target string, results []Result, places ...Place) Envelope {
	known := make(map[string]Place, len(places))
	for _, p := range places {
		known[p.Node] = p
	}
	e := Envelope{
		Schema: ResultSchema, ID: id, Type: typ, Status: status,
		CreatedAt: created.UTC(), UpdatedAt: updated.UTC(), Target: target,
		Results: make([]EnvelopeItem, 0, len(results)),
	}
	for i := range results {
		r := &results[i]
		e.Results = append(e.Results, EnvelopeItem{
			Probe:  envelopeProbe(r.Initiator, known),
			Peer:   envelopeProbe(r.Target, known),
			Result: envelopeResult(r),
		})
	}
	return e
}

func envelopeProbe(end End, known map[string]Place) EnvelopeProbe {
	p := known[end.Node]
	e := EnvelopeProbe{
		Continent: text(p.Continent), Region: text(p.Region), Country: text(p.Country), State: text(p.State),
		City: text(end.City), Network: text(p.Network), Latitude: p.Latitude, Longitude: p.Longitude,
		Tags: p.Tags, NodeID: text(end.Node), IP: text(end.IP),
	}
	if end.ASN != 0 {
		e.ASN = new(end.ASN)
	}
	if e.Tags == nil {
		e.Tags = []string{}
	}
	return e
}

// text is nil for what is not known.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func envelopeResult(r *Result) EnvelopeResult {
	e := EnvelopeResult{
		Status: r.Status, RawOutput: rawOutput(r), Timings: []EnvelopeTiming{},
		Schema: r.Schema, Key: r.Key.String(), Tool: r.Tool, ToolVersion: r.ToolVersion,
		StartedAt: r.Started.UTC(), EndedAt: r.Ended.UTC(), Path: r.Path, Params: r.Params,
		Error: r.Error, BytesUsed: r.BytesUsed, Schedule: r.Schedule, LossTimeoutMs: r.LossTimeoutMs,
		Clock: r.Clock, Latency: r.Latency, Samples: r.Samples, Sig: r.Sig,
	}
	for _, s := range r.Samples {
		if s.RTT == nil || s.Lost {
			continue
		}
		t := EnvelopeTiming{RTT: *s.RTT}
		if s.TTL != 0 {
			t.TTL = new(int(s.TTL))
		}
		e.Timings = append(e.Timings, t)
	}
	if l := r.Latency; l != nil {
		e.Jitter, e.Forward, e.Backward = &l.Jitter, &l.Forward, &l.Backward
		e.Stats = EnvelopeStats{
			Min: l.RTT.Min, Avg: l.RTT.Mean, Max: l.RTT.Max,
			Total: new(l.Sent), Rcv: new(l.Received), Drop: new(l.Lost), Loss: l.LossPct,
		}
	}
	return e
}

// rawOutput says the result as a human reads ping's.
func rawOutput(r *Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s to %s (%s), %d bytes of UDP payload\n", r.Tool, r.Target.City, r.Path.Remote, r.Params.Size)
	for _, s := range r.Samples {
		switch {
		case s.RTT != nil:
			fmt.Fprintf(&b, "seq=%d rtt=%.3f ms\n", s.Seq, *s.RTT)
		case s.Lost:
			fmt.Fprintf(&b, "seq=%d lost\n", s.Seq)
		}
	}
	if l := r.Latency; l != nil {
		fmt.Fprintf(&b, "%d packets sent, %d received, %d lost", l.Sent, l.Received, l.Lost)
		if l.LossPct != nil {
			fmt.Fprintf(&b, " (%.1f%%)", *l.LossPct)
		}
		b.WriteByte('\n')
		if s := l.RTT; s.Min != nil {
			fmt.Fprintf(&b, "rtt min/median/p95/max = %.3f/%.3f/%.3f/%.3f ms\n", *s.Min, *s.Median, *s.P95, *s.Max)
		}
	}
	if r.Error != nil {
		fmt.Fprintf(&b, "%s: %s\n", r.Status, r.Error.Error())
	}
	return b.String()
}
