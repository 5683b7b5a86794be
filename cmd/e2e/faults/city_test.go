//go:build linux

package faults

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
	"github.com/peerprobe/peerprobe/node"
)

// A city of one leads itself again after a kill, in a higher term; a city of two takes over and back.
func TestSmallCities(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lan)
	one, other := m.Add(t, home), m.Add(t, away)
	m.Join(t, one, other)
	load := m.Measure(t, away, one)
	before := m.Settle(t, home)
	restarted := one.Kill(t)
	m.Join(t, one)
	m.SettleAfter(t, home, before.Term)
	m.Wait(t, "a result acknowledged after the restart", func(events []trail.Event) error {
		for _, e := range events {
			check(t, e.Event != "acked" || e.Level != 2, "a city of one acknowledged at level 2: %+v", e)
			if e.Event == "acked" && e.Level == 3 && e.Mono > int64(restarted) {
				return nil
			}
		}
		return errors.New("nothing")
	})

	two := m.Add(t, home)
	m.Join(t, two)
	before, backup := m.Backup(t, home)
	before.Head.Kill(t)
	after := m.SettleAfter(t, home, before.Term)
	check(t, after.Head == backup, "%s leads", after.Head.Addr)
	m.Join(t, before.Head)
	before, _ = m.Backup(t, home)
	before.Head.Kill(t)
	m.SettleAfter(t, home, before.Term)
	m.Join(t, before.Head)
	m.Settle(t, home)
	finish(t, m, load)
}

// firstNodes is how many nodes are a city's first at the same time.
const firstNodes = 50

// Of fifty first nodes of a city one is appointed, and all the others follow.
func TestFiftyFirstNodes(t *testing.T) {
	t.Parallel()
	m := meshOf(t, &plain, lan)
	first := m.Add(t, home)
	for range firstNodes - 1 {
		m.AddBeside(first)
	}
	m.Join(t, m.Nodes...)
	a := m.Settle(t, home)
	appointed := map[string]bool{}
	for _, e := range m.Events(t) {
		if e.Event == "lead" {
			appointed[e.Node] = true
		}
	}
	check(t, len(appointed) == 1 && appointed[a.Head.ID], "%d nodes led: %v", len(appointed), appointed)
	m.Judge(t)
}

// Two processes have one key: the head says so.
func TestSameKeyTwice(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lan)
	for range 3 {
		m.Add(t, home)
	}
	m.Join(t, m.Nodes[0])
	m.Join(t, m.Nodes[1:]...)
	a, _ := m.Backup(t, home)
	original := without(m.Living(home), a.Head)[0]
	original.Kill(t)
	clone := m.Add(t, home)
	_ = os.Remove(node.ControlPath(original.Data)) // a socket cannot be copied
	if err := os.CopyFS(clone.Data, os.DirFS(original.Data)); err != nil {
		t.Fatal(err)
	}
	m.Join(t, original)
	m.Join(t, clone)
	check(t, clone.ID == original.ID, "the clone is %s, the original %s", clone.ID, original.ID)
	m.Wait(t, "an alarm", func(events []trail.Event) error {
		for _, e := range events {
			if e.Event == "alarm" {
				t.Logf("%s: %s", e.File, e.Text)
				return nil
			}
		}
		return fmt.Errorf("nobody raised one")
	})
	m.Judge(t)
}
