package lab

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
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

// Measure lets these nodes measure to a city until Stop. It returns when there is a first result.
func (m *Mesh) Measure(t T, to string, from ...*Node) *Load {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := &Load{cancel: cancel, made: map[string]Moment{}}
	for _, n := range from {
		l.wg.Go(func() { l.run(ctx, node.ControlPath(n.Data), to) })
	}
	t.Cleanup(func() { l.end() })
	m.Wait(t, "a first result", func([]trail.Event) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if len(l.made) == 0 {
			return fmt.Errorf("%d measurements failed, the last with: %w", l.failed, l.last)
		}
		return nil
	})
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
	return l.made
}

// Delivered waits until the registry has these results.
func (m *Mesh) Delivered(t T, made map[string]Moment) {
	t.Helper()
	m.Wait(t, "results at the registry", func([]trail.Event) error {
		missing, err := m.missing(made)
		if err == nil && len(missing) > 0 {
			err = fmt.Errorf("%d of %d are missing, the first is %s", len(missing), len(made), missing[0])
		}
		return err
	})
}

func (m *Mesh) missing(made map[string]Moment) ([]string, error) {
	archive, err := m.Archive()
	return slices.DeleteFunc(slices.Sorted(maps.Keys(made)), func(key string) bool { return archive[key] > 0 }), err
}
