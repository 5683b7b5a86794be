package node

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// How results travel: the machine decides by their keys who is to get which (cluster's ledger), this role moves them.
//
//	deliver.go         what is on disk here is told to the machine, and what the machine says is done on disk
//	deliver_send.go    the transfers that the machine asks for
//	deliver_take.go    transfers of others
//	deliver_uplink.go  at a head: to the registry

const (
	batchResults = 512             // results a batch: about 60 kB before compression
	batchBytes   = 512 << 10       // bytes of records read for one batch
	deliverRetry = 5 * time.Second // the registry is away, or a disk refuses; what was measured waits
	deliverMax   = time.Minute     // the wait doubles up to this while nobody takes anything
	deliverLook  = time.Minute     // how often the spool is looked through though nobody said that it has more

	// asideTime is how long a result that nobody takes is passed over, so that it does not hold up those
	// behind it. It stays in the spool.
	asideTime = time.Hour
)

// delivery moves results between the disk, the head, its backup and the registry. A result leaves the spool when the
// registry has acknowledged it, and not before.
type delivery struct {
	core   *core
	host   *p2p.Host
	db     *store.DB
	vitals *vitals
	sign   func(domain string, v any) cluster.Signed
	log    *slog.Logger

	kick   chan struct{} // something was spooled, or the head changed
	turn   broadcast     // something was delivered, or could not be
	failed atomic.Uint64 // attempts that came to nothing
	aside  aside
	books  books
	send   senders
	up     uplink
}

func newDelivery(c *core, host *p2p.Host, db *store.DB, registry []cluster.Peer, log *slog.Logger) *delivery {
	d := &delivery{core: c, host: host, db: db, log: log, kick: make(chan struct{}, 1), aside: aside{until: map[probe.Key]time.Time{}},
		books: books{kick: make(chan struct{}, 1)}, send: senders{by: map[route]*mover{}},
		up: uplink{registry: registry, kick: make(chan struct{}, 1), now: make(chan struct{}, 1), size: batchResults}}
	d.send.d = d
	return d
}

// nudge leaves one token in a channel that holds one.
func nudge(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// wake says that something was spooled.
func (d *delivery) wake() { nudge(d.kick) }

// headChanged says that somebody else leads, or this node.
func (d *delivery) headChanged() {
	nudge(d.kick)
	nudge(d.up.now)
}

// run tells the machine what is on this disk, until ctx ends.
func (d *delivery) run(ctx context.Context) {
	d.send.start(ctx)
	if err := d.load(ctx); err != nil {
		d.log.Error("what is held for others is not delivered in this life", "err", err)
	}
	var f feed
	tick := time.NewTicker(deliverLook)
	defer tick.Stop()
	for {
		if err := d.tell(ctx, &f); err != nil {
			d.vitals.wrote(err)
			d.log.Warn("results wait in the spool", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-d.kick:
		case <-tick.C:
		}
	}
}

// load tells the machine what an earlier life held. What it held for a city that the node has left is nobody's business
// in this one: the others there hold it, too, and here it goes after a day.
func (d *delivery) load(ctx context.Context) error {
	city := string(d.core.status.Load().City)
	if err := d.db.LetGo(time.Now(), city); err != nil {
		return err
	}
	for after := uint64(0); ; {
		keys, next, err := d.db.HeldKeys(city, after, batchResults)
		if err != nil || next == after {
			return err
		}
		after = next
		d.stored(ctx, d.host.ID(), cluster.Term{}, keys)
	}
}

// feed is how far the spool has been told to the machine, and been put to what this node holds as a head.
type feed struct{ told, held uint64 }

// tell tells the machine what is new in the spool. A head also holds it for itself: from there it goes to the registry.
func (d *delivery) tell(ctx context.Context, f *feed) error {
	if gone := d.db.TakeDropped(); len(gone) > 0 {
		d.core.put(ctx, cluster.Withdrawn{Keys: resultKeys(gone)})
	}
	if back := d.aside.back(time.Now()); len(back) > 0 {
		d.core.put(ctx, cluster.Submitted{Keys: resultKeys(back)})
	}
	for {
		keys, next, err := d.db.SpoolKeys(f.told, batchResults)
		if err != nil {
			return err
		}
		if next == f.told {
			break
		}
		f.told = next
		d.core.put(ctx, cluster.Submitted{Keys: resultKeys(keys)})
	}
	for d.core.status.Load().Leading {
		keys, known, next, err := d.db.HoldSpool(string(d.core.status.Load().City), f.held, batchResults)
		if errors.Is(err, store.ErrFull) {
			return nil // when there is room
		}
		if err != nil {
			return err
		}
		if next == f.held {
			break
		}
		f.held = next
		d.stored(ctx, d.host.ID(), cluster.Term{}, keys)
		if len(known) > 0 { // delivered, and a crash came before the spool let go
			d.core.put(ctx, cluster.Released{Keys: resultKeys(known)})
		}
		nudge(d.up.kick)
	}
	return nil
}

// stored tells the machine what has become durable here.
func (d *delivery) stored(ctx context.Context, from cluster.ID, term cluster.Term, keys []probe.Key) {
	if len(keys) > 0 {
		d.core.put(ctx, cluster.Stored{From: from, Term: term, Keys: resultKeys(keys)})
	}
}

// books are what the machine has said and the disk has yet to hear.
type books struct {
	kick chan struct{}
	mu   sync.Mutex
	done []cluster.ResultKey // own, in the registry: out of the spool
	trim []cluster.ResultKey // held, in the registry
}

func (b *books) put(done, trim []cluster.ResultKey) {
	b.mu.Lock()
	b.done, b.trim = append(b.done, done...), append(b.trim, trim...)
	b.mu.Unlock()
	nudge(b.kick)
}

func (b *books) take() (done, trim []cluster.ResultKey) {
	b.mu.Lock()
	defer b.mu.Unlock()
	done, trim = b.done, b.trim
	b.done, b.trim = nil, nil
	return done, trim
}

// event hears what the machine says about results. It does not block.
func (d *delivery) event(e cluster.Event) {
	switch e := e.(type) {
	case cluster.Acked:
		if e.Level < levelRegistry {
			d.turn.wake()
			return
		}
		d.books.put(e.Keys, nil)
	case cluster.Trimmed:
		d.books.put(nil, e.Keys)
	}
}

// levelRegistry of durability: the spool may let go.
const levelRegistry = 3

// runBooks does on disk what the machine has said, until ctx ends. What a crash cuts off comes again.
func (d *delivery) runBooks(ctx context.Context) {
	retry := time.NewTimer(0)
	defer retry.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.books.kick:
		case <-retry.C:
		}
		done, trim := d.books.take()
		err := errors.Join(d.db.Release(probeKeys(done)...), d.db.ReleaseHeld(time.Now(), probeKeys(trim)))
		if err != nil {
			d.vitals.wrote(err)
			d.log.Warn("delivered results stay in the spool for now", "err", err)
			d.books.put(done, trim)
			<-d.books.kick
			retry.Reset(deliverRetry)
		}
		d.turn.wake()
	}
}

