package node

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// A node watches whether it is fit to lead: a head whose disk or loop is slow answers late, is suspected, and loses
// what it should have acknowledged. What it notices goes to the machine as cluster.Health when it changes; the machine
// decides what follows from it.

// Why a node should not lead, first what counts most.
const (
	unfitDraining = "draining"
	unfitFull     = "disk full"
	unfitFailing  = "disk failing"
	unfitDisk     = "slow disk"
	unfitLoop     = "slow loop"
)

const (
	// A node is unfit when nine of ten fsyncs, or turns of its loop, are later than Suspect / slowShare: with a
	// heartbeat's way there and back that is what a candidate forgives. It is fit again below Suspect / fitShare.
	slowShare, fitShare = 4, 8

	fitnessWindow = time.Minute // of fsyncs and turns that count
	fitnessHold   = time.Minute // an unfit node stays so for this long: heads do not go to and fro
	fitnessEvery  = time.Second // how often it is judged
	syncEvery     = 30 * time.Second
	syncAgain     = time.Second      // after a slow one: is it the disk, or was it a moment?
	syncHangs     = 10 * time.Second // a disk that takes so long for one fsync needs no second one
	fewestSyncs   = 10               // below this nine of ten means nothing
	fewestTurns   = 20
	freeLeast     = 4 << 20  // bytes; some batches of results and the pages of their transactions
	freeEnough    = 16 << 20 // bytes; fit again: a table grows in steps of this size
	capacityHold  = 5 * time.Minute
)

// disk is where this node's tables are.
type disk interface {
	sync() error                  // writes a little and makes it durable
	free() (bytes uint64, _ bool) // false: not known here
}

// vitals judges whether this node is fit to lead, and what it claims to be capable of.
type vitals struct {
	disk   disk
	timers func() cluster.Timers
	tell   func(context.Context, cluster.Health)
	log    *slog.Logger
	kick   chan chan struct{} // judge now, and close the channel when it is told

	mu       sync.Mutex
	syncs    window    // durations of fsyncs
	turns    window    // lateness of the loop
	syncing  time.Time // since when a sync is under way; zero: none is
	full     bool      // there is no room on the disk
	failing  bool      // the last sync failed
	draining bool
	reason   string    // as it was told
	since    time.Time // when reason was last found
	claim    capacityClaim
}

func newVitals(d disk, log *slog.Logger) *vitals {
	return &vitals{disk: d, log: log, kick: make(chan chan struct{}),
		timers: cluster.DefaultTimers, tell: func(context.Context, cluster.Health) {}}
}

// window keeps the latest durations, as many as a minute of a busy loop has.
type window struct {
	kept [512]timedSample
	next int
	n    int
}

type timedSample struct {
	at time.Time
	d  time.Duration
}

func (w *window) add(at time.Time, d time.Duration) {
	w.kept[w.next] = timedSample{at, d}
	w.next = (w.next + 1) % len(w.kept)
	w.n = min(w.n+1, len(w.kept))
}

// lately are the durations of the last minute, in order.
func (w *window) lately(at time.Time) []time.Duration {
	var out []time.Duration
	for _, s := range w.kept[:w.n] {
		if at.Sub(s.at) <= fitnessWindow {
			out = append(out, s.d)
		}
	}
	slices.Sort(out)
	return out
}

// quantile is the value that a share of the sorted values does not exceed; 0 where there is none.
func quantile(sorted []time.Duration, share float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(math.Ceil(share*float64(len(sorted))))-1]
}

