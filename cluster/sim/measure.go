package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// CityConfig is a city of which figures are taken. Its registry goes away once the city stands: nothing of what is
// measured needs it.
type CityConfig struct {
	Nodes     int
	Timers    cluster.Timers
	Seed      uint64
	Loss      float64 // of packets, 0 to 1
	Datagrams bool    // links that lose what is lost; else streams that send it again, as TCP does
	Delay     time.Duration
	Jitter    time.Duration
}

// MaxNodes bounds a measured city: links are kept by pairs.
const MaxNodes = 2000

// DefaultCityConfig is a city on good streams.
func DefaultCityConfig() CityConfig {
	return CityConfig{Nodes: 10, Timers: cluster.DefaultTimers(), Seed: 1, Delay: 5 * time.Millisecond, Jitter: 5 * time.Millisecond}
}

// Validate refuses what cannot be a city.
func (c CityConfig) Validate() error {
	switch {
	case c.Nodes < 1 || c.Nodes > MaxNodes:
		return fmt.Errorf("a city of %d nodes: choose 1 to %d", c.Nodes, MaxNodes)
	case c.Loss < 0 || c.Loss >= 0.9:
		return fmt.Errorf("loss of %.0f %%: choose 0 to 90 %%", 100*c.Loss)
	case c.Delay < 0 || c.Jitter < 0 || c.Delay+c.Jitter > time.Second:
		return fmt.Errorf("packets that take %v and up to %v more: choose at most a second", c.Delay, c.Jitter)
	}
	return c.Timers.Validate()
}

// ErrNotUnited says that a city did not come to have one head in time.
var ErrNotUnited = errors.New("the city does not come to have one head")

const measuredCity = "measured"

// found makes a city and takes its registry away. Loss begins when it stands.
func (c CityConfig) found() (*world, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	w := newWorld(c.Seed, worldConfig{memory: NewMemory(), timers: c.Timers, measured: true})
	w.net.delay, w.net.jitter, w.net.datagrams = c.Delay, c.Jitter, c.Datagrams
	w.rs.start(w)
	for i := range c.Nodes {
		h := w.addHost(i, measuredCity)
		h.trait.priority = cluster.Priority{Reachable: true}
		w.after(time.Duration(i)*20*time.Millisecond, func(w *world) { w.boot(h) })
	}
	settle := time.Minute + time.Duration(c.Nodes)*50*time.Millisecond
	if !w.until(settle, 500*time.Millisecond, func() bool { return len(w.living(measuredCity)) == c.Nodes && w.united(measuredCity) }) {
		return nil, w.notUnited("at first")
	}
	w.run(w.now.Add(time.Minute)) // copies, lists, and a tenure
	w.rs.stop(true)
	w.net.loss = c.Loss
	return w, nil
}

func (w *world) notUnited(when string) error {
	if w.broken != nil {
		return w.broken
	}
	return fmt.Errorf("%w %s, after %v", ErrNotUnited, when, time.Duration(w.now))
}

// figures are taken by a measured world as it goes.
type figures struct {
	claimed   cluster.Instant // of the take-over that is waited for: the first claim
	followed  cluster.Instant // the last that followed
	deposed   int             // heads that lived and were awake
	evicted   int             // members that lived and were awake
	messages  [2]uint64       // 1: of heads
	sampled   [2]uint64
	bytes     [2]uint64 // of those sampled
	takeovers int
}

// sampleEvery: of so many messages one is encoded for its size.
const sampleEvery = 32

func (f *figures) changed(w *world, p *proc, e cluster.LeadChanged) {
	if e.Self && f.claimed == 0 {
		f.claimed = w.now
	}
	f.followed = w.now
}

func (f *figures) sent(p *proc, m *cluster.Message) {
	role := number(p.status.Leading)
	if f.messages[role]++; f.messages[role]%sampleEvery == 0 {
		f.sampled[role]++
		f.bytes[role] += uint64(len(m.Encode()))
	}
}

// Blow is what happens to a head.
type Blow string

// The blows.
const (
	BlowKill     Blow = "kill -9"
	BlowSilent   Blow = "silent death"
	BlowFreeze   Blow = "SIGSTOP"
	BlowPair     Blow = "head and backup"
	BlowRestart  Blow = "restart"
	BlowHandOver Blow = "hand-over"
)

