//go:build unix

package dhtsim

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// kill is the share of the heads that die at once.
var kill = flag.Int("kill", 30, "per cent of the heads that die at once")

const (
	childEnv = "PEERPROBE_DHTSIM_CHILD" // what the process of those who die is told
	lookups  = 10                       // of each survivor
	atOnce   = 4                        // lookups under way
	shown    = 5                        // failures that are named
)

// dying is what the process of those who die is told.
type dying struct {
	First int            `cbor:"1,keyasint"`
	Count int            `cbor:"2,keyasint"`
	All   int            `cbor:"3,keyasint"`
	Seeds []cluster.Peer `cbor:"4,keyasint"`
}

// TestLookupsAfterHeadsDie: from the moment when 30 % of the heads die at once, every survivor finds every city: its
// own kind's, and those of the dead, whose succession then names who may lead. The dead are a process of their own,
// which is killed, or stopped: then nobody's socket says so.
func TestLookupsAfterHeadsDie(t *testing.T) {
	for _, how := range []struct {
		name   string
		signal syscall.Signal
	}{{"killed", syscall.SIGKILL}, {"silent", syscall.SIGSTOP}} {
		t.Run(how.name, func(t *testing.T) {
			dead := max(1, *heads**kill/100)
			m := newMesh()
			m.start(t, *heads-dead)
			child := m.startDying(t, dead)
			m.warm(t)
			m.findAll(t, 0) // what the dead leave behind is what was there
			if err := child.Signal(how.signal); err != nil {
				t.Fatal(err)
			}
			m.findAll(t, dead)
		})
	}
}

// startDying starts the process of those who will die; they have put their records when it returns.
func (m *mesh) startDying(t *testing.T, count int) *os.Process {
	t.Helper()
	d := dying{First: len(m.heads), Count: count, All: *heads}
	for _, h := range m.heads[:min(3, len(m.heads))] {
		d.Seeds = append(d.Seeds, h.host.Self())
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^TestDyingHeads$", "-test.v")
	cmd.Env = append(os.Environ(), childEnv+"="+base64.StdEncoding.EncodeToString(cluster.Marshal(&d)))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := cmd.StdinPipe() // ends with this process, however that ends
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill() // stopped or dead
		if err := cmd.Wait(); err == nil {
			t.Error("the heads that were to die ended by themselves")
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.Contains(lines.Text(), "they stand") {
			return cmd.Process
		}
	}
	t.Fatalf("the heads that are to die did not come up: %v", lines.Err())
	return nil
}

// TestDyingHeads is the process of those who die.
func TestDyingHeads(t *testing.T) {
	told := os.Getenv(childEnv)
	if told == "" {
		return // only TestLookupsAfterHeadsDie has work for it
	}
	var d dying
	raw, err := base64.StdEncoding.DecodeString(told)
	if err == nil {
		err = cluster.Unmarshal(raw, &d)
	}
	if err != nil {
		t.Fatal(err)
	}
	m := newMesh()
	for i := range d.Count {
		h := m.host(t, fmt.Sprintf("head %d", d.First+i), 4*d.All)
		var err error
		if h.dht, err = h.host.StartDHT(context.Background(), d.Seeds); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { h.dht.Close() })
		m.heads = append(m.heads, h)
	}
	for i, h := range m.heads {
		eventually(t, "the routing tables have somebody", func() bool { return h.dht.TableSize() >= len(d.Seeds) })
		at := city(d.First + i)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := h.dht.Put(ctx, m.lead(at, h.key, h.host.Self().Addrs), at, 0); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	fmt.Println("they stand")
	_, _ = io.Copy(io.Discard, os.Stdin) // until somebody dies
}

// findAll lets every survivor look up some cities; together they look up all of them.
func (m *mesh) findAll(t *testing.T, dead int) {
	t.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	type question struct {
		from head
		city cluster.City
	}
	var all []question
	for i, from := range m.heads {
		for j := range lookups {
			to := (i*lookups + j) % *heads
			if j == 0 { // one at random beside those in turn, and not always in the same order
				to = rng.IntN(*heads)
			}
			all = append(all, question{from, city(to)})
		}
	}
	rng.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	took := make([]time.Duration, len(all))
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	work := make(chan int)
	for range atOnce {
		wg.Go(func() {
			for i := range work {
				began := time.Now()
				errs[i] = m.find(t.Context(), all[i].from, all[i].city)
				took[i] = time.Since(began)
			}
		})
	}
	for i := range all {
		work <- i
	}
	close(work)
	wg.Wait()
	failed := 0
	for i, err := range errs {
		if err != nil {
			if failed++; failed <= shown {
				t.Errorf("%s: after %v: %v", all[i].city, took[i], err)
			}
		}
	}
	slices.Sort(took)
	at := func(percent int) time.Duration { return took[min(len(took)-1, len(took)*percent/100)] }
	t.Logf("%d of %d heads died at once: %.1f %% of %d lookups succeeded, p50 %v, p95 %v, max %v", dead, *heads,
		100-100*float64(failed)/float64(len(all)), len(all), at(50), at(95), at(100))
}

func (m *mesh) find(ctx context.Context, from head, at cluster.City) error {
	raw, _, err := from.dht.Find(ctx, at, 0)
	if err != nil {
		return err
	}
	if lead, _, err := m.trust.Lead(raw); err != nil || lead.City != at {
		return errors.Join(fmt.Errorf("a record of another city, or of nobody"), err)
	}
	return nil
}
