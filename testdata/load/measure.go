package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/node"
)

// Bounds and paces of a run.
const (
	city         = "wuhan"
	crowdSize    = 2500             // members of one process: two sockets each, and more in a storm, of 20,000 files
	spare        = 64               // that limits are sized for beyond the members
	settle       = 15 * time.Second // after the last join: copies, first rows and garbage go
	joinLimit    = 8 * time.Minute  // ten thousand that beat leave little of two cores for those who still come
	takeLimit    = 2 * time.Minute
	lookEvery    = 50 * time.Millisecond
	stayAfter    = 12 * time.Second // after a take-over: who is not heard by then is evicted
	profilePort  = "127.0.0.1:7494" // of the head
	crowdPort    = "127.0.0.1:7495" // of the first crowd
	profileEnvIs = profileEnv + "=" + profilePort
)

// field is one registry, its real nodes and its crowds.
type field struct {
	plan   plan
	rs     *proc
	rsAt   string
	nodes  []*proc
	crowds []*proc
	fig    figures
}

func (p plan) measure(ctx context.Context, members int) (figures, error) {
	f := &field{plan: p, fig: figures{Members: members, Nodes: p.nodes}}
	defer f.stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, step := range []func(context.Context) error{f.build, f.register, f.join, f.steady, f.takeover} {
		if err := step(ctx); err != nil {
			return f.fig, err
		}
	}
	return f.fig, nil
}

func (f *field) stop() {
	for _, all := range [][]*proc{f.crowds, f.nodes} {
		for _, p := range all {
			p.kill()
		}
	}
	if f.rs != nil {
		f.rs.kill()
	}
}

func (f *field) data(i int) string {
	return filepath.Join(f.plan.dir, fmt.Sprintf("%d-node%d", f.fig.Members, i))
}

func asJob(j job) string {
	b, err := json.Marshal(j)
	if err != nil {
		panic(err) // plain fields
	}
	return string(b)
}

// build starts the registry, the real nodes and the crowds.
func (f *field) build(ctx context.Context) error {
	p, expect := f.plan, f.fig.Members+spare
	var err error
	if f.rs, err = launch(ctx, p.logs, []string{roleEnv + "=" + roleRegistry}, "registry at", p.self,
		asJob(job{Data: filepath.Join(p.dir, fmt.Sprintf("%d-rs", f.fig.Members)), Members: expect})); err != nil {
		return err
	}
	f.rsAt = f.rs.line[strings.LastIndex(f.rs.line, " ")+1:]
	for i := range p.nodes {
		bin, env := p.bin, []string(nil)
		if i == 0 && p.profile != "" {
			bin, env = p.self, []string{roleEnv + "=" + roleNode, profileEnvIs}
		}
		n, err := launch(ctx, p.logs, env, "joined", bin, "join", "--rs", f.rsAt, "--city", city, "--data", f.data(i),
			"--listen", "/ip4/127.0.0.1/tcp/0", "--members", strconv.Itoa(expect), "-v")
		if err != nil {
			return err
		}
		f.nodes = append(f.nodes, n)
	}
	if err := f.wait(ctx, 0, joinLimit, func(st node.Status) bool { return st.Role == "head" && st.Backup != "" && st.Members == p.nodes }); err != nil {
		return err
	}
	for first := 0; first < f.fig.Members; first += crowdSize {
		env := []string{roleEnv + "=" + roleCrowd}
		if first == 0 && p.profile != "" {
			env = append(env, profileEnv+"="+crowdPort)
		}
		// Members have processors of their own: here, what the head and the candidates leave.
		c, err := launch(ctx, p.logs, env, "ready", "nice", "-n", "10", p.self,
			asJob(job{First: first, Members: min(crowdSize, f.fig.Members-first), RS: f.rsAt, City: city}))
		if err != nil {
			return err
		}
		f.crowds = append(f.crowds, c)
	}
	return nil
}

