//go:build linux

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

const (
	members = 10 // of every system but etcd, of which five is the most that is advised
	voters  = 5
	// patience is how long a fault may last, or a member may take to come back.
	patience = 60 * time.Second
	// calm is how long everybody has to agree before a fault: longer than any heartbeat.
	calm = 2 * time.Second
)

// group is a running system.
type group struct {
	name   string
	self   string
	parts  []part
	procs  []*exec.Cmd
	stdins []io.Closer
	lines  chan heardLine
	views  []view
	over   map[int]bool // by process id: it has said its last
	turn   int          // memberlist: who dies next
}

// view is what one member last said.
type view struct {
	up     bool
	leader said         // its latest leader; Who -1: none
	gone   map[int]said // whom it holds for dead, or alive
}

type heardLine struct {
	from, life int
	line       said
	ended      bool
}

// start starts a system and waits until its members agree.
func (s settings) start(ctx context.Context, name string) (*group, error) {
	count := members
	if name == "etcd" {
		count = voters
	}
	g := &group{name: name, self: s.self, lines: make(chan heardLine, 1024), over: map[int]bool{}}
	var peers []string
	for range count {
		at, err := freePort()
		if err != nil {
			return nil, err
		}
		peers = append(peers, at)
	}
	g.procs, g.stdins, g.views = make([]*exec.Cmd, count), make([]io.Closer, count), make([]view, count)
	for i := range count {
		g.parts = append(g.parts, part{Index: i, Peers: peers, Dir: filepath.Join(s.dir, name, strconv.Itoa(i))})
		if err := os.MkdirAll(filepath.Join(s.dir, name), 0o700); err != nil {
			return nil, err
		}
		if err := g.spawn(i); err != nil {
			g.end()
			return nil, err
		}
	}
	return g, nil
}

// freePort is an address that nobody listens on, for TCP and UDP.
func freePort() (string, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

func (g *group) spawn(i int) error {
	arg, err := json.Marshal(g.parts[i])
	if err != nil {
		return err
	}
	cmd := exec.Command(g.self, string(arg))
	cmd.Env = append(os.Environ(), actorEnv+"="+g.name)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	g.procs[i], g.stdins[i] = cmd, in
	g.views[i] = view{leader: said{Who: -1}, gone: map[int]said{}}
	pid := cmd.Process.Pid
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			h := heardLine{from: i, life: pid}
			if json.Unmarshal(lines.Bytes(), &h.line) == nil { // libraries may print too
				g.lines <- h
			}
		}
		g.lines <- heardLine{from: i, life: pid, ended: true}
	}()
	return nil
}

// bury kills a member and waits for its end.
func (g *group) bury(i int) {
	if g.procs[i] == nil {
		return
	}
	pid := g.procs[i].Process.Pid
	_ = g.procs[i].Process.Kill() // it may be dead already
	for !g.over[pid] {
		g.hear(<-g.lines)
	}
	_ = g.procs[i].Wait() // killed: its exit status says so
	_ = g.stdins[i].Close()
	g.procs[i] = nil
}

func (g *group) end() {
	for i := range g.procs {
		g.bury(i)
	}
}

// hear takes in a line of a member's present life.
func (g *group) hear(h heardLine) {
	if h.ended {
		g.over[h.life] = true
	}
	if g.procs[h.from] == nil || g.procs[h.from].Process.Pid != h.life || h.ended {
		return
	}
	v := &g.views[h.from]
	switch h.line.Event {
	case sayReady:
		v.up = true
	case sayLead:
		v.leader = h.line
	case sayGone, sayBack:
		v.gone[h.line.Who] = h.line
	}
}

// await hears until ok says so.
func (g *group) await(ctx context.Context, what string, ok func() bool) error {
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for !ok() {
		select {
		case h := <-g.lines:
			g.hear(h)
		case <-limit.C:
			return fmt.Errorf("not within %v: %s", patience, what)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// whole says that everybody runs and agrees.
func (g *group) whole() bool {
	for i := range g.views {
		if !g.views[i].up || !g.knows(i, nil) {
			return false
		}
	}
	return true
}

// knows says that member i has the right view while the dead are dead.
func (g *group) knows(i int, dead []int) bool {
	v := g.views[i]
	isDead := func(who int) bool {
		for _, d := range dead {
			if d == who {
				return true
			}
		}
		return false
	}
	if g.name != "memberlist" {
		first := -1
		for j := range g.views {
			if !isDead(j) {
				first = j
				break
			}
		}
		return v.leader.Who >= 0 && !isDead(v.leader.Who) && v.leader.Who == g.views[first].leader.Who
	}
	for j := range g.views {
		line, told := v.gone[j]
		switch {
		case isDead(j) && (!told || line.Event != sayGone):
			return false
		case !isDead(j) && (!told || line.Event != sayBack): // NotifyJoin comes for itself too
			return false
		}
	}
	return true
}

// trial is one fault, from a system in good order to one in good order.
func (g *group) trial(ctx context.Context, fault string) (time.Duration, error) {
	if err := g.settled(ctx); err != nil {
		return 0, err
	}
	dead := g.victims(fault)
	signal := syscall.SIGKILL
	if fault == "stop" {
		signal = syscall.SIGSTOP
	}
	for _, d := range dead {
		if err := g.procs[d].Process.Signal(signal); err != nil {
			return 0, err
		}
	}
	began := monotonic()
	var last int64
	err := g.await(ctx, "the survivors know", func() bool {
		last = 0
		for i := range g.views {
			if contains(dead, i) {
				continue
			}
			if !g.knows(i, dead) {
				return false
			}
			last = max(last, g.views[i].since(g.name, dead))
		}
		return true
	})
	for _, d := range dead {
		g.bury(d)
		err = errors.Join(err, g.spawn(d))
	}
	return time.Duration(last - began), err
}

// since is when a member came to know.
func (v view) since(system string, dead []int) int64 {
	if system != "memberlist" {
		return v.leader.At
	}
	var at int64
	for _, d := range dead {
		at = max(at, v.gone[d].At)
	}
	return at
}

// settled waits until everybody has agreed for a while.
func (g *group) settled(ctx context.Context) error {
	for {
		if err := g.await(ctx, "everybody agrees", g.whole); err != nil {
			return err
		}
		quiet := time.NewTimer(calm)
		agreed := true
		for waiting := true; waiting && agreed; {
			select {
			case h := <-g.lines:
				g.hear(h)
				agreed = g.whole()
			case <-quiet.C:
				waiting = false
			case <-ctx.Done():
				quiet.Stop()
				return ctx.Err()
			}
		}
		quiet.Stop()
		if agreed {
			return nil
		}
	}
}

// victims are who dies: the leader, and for two at once another voter.
func (g *group) victims(fault string) []int {
	first, among := g.views[0].leader.Who, voters
	if g.name == "memberlist" {
		first, among = g.turn%members, members
		g.turn++
	}
	if fault == "both" {
		return []int{first, (first + 1) % among}
	}
	return []int{first}
}

func contains(list []int, n int) bool {
	for _, m := range list {
		if m == n {
			return true
		}
	}
	return false
}
