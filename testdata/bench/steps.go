package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// What is aimed at.
const (
	aimReady       = "below 3 s"
	aimFirstSample = "below 100 ms"
	aimNodeMB      = "below 40 MB"
	aimDemoMB      = "below 300 MB"
)

// demoReady is on the line that the demo prints when ten nodes are registered and both heads are known.
const demoReady = "10 nodes"

// demo: from the start of the process until ten nodes are registered and heads known, and what it occupies then.
func (b *bench) demo(ctx context.Context) error {
	var ready, resident []float64
	for range b.rounds {
		p, err := launch(ctx, demoReady, b.bin, "demo")
		if err != nil {
			return err
		}
		mb, err := p.residentMB()
		p.stop()
		if err != nil {
			return err
		}
		ready, resident = append(ready, p.after.Seconds()), append(resident, mb)
	}
	b.add("demo: 10 nodes registered, heads known", fmt.Sprintf("%.2f s", median(ready)), aimReady)
	b.add("demo: resident memory, all of it", fmt.Sprintf("%.0f MB", median(resident)), aimDemoMB)
	return nil
}

// mesh is a registry and two nodes a city, each a process of its own, on loopback.
type mesh struct {
	procs     []*proc
	initiator string // its data directory
}

func (m *mesh) stop() {
	for i := len(m.procs) - 1; i >= 0; i-- {
		m.procs[i].stop()
	}
}

func (b *bench) startMesh(ctx context.Context) (*mesh, error) {
	m := &mesh{initiator: filepath.Join(b.dir, "changsha2")}
	rs, err := launch(ctx, "peerprobe join", b.bin, "rs", "--data", filepath.Join(b.dir, "rs"),
		"--listen", "127.0.0.1:7490", "--p2p", "/ip4/127.0.0.1/tcp/7491", "--web", "127.0.0.1:7492", "--advertise", "127.0.0.1", "--tokens")
	if err != nil {
		return nil, err
	}
	m.procs = append(m.procs, rs)
	for _, name := range []string{"changsha1", "wuhan1", "changsha2", "wuhan2"} {
		args := append(strings.Fields(rs.line)[1:], "--data", filepath.Join(b.dir, name),
			"--city", strings.TrimRight(name, "12"), "--listen", "/ip4/127.0.0.1/tcp/0")
		p, err := launch(ctx, "joined", b.bin, args...)
		if err != nil {
			m.stop()
			return nil, err
		}
		m.procs = append(m.procs, p)
	}
	return m, nil
}

// processes: what needs nodes in processes of their own.
func (b *bench) processes(ctx context.Context) error {
	m, err := b.startMesh(ctx)
	if err != nil {
		return err
	}
	defer m.stop()
	if err := b.firstSample(ctx, m); err != nil {
		return err
	}
	if err := b.compare(ctx, m); err != nil {
		return err
	}
	var resident []float64
	for _, p := range m.procs[1:] {
		mb, err := p.residentMB()
		if err != nil {
			return err
		}
		resident = append(resident, mb)
	}
	b.add("resident memory of a node's process", fmt.Sprintf("%.0f MB", median(resident)), aimNodeMB)
	return nil
}

// firstSample: from the request, at the local API of a running node, to the first packet that came back; and how
// long the whole command takes for one packet.
func (b *bench) firstSample(ctx context.Context, m *mesh) error {
	client, err := node.Dial(node.ControlPath(m.initiator))
	if err != nil {
		return err
	}
	var first, command []float64
	for range b.rounds {
		began := time.Now()
		var took time.Duration
		req := node.Request{To: "wuhan", Params: probe.DefaultParams()}
		req.Params.Count = 2
		req.OnProgress = func(p node.Progress) {
			if p.Sample != nil && took == 0 {
				took = time.Since(began)
			}
		}
		if _, err := client.Measure(ctx, req); err != nil {
			return err
		}
		if took == 0 {
			return errors.New("a measurement ended without a sample")
		}
		first = append(first, took.Seconds()*1000)

		began = time.Now()
		if out, err := exec.CommandContext(ctx, b.bin, "measure", "--to", "wuhan", "--count", "1", "--data", m.initiator).CombinedOutput(); err != nil {
			return fmt.Errorf("measure: %w: %s", err, out)
		}
		command = append(command, time.Since(began).Seconds()*1000)
	}
	b.add("measure: first sample after the request, running node", fmt.Sprintf("%.1f ms", median(first)), aimFirstSample)
	b.add("measure --count 1: the whole command", fmt.Sprintf("%.1f ms", median(command)), "-")
	return nil
}

// compare runs ours, ping and irtt in turns on loopback.
func (b *bench) compare(ctx context.Context, m *mesh) error {
	server := exec.CommandContext(ctx, "irtt", "server", "-b", irttPort)
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait() // killed: its exit status says so
	}()
	var ours, ping, irtt []float64
	for range b.rounds {
		r, err := b.round(ctx, m.initiator)
		if err != nil {
			return err
		}
		ours, ping, irtt = append(ours, r.ours), append(ping, r.ping), append(irtt, r.irtt)
	}
	o, p, i := median(ours), median(ping), median(irtt)
	b.add(fmt.Sprintf("median RTT on loopback, %d packets, %d ms apart", packets, intervalMs), fmt.Sprintf("%.0f us", o),
		fmt.Sprintf("ping %.0f us: %.2f times it; irtt %.0f us: %.2f times it", p, o/p, i, o/i))
	return nil
}

// lookup: the benchmarks of the DHT of heads, in one process.
func (b *bench) lookup(ctx context.Context) error {
	out, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "Find", "-benchtime", "50x",
		"-count", strconv.Itoa(b.rounds), "./node/p2p").CombinedOutput()
	if err != nil {
		return fmt.Errorf("go test: %w: %s", err, out)
	}
	times := map[string][]float64{}
	var names []string
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		if len(f) < 4 || !strings.HasPrefix(f[0], "Benchmark") || f[3] != "ns/op" {
			continue
		}
		ns, err := strconv.ParseFloat(f[2], 64)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(f[0], "-")
		if len(times[name]) == 0 {
			names = append(names, name)
		}
		times[name] = append(times[name], ns/1e6)
	}
	if len(names) == 0 {
		return fmt.Errorf("no benchmark ran: %s", out)
	}
	for _, name := range names {
		b.add("look-up through the DHT: "+strings.TrimPrefix(name, "Benchmark"), fmt.Sprintf("%.2f ms", median(times[name])), "-")
	}
	return nil
}