// turn notes how late the loop came to what was due; below 0: nothing was.
func (v *vitals) turn(late time.Duration) {
	if v == nil || late < 0 {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.turns.add(time.Now(), late)
}

// saved notes how long the hard state took to become durable.
func (v *vitals) saved(took time.Duration) {
	if v == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.syncs.add(time.Now(), took)
}

// wrote notes what came of writing to a table: a full disk shows there first.
func (v *vitals) wrote(err error) {
	if !errors.Is(err, syscall.ENOSPC) {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.full = true
}

// probe syncs the disk now and then, until ctx ends.
func (v *vitals) probe(ctx context.Context) {
	next := time.Now().Add(syncEvery)
	tick := time.NewTicker(fitnessEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		v.room()
		if time.Now().Before(next) {
			continue
		}
		v.sync()
		next = time.Now().Add(syncEvery)
		if v.suspicious() {
			next = time.Now().Add(syncAgain)
		}
	}
}

// room looks whether the disk is full, where the system says so.
func (v *vitals) room() {
	free, known := v.disk.free()
	v.mu.Lock()
	defer v.mu.Unlock()
	if known {
		v.full = free < freeLeast || v.full && free < freeEnough
	}
}

// sync takes one sample of the disk.
func (v *vitals) sync() {
	began := time.Now()
	v.mu.Lock()
	v.syncing = began
	v.mu.Unlock()
	err := v.disk.sync()
	_, known := v.disk.free()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.syncing = time.Time{}
	v.failing = err != nil
	switch {
	case errors.Is(err, syscall.ENOSPC):
		v.full = true
	case err == nil:
		v.syncs.add(time.Now(), time.Since(began))
		v.full = v.full && known // where nobody says how full it is, a success has to do
	}
}

// suspicious says that a slow fsync of the last minute has not been judged yet: more are wanted.
func (v *vitals) suspicious() bool {
	limit := v.timers().Suspect / fitShare
	v.mu.Lock()
	defer v.mu.Unlock()
	syncs := v.syncs.lately(time.Now())
	return v.failing || v.reason == unfitDisk || len(syncs) > 0 && syncs[len(syncs)-1] > limit && (len(syncs) < fewestSyncs || quantile(syncs, 0.9) > limit)
}

// run tells the machine when this node becomes unfit to lead, and when it is fit again, until ctx ends.
func (v *vitals) run(ctx context.Context) {
	tick := time.NewTicker(fitnessEvery)
	defer tick.Stop()
	for {
		var told chan struct{}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case told = <-v.kick:
		}
		if reason, changed := v.judge(time.Now()); changed {
			if reason == unfitDraining {
				v.log.Info("draining: this node asks not to lead")
			} else if reason != "" {
				v.log.Warn("this node is not fit to lead", "reason", reason)
			} else {
				v.log.Info("this node is fit to lead again")
			}
			v.tell(ctx, cluster.Health{Reason: reason})
		}
		if told != nil {
			close(told)
		}
	}
}

// judge says why this node should not lead, and whether that is news.
func (v *vitals) judge(at time.Time) (reason string, changed bool) {
	suspect := v.timers().Suspect
	v.mu.Lock()
	defer v.mu.Unlock()
	reason = v.unfit(at, suspect/slowShare)
	was := v.reason
	switch {
	case reason != "":
		v.since = at
	case was == "" || was == unfitDraining: // asked for, and taken back
	case at.Sub(v.since) < fitnessHold:
		reason = was
	default:
		if reason = v.unfit(at, suspect/fitShare); reason != "" {
			v.since = at
		}
	}
	v.reason = reason
	v.claim.settle(at, v.syncs.lately(at))
	return reason, reason != was
}

// unfit is why this node should not lead, with a limit for what is slow. Call with the lock held.
func (v *vitals) unfit(at time.Time, limit time.Duration) string {
	syncs, turns := v.syncs.lately(at), v.turns.lately(at)
	switch {
	case v.draining:
		return unfitDraining
	case v.full:
		return unfitFull
	case v.failing:
		return unfitFailing
	case !v.syncing.IsZero() && at.Sub(v.syncing) > syncHangs:
		return unfitDisk
	case len(syncs) >= fewestSyncs && quantile(syncs, 0.9) > limit:
		return unfitDisk
	case len(turns) >= fewestTurns && quantile(turns, 0.9) > limit:
		return unfitLoop
	}
	return ""
}

// drain asks not to lead, or takes that back, and returns when the machine has been told.
func (v *vitals) drain(ctx context.Context, on bool) error {
	v.mu.Lock()
	v.draining = on
	v.mu.Unlock()
	told := make(chan struct{})
	select {
	case v.kick <- told:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-told:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// status is what people see of it.
func (v *vitals) status() VitalsStatus {
	at := time.Now()
	v.mu.Lock()
	defer v.mu.Unlock()
	syncs, turns := v.syncs.lately(at), v.turns.lately(at)
	out := VitalsStatus{Unfit: v.reason, Draining: v.draining, Capacity: v.claim.capacity(), CPU: v.claim.cpu}
	if len(syncs) > 0 {
		out.SyncMs = new(ms(quantile(syncs, 0.9)))
	}
	if len(turns) > 0 {
		out.LateMs = new(ms(quantile(turns, 0.9)))
	}
	return out
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// drain is Node.Drain: it returns when the machine has stepped it.
func (p *peer) drain(ctx context.Context, on bool) error {
	if err := p.roles.vitals.drain(ctx, on); err != nil {
		return err
	}
	if !p.waitStatus(ctx, func(st *cluster.Status) bool { return (st.Health == unfitDraining) == on }) {
		return ctx.Err()
	}
	return nil
}
