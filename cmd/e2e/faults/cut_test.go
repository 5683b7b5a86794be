//go:build linux

package faults

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
)

// cutFor is how long links stay cut: longer than a head's silence is borne, with the timers of a fast network.
const cutFor = 6 * time.Second

// Links are cut, and heal: on each side somebody may lead meanwhile, in terms of their own, and afterwards one does.
func TestCuts(t *testing.T) {
	t.Parallel()
	m := twoCities(t, lan, 4)
	load := m.Measure(t, away, m.Living(home)...)

	a, backup := m.Backup(t, home)
	cut(t, m, "head from backup", both([]*lab.Node{a.Head}, []*lab.Node{backup}))

	a, _ = m.Backup(t, home)
	cut(t, m, "the head says nothing to anybody at home", lab.Ways([]*lab.Node{a.Head}, m.Living(home)))

	a, _ = m.Backup(t, home)
	cut(t, m, "the head hears nobody at home", lab.Ways(m.Living(home), []*lab.Node{a.Head}))

	a, _ = m.Backup(t, home)
	m.Unplug(t, a.Head.Addr)
	after := settleOthers(t, m, a)
	t.Logf("without the head's cable %s leads", after.Head.Addr)
	m.Plug(t, a.Head.Addr)
	m.SettleAfter(t, home, a.Term)
	finish(t, m, load)
}

// A node hears only a head that was deposed, and asks it for permission to measure to those who know better: they refuse
// it, and so the node learns who leads.
func TestTicketsOfADeposedHead(t *testing.T) {
	t.Parallel()
	m := newMesh(t, "") // slow enough for the deposed head to have heard of its members lately
	for range 5 {
		m.Add(t, home)
	}
	m.Join(t, m.Nodes[0])
	m.Join(t, m.Nodes[1:]...)
	old, backup := m.Backup(t, home)
	rest := without(m.Nodes, old.Head, backup)
	loyal, knowing := rest[0], rest[1:]
	load := m.Measure(t, home, loyal)
	others := append(slices.Clone(knowing), backup)
	ways := append(lab.Ways([]*lab.Node{old.Head}, others), lab.Ways([]*lab.Node{backup}, []*lab.Node{old.Head, loyal})...)
	m.Drop(t, ways...)
	m.SettleOf(t, others, old.Term)
	m.Wait(t, "a ticket refused", func(events []trail.Event) error {
		for _, e := range events {
			if e.Event == "refuse" && e.Session != "" && e.Term != nil && e.High != nil && e.Term.Compare(*e.High) < 0 {
				t.Logf("%s refuses a ticket of %s: %s", e.File, e.Term, e.Reason)
				return nil
			}
		}
		return errors.New("no target was shown one")
	})
	m.Pass(t, ways...)
	m.SettleAfter(t, home, old.Term)
	finish(t, m, load)
}

// both are the ways from some to others, and back.
func both(some, others []*lab.Node) []lab.Way {
	return append(lab.Ways(some, others), lab.Ways(others, some)...)
}

// The head cannot reach the registry, nor the registry it: nothing happens, and results arrive later.
func TestHeadCutFromRegistry(t *testing.T) {
	t.Parallel()
	m := twoCities(t, wan, 3)
	load := m.Measure(t, away, m.Living(home)...)
	a, _ := m.Backup(t, home)
	ways := []lab.Way{{From: a.Head.Addr, To: lab.RegistryAddr}, {From: lab.RegistryAddr, To: a.Head.Addr}}
	m.Drop(t, ways...)
	m.PassTime(2 * cutFor)
	now := m.Settle(t, home)
	check(t, now.Term == a.Term, "cut off from the registry only, %s in %s became %s in %s", a.Head.Addr, a.Term, now.Head.Addr, now.Term)
	m.Pass(t, ways...)
	finish(t, m, load)
}

// cut drops what is said these ways for a while, and waits until all follow one head afterwards.
func cut(t *testing.T, m *lab.Mesh, what string, ways []lab.Way) {
	t.Helper()
	m.Drop(t, ways...)
	m.PassTime(cutFor)
	m.Pass(t, ways...)
	healed := now()
	a := m.Settle(t, home)
	t.Logf("%s: %v after the heal all follow %s in %s", what, max(0, a.Last.Sub(healed)), a.Head.Addr, a.Term)
}

// settleOthers waits until all nodes at home but the head of before follow another.
func settleOthers(t *testing.T, m *lab.Mesh, before lab.Agreement) (a lab.Agreement) {
	t.Helper()
	return m.SettleOf(t, without(m.Living(home), before.Head), before.Term)
}

func now() lab.Moment { return lab.Now() }