// expire lets go what the registry has had for long enough.
func (d *delivery) expire() {
	if _, err := d.db.Expire(time.Now().Add(-cluster.Retention)); err != nil {
		d.log.Warn("old copies of results not removed", "err", err)
	}
}

// empty waits until nothing of this node depends on it any more: the registry has its results, or a head and its backup
// do; what it holds as head is in the registry, or on the backup. It gives up when an attempt fails, or ctx ends.
func (d *delivery) empty(ctx context.Context) {
	failed := d.failed.Load()
	d.wake()
	nudge(d.up.now)
	tick := time.NewTicker(emptyLook)
	defer tick.Stop()
	for {
		ended := d.turn.wait()
		st := d.core.status.Load()
		l := st.Ledger
		safe := l.Spooled == l.Level2 && d.db.SpoolStats().Depth <= l.Spooled+d.aside.size()
		if st.Leading {
			safe = l.Held == 0 && l.Spooled == 0 && d.db.HeldStats().Waiting == 0
		}
		if safe || st.Role == cluster.RoleOrphan || d.failed.Load() != failed {
			return
		}
		select {
		case <-ended:
		case <-tick.C: // the machine's figures change on their own
		case <-ctx.Done():
			return
		}
	}
}

const emptyLook = 20 * time.Millisecond

// aside are own results that nobody takes.
type aside struct {
	mu    sync.Mutex
	until map[probe.Key]time.Time
}

func (a *aside) put(k probe.Key, until time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.until[k] = until
}

func (a *aside) size() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.until)
}

// back takes out those whose time is over.
func (a *aside) back(now time.Time) (keys []probe.Key) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for k, until := range a.until {
		if now.After(until) {
			keys = append(keys, k)
			delete(a.until, k)
		}
	}
	return keys
}

func probeKey(k cluster.ResultKey) probe.Key {
	return probe.Key{Node: p2p.IDText(k.Node), Boot: k.Boot, Seq: k.Seq}
}

func probeKeys(keys []cluster.ResultKey) []probe.Key {
	out := make([]probe.Key, len(keys))
	for i, k := range keys {
		out[i] = probeKey(k)
	}
	return out
}

// resultKeys leaves out what is of no node.
func resultKeys(keys []probe.Key) []cluster.ResultKey {
	out := make([]cluster.ResultKey, 0, len(keys))
	for _, k := range keys {
		if id, err := p2p.ParseID(k.Node); err == nil {
			out = append(out, cluster.ResultKey{Node: id, Boot: k.Boot, Seq: k.Seq})
		}
	}
	return out
}
