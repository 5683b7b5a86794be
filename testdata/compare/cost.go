//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// What staying together costs: bytes and packets at the network interface of every node, each in a network namespace of
// its own, for peerprobe and memberlist alike, headers and acknowledgements included.

const (
	roleLab  = "lab"
	maxNodes = 200
	settle   = 20 * time.Second // joining, first rows and tables go by
	// transfers: a head has its members send it up to 1 MiB now and then, at most six times a minute and each of them
	// once in six hours. A second in which one did is left out, and counted: no heartbeats come near this, in bytes.
	transfers = 256 << 10
)

// traffic of one node, a second.
type traffic struct {
	Bytes   float64 `json:"bytes"`   // sent and received
	Packets float64 `json:"packets"` // sent and received
}

// cost of one system and size.
type cost struct {
	System  string  `json:"system"`
	Nodes   int     `json:"nodes"`
	Busiest traffic `json:"busiest"` // peerprobe: the head
	Mean    traffic `json:"mean"`    // of all nodes
	LeftOut int     `json:"secondsLeftOut"`
	Seconds int     `json:"seconds"` // counted
}

// labJob is what the process is told that has a network of its own.
type labJob struct {
	Self, Bin, Dir string
	Sizes          []int
	Of             []string
	Window         time.Duration
}

// costs runs the lab in a network namespace: nothing of it is left when it ends.
func (s settings) costs(ctx context.Context) ([]cost, error) {
	bin := filepath.Join(s.dir, "peerprobe")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	build.Dir = s.root
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, out)
	}
	told, err := json.Marshal(labJob{Self: s.self, Bin: bin, Dir: s.dir, Sizes: s.sizes, Of: strings.Split(s.costOf, ","), Window: s.window})
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, s.self, string(told))
	cmd.Env = append(os.Environ(), actorEnv+"="+roleLab)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("network namespaces (they need root): %w", err)
	}
	var all []cost
	return all, json.Unmarshal(out.Bytes(), &all)
}

func runLab(told []byte) error {
	var j labJob
	if err := json.Unmarshal(told, &j); err != nil {
		return err
	}
	if err := bridge(); err != nil {
		return err
	}
	var all []cost
	for _, n := range j.Sizes {
		for _, system := range j.Of {
			fmt.Fprintf(os.Stderr, "compare: cost of %d nodes of %s ...\n", n, system)
			c, err := j.count(system, n)
			if err != nil {
				return fmt.Errorf("%d nodes of %s: %w", n, system, err)
			}
			all = append(all, c)
		}
	}
	return json.NewEncoder(os.Stdout).Encode(all)
}

// count starts a system, waits until it is whole, and counts.
func (j labJob) count(system string, n int) (c cost, err error) {
	f := &field{job: j, dir: filepath.Join(j.Dir, fmt.Sprintf("%s-%d", system, n))}
	defer f.end()
	if err := os.MkdirAll(f.dir, 0o700); err != nil {
		return c, err
	}
	if system == "peerprobe" {
		err = f.peerprobes(n)
	} else {
		err = f.memberlists(n)
	}
	if err != nil {
		return c, err
	}
	time.Sleep(settle)
	c = cost{System: system, Nodes: n}
	sums := make([]traffic, n)
	before, err := f.look()
	for range int(j.Window / time.Second) {
		time.Sleep(time.Second)
		after, err := f.look()
		if err != nil {
			return c, err
		}
		apart := false
		for i := range after {
			apart = apart || after[i].Bytes-before[i].Bytes > transfers
		}
		if apart {
			c.LeftOut++
		} else {
			c.Seconds++
			for i := range after {
				sums[i].Bytes += after[i].Bytes - before[i].Bytes
				sums[i].Packets += after[i].Packets - before[i].Packets
			}
		}
		before = after
	}
	for _, t := range sums {
		t.Bytes, t.Packets = t.Bytes/float64(c.Seconds), t.Packets/float64(c.Seconds)
		c.Mean.Bytes += t.Bytes / float64(n)
		c.Mean.Packets += t.Packets / float64(n)
		if t.Packets > c.Busiest.Packets {
			c.Busiest = t
		}
	}
	return c, err
}

// look reads the interface of every node.
func (f *field) look() ([]traffic, error) {
	var all []traffic
	for _, s := range f.spaces {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/dev", s.cmd.Process.Pid))
		if err != nil {
			return nil, err
		}
		t, err := eth0(string(text))
		if err != nil {
			return nil, err
		}
		all = append(all, t)
	}
	return all, nil
}

// eth0 is the line of that interface in /proc/net/dev: 8 numbers received, 8 sent, bytes and packets first.
func eth0(text string) (traffic, error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), "eth0:")
		if !ok {
			continue
		}
		var v [16]float64
		for i, word := range strings.Fields(rest) {
			if _, err := fmt.Sscan(word, &v[min(i, 15)]); err != nil {
				return traffic{}, err
			}
		}
		return traffic{Bytes: v[0] + v[8], Packets: v[1] + v[9]}, nil
	}
	return traffic{}, fmt.Errorf("no eth0 in %q", text)
}

func printCosts(all []cost) {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "| nodes\t| system\t| at the head, or the busiest node\t| the same, a member\t| at a node, mean of all\t|")
	fmt.Fprintln(w, "| ---\t| ---\t| ---\t| ---\t| ---\t|")
	for _, c := range all {
		each := float64(c.Nodes - 1)
		fmt.Fprintf(w, "| %d\t| %s\t| %.0f B/s, %.1f packets/s\t| %.0f B/s, %.2f packets/s\t| %.0f B/s, %.1f packets/s\t|\n", c.Nodes, c.System,
			c.Busiest.Bytes, c.Busiest.Packets, c.Busiest.Bytes/each, c.Busiest.Packets/each, c.Mean.Bytes, c.Mean.Packets)
	}
	w.Flush()
	for _, c := range all {
		if c.LeftOut > 0 {
			fmt.Printf("%s, %d nodes: %d of %d seconds were left out, in which a head measured a member's capacity.\n", c.System, c.Nodes, c.LeftOut, c.LeftOut+c.Seconds)
		}
	}
}
