// Command load joins many light members to one real head and reports what they cost it: memory and processor time a
// member, registrations a second, messages and bytes, and how long a take-over takes when that head is killed. Run it
// with `make load`, on a machine that does nothing else; it needs Linux.
//
// The head, its backup and the other candidates are processes of the real program. A light member is a real member to
// them: it has an identity of its own, is admitted by a real registry, listens on an address of its own in 127/8, runs
// the election machine of package cluster, and speaks the real protocols over TCP, Noise and yamux. It is light in what
// nobody else sees: no tables, no measuring, no DHT, and thousands share a process. Members are admitted as transient
// nodes, so that they never stand in the succession themselves.
//
// The certificate's timers are the default ones, but every member beats once a second, not every two.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// roleEnv makes this program one of the processes that it starts: see roles.go.
const roleEnv = "PEERPROBE_LOAD_ROLE"

// plan is what was asked for.
type plan struct {
	sizes   []int
	nodes   int           // real nodes: the head, its backup, further candidates
	window  time.Duration // over which processor time and messages are counted
	jsonTo  string
	profile string // folder for the head's profiles; "": the head is the plain program
	logs    string // folder for what the processes say on stderr
	dir     string // scratch
	bin     string // the program
	self    string // this program
}

func main() {
	if role := os.Getenv(roleEnv); role != "" {
		os.Exit(play(role))
	}
	var p plan
	sizes := flag.String("members", "100,1000,5000,10000", "numbers of light members, one run each")
	flag.IntVar(&p.nodes, "nodes", 3, "real nodes: the head, its backup and further candidates")
	flag.DurationVar(&p.window, "window", 20*time.Second, "for how long processor time and messages are counted")
	flag.StringVar(&p.jsonTo, "json", "", "file for the figures as JSON")
	flag.StringVar(&p.profile, "profile", "", "folder for processor, heap and goroutine profiles of the head")
	flag.StringVar(&p.logs, "logs", "", "folder for what the processes say")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, p, *sizes); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, p plan, sizes string) (err error) {
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 1 {
			return fmt.Errorf("-members %q: want numbers above 0, with commas between them", sizes)
		}
		p.sizes = append(p.sizes, n)
	}
	if p.nodes < 2 {
		return fmt.Errorf("-nodes %d: a take-over needs a head and a backup", p.nodes)
	}
	if p.dir, err = os.MkdirTemp("", "ppload"); err != nil {
		return err
	}
	defer os.RemoveAll(p.dir)
	if p.logs == "" {
		p.logs = p.dir
	}
	if p.self, err = os.Executable(); err != nil {
		return err
	}
	p.bin = filepath.Join(p.dir, "peerprobe")
	if out, err := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", p.bin, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w: %s", err, out)
	}
	var all []figures
	for _, n := range p.sizes {
		fmt.Fprintf(os.Stderr, "load: %d members ...\n", n)
		f, err := p.measure(ctx, n)
		if err != nil {
			return fmt.Errorf("%d members: %w", n, err)
		}
		all = append(all, f)
		if err := p.write(all); err != nil { // a later run that fails does not take the earlier ones with it
			return err
		}
	}
	return printTable(os.Stdout, all)
}

func (p plan) write(all []figures) error {
	if p.jsonTo == "" {
		return nil
	}
	b, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(p.jsonTo, append(b, '\n'), 0o644)
}
