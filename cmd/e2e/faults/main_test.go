//go:build linux

package faults

import (
	"flag"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

// patience: the program is built with the race detector, and the machine may be busy with other packages' tests.
const patience = 2 * time.Minute

// The timers of the meshes in which the default ones are not the point: short waits, or a head that is not deposed
// because the machine is busy.
const (
	lan = "lan"
	wan = "wan"
)

// The cities of the meshes: faults happen in the first, which measures to the second.
const (
	home = "changsha"
	away = "wuhan"
)

// The program under test, built once a run each: with the race detector, and without where many processes start at
// once.
var raced, plain build

type build struct {
	once sync.Once
	bin  *lab.Binary
	err  error
}

func (b *build) get(t *testing.T) *lab.Binary {
	t.Helper()
	b.once.Do(func() { b.bin, b.err = lab.Build(b == &raced) })
	if b.err != nil {
		t.Fatal(b.err)
	}
	return b.bin
}

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(atOnce)); err != nil {
		panic(err)
	}
	code := m.Run()
	for _, b := range []*build{&raced, &plain} {
		if b.bin != nil {
			os.RemoveAll(b.bin.Dir)
		}
	}
	os.Exit(code)
}

// atOnce is how many tests run side by side: most of their time they wait.
const atOnce = 5

// newMesh skips, or fails where everything has to run, unless namespaces can be made here.
func newMesh(t *testing.T, timers string) *lab.Mesh { return meshOf(t, &raced, timers) }

func meshOf(t *testing.T, b *build, timers string, registry ...string) *lab.Mesh {
	t.Helper()
	switch why := lab.Missing(); {
	case why == "":
	case os.Getenv("PEERPROBE_TEST_ALL") != "":
		t.Fatal(why)
	default:
		t.Skip(why)
	}
	return lab.NewMesh(t, lab.MeshOptions{Binary: b.get(t), Timers: timers, Registry: registry, Patience: patience})
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
