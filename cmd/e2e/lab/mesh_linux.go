package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
	"github.com/peerprobe/peerprobe/node"
)

// Mesh is a registry and nodes, a namespace and a network each, so that the router can drop what any of them says to
// any other. Each node writes an event log.
type Mesh struct {
	*Lab
	Options  MeshOptions
	Dir      string
	Registry *Process
	Nodes    []*Node

	tail   trail.Tail
	pauses []trail.Pause
}

// MeshOptions say how a mesh is run.
type MeshOptions struct {
	Binary   *Binary
	Timers   string        // the registry's --timers; "": the default ones
	Registry []string      // more flags for the registry
	Patience time.Duration // how long anything is waited for
}

// Node is a node, running or not.
type Node struct {
	City   string
	Addr   string
	ID     string // peer id, once it has joined
	Data   string
	Events string
	*Process

	stopped Moment // SIGSTOP, and no SIGCONT yet
}

// RegistryAddr is where a mesh's registry is.
const RegistryAddr = "10.9.0.2"

// noticed is the shortest pause that the guard of every profile but the slowest has to notice: half of Suspect beyond a
// deadline that is at most a beacon away.
const noticed = 1400 * time.Millisecond

// lookEvery: how often logs are read while something is waited for.
const lookEvery = 20 * time.Millisecond

// NewMesh makes the router and starts a registry.
func NewMesh(t T, o MeshOptions) *Mesh {
	t.Helper()
	m := &Mesh{Lab: New(t), Options: o, Dir: o.Binary.Scratch(t)}
	m.Host(t, RegistryAddr)
	m.StartRegistry(t)
	t.Cleanup(func() { // side by side, before each is waited for
		for _, n := range m.Nodes {
			if n.Process != nil && !n.Ended() {
				_ = n.cmd.Process.Signal(syscall.SIGCONT)
				n.Terminate()
			}
		}
	})
	return m
}

// StartRegistry starts the registry, for the first time or again.
func (m *Mesh) StartRegistry(t T) {
	t.Helper()
	args := []string{"rs", "--data", m.RegistryData(), "--advertise", RegistryAddr, "-v"}
	if m.Options.Timers != "" {
		args = append(args, "--timers", m.Options.Timers)
	}
	m.Registry = m.Start(t, m.Options.Binary, RegistryAddr, m.Dir, append(args, m.Options.Registry...)...)
}

// RegistryData is the registry's directory.
func (m *Mesh) RegistryData() string { return filepath.Join(m.Dir, "rs") }

// Add makes a host for a node of a city; nothing runs on it yet.
func (m *Mesh) Add(t T, city string) *Node {
	t.Helper()
	n := &Node{City: city, Addr: fmt.Sprintf("10.9.%d.2", len(m.Nodes)+1)}
	m.Host(t, n.Addr)
	m.adopt(n)
	return n
}

// AddBeside makes another node of the host and the city of this one.
func (m *Mesh) AddBeside(n *Node) *Node {
	other := &Node{City: n.City, Addr: n.Addr}
	m.adopt(other)
	return other
}

func (m *Mesh) adopt(n *Node) {
	name := fmt.Sprintf("n%d", len(m.Nodes)+1)
	n.Data, n.Events = filepath.Join(m.Dir, name), filepath.Join(m.Dir, name+".events")
	m.Nodes = append(m.Nodes, n)
	m.tail.Add(n.Events)
}

// Join starts nodes side by side, for the first time or again, and waits until each has joined.
func (m *Mesh) Join(t T, nodes ...*Node) {
	t.Helper()
	for _, n := range nodes {
		m.JoinLater(t, n)
	}
	for _, n := range nodes {
		n.Joined(t)
	}
}

// JoinLater starts a node; Joined waits until it has joined.
func (m *Mesh) JoinLater(t T, n *Node) {
	t.Helper()
	n.Process = m.Launch(t, m.Options.Binary, n.Addr, m.Dir,
		"join", "--rs", RegistryAddr+":7400", "--city", n.City, "--data", n.Data, "--event-log", n.Events, "-v")
}

