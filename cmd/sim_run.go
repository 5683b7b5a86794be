package cmd

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster/overlay"
	"golang.org/x/sync/errgroup"
)

// progressEvery is how often the progress line is drawn again: often enough to look alive.
const progressEvery = 200 * time.Millisecond

// simRun runs experiments side by side and shows how far they are.
type simRun struct {
	env        *env
	runs, jobs int
	show       bool
	began      time.Time

	mu    sync.Mutex
	done  int
	total int
	drawn time.Time
}

func newSimRun(e *env, runs, jobs int) *simRun {
	return &simRun{env: e, runs: runs, jobs: jobs, show: e.live(e.err), began: time.Now()}
}

// finished is how many networks were measured so far.
func (r *simRun) finished() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.done
}

// all runs each experiment r.runs times. When ctx ends it returns what is there: fewer samples, no error.
func (r *simRun) all(ctx context.Context, plan []overlay.Experiment) ([][]*overlay.Sample, error) {
	samples := make([][]*overlay.Sample, len(plan))
	for i := range samples {
		samples[i] = make([]*overlay.Sample, r.runs)
	}
	r.total = len(plan) * r.runs
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(r.jobs)
	for i, x := range plan {
		for run := range r.runs {
			if inner.Err() != nil {
				break
			}
			g.Go(func() error {
				s, err := x.Run(run, inner.Err)
				switch {
				case inner.Err() != nil:
					return nil // stopped, by the user or by another network's error
				case err != nil:
					return fmt.Errorf("%s of %d nodes: %w", x.Geometry, x.Nodes, err)
				}
				samples[i][run] = s
				r.tick(x)
				return nil
			})
		}
	}
	err := g.Wait()
	r.clear()
	if err != nil {
		return nil, err
	}
	for i, list := range samples {
		var have []*overlay.Sample
		for _, s := range list {
			if s != nil {
				have = append(have, s)
			}
		}
		samples[i] = have
	}
	return samples, nil
}

// tick counts a network and draws the line.
func (r *simRun) tick(x overlay.Experiment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done++
	if now := time.Now(); r.show && now.Sub(r.drawn) >= progressEvery {
		r.drawn = now
		fmt.Fprintf(r.env.err, "\r\x1b[K%d of %d networks, %v: %s of %d", r.done, r.total, now.Sub(r.began).Round(time.Second), x.Geometry, x.Nodes)
	}
}

func (r *simRun) clear() {
	if r.show {
		fmt.Fprint(r.env.err, "\r\x1b[K")
	}
}
