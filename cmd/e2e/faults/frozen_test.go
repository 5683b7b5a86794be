//go:build linux

package faults

import (
	"testing"
	"time"
)

// The head is frozen and goes on later: whatever it believes then, nobody accepts it, and it follows. The checker
// finds what it did in a lower term, or before it was in doubt.
func TestFrozenHead(t *testing.T) {
	t.Parallel()
	for _, pause := range []time.Duration{500 * time.Millisecond, 5 * time.Second, time.Minute} {
		t.Run(pause.String(), func(t *testing.T) { t.Parallel(); freeze(t, pause) })
	}
}

func freeze(t *testing.T, pause time.Duration) {
	m := twoCities(t, "", 3)
	load := m.Measure(t, away, m.Living(home)...)
	before, _ := m.Backup(t, home)
	at := m.Stop(t, before.Head)
	if pause >= suspected {
		after := m.SettleAfter(t, home, before.Term)
		t.Logf("after %v all follow %s", after.Last.Sub(at), after.Head.Addr)
	}
	m.PassTime(pause - now().Sub(at))
	at = m.Continue(t, before.Head)
	after := m.Settle(t, home)
	t.Logf("%v after it goes on all follow %s", max(0, after.Last.Sub(at)), after.Head.Addr)
	finish(t, m, load)
}

// suspected: a head that is silent for so long is deposed by then, with the default timers.
const suspected = 5 * time.Second
