//go:build linux

package faults

import (
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

// patience: the program is built with the race detector, and the machine may be busy with other packages' tests.
const patience = 60 * time.Second

// lan are the timers of the meshes in which the default ones are not the point: waits are shorter.
const lan = ""

// The cities of the meshes: faults happen in the first, which measures to the second.
const (
	home = "changsha"
	away = "wuhan"
)

// binary is the program under test, built once a run with the race detector.
var binary = sync.OnceValues(func() (*lab.Binary, error) {
	b, err := lab.Build(true)
	built = b
	return b, err
})

var built *lab.Binary

func TestMain(m *testing.M) {
	code := m.Run()
	if built != nil {
		os.RemoveAll(built.Dir)
	}
	os.Exit(code)
}

// newMesh skips, or fails where everything has to run, unless namespaces can be made here.
func newMesh(t *testing.T, timers string) *lab.Mesh {
	t.Helper()
	switch why := lab.Missing(); {
	case why == "":
	case os.Getenv("PEERPROBE_TEST_ALL") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
	b, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return lab.NewMesh(t, lab.MeshOptions{Binary: b, Timers: timers, Patience: patience})
}

// twoCities starts a mesh with nodes at home and one away, and waits until all follow one head.
func twoCities(t *testing.T, timers string, atHome int) *lab.Mesh {
	t.Helper()
	m := newMesh(t, timers)
	for range atHome {
		m.Add(t, home)
	}
	m.Add(t, away)
	m.Join(t, m.Nodes[0], m.Nodes[atHome])
	m.Join(t, m.Nodes[1:atHome]...)
	m.Settle(t, home)
	return m
}

// without are all nodes but these.
func without(nodes []*lab.Node, except ...*lab.Node) []*lab.Node {
	return slices.DeleteFunc(slices.Clone(nodes), func(n *lab.Node) bool { return slices.Contains(except, n) })
}

// check fails the test where the condition does not hold.
func check(t *testing.T, ok bool, format string, args ...any) {
	t.Helper()
	if !ok {
		t.Errorf(format, args...)
	}
}

// finish stops the load, waits until every result of it is at the registry, and judges everything that was logged.
func finish(t *testing.T, m *lab.Mesh, load *lab.Load) {
	t.Helper()
	m.Delivered(t, load.Stop(t))
	m.Judge(t)
}
