//go:build linux

package faults

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

// diskSize is that of the head's small disk: room for a node's tables before it is filled.
const diskSize = 8 << 20

// The heads of two cities become unfit: the disk of one is full, the other is asked not to lead any more. The one
// acknowledges nothing that it could not keep, another leads in each city, and both come back when they are fit.
func TestUnfitHeads(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lan)
	small := m.Add(t, home)
	lab.Tmpfs(t, small.Data, diskSize)
	drained := m.Add(t, away)
	m.Join(t, m.Nodes...)
	m.Join(t, m.Add(t, home), m.Add(t, home), m.Add(t, away))
	load := m.Measure(t, away, without(m.Living(home), small)...)
	atHome, _ := m.Backup(t, home)
	atAway, _ := m.Backup(t, away)
	check(t, atHome.Head == small && atAway.Head == drained, "the first nodes do not lead: %s and %s do", atHome.Head.Addr, atAway.Head.Addr)

	filler := fill(t, small.Data)
	m.Drain(t, drained, true)
	after := m.SettleOf(t, m.Living(away), atAway.Term)
	t.Logf("asked not to, %s does not lead: %s does", drained.Addr, after.Head.Addr)
	check(t, after.Head != drained, "%s leads and was asked not to", drained.Addr)
	after = m.SettleOf(t, without(m.Living(home), small), atHome.Term)
	t.Logf("with a full disk at %s, %s leads", small.Addr, after.Head.Addr)
	m.Drain(t, drained, false)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if small.Ended() {
		m.Join(t, small)
	}
	m.Settle(t, home)
	m.Settle(t, away)
	finish(t, m, load)
}

// fill leaves no room in a directory's file system.
func fill(t *testing.T, dir string) (filler string) {
	t.Helper()
	filler = filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 4096)
	for {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return filler
		}
	}
}
