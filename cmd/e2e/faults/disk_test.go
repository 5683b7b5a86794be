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

// The head's disk is full: it acknowledges nothing that it could not keep, and another leads. When there is room
// again it comes back.
func TestHeadsDiskIsFull(t *testing.T) {
	t.Parallel()
	m := newMesh(t, lan)
	small := m.Add(t, home)
	lab.Tmpfs(t, small.Data, diskSize)
	m.Add(t, away)
	m.Join(t, m.Nodes...)
	m.Join(t, m.Add(t, home), m.Add(t, home))
	load := m.Measure(t, away, without(m.Living(home), small)...)
	before, _ := m.Backup(t, home)
	check(t, before.Head == small, "the first node does not lead: %s does", before.Head.Addr)

	filler := fill(t, small.Data)
	after := m.SettleOf(t, without(m.Living(home), small), before.Term)
	t.Logf("with a full disk at %s, %s leads", small.Addr, after.Head.Addr)
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	if small.Ended() {
		m.Join(t, small)
	}
	m.Settle(t, home)
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
