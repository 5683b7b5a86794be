//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
	"github.com/peerprobe/peerprobe/node"
)

const (
	city      = "changsha"
	slots     = 8 // candidates that a certificate names at most
	patience  = 90 * time.Second
	measuring = 2               // nodes that measure all the while
	quick     = 5 * time.Second // a result is to be acknowledged by then
)

// fault is one of those that are measured. try makes it happen once, puts everything right again, and returns how long
// it took.
type fault struct {
	name, what, aim string
	long            bool
	try             func(*trials) time.Duration
}

var faults = []fault{
	{"kill", "kill -9 of the head", "p50 0.2 s, p95 0.8 s", false, (*trials).kill},
	{"stop", "SIGSTOP of the head", "p95 2.6 s", false, (*trials).stop},
	{"both", "kill -9 of head and backup together", "p95 3.6 s", false, (*trials).both},
	{"handover", "SIGTERM of the head: hand-over", "p95 0.1 s", false, (*trials).handover},
	{"restart", "kill -9 of the head and start at once", "p95 0.5 s", false, (*trials).restart},
	{"heal5", "one head after the heal of a cut of 5 s", "p99 4 s", false, func(t *trials) time.Duration { return t.heal(5 * time.Second) }},
	{"heal30", "one head after the heal of a cut of 30 s", "p99 4 s", false, func(t *trials) time.Duration { return t.heal(30 * time.Second) }},
	{"heal600", "one head after the heal of a cut of 600 s", "p99 4 s", true, func(t *trials) time.Duration { return t.heal(600 * time.Second) }},
}

// trials is one mesh and what happens to it.
type trials struct {
	*runner
	mesh *lab.Mesh
}

// measure runs all faults in one mesh. An error may come with figures: those that were taken before.
func measure(ctx context.Context, s settings, b *lab.Binary) (all map[string]figures, err error) {
	r := &runner{}
	defer func() { err = errors.Join(err, r.end(recover())) }()
	t := &trials{runner: r, mesh: lab.NewMesh(r, lab.MeshOptions{Binary: b, Timers: s.timers, Patience: patience})}
	for range s.nodes {
		t.mesh.Add(t, city)
	}
	t.mesh.Join(t, t.mesh.Nodes[0])
	t.mesh.Join(t, t.mesh.Nodes[1:]...)
	t.listed(min(s.nodes, slots))
	t.mesh.Registry.Kill(t)
	load := t.mesh.Measure(t, city, t.mesh.Nodes[:measuring]...)
	all = map[string]figures{}
	for _, f := range faults {
		if len(s.only) > 0 && !slices.Contains(s.only, f.name) || len(s.only) == 0 && f.long && !s.long {
			continue
		}
		fmt.Fprintf(os.Stderr, "faults: %s:", f.name)
		var took []time.Duration
		for range s.trials {
			if ctx.Err() != nil {
				break
			}
			t.ready()
			from := lab.Now()
			d := f.try(t)
			if s.slow > 0 && d > s.slow {
				fmt.Fprintf(os.Stderr, "\nfrom %.3f:\n%s", float64(from)/1e9, t.mesh.Story(t, from))
			}
			fmt.Fprintf(os.Stderr, " %.3f", d.Seconds())
			took = append(took, d)
		}
		fmt.Fprintln(os.Stderr)
		if len(took) > 0 {
			all[f.name] = summary(took)
		}
	}
	t.ready()
	all["results"] = t.judge(load)
	return all, ctx.Err()
}

// listed waits until the certificate names that many nodes.
func (t *trials) listed(want int) {
	t.mesh.Wait(t, "a full list", func(events []trail.Event) error {
		a, err := lab.Agree(events, t.mesh.Nodes)
		if err != nil {
			return err
		}
		list, err := t.mesh.Succession(a.Head)
		if err == nil && len(list) != want {
			err = fmt.Errorf("%d nodes are listed, not %d", len(list), want)
		}
		return err
	})
}

// ready waits until everybody lives, follows and is followed: the next fault meets a cluster that is well.
func (t *trials) ready() (a lab.Agreement, backup *lab.Node) {
	now, _ := t.mesh.Backup(t, city)
	t.mesh.Until(t, now.Head, "all members at the head", func(st node.Status) error {
		if st.Members != len(t.mesh.Nodes) {
			return fmt.Errorf("%d members", st.Members)
		}
		return nil
	})
	return t.mesh.Backup(t, city)
}

func (t *trials) kill() time.Duration {
	before, _ := t.ready()
	at := before.Head.Kill(t)
	after := t.mesh.SettleAfter(t, city, before.Term)
	t.mesh.Join(t, before.Head)
	return after.Last.Sub(at)
}

func (t *trials) stop() time.Duration {
	before, _ := t.ready()
	at := t.mesh.Stop(t, before.Head)
	after := t.mesh.SettleAfter(t, city, before.Term)
	t.mesh.Continue(t, before.Head)
	return after.Last.Sub(at)
}

func (t *trials) both() time.Duration {
	before, backup := t.ready()
	before.Head.Kill(t)
	at := backup.Kill(t)
	after := t.mesh.SettleAfter(t, city, before.Term)
	t.mesh.Join(t, before.Head, backup)
	return after.Last.Sub(at)
}

func (t *trials) handover() time.Duration {
	before, _ := t.ready()
	at := before.Head.Terminate()
	<-before.Head.Gone()
	after := t.mesh.SettleAfter(t, city, before.Term)
	t.mesh.Join(t, before.Head)
	return after.Last.Sub(at)
}

// restart times the survivors: that the node itself follows too takes as long as a process takes to start.
func (t *trials) restart() time.Duration {
	before, _ := t.ready()
	at := before.Head.Kill(t)
	survivors := t.mesh.Living(city)
	t.mesh.JoinLater(t, before.Head)
	after := t.mesh.SettleOf(t, survivors, before.Term)
	before.Head.Joined(t)
	return after.Last.Sub(at)
}

// heal splits the city in halves, head and backup apart, and joins them again.
func (t *trials) heal(cut time.Duration) time.Duration {
	before, backup := t.ready()
	halves := [2][]*lab.Node{{before.Head}, {backup}}
	for _, n := range t.mesh.Nodes {
		if n != before.Head && n != backup {
			i := 0
			if len(halves[1]) < len(halves[0]) {
				i = 1
			}
			halves[i] = append(halves[i], n)
		}
	}
	ways := append(lab.Ways(halves[0], halves[1]), lab.Ways(halves[1], halves[0])...)
	began := lab.Now()
	t.mesh.Drop(t, ways...)
	t.mesh.SettleOf(t, halves[1], before.Term)
	t.mesh.PassTime(cut - lab.Now().Sub(began))
	t.mesh.Pass(t, ways...)
	at := lab.Now()
	after := t.mesh.SettleAfter(t, city, before.Term)
	return max(0, after.Last.Sub(at))
}
