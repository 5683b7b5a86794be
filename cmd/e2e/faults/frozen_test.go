//go:build linux

package faults

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
)

// With the default timers: a head that was frozen for so long doubts whether it leads, and one that is silent for so
// long is deposed by then.
const (
	doubted   = 1500 * time.Millisecond
	suspected = 4 * time.Second
)

// The head is frozen and goes on later: whatever it believes then, nobody accepts it, and it follows whom the others
// follow. The checker finds what it did in a lower term, or before it was in doubt: the second pause is long enough for
// doubt and too short to be deposed.
func TestFrozenHead(t *testing.T) {
	t.Parallel()
	m := twoCities(t, "", 3)
	load := m.Measure(t, away, m.Living(home)...)
	for _, pause := range []time.Duration{500 * time.Millisecond, 1600 * time.Millisecond, 1600 * time.Millisecond, 5 * time.Second} {
		freeze(t, m, pause)
	}
	finish(t, m, load)
}

func TestHeadFrozenForAMinute(t *testing.T) {
	t.Parallel()
	m := twoCities(t, "", 3)
	load := m.Measure(t, away, m.Living(home)...)
	freeze(t, m, time.Minute)
	finish(t, m, load)
}

func freeze(t *testing.T, m *lab.Mesh, pause time.Duration) {
	t.Helper()
	before, _ := m.Backup(t, home)
	at := m.Stop(t, before.Head)
	took := time.Duration(0)
	if pause >= suspected {
		took = m.SettleAfter(t, home, before.Term).Last.Sub(at)
	}
	m.PassTime(pause - now().Sub(at))
	at = m.Continue(t, before.Head)
	after := m.Settle(t, home)
	m.Wait(t, "an end of the doubt", func(events []trail.Event) error {
		began, doubts := after.Term != before.Term || pause < doubted, false
		for _, e := range events {
			if e.File == before.Head.Events && e.Mono > int64(at) && slices.Contains([]string{"unsure", "sure", "stepdown"}, e.Event) {
				began, doubts = true, e.Event == "unsure"
			}
		}
		if !began || doubts {
			return fmt.Errorf("%s began to doubt: %v, doubts: %v", before.Head.Addr, began, doubts)
		}
		return nil
	})
	t.Logf("frozen for %v: the others followed another after %v; %v after it goes on all follow %s", pause, took, max(0, after.Last.Sub(at)), after.Head.Addr)
}