// Blows are all of them.
func Blows() []Blow {
	return []Blow{BlowKill, BlowSilent, BlowFreeze, BlowPair, BlowRestart, BlowHandOver}
}

// TakeOver is one change of head.
type TakeOver struct {
	Detected time.Duration // until the next head claimed
	Done     time.Duration // until the last survivor followed it
}

// TakeOvers strikes the head of one city again and again. step is asked between two trials whether to go on.
func (c CityConfig) TakeOvers(b Blow, trials int, step func() error) ([]TakeOver, error) {
	if c.Nodes < 3 && b == BlowPair || c.Nodes < 2 && b != BlowRestart {
		return nil, nil // nobody is left
	}
	w, err := c.found()
	if err != nil {
		return nil, err
	}
	var out []TakeOver
	for range trials {
		if err := step(); err != nil {
			return out, err
		}
		t, err := w.strikeHead(b)
		if err != nil {
			return out, fmt.Errorf("%s in trial %d: %w", b, len(out)+1, err)
		}
		out = append(out, t)
	}
	return out, nil
}

func (w *world) strikeHead(b Blow) (TakeOver, error) {
	w.run(w.now.Add(w.between(2*time.Second, 4*time.Second)))
	head := w.head()
	if head == nil {
		return TakeOver{}, w.notUnited("before the blow")
	}
	began := w.now
	w.figures.claimed, w.figures.followed = 0, 0
	down := []*host{head}
	switch b {
	case BlowKill:
		w.kill(head, false)
	case BlowSilent:
		w.kill(head, true)
	case BlowFreeze:
		w.freeze(head)
	case BlowRestart:
		w.kill(head, false)
		w.after(100*time.Millisecond, func(w *world) { w.boot(head) })
	case BlowHandOver:
		head.proc.stopped = true
		w.step(head.proc, cluster.Stopping{})
	case BlowPair:
		down = append(down, w.byID[head.proc.status.Backup]...)
		for _, h := range down {
			w.kill(h, false)
		}
	}
	const most = 2 * time.Minute
	if !w.until(most, 50*time.Millisecond, func() bool { return w.oneTerm(head) }) {
		return TakeOver{}, w.notUnited("after the blow")
	}
	t := TakeOver{w.figures.claimed.Sub(began), w.figures.followed.Sub(began)}
	for _, h := range down {
		w.thaw(h)
		if p := h.proc; p != nil && p.stopped {
			w.kill(h, false)
		}
		w.boot(h)
	}
	if !w.until(most, 250*time.Millisecond, func() bool { return w.united(measuredCity) && len(w.living(measuredCity)) == len(w.hosts)-1 }) {
		return t, w.notUnited("when everybody was back")
	}
	return t, nil
}

// oneTerm says that all survivors follow one head, who is another than before.
func (w *world) oneTerm(was *host) bool {
	var term cluster.Term
	leads := 0
	for i, h := range w.living(measuredCity) {
		if i == 0 {
			term = h.proc.status.Term
		}
		if h.proc.status.Term != term {
			return false
		}
		leads += number(h.proc.status.Leading && (h != was || len(w.hosts) == 2))
	}
	return leads == 1
}

// Heals cuts a city into two halves again and again, the head with one of them, and says how long after the end of the
// cut all follow one head.
func (c CityConfig) Heals(length time.Duration, trials int, step func() error) ([]time.Duration, error) {
	if c.Nodes < 2 {
		return nil, nil
	}
	w, err := c.found()
	if err != nil {
		return nil, err
	}
	var out []time.Duration
	for range trials {
		if err := step(); err != nil {
			return out, err
		}
		w.run(w.now.Add(w.between(2*time.Second, 4*time.Second)))
		head := w.head()
		if head == nil {
			return out, w.notUnited("before the cut")
		}
		hosts := slices.Clone(w.hosts[1:])
		w.rng.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		side := map[*host]bool{head: true}
		for _, h := range hosts[:len(hosts)/2] {
			side[h] = true
		}
		if len(side) == len(hosts) {
			delete(side, hosts[0])
		}
		a := w.group(func(h *host) bool { return side[h] }, false)
		cuts := []*cut{{a, not(a)}, {not(a), a}}
		w.sever(cuts...)
		w.run(w.now.Add(length))
		w.heal(cuts...)
		began := w.now
		if !w.until(2*time.Minute, 10*time.Millisecond, func() bool { return w.oneTerm(nil) }) {
			return out, w.notUnited("after the cut")
		}
		out = append(out, w.now.Sub(began))
		if !w.until(2*time.Minute, 250*time.Millisecond, func() bool { return w.united(measuredCity) }) {
			return out, w.notUnited("a while after the cut")
		}
	}
	return out, nil
}

