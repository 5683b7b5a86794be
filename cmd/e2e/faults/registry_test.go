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

// The registry goes, heads change without it, it comes back, loses its disk, and everything is started again.
func TestRegistryGoesAndComes(t *testing.T) {
	t.Parallel()
	m := twoCities(t, lan, 3)
	load := m.Measure(t, away, m.Living(home)...)

	m.Registry.Kill(t)
	before := m.Settle(t, home)
	before.Head.Kill(t)
	after := m.SettleAfter(t, home, before.Term)
	check(t, after.Term.Epoch == before.Term.Epoch, "without a registry the epoch went from %d to %d", before.Term.Epoch, after.Term.Epoch)
	m.Join(t, before.Head) // without the registry too
	m.StartRegistry(t)
	m.Settle(t, home)

	made := load.Stop(t)
	m.Delivered(t, made)
	m.Registry.Kill(t)
	m.LoseRegistryTables(t)
	before = m.Settle(t, home)
	m.StartRegistry(t)
	newcomer := m.Add(t, home)
	m.Join(t, newcomer)
	now := m.Settle(t, home)
	check(t, now.Term.Compare(before.Term) >= 0, "after the registry lost its disk the term went from %s to %s", before.Term, now.Term)
	load = m.Measure(t, away, newcomer)
	m.Delivered(t, made) // again: head and backup keep what the registry had
	finish(t, m, load)
}

// Everything is killed at once and started again: terms go on where they were.
func TestEverythingRestarts(t *testing.T) {
	t.Parallel()
	m := twoCities(t, lan, 3)
	load := m.Measure(t, away, m.Living(home)...)
	m.Backup(t, home)
	before := m.Settle(t, home)
	m.PassTime(time.Second) // results are under way
	made := load.Stop(t)
	for _, n := range m.Nodes {
		n.Kill(t)
	}
	m.Registry.Kill(t)
	m.StartRegistry(t)
	m.Join(t, m.Nodes...)
	after := m.SettleAfter(t, home, before.Term)
	t.Logf("%s follows %s", after.Term, before.Term)
	m.Delivered(t, made)
	finish(t, m, m.Measure(t, away, m.Living(home)...))
}

// listed is how many candidates a certificate names at most.
const listed = 8

// All candidates of a city are killed. The registry, once it has been up for long enough, names another head, and those
// that were killed come back and follow. While it is down too nobody leads: nothing was promised.
func TestAllCandidatesEnd(t *testing.T) {
	t.Parallel()
	t.Run("registry up", func(t *testing.T) { t.Parallel(); allCandidatesEnd(t, false) })
	t.Run("registry down", func(t *testing.T) { t.Parallel(); allCandidatesEnd(t, true) })
}

func allCandidatesEnd(t *testing.T, down bool) {
	m := newMesh(t, lan)
	m.Options.Patience += rebirth
	for range listed + 2 {
		m.Add(t, home)
	}
	m.Join(t, m.Nodes[0])
	m.Join(t, m.Nodes[1:]...)
	before, dead := listFull(t, m)
	if down {
		m.Registry.Kill(t)
	}
	for _, n := range dead {
		n.Kill(t)
	}
	died := now()
	if down {
		m.PassTime(leaderless)
		for _, e := range m.Events(t) {
			check(t, e.Event != "lead" || e.Mono < int64(died), "%s leads %s, and all candidates are dead", e.Node, e.Term)
		}
		m.StartRegistry(t)
	}
	up := now()
	after := m.SettleAfter(t, home, before.Term)
	t.Logf("after %v %s leads", after.Last.Sub(up), after.Head.Addr)
	check(t, after.Term.Epoch > before.Term.Epoch, "no new epoch: %s after %s", after.Term, before.Term)
	m.Join(t, dead...)
	m.Settle(t, home)
	m.Judge(t)
}

// rebirth is how long the registry waits before it names another head: it has to be up for so long.
const rebirth = time.Minute

// leaderless is how long the survivors are watched: several times as long as a take-over takes.
const leaderless = 8 * time.Second

// listFull waits until the succession of the city at home has all its slots taken by living nodes, and returns those.
func listFull(t *testing.T, m *lab.Mesh) (a lab.Agreement, candidates []*lab.Node) {
	t.Helper()
	m.Wait(t, "a full list", func(events []trail.Event) (err error) {
		if a, err = lab.Agree(events, m.Living(home)); err != nil {
			return err
		}
		list, err := m.Succession(a.Head)
		if err != nil {
			return err
		}
		candidates = slices.DeleteFunc(m.Living(home), func(n *lab.Node) bool { return !slices.Contains(list, n.ID) })
		if len(list) != listed || len(candidates) != listed {
			return fmt.Errorf("%d are listed, %d of them live", len(list), len(candidates))
		}
		return nil
	})
	return a, candidates
}
