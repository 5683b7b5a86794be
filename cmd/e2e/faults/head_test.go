//go:build linux

package faults

import (
	"testing"
)

// The head is killed: the next in line leads, and the killed one comes back as a follower.
func TestHeadIsKilled(t *testing.T) {
	m := twoCities(t, lan, 4)
	load := m.Measure(t, away, m.Nodes[1], m.Nodes[2])

	before := m.Settle(t, home)
	at := before.Head.Kill(t)
	after := m.SettleAfter(t, home, before.Term)
	t.Logf("%v after the kill all follow %s", after.Last.Sub(at), after.Head.Addr)
	m.Join(t, before.Head)
	m.Settle(t, home)
	finish(t, m, load)
}