// Peace is what a city without faults does.
type Peace struct {
	Lived        time.Duration
	Deposed      int // heads that lived
	Evicted      int // members that lived
	Messages     float64
	Bytes        float64 // of a node in a second, on average; from a sample of one in 32
	HeadMessages float64
	HeadBytes    float64
}

// Peace lets a city live without faults.
func (c CityConfig) Peace(length time.Duration, step func() error) (*Peace, error) {
	w, err := c.found()
	if err != nil {
		return nil, err
	}
	w.figures = figures{}
	began := w.now
	if err := w.pass(length, step); err != nil {
		return nil, err
	}
	f, s := &w.figures, length.Seconds()
	p := &Peace{Lived: w.now.Sub(began), Deposed: f.deposed, Evicted: f.evicted}
	size := func(role int) float64 { return float64(f.bytes[role]) / float64(max(f.sampled[role], 1)) }
	p.HeadMessages = float64(f.messages[1]) / s
	p.HeadBytes = p.HeadMessages * size(1)
	n := float64(c.Nodes)
	p.Messages = (float64(f.messages[0]) + float64(f.messages[1])) / s / n
	p.Bytes = (float64(f.messages[0])*size(0) + float64(f.messages[1])*size(1)) / s / n
	return p, nil
}

// pass lets time go by in pieces, so that it can be interrupted.
func (w *world) pass(length time.Duration, step func() error) error {
	for end := w.now.Add(length); w.now < end; {
		if err := step(); err != nil {
			return err
		}
		w.run(min(w.now.Add(time.Minute), end))
		if w.broken != nil {
			return w.broken
		}
	}
	return nil
}

// Turnover says how nodes of a city come and go: each dies once in Life on average, half of them with their hosts, and is
// back after Away on average.
type Turnover struct{ Life, Away time.Duration }

// Availability of a city under churn.
type Availability struct {
	Lived     time.Duration
	TakeOvers int
	Head      float64 // share of the time in which some living node leads and a majority of the living follows it
	Node      float64 // share of the living nodes' time in which they follow a living head
}

// Availability lets a city live under churn.
func (c CityConfig) Availability(ch Turnover, length time.Duration, step func() error) (*Availability, error) {
	w, err := c.found()
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(c.Seed, 0xc4a7))
	exp := func(mean time.Duration) time.Duration { return time.Duration(rng.ExpFloat64() * float64(mean)) }
	var doom func(h *host)
	doom = func(h *host) {
		w.after(exp(ch.Life), func(w *world) {
			w.kill(h, rng.IntN(2) == 0)
			w.after(exp(ch.Away), func(w *world) { w.boot(h); doom(h) })
		})
	}
	for _, h := range w.hosts[1:] {
		doom(h)
	}
	const look = 100 * time.Millisecond
	var looks, led, nodes, following float64
	sample := func(w *world) {
		looks++
		living := w.living(measuredCity)
		best := 0
		followers := make(map[cluster.ID]int)
		for _, h := range living {
			if high := h.proc.status.High; high != nil && w.byID[high.Head][0].proc.leads() && w.byID[high.Head][0].proc.status.Term == h.proc.status.Term {
				followers[high.Head]++
				best = max(best, followers[high.Head])
				following++
			}
		}
		nodes += float64(len(living))
		led += float64(number(2*best > len(living)))
	}
	began := w.now
	w.figures = figures{}
	var again call
	again = func(w *world) { sample(w); w.agenda.push(w.now.Add(look), again) }
	w.agenda.push(w.now, again)
	if err := w.pass(length, step); err != nil {
		return nil, err
	}
	return &Availability{Lived: w.now.Sub(began), TakeOvers: w.figures.takeovers, Head: led / max(looks, 1), Node: following / max(nodes, 1)}, nil
}
