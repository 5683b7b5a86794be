package scale

import (
	"fmt"
	"strconv"
	"strings"
)

// Cost is one measured input.
type Cost struct {
	Name  string  `json:"name"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	What  string  `json:"what"`
	Date  string  `json:"date"` // of the measurement; "given" when the operator set it
}

// CostCommand measures all costs anew; the names are those of its output.
const CostCommand = "unshare -n sh -c 'ip link set lo up && go test -run xxx -bench Costs -benchtime 1x ./node/dhtsim'"

// measured is when the costs below were, on one machine (AMD EPYC, Linux, Go 1.26).
const measured = "2026-11-21"

// Costs are the inputs by name.
type Costs struct{ list []Cost }

// MeasuredCosts are those of this program.
func MeasuredCosts() Costs {
	c := Costs{}
	add := func(name string, value float64, unit, what string) {
		c.list = append(c.list, Cost{name, value, unit, what, measured})
	}
	add("heartbeat-frame", 83, "B", "a heartbeat, encoded")
	add("heartbeat-row-frame", 362, "B", "every tenth heartbeat: with the member's row and admission")
	add("beacon-frame", 117, "B", "a head's beacon")
	add("row", 278, "B", "a member's row in a report")
	add("report-frame", 1436, "B", "a head's report to the registry, without members")
	add("report-member", 40, "B", "a living member in a report")
	add("digest-entry", 26, "B", "another head in a digest")
	add("head-record", 965, "B", "a head's claim, signed, with its certificate")
	add("wire-overhead", 135, "B", "headers of yamux, Noise, TCP and IPv4 for one frame, and its acknowledgement")
	add("dht-message", 1750, "B", "a question of the DHT and its answer, on the wire")
	add("dht-find", 22600, "B", "a look-up of a head's record by another head, all told")
	add("connection", 50*1024, "B", "memory at one end of a connection with a stream")
	add("member", 1320, "B", "memory of a member in a head's election machine")
	add("heartbeat-cpu", 22, "us", "processor time at one end of the connection")
	add("heartbeat-step", 13.6, "us", "processor time of a heartbeat in the election machine")
	add("node", 487, "B", "memory of a node in the registry's table")
	add("registration", 30, "us", "processor time of a registration in the registry's table, without the disk")
	add("handshake", 1216, "us", "processor time of a new connection at one end, admission checked")
	return c
}

// List are all costs in order.
func (c Costs) List() []Cost { return c.list }

// Of is one cost by name; asking for one that is not there is a programmer's error.
func (c Costs) Of(name string) float64 {
	for _, x := range c.list {
		if x.Name == name {
			return x.Value
		}
	}
	panic("no cost is called " + name)
}

// Set replaces a cost: "name=value".
func (c *Costs) Set(s string) error {
	name, text, ok := strings.Cut(s, "=")
	v, err := strconv.ParseFloat(text, 64)
	if !ok || err != nil || !(v >= 0) || v > 1e12 {
		return fmt.Errorf("%q: write name=value, for example heartbeat-frame=90", s)
	}
	names := make([]string, 0, len(c.list))
	for i := range c.list {
		if c.list[i].Name == name {
			c.list[i].Value, c.list[i].Date = v, "given"
			return nil
		}
		names = append(names, c.list[i].Name)
	}
	return fmt.Errorf("%q is no cost: there is %s", name, strings.Join(names, ", "))
}
