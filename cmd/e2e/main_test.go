//go:build linux

package e2e

import (
	"os"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

// How long the tests wait for something to be true, and how often they look. A limit of patience, not of performance:
// the program is built with the race detector, and the machine may be busy with other packages' tests.
const (
	eventPatience = 30 * time.Second
	askEvery      = 100 * time.Millisecond
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

// needLab skips, or fails where everything has to run, unless namespaces can be made here.
func needLab(t *testing.T) *lab.Binary {
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
	return b
}

// eventually asks again until cond has nothing to complain about, and returns how long that took.
func eventually(t *testing.T, what string, cond func() error) time.Duration {
	t.Helper()
	began := time.Now()
	ticker := time.NewTicker(askEvery)
	defer ticker.Stop()
	for {
		err := cond()
		if err == nil {
			return time.Since(began)
		}
		if time.Since(began) > eventPatience {
			t.Fatalf("%s: not after %v: %v", what, eventPatience, err)
		}
		<-ticker.C
	}
}
