//go:build linux

package faults

import (
	"fmt"
	"slices"
	"testing"

	"github.com/peerprobe/peerprobe/node"
)

// The head is killed, then head and backup together, then the head is asked to stop, and each time another leads and
// those that were lost come back as followers. Measuring goes on, and no result is lost.
func TestHeadsEnd(t *testing.T) {
	t.Parallel()
	m := twoCities(t, lan, 4)
	load := m.Measure(t, away, m.Living(home)...)

	before := m.Settle(t, home)
	at := before.Head.Kill(t)
	after := m.SettleAfter(t, home, before.Term)
	t.Logf("kill -9: after %v all follow %s", after.Last.Sub(at), after.Head.Addr)
	m.Join(t, before.Head)

	before, backup := m.Backup(t, home)
	before.Head.Kill(t)
	at = backup.Kill(t)
	after = m.SettleAfter(t, home, before.Term)
	t.Logf("head and backup: after %v all follow %s", after.Last.Sub(at), after.Head.Addr)
	m.Join(t, before.Head, backup)

	before, _ = m.Backup(t, home)
	at = before.Head.Terminate()
	<-before.Head.Gone()
	after = m.SettleAfter(t, home, before.Term)
	t.Logf("SIGTERM: after %v all follow %s", after.Last.Sub(at), after.Head.Addr)
	m.Join(t, before.Head)
	finish(t, m, load)
}

// A node that is killed and started again and again moves nothing, and is put at the tail of the succession.
func TestFlappingNode(t *testing.T) {
	t.Parallel()
	m := twoCities(t, wan, 3)
	load := m.Measure(t, away, m.Nodes[0])
	a, flapping := m.Backup(t, home)
	for range 5 {
		flapping.Kill(t)
		m.Join(t, flapping)
	}
	m.Until(t, a.Head, "the flapping node at the tail", func(st node.Status) error {
		list, err := m.Succession(a.Head)
		if err == nil && (len(list) != 3 || list[2] != flapping.ID) {
			err = fmt.Errorf("%s is at %d of %d", flapping.ID, slices.Index(list, flapping.ID), len(list))
		}
		return err
	})
	now := m.Settle(t, home)
	check(t, now.Head == a.Head, "%s leads after a node flapped that did not, and %s led before", now.Head.Addr, a.Head.Addr)
	finish(t, m, load)
}
