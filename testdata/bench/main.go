// Command bench measures how fast peerprobe is on this machine, and prints each figure beside what is aimed at, or
// beside the same figure of ping and irtt taken in turns with it. Run it with `make bench`, on a machine that does
// nothing else; it needs Linux, ping and irtt.
//
// Every figure is the median of several runs of the real program. It starts its own processes and ends them.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"text/tabwriter"
)

// row is one line of the table.
type row struct{ what, value, aim string }

// bench is what the single measurements share.
type bench struct {
	rounds int
	bin    string // the program
	dir    string // scratch
	rows   []row
}

func main() {
	rounds := flag.Int("rounds", 5, "runs of each measurement; the median is printed")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, rounds int) error {
	dir, err := os.MkdirTemp("", "ppbench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b := &bench{rounds: rounds, bin: filepath.Join(dir, "peerprobe"), dir: dir}
	if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", b.bin, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{{"demo", b.demo}, {"processes", b.processes}, {"look-up", b.lookup}} {
		fmt.Fprintf(os.Stderr, "bench: %s ...\n", step.name)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	b.print()
	return nil
}

func (b *bench) add(what, value, aim string) { b.rows = append(b.rows, row{what, value, aim}) }

func (b *bench) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "what (median of %d)\tmeasured\taim, or beside\n", b.rounds)
	for _, r := range b.rows {
		fmt.Fprintf(w, "%s\t%s\t%s\n", r.what, r.value, r.aim)
	}
	w.Flush()
}

// median of a list that is not empty.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if n := len(s); n%2 == 0 {
		return (s[n/2-1] + s[n/2]) / 2
	}
	return s[len(s)/2]
}