// status of a real node.
func (f *field) status(ctx context.Context, i int) (node.Status, error) {
	client, err := node.Dial(node.ControlPath(f.data(i)))
	if err != nil {
		return node.Status{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return client.Status(ctx)
}

// wait looks at a real node until its status is as wanted.
func (f *field) wait(ctx context.Context, i int, limit time.Duration, want func(node.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		st, err := f.status(ctx, i)
		if err == nil && want(st) {
			return nil
		}
		if !pause(ctx, lookEvery) {
			return fmt.Errorf("node %d is %s with %d members after %v: %w", i, st.Role, st.Members, limit, errors.Join(err, ctx.Err()))
		}
	}
}

// all tells all crowds one command and collects their answers.
func (f *field) all(command string, limit time.Duration) ([]answer, error) {
	answers := make([]answer, len(f.crowds))
	errs := make([]error, len(f.crowds))
	var wg sync.WaitGroup
	for i, c := range f.crowds {
		wg.Go(func() {
			if _, errs[i] = fmt.Fprintln(c.in, command); errs[i] != nil {
				return
			}
			line, err := c.next(limit)
			if err == nil {
				err = json.Unmarshal([]byte(line), &answers[i])
			}
			if err == nil && answers[i].Error != "" {
				err = errors.New(answers[i].Error)
			}
			errs[i] = err
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("crowd, %s: %w", command, err)
	}
	return answers, nil
}

// register admits everybody.
func (f *field) register(context.Context) error {
	began, err := f.rs.seconds()
	if err != nil {
		return err
	}
	at := time.Now()
	answers, err := f.all(cmdRegister, joinLimit)
	if err != nil {
		return err
	}
	took := time.Since(at).Seconds()
	ended, err := f.rs.seconds()
	for _, a := range answers {
		f.fig.Failed += a.Failed
	}
	f.fig.Register = float64(f.fig.Members) / took
	f.fig.RegisterMs = (ended - began) / float64(f.fig.Members) * 1000
	return err
}

// join lets everybody in, until the head counts them all.
func (f *field) join(ctx context.Context) (err error) {
	if f.fig.EmptyMB, err = f.nodes[0].residentMB(); err != nil {
		return err
	}
	began, err := f.nodes[0].seconds()
	if err != nil {
		return err
	}
	stopProfile := f.startProfile(ctx, "join")
	at := time.Now()
	if _, err := f.all(cmdJoin, joinLimit); err != nil {
		return err
	}
	whole := f.fig.Members + f.plan.nodes
	if err := f.wait(ctx, 0, joinLimit, func(st node.Status) bool { return st.Members >= whole }); err != nil {
		return err
	}
	f.fig.Join = float64(f.fig.Members) / time.Since(at).Seconds()
	ended, err := f.nodes[0].seconds()
	f.fig.JoinMs = (ended - began) / float64(f.fig.Members) * 1000
	return errors.Join(err, stopProfile())
}

// steady measures a city in which nothing happens.
func (f *field) steady(ctx context.Context) error {
	if !pause(ctx, settle) {
		return ctx.Err()
	}
	stopProfile := f.startProfile(ctx, "steady")
	before, err := f.sample()
	if err != nil {
		return err
	}
	if !pause(ctx, f.plan.window) {
		return ctx.Err()
	}
	after, err := f.sample()
	if err != nil {
		return err
	}
	if err := stopProfile(); err != nil {
		return err
	}
	secs, members := after.at.Sub(before.at).Seconds(), float64(f.fig.Members)
	each := secs * members
	f.fig.HeadCores = (after.head - before.head) / secs
	f.fig.Backup = (after.backup - before.backup) / secs
	f.fig.MemberUs = (after.head - before.head) / each * 1e6
	f.fig.HeadMB, f.fig.BackupMB = after.headMB, after.backupMB
	f.fig.MemberKB = (after.headMB - f.fig.EmptyMB) / members * 1000
	a, b := after.crowd, before.crowd
	f.fig.ToHead = rate{float64(a.Sent-b.Sent) / each, float64(a.BytesOut-b.BytesOut) / each, float64(a.SegsOut-b.SegsOut) / each}
	f.fig.FromHead = rate{float64(a.Got-b.Got) / each, float64(a.BytesIn-b.BytesIn) / each, float64(a.SegsIn-b.SegsIn) / each}
	st, err := f.status(ctx, 0)
	if err == nil && st.Members != f.fig.Members+f.plan.nodes {
		err = fmt.Errorf("the head counts %d of %d members in a city in which nothing happens", st.Members, f.fig.Members+f.plan.nodes)
	}
	return err
}

// sample is one look at everything.
type sample struct {
	at               time.Time
	head, backup     float64 // seconds of processor time
	headMB, backupMB float64
	crowd            counts
}

func (f *field) sample() (s sample, err error) {
	answers, err := f.all(cmdCount, patience)
	if err != nil {
		return s, err
	}
	for _, a := range answers {
		s.crowd.add(a.Count)
	}
	s.at = time.Now()
	var errs [4]error
	s.head, errs[0] = f.nodes[0].seconds()
	s.backup, errs[1] = f.nodes[1].seconds()
	s.headMB, errs[2] = f.nodes[0].residentMB()
	s.backupMB, errs[3] = f.nodes[1].residentMB()
	return s, errors.Join(errs[:]...)
}

func (c *counts) add(o counts) {
	c.Sent, c.Got = c.Sent+o.Sent, c.Got+o.Got
	c.BytesOut, c.BytesIn = c.BytesOut+o.BytesOut, c.BytesIn+o.BytesIn
	c.SegsOut, c.SegsIn = c.SegsOut+o.SegsOut, c.SegsIn+o.SegsIn
	c.Links, c.NoDial, c.Leads = c.Links+o.Links, c.NoDial+o.NoDial, c.Leads+o.Leads
}

// startProfile takes processor profiles of the head and a crowd from now on, and the head's heap and goroutines at the end.
func (f *field) startProfile(ctx context.Context, name string) func() error {
	if f.plan.profile == "" {
		return func() error { return nil }
	}
	cpu := make(chan error, 1)
	go func() {
		what := "profile?seconds=" + strconv.Itoa(int(f.plan.window.Seconds()))
		crowd := make(chan error, 1)
		go func() { crowd <- f.fetch(ctx, crowdPort, what, name+"-crowd") }()
		cpu <- errors.Join(f.fetch(ctx, profilePort, what, name), <-crowd)
	}()
	return func() error {
		return errors.Join(<-cpu, f.fetch(ctx, profilePort, "heap?debug=1", "memory"), f.fetch(ctx, profilePort, "heap?gc=1", "heap"), f.fetch(ctx, profilePort, "goroutine?debug=1", "goroutine"))
	}
}

func (f *field) fetch(ctx context.Context, port, what, name string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+port+"/debug/pprof/"+what, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	file, err := os.Create(filepath.Join(f.plan.profile, fmt.Sprintf("%s-%d.pprof", name, f.fig.Members)))
	if err != nil {
		return err
	}
	_, err = io.Copy(file, resp.Body)
	return errors.Join(err, file.Close())
}

// takeover kills the head and waits until everybody follows the next one.
func (f *field) takeover(ctx context.Context) error {
	if _, err := f.all(cmdArm, patience); err != nil {
		return err
	}
	if err := f.nodes[0].cmd.Process.Kill(); err != nil {
		return err
	}
	killed := monotonic()
	f.nodes[0].drain()
	f.nodes = f.nodes[1:]
	whole := f.fig.Members + f.plan.nodes - 1
	f.fig.Fewest = math.MaxInt
	var adopted, heard []int64
	var complete time.Time
	for limit := time.Now().Add(takeLimit); ; {
		answers, err := f.all(cmdChanges, patience)
		if err != nil {
			return err
		}
		adopted, heard = nil, nil
		for _, a := range answers {
			adopted, heard = append(adopted, a.Adopted...), append(heard, a.Heard...)
		}
		// Node 1 is the backup unless the list said otherwise: whoever leads is looked at.
		head := -1
		for i := range f.nodes {
			st, err := f.status(ctx, i+1)
			if err != nil {
				return err
			}
			if st.Role == "head" {
				head = i
				f.fig.Fewest = min(f.fig.Fewest, st.Members)
			}
		}
		if len(heard) == f.fig.Members && complete.IsZero() {
			complete = time.Now()
		}
		if !complete.IsZero() && time.Since(complete) > stayAfter || time.Now().After(limit) {
			if head < 0 {
				return errors.New("nobody leads after the head was killed")
			}
			f.fig.After, err = f.nodes[head].residentMB()
			f.fig.Followers = len(heard)
			f.fig.Takeover, f.fig.Heard = spreadOf(since(killed, adopted)), spreadOf(since(killed, heard))
			if err == nil && len(heard) < f.fig.Members {
				fmt.Fprintf(os.Stderr, "load: only %d of %d members followed within %v\n", len(heard), whole, takeLimit)
			}
			return err
		}
		if !pause(ctx, 4*lookEvery) {
			return ctx.Err()
		}
	}
}

func since(start int64, at []int64) []float64 {
	var out []float64
	for _, t := range at {
		out = append(out, float64(t-start)/1e9)
	}
	return out
}
