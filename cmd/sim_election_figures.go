package cmd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster/sim"
	"golang.org/x/sync/errgroup"
)

// How nodes come and go where availability is measured: each dies once in an hour on average and is back after half a
// minute. Nodes of a mesh live longer; a figure from this is on the safe side.
const (
	electionLife = time.Hour
	electionAway = 30 * time.Second
)

// electionQuiet is how long a city is watched for what an election costs: nothing changes in it.
const electionQuiet = 10 * time.Minute

// electionCuts are the lengths of cuts that are healed.
var electionCuts = []time.Duration{5 * time.Second, 30 * time.Second, 600 * time.Second}

// lossAtLeast is the size of the city in which loss is measured, if one so large is asked for.
const lossAtLeast = 10

// electionPlan is what the flags ask for.
type electionPlan struct {
	city   sim.CityConfig
	sizes  []int
	losses []float64 // percent
	length time.Duration
	trials int
}

func (o *simElectionOptions) plan() (electionPlan, error) {
	p := electionPlan{city: sim.DefaultCityConfig(), trials: o.trials}
	var err error
	if p.sizes, err = parseSizes(o.nodes); err != nil {
		return p, fmt.Errorf("--nodes %w", err)
	}
	if most := slices.Max(p.sizes); most > sim.MaxNodes {
		return p, fmt.Errorf("--nodes %d: one city has at most %d here", most, sim.MaxNodes)
	}
	for part := range strings.SplitSeq(o.loss, ",") {
		v, err := parsePercent(part)
		if err != nil {
			return p, fmt.Errorf("--loss %w", err)
		}
		p.losses = append(p.losses, v)
	}
	if p.city.Timers, err = timersNamed(o.timers); err != nil {
		return p, err
	}
	switch {
	case o.hours <= 0 || o.hours > electionMaxHours || math.IsNaN(o.hours):
		return p, fmt.Errorf("--hours is %v: choose more than 0, at most %d", o.hours, electionMaxHours)
	case o.trials < 1 || o.trials > electionMaxTrials:
		return p, fmt.Errorf("--trials is %d: choose 1 to %d", o.trials, electionMaxTrials)
	case o.jobs < 1:
		return p, fmt.Errorf("--jobs is %d: at least 1", o.jobs)
	}
	p.length = time.Duration(o.hours * float64(time.Hour))
	p.city.Seed, p.city.Delay, p.city.Jitter = o.seed, o.delay.d, o.delay.d
	p.city.Nodes = p.sizes[0]
	for _, loss := range p.losses {
		c := p.city
		c.Loss = loss / 100
		if err := c.Validate(); err != nil {
			return p, fmt.Errorf("--loss: %w", err)
		}
	}
	return p, p.city.Validate()
}

// electionTask takes one row of the figures.
type electionTask struct {
	what string
	run  func(step func() error) error
}

// tasks fills the rows of a document, each its own: they can be done at the same time, the dearest first.
func (p electionPlan) tasks(doc *electionDoc) []electionTask {
	var all []electionTask
	add := func(what string, run func(step func() error) error) { all = append(all, electionTask{what, run}) }
	descending := slices.Clone(p.sizes)
	slices.Reverse(descending)
	city := func(n int) sim.CityConfig { c := p.city; c.Nodes = n; return c }
	for _, n := range p.sizes {
		doc.Traffic = append(doc.Traffic, electionTraffic{Nodes: n})
	}
	for _, n := range descending {
		row := &doc.Traffic[slices.Index(p.sizes, n)]
		add(fmt.Sprintf("%d nodes that come and go", n), func(step func() error) error {
			a, err := city(n).Availability(sim.Turnover{Life: electionLife, Away: electionAway}, p.length, step)
			if err == nil {
				row.Hours, row.TakeOvers, row.Available, row.Followed = a.Lived.Hours(), a.TakeOvers, 100*a.Head, 100*a.Node
			}
			return err
		})
		add(fmt.Sprintf("messages of %d nodes", n), func(step func() error) error {
			q, err := city(n).Peace(electionQuiet, step)
			if err == nil {
				row.Messages, row.Bytes, row.HeadMessages, row.HeadBytes = q.Messages, q.Bytes, q.HeadMessages, q.HeadBytes
			}
			return err
		})
	}
	p.blows(doc, city, add)
	p.lossy(doc, city, add)
	return all
}

