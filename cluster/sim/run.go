package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
)

// RunConfig says which schedules a run lives through.
type RunConfig struct {
	First    uint64 // seed
	Count    uint64
	Jobs     int // at the same time
	Carrier  Carrier
	Keep     int       // so many violations are kept; more are only counted
	Kind     *Kind     // the fault that each is about; nil: by its seed
	Trace    io.Writer // with one job: where schedules are told
	Messages bool      // and what is said
}

// DefaultRunConfig is the short run.
func DefaultRunConfig() RunConfig {
	return RunConfig{First: 1, Count: 20_000, Jobs: runtime.GOMAXPROCS(0), Keep: 10}
}

// Validate refuses a run of nothing.
func (c RunConfig) Validate() error {
	switch {
	case c.Count < 1 || c.First+c.Count < c.First:
		return fmt.Errorf("%d schedules from seed %d on: at least one is needed", c.Count, c.First)
	case c.Trace != nil && c.Jobs > 1:
		return errors.New("several schedules cannot be told at the same time")
	case c.Jobs < 1:
		return fmt.Errorf("%d schedules at the same time: at least one is needed", c.Jobs)
	}
	return nil
}

// KindCount says how often a kind of fault occurred.
type KindCount struct {
	Kind         Kind
	Schedules    uint64 // in which it occurred
	TwoTakeOvers uint64 // of them: those that saw two take-overs or more
}

// Report of a run.
type Report struct {
	Schedules  uint64 // that were lived through
	Steps      uint64
	Messages   uint64
	TakeOvers  uint64
	Submitted  uint64 // results in calm cities
	Late       uint64 // of them: acknowledged after more than five seconds (L5)
	Kinds      []KindCount
	Violations []Outcome         // the first of them, by seed
	Broken     map[string]uint64 // violations by invariant
	Next       uint64            // the first seed that was not begun: an interrupted run goes on there
}

// Run lives through many schedules. It ends early with ctx; progress, if any, hears of every outcome, one at a time.
func Run(ctx context.Context, c RunConfig, progress func(Outcome)) (*Report, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &run{config: c, next: c.First, report: Report{Kinds: make([]KindCount, kindCount), Broken: make(map[string]uint64)}, progress: progress}
	for k := range kindCount {
		r.report.Kinds[k].Kind = k
	}
	var wg sync.WaitGroup
	for range c.Jobs {
		wg.Go(func() { r.work(ctx) })
	}
	wg.Wait()
	r.report.Next = r.next
	return &r.report, nil
}

type run struct {
	config   RunConfig
	progress func(Outcome)

	mu     sync.Mutex
	next   uint64
	report Report
}

func (r *run) work(ctx context.Context) {
	memory := NewMemory()
	for ctx.Err() == nil {
		seed, ok := r.take()
		if !ok {
			return
		}
		r.add(Schedule(seed, Options{Memory: memory, Carrier: r.config.Carrier, Kind: r.config.Kind, Trace: r.config.Trace, Messages: r.config.Messages}))
	}
}

func (r *run) take() (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next-r.config.First >= r.config.Count {
		return 0, false
	}
	r.next++
	return r.next - 1, true
}

func (r *run) add(o Outcome) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := &r.report
	p.Schedules++
	p.Steps += o.Steps
	p.Messages += o.Messages
	p.TakeOvers += uint64(o.TakeOvers)
	p.Submitted += uint64(o.submitted)
	p.Late += uint64(o.late)
	for _, k := range o.Kinds {
		p.Kinds[k].Schedules++
		p.Kinds[k].TwoTakeOvers += uint64(number(o.TakeOvers >= 2))
	}
	if o.Violation != nil {
		p.Broken[o.Violation.Invariant]++
		if len(p.Violations) < r.config.Keep {
			p.Violations = append(p.Violations, o)
		}
	}
	if r.progress != nil {
		r.progress(o)
	}
}

// Repeat is how a schedule is lived through again, and told.
func (o Outcome) Repeat() string {
	return fmt.Sprintf("peerprobe sim election --schedules 1 --seed %d --trace   (or: go test ./cluster/sim -run TestOne -seed %d -tell)", o.Seed, o.Seed)
}