// Joined waits for the node's first line.
func (n *Node) Joined(t T) {
	t.Helper()
	n.Await(t)
	if w := strings.Fields(n.Line); len(w) >= 5 && w[0] == "joined" {
		n.ID = w[4]
	} else {
		t.Fatalf("%s printed %q", n.Addr, n.Line)
	}
}

// Stop is SIGSTOP: the process is frozen, and its sockets stay open.
func (m *Mesh) Stop(t T, n *Node) Moment {
	t.Helper()
	n.stopped = n.Signal(t, syscall.SIGSTOP)
	return n.stopped
}

// Continue is SIGCONT.
func (m *Mesh) Continue(t T, n *Node) Moment {
	t.Helper()
	at := n.Signal(t, syscall.SIGCONT)
	if at.Sub(n.stopped) >= noticed {
		m.pauses = append(m.pauses, trail.Pause{File: n.Events, From: int64(n.stopped), To: int64(at)})
	}
	n.stopped = 0
	return at
}

// Alive says whether the node runs, and is not frozen.
func (n *Node) Alive() bool { return n.Process != nil && !n.Ended() && n.stopped == 0 }

// Ways are those from each of some nodes to each of others.
func Ways(from, to []*Node) (all []Way) {
	for _, a := range from {
		for _, b := range to {
			if a != b {
				all = append(all, Way{a.Addr, b.Addr})
			}
		}
	}
	return all
}

