package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// Load lets nodes measure, one measurement after the other each, so that results are under way while things break.
type Load struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	made   map[string]Moment // key of a result -> when its measurement had ended
	failed int
	last   error
}

const (
	loadEvery    = 200 * time.Millisecond // from the start of a measurement to the next of the same node
	loadPackets  = 2
	loadInterval = 5 * time.Millisecond
)

// Measure lets these nodes measure to a city until Stop.
func (m *Mesh) Measure(t T, to string, from ...*Node) *Load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, made: map[string]Moment{}}
	for _, n := range from {
		l.wg.Go(func() { l.run(ctx, node.ControlPath(n.Data), to) })
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *Load) run(ctx context.Context, control, to string) {
	ticker := time.NewTicker(loadEvery)
	defer ticker.Stop()
	for {
		m, err := measureOnce(ctx, control, to)
		if ctx.Err() != nil {
			err = nil // it was stopped
		}
		l.note(m, err)
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

func measureOnce(ctx context.Context, control, to string) (*node.Measurement, error) {
	client, err := node.Dial(control)
	if err != nil {
		return nil, err
	}
	p := probe.DefaultParams()
	p.Count, p.Interval = loadPackets, loadInterval
	return client.Measure(ctx, node.Request{To: to, Params: p})
}

func (l *Load) note(m *node.Measurement, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.failed, l.last = l.failed+1, err
	}
	if m == nil {
		return
	}
	for _, r := range m.Results {
		l.made[r.Key.String()] = Now()
	}
}

func (l *Load) end() {
	l.cancel()
	l.wg.Wait()
}

// Stop ends the measuring and returns the results that were made, with the moment of each.
func (l *Load) Stop(t T) map[string]Moment {
	t.Helper()
	l.end()
	t.Logf("%d results were made, %d measurements failed, the last with: %v", len(l.made), l.failed, l.last)
	if len(l.made) == 0 {
		t.Fatalf("nothing was measured: %v", l.last)
	}
	return l.made
}

// Delivered waits until the registry has these results.
func (m *Mesh) Delivered(t T, made map[string]Moment) {
	t.Helper()
	began := time.Now()
	ticker := time.NewTicker(lookEvery * 10)
	defer ticker.Stop()
	for {
		archive, err := m.Archive()
		if err == nil {
			missing := slices.DeleteFunc(slices.Sorted(maps.Keys(made)), func(key string) bool { return archive[key] > 0 })
			if len(missing) == 0 {
				return
			}
			err = fmt.Errorf("%d of %d are missing, the first is %s", len(missing), len(made), missing[0])
		}
		if time.Since(began) > m.Options.Patience {
			t.Fatalf("results at the registry: %v", err)
		}
		<-ticker.C
	}
}
