package scale

import "math"

// What the program does on its own, from its default timers and its constants. Another setting of the timers moves
// every figure that is a rate.
const (
	heartbeatAll     = 2.0   // seconds between heartbeats of a member
	heartbeat        = 1.0   // of a candidate
	beacon           = 0.5   // of the head to candidates
	beaconAll        = 10.0  // of the head to all members
	candidates       = 7.0   // beside the head
	rowEvery         = 10.0  // heartbeats, of which one carries the row
	reportEvery      = 10.0  // seconds, of the head to the registry
	reportMembers    = 500.0 // shown in a report, in turn
	reportRows       = 24.0
	reportDigest     = 256.0
	compareEvery     = 30.0 // seconds, of a head with another head
	compareDigest    = 1000.0
	putEvery         = 600.0 // seconds, of the head's record
	readBackEvery    = 60.0  // seconds, of the own record
	tableWalkEvery   = 120.0 // seconds, of the routing table
	resultBytes      = 120.0 // a result in a batch, before compression
	askBytes         = 6000  // a member's question, the answer with four candidates and their tickets; not measured
	evict            = 10.0  // seconds of silence
	maxMembers       = 20000 // of a head: cluster.DefaultMaxMembers
	maxKnownHeads    = 4096  // cities that a head's table holds
	registryConnRate = 500.0 // new connections a second that a host takes
	findTimeout      = 3.0   // seconds that a look-up in the DHT may take
)

// Role is what one node has to carry.
type Role struct {
	Name      string
	Messages  float64 // a second, in and out
	In, Out   float64 // bytes a second on the wire
	Memory    float64 // bytes, beyond what the program takes by itself
	Processor float64 // share of a core
	Parts     []Part  // of the traffic, the largest first in the order of the protocol
}

// Part is one kind of message.
type Part struct {
	What            string
	Messages, Bytes float64 // a second, in and out together
}

// load adds up parts.
type load struct {
	parts         []Part
	in, out, rate float64
}

// in and out add so many messages a second of a size, frame without headers.
func (l *load) add(what string, in, out, bytes float64) {
	if in+out == 0 {
		return
	}
	l.parts = append(l.parts, Part{what, in + out, (in + out) * bytes})
	l.in += in * bytes
	l.out += out * bytes
	l.rate += in + out
}

func (c Config) roles(k Costs, r *Report) []Role {
	return []Role{c.endpoint(k), c.head(k, r), c.registry(k)}
}

// beat is the mean size of a heartbeat on the wire: one in ten carries the row.
func beat(k Costs) float64 {
	return k.Of("wire-overhead") + k.Of("heartbeat-frame")*(1-1/rowEvery) + k.Of("heartbeat-row-frame")/rowEvery
}

func (c Config) endpoint(k Costs) Role {
	var l load
	wire := k.Of("wire-overhead")
	l.add("heartbeats", 0, 1/heartbeatAll, beat(k))
	l.add("beacons", 1/beaconAll, 0, k.Of("beacon-frame")+wire)
	l.add("questions to the head", 0, c.PerHour/3600, askBytes)
	l.add("results", 0, c.PerHour/3600, resultBytes)
	return Role{Name: "endpoint", Messages: l.rate, In: l.in, Out: l.out, Memory: 2 * k.Of("connection"),
		Processor: l.rate * k.Of("heartbeat-cpu") * 1e-6, Parts: l.parts}
}

// head is that of the largest cluster.
func (c Config) head(k Costs, r *Report) Role {
	var l load
	wire, m, heads := k.Of("wire-overhead"), r.Cluster, float64(c.clusters())
	listed := math.Min(candidates, m-1)
	plain := math.Max(0, m-1-listed)
	beats := plain/heartbeatAll + listed/heartbeat
	l.add("heartbeats", beats, 0, beat(k))
	l.add("beacons", 0, plain/beaconAll+listed/beacon, k.Of("beacon-frame")+wire)
	changes := 2 * m / c.Session.Seconds() // a row comes or goes
	l.add("copies for the candidates", 0, listed*changes, k.Of("row"))
	report := k.Of("report-frame") + math.Min(m, reportMembers)*k.Of("report-member") + math.Min(m, reportRows)*k.Of("row") +
		math.Min(heads, reportDigest)*k.Of("digest-entry") + wire
	l.add("reports", 0, 1/reportEvery, report)
	if heads > 1 {
		l.add("comparisons with heads", 1/compareEvery, 1/compareEvery, math.Min(heads-1, compareDigest)*k.Of("digest-entry")+k.Of("head-record")+wire)
		// Every message of the DHT is sent by one head and served by another; heads share the work evenly.
		buckets := 1 + math.Max(1, math.Log2(heads/float64(c.Geometry.K)))
		own := r.Put/putEvery + buckets*r.Put/tableWalkEvery
		l.add("upkeep of the DHT", own, own, k.Of("dht-message"))
		finds := 1/readBackEvery + m*c.PerHour/3600*c.Elsewhere*(1-math.Min(1, maxKnownHeads/heads))
		l.add("look-ups in the DHT", finds, finds, k.Of("dht-find"))
	}
	l.add("members' questions", m*c.PerHour/3600, 0, askBytes)
	l.add("other heads' questions", m*c.PerHour/3600*c.Elsewhere, m*c.PerHour/3600*c.Elsewhere, askBytes)
	l.add("results", m*c.PerHour/3600, m*c.PerHour/3600, resultBytes)
	return Role{Name: "head", Messages: l.rate, In: l.in, Out: l.out, Memory: m * (k.Of("connection") + k.Of("member")),
		Processor: (l.rate*k.Of("heartbeat-cpu") + beats*k.Of("heartbeat-step")) * 1e-6, Parts: l.parts}
}

func (c Config) registry(k Costs) Role {
	var l load
	heads, starts := float64(c.clusters()), float64(c.Endpoints)/c.Session.Seconds()
	mean := float64(c.Endpoints) / heads
	l.add("registrations", starts, 0, k.Of("report-frame")+k.Of("wire-overhead"))
	l.add("answers to them", 0, starts, 2*k.Of("head-record")+k.Of("row")+k.Of("wire-overhead")+32*k.Of("head-record"))
	report := k.Of("report-frame") + math.Min(mean, reportMembers)*k.Of("report-member") + math.Min(mean, reportRows)*k.Of("row") +
		math.Min(heads, reportDigest)*k.Of("digest-entry") + k.Of("wire-overhead")
	l.add("reports", heads/reportEvery, 0, report)
	l.add("answers to reports", 0, heads/reportEvery, 2*k.Of("head-record")+k.Of("wire-overhead"))
	l.add("results", float64(c.Endpoints)*c.PerHour/3600, 0, resultBytes)
	busy := starts*(k.Of("handshake")+k.Of("registration")) + heads/reportEvery*(k.Of("heartbeat-cpu")+k.Of("registration"))
	return Role{Name: "registry", Messages: l.rate, In: l.in, Out: l.out,
		Memory: float64(c.Endpoints)*k.Of("node") + heads*k.Of("connection"), Processor: busy * 1e-6, Parts: l.parts}
}
