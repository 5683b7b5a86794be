package probe

import (
	"context"
	"io"
	"maps"
	"net/netip"
	"slices"
)

// Measured is what a tool's run gives: it writes its figures into a result.
type Measured interface {
	// Fill writes what was measured; peer is the target's statement, nil when
	// it never came. Key, ends, Path.Mode and signatures are the caller's.
	Fill(r *Result, peer *Statement)
}

// Responder is the far side of a tool.
type Responder interface {
	// Run answers until ctx ends or everything granted was answered.
	Run(ctx context.Context) error
	// Statement says what was seen so far; the last word comes after Run.
	Statement() Statement
}

// Tool is one way to measure between two nodes.
type Tool struct {
	Name       string
	Version    string
	Summary    string // one line for people
	Preference int    // among tools of one test that both ends have, the highest is taken
	Run        func(ctx context.Context, s SessionInfo, sock Socket, remote netip.AddrPort, on func(Sample)) (Measured, error)
	Respond    func(s SessionInfo, sock Socket, rnd io.Reader) Responder
}

// ToolLatency is the name of the default tool.
const ToolLatency = "latency"

// LatencyVersion goes up when the latency tool's figures change their meaning.
const LatencyVersion = "1"

var tools = map[string]Tool{
	ToolLatency: {
		Name: ToolLatency, Version: LatencyVersion, Preference: 100,
		Summary: "round trip, jitter, loss by direction and order of UDP packets (STAMP)",
		Run: func(ctx context.Context, s SessionInfo, sock Socket, remote netip.AddrPort, on func(Sample)) (Measured, error) {
			run, err := RunLatency(ctx, s, sock, remote, on)
			if err != nil {
				return nil, err
			}
			return run, nil
		},
		Respond: func(s SessionInfo, sock Socket, rnd io.Reader) Responder { return NewReflector(s, sock, rnd) },
	},
}

// ToolByName finds a tool.
func ToolByName(name string) (Tool, bool) {
	t, ok := tools[name]
	return t, ok
}

// Tools lists all tools, by name.
func Tools() []Tool {
	names := slices.Sorted(maps.Keys(tools))
	list := make([]Tool, 0, len(names))
	for _, n := range names {
		list = append(list, tools[n])
	}
	return list
}
