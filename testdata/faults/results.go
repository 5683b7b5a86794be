//go:build linux

package main

import (
	"fmt"
	"os"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

// calmFor is how long results are counted in which nothing is broken.
const calmFor = 20 * time.Second

// judge lets nodes measure undisturbed for a while, brings the registry back and counts what arrived, and what the
// logs prove.
func (t *trials) judge(load *lab.Load) figures {
	from := lab.Now()
	t.mesh.PassTime(calmFor)
	to := lab.Now()
	made := load.Stop(t)
	t.mesh.PassTime(quick)
	within, calm := 0, 0
	acked := map[string]lab.Moment{}
	for _, e := range t.mesh.Events(t) {
		for _, key := range e.Keys {
			if _, known := acked[key]; !known && e.Event == "acked" && e.Level >= 2 {
				acked[key] = lab.Moment(e.Mono)
			}
		}
	}
	for key, at := range made {
		if at < from || at > to {
			continue
		}
		calm++
		if when, ok := acked[key]; ok && when.Sub(at) <= quick {
			within++
		}
	}
	t.mesh.StartRegistry(t)
	t.mesh.Delivered(t, made)
	lost := 0
	stale, broken := 0, 0
	for _, v := range t.mesh.Violations(t) {
		fmt.Fprintln(os.Stderr, "faults:", v)
		if v.Rule == "S4" {
			stale++
		} else {
			broken++
		}
	}
	return figures{
		"made": float64(len(made)), "lost": float64(lost), "calm": float64(calm), "within5s": float64(within) / float64(max(1, calm)),
		"stale": float64(stale), "broken": float64(broken),
	}
}