// Living are the nodes of a city that run.
func (m *Mesh) Living(city string) (nodes []*Node) {
	for _, n := range m.Nodes {
		if n.City == city && n.Alive() {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// Events are those of all logs so far.
func (m *Mesh) Events(t T) []trail.Event {
	t.Helper()
	events, err := m.tail.Events()
	if err != nil {
		t.Fatalf("event logs: %v", err)
	}
	return events
}

// Wait looks at the logs again and again until cond has nothing to complain about.
func (m *Mesh) Wait(t T, what string, cond func([]trail.Event) error) {
	t.Helper()
	began := time.Now()
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		err := cond(m.Events(t))
		if err == nil {
			return
		}
		if time.Since(began) > m.Options.Patience {
			t.Logf("%s", tail(m.Story(t, 0)))
			t.Fatalf("%s: not after %v: %v", what, m.Options.Patience, err)
		}
		<-ticker.C
	}
}

// PassTime lets time pass in which nothing is expected but what the checker would find.
func (m *Mesh) PassTime(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// View is whom a node follows, and since when.
type View struct {
	Term  trail.Term
	Head  string
	Since Moment // when its log first had the term
	Leads bool   // it has said that it leads this term, since its last boot
}

// views are the last words of each log about its highest term.
func views(events []trail.Event) map[string]View {
	all := map[string]View{}
	for _, e := range events {
		v := all[e.File]
		switch e.Event {
		case "boot":
			v.Leads = false
			if e.Term != nil && *e.Term != v.Term {
				v = View{Term: *e.Term, Since: Moment(e.Mono)}
			}
		case "high":
			if e.Term != nil {
				v.Head = e.Head
				if *e.Term != v.Term {
					v.Term, v.Since, v.Leads = *e.Term, Moment(e.Mono), false
				}
			}
		case "lead":
			v.Leads = true
		case "stepdown":
			v.Leads = false
		}
		all[e.File] = v
	}
	return all
}

// Agreement is what nodes agree on.
type Agreement struct {
	Head *Node
	Term trail.Term
	Last Moment // when the last of them had it in its log
}

var errDisagree = errors.New("no agreement")

// Agree says whom the nodes all follow, if that one of them leads.
func Agree(events []trail.Event, nodes []*Node) (a Agreement, err error) {
	all := views(events)
	for i, n := range nodes {
		v := all[n.Events]
		if i == 0 {
			a.Term = v.Term
		}
		if v.Term != a.Term || v.Term == (trail.Term{}) {
			return a, fmt.Errorf("%w: %s is in %v, %s in %v", errDisagree, nodes[0].Addr, a.Term, n.Addr, v.Term)
		}
		a.Last = max(a.Last, v.Since)
		if v.Leads && v.Head == n.ID {
			a.Head = n
		}
	}
	if a.Head == nil {
		return a, fmt.Errorf("%w: nobody alive leads %v", errDisagree, a.Term)
	}
	return a, nil
}

// ByShard groups nodes by the shard whose head they follow.
func ByShard(events []trail.Event, nodes []*Node) map[uint][]*Node {
	all, shards := views(events), map[uint][]*Node{}
	for _, n := range nodes {
		shard := all[n.Events].Term.Shard
		shards[shard] = append(shards[shard], n)
	}
	return shards
}

// Settle waits until all living nodes of the city follow one of them.
func (m *Mesh) Settle(t T, city string) (a Agreement) {
	t.Helper()
	return m.SettleAfter(t, city, trail.Term{})
}

// SettleAfter waits until all living nodes of the city follow one of them in a higher term than this.
func (m *Mesh) SettleAfter(t T, city string, old trail.Term) (a Agreement) {
	t.Helper()
	return m.SettleOf(t, m.Living(city), old)
}

// SettleOf waits until these nodes follow one of them in a higher term than old.
func (m *Mesh) SettleOf(t T, nodes []*Node, old trail.Term) (a Agreement) {
	t.Helper()
	m.Wait(t, "one head", func(events []trail.Event) (err error) {
		a, err = Agree(events, nodes)
		if err == nil && a.Term.Compare(old) <= 0 {
			err = fmt.Errorf("all follow %s in %s, which is not above %s", a.Head.Addr, a.Term, old)
		}
		return err
	})
	return a
}

// Succession is the list of the node's own city, as its newest certificate has it.
func (m *Mesh) Succession(n *Node) ([]string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	client, err := node.Dial(node.ControlPath(n.Data))
	if err != nil {
		return nil, err
	}
	all, err := client.Clusters(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(c node.ClusterInfo) bool { return c.Own })
	if at < 0 {
		return nil, fmt.Errorf("%s does not list its own cluster", n.Addr)
	}
	return all[at].Succession, nil
}

// Status is what a node says of itself.
func (m *Mesh) Status(n *Node) (node.Status, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandPatience)
	defer cancel()
	client, err := node.Dial(node.ControlPath(n.Data))
	if err != nil {
		return node.Status{}, err
	}
	return client.Status(ctx)
}

// Drain asks a node not to lead, without waiting until it does not, or takes that back.
func (m *Mesh) Drain(t T, n *Node, on bool) {
	t.Helper()
	args := []string{"drain", "--data", n.Data, "--wait", "0"}
	if !on {
		args = []string{"drain", "--data", n.Data, "--undo"}
	}
	if out, err := exec.Command(m.Options.Binary.Path, args...).CombinedOutput(); err != nil {
		t.Fatalf("drain %s: %v: %s", n.Addr, err, out)
	}
}

// Until asks a node for its status again and again until cond has nothing to complain about.
func (m *Mesh) Until(t T, n *Node, what string, cond func(node.Status) error) (st node.Status) {
	t.Helper()
	m.Wait(t, what, func([]trail.Event) (err error) {
		if st, err = m.Status(n); err != nil {
			return err
		}
		return cond(st)
	})
	return st
}

// Backup waits until the head of the city names a backup that lives, and returns both.
func (m *Mesh) Backup(t T, city string) (a Agreement, backup *Node) {
	t.Helper()
	m.Wait(t, "a backup in "+city, func(events []trail.Event) (err error) {
		if a, err = Agree(events, m.Living(city)); err != nil {
			return err
		}
		st, err := m.Status(a.Head)
		if err != nil {
			return err
		}
		at := slices.IndexFunc(m.Nodes, func(n *Node) bool { return n.ID == st.Backup && n.Alive() })
		if at < 0 {
			return fmt.Errorf("%s, the head, names the backup %q", a.Head.Addr, st.Backup)
		}
		backup = m.Nodes[at]
		return nil
	})
	return a, backup
}

// LoseRegistryTables removes what the registry knows, as a lost disk does of which only the keys had a backup.
func (m *Mesh) LoseRegistryTables(t T) {
	t.Helper()
	lost, err := filepath.Glob(filepath.Join(m.RegistryData(), "*.db"))
	if err != nil || len(lost) == 0 {
		t.Fatalf("no tables in %s: %v", m.RegistryData(), err)
	}
	for _, f := range lost {
		if err := os.Remove(f); err != nil {
			t.Fatalf("%v", err)
		}
	}
}