func (p electionPlan) blows(doc *electionDoc, city func(int) sim.CityConfig, add func(string, func(func() error) error)) {
	for _, n := range p.sizes {
		for _, b := range sim.Blows() {
			doc.TakeOvers = append(doc.TakeOvers, electionTakeOver{Nodes: n, Fault: string(b)})
		}
		for _, d := range electionCuts {
			doc.Heals = append(doc.Heals, electionHeal{Nodes: n, CutS: d.Seconds()})
		}
	}
	for i := range doc.TakeOvers {
		row := &doc.TakeOvers[len(doc.TakeOvers)-1-i]
		add(fmt.Sprintf("%s, %d nodes", row.Fault, row.Nodes), func(step func() error) error {
			all, err := city(row.Nodes).TakeOvers(sim.Blow(row.Fault), p.trials, step)
			var detected, done []time.Duration
			for _, t := range all {
				detected, done = append(detected, t.Detected), append(done, t.Done)
			}
			row.Trials, row.Detected, row.Done = len(all), spreadOf(detected), spreadOf(done)
			return err
		})
	}
	for i := range doc.Heals {
		row := &doc.Heals[len(doc.Heals)-1-i]
		add(fmt.Sprintf("cuts of %.0f s, %d nodes", row.CutS, row.Nodes), func(step func() error) error {
			all, err := city(row.Nodes).Heals(time.Duration(row.CutS*float64(time.Second)), p.trials, step)
			row.Trials, row.OneHead = len(all), spreadOf(all)
			return err
		})
	}
}

func (p electionPlan) lossy(doc *electionDoc, city func(int) sim.CityConfig, add func(string, func(func() error) error)) {
	n := p.sizes[len(p.sizes)-1]
	if i := slices.IndexFunc(p.sizes, func(n int) bool { return n >= lossAtLeast }); i >= 0 {
		n = p.sizes[i]
	}
	for _, link := range []string{electionStreams, electionDatagrams} {
		for _, loss := range p.losses {
			doc.Loss = append(doc.Loss, electionLoss{Nodes: n, Link: link, Percent: loss})
		}
	}
	for i := range doc.Loss {
		row := &doc.Loss[i]
		add(fmt.Sprintf("%v%% loss of %ss", row.Percent, row.Link), func(step func() error) error {
			c := city(n)
			c.Loss, c.Datagrams = row.Percent/100, row.Link == electionDatagrams
			q, err := c.Peace(p.length, step)
			if err == nil {
				row.Hours, row.Deposed, row.Evicted = q.Lived.Hours(), q.Deposed, q.Evicted
				row.PerHour = float64(q.Deposed) / q.Lived.Hours()
			}
			return err
		})
	}
}

// simElection takes the figures.
func (e *env) simElection(ctx context.Context, f format, o *simElectionOptions) error {
	p, err := o.plan()
	if err != nil {
		return err
	}
	doc := &electionDoc{Schema: 1, Seed: o.seed, Timers: o.timers, DelayMs: float64(o.delay.d) / float64(time.Millisecond), Hours: o.hours, Trials: o.trials}
	tasks := p.tasks(doc)
	show, began := e.live(e.err), time.Now()
	var mu sync.Mutex
	done := 0
	g, inner := errgroup.WithContext(ctx)
	g.SetLimit(o.jobs)
	for _, t := range tasks {
		g.Go(func() error {
			if inner.Err() != nil {
				return nil
			}
			err := t.run(inner.Err)
			mu.Lock()
			defer mu.Unlock()
			if done++; show {
				fmt.Fprintf(e.err, "\r\x1b[K%d of %d, %v: %s", done, len(tasks), time.Since(began).Round(time.Second), t.what)
			}
			if err != nil && inner.Err() == nil {
				return fmt.Errorf("%s: %w", t.what, err)
			}
			return nil
		})
	}
	err = g.Wait()
	if show {
		fmt.Fprint(e.err, "\r\x1b[K")
	}
	switch {
	case ctx.Err() != nil:
		return nothing(errors.New("interrupted: ask for fewer --nodes, --hours or --trials"))
	case err != nil:
		return err
	}
	if err := writeDocument(o.file, doc); err != nil {
		return err
	}
	return e.writeElection(f, doc)
}

// spreadOf is how durations are spread; nil: there are none.
func spreadOf(all []time.Duration) *electionSpread {
	if len(all) == 0 {
		return nil
	}
	all = slices.Sorted(slices.Values(all))
	at := func(q float64) float64 { // the smallest that a share q does not exceed
		i := max(0, int(math.Ceil(q*float64(len(all))))-1)
		return float64(all[i]) / float64(time.Millisecond)
	}
	return &electionSpread{at(0.5), at(0.95), at(0.99), at(1)}
}
