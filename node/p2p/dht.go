package p2p

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	dht "github.com/libp2p/go-libp2p-kad-dht"
	pb "github.com/libp2p/go-libp2p-kad-dht/pb"
	kbucket "github.com/libp2p/go-libp2p-kbucket"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/core/routing"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/singleflight"

	"github.com/peerprobe/peerprobe/cluster"
)

const (
	// recordAge is how long a record lives without being put again: six times
	// the interval at which heads put theirs.
	recordAge = time.Hour
	// recordSweep is how often records above that age are deleted.
	recordSweep = 10 * time.Minute
	// tableRefresh is how often the routing table is walked, so that dead heads
	// leave it soon; kad-dht's own 10 min would keep them in every lookup.
	tableRefresh = 2 * time.Minute
	// queryTimeout bounds one query of a refresh; a live head answers in a round trip.
	queryTimeout = 5 * time.Second
	// findTimeout bounds a lookup: a measurement waits for it.
	findTimeout = 3 * time.Second
	// findSettle is how long a first answer waits for a better one.
	findSettle = 150 * time.Millisecond
	// findAnswers from other heads end a lookup.
	findAnswers = 2
	// tableLook is how often to look whether the routing table has somebody: it
	// fills some 50 ms after the first connection, and does not say so.
	tableLook = 25 * time.Millisecond
	// firstRetry and lastRetry are the waits between calls to seeds none of which answers.
	firstRetry, lastRetry = 500 * time.Millisecond, 10 * time.Second
	// dialsAtOnce bounds how many seeds are called at a time.
	dialsAtOnce = 8
	// dhtRate and dhtBurst are a peer's budget of DHT messages: a lookup costs a
	// peer one or two, a refresh of the table some dozens.
	dhtRate, dhtBurst = 200, 1000
)

// DHT is this node's part in the table of heads: a server, in which records
// are stored, and the lookups of this node.
type DHT struct {
	h         *Host
	kad       *dht.IpfsDHT
	validator HeadValidator
	proto     protocol.ID

	finds, introductions singleflight.Group
	silent               silentPeers

	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	running map[string]*find // lookups by key
	calls   calls
	wake    chan struct{} // something is pending in calls
}

// calls are the other heads that this node was told of.
type calls struct {
	seeds   map[peer.ID]cluster.Peer // where to go when the table is empty
	pending []cluster.Peer           // to be called now
	busy    bool                     // a round of calls is under way
}

// maxSeeds bounds the seeds that are remembered; any one that lives is enough.
const maxSeeds = 128

// StartDHT joins the DHT of heads as a server; Close it to leave, before the
// host is closed. It returns at once and calls the seeds in the background.
// SetTrust and SetAdmission must have been called. Records outlive Close, so
// that a node that leads again starts with what it knew.
func (h *Host) StartDHT(ctx context.Context, seeds []cluster.Peer) (*DHT, error) {
	trust := h.gate.trust.Load()
	if trust == nil || h.gate.own.Load() == nil {
		return nil, fmt.Errorf("starting the DHT: %w", ErrNoNetwork)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	prefix := protocol.ID("/peerprobe/" + trust.Network())
	d := &DHT{
		h: h, validator: HeadValidator{Trust: trust}, proto: prefix + "/kad/1.0.0",
		calls: calls{seeds: make(map[peer.ID]cluster.Peer)}, running: make(map[string]*find),
		wake: make(chan struct{}, 1),
	}
	d.ctx, d.cancel = context.WithCancel(context.Background())
	kad, err := dht.New(gatedHost{Host: h.p2p, d: d},
		dht.Mode(dht.ModeServer),
		dht.ProtocolPrefix(prefix),
		dht.Datastore(h.records),
		dht.Validator(listening{d}),
		dht.DisableProviders(),
		dht.MaxRecordAge(recordAge), dht.ValueGCInterval(recordSweep),
		dht.RoutingTableRefreshPeriod(tableRefresh), dht.RoutingTableRefreshQueryTimeout(queryTimeout),
		dht.BootstrapPeersFunc(d.bootstrap),
		dht.RoutingTableFilter(func(_ any, p peer.ID) bool { return !h.gate.isBarred(p) }),
		dht.OnRequestHook(d.spend),
	)
	if err != nil {
		d.cancel()
		return nil, fmt.Errorf("starting the DHT: %w", err)
	}
	d.kad = kad
	d.AddPeers(seeds)
	d.wg.Go(d.run)
	return d, nil
}

func (d *DHT) bootstrap() []peer.AddrInfo {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]peer.AddrInfo, 0, len(d.calls.seeds))
	for _, p := range d.calls.seeds {
		out = append(out, addrInfo(p))
	}
	return out
}

// spend makes a peer wait that asks more than its budget.
func (d *DHT) spend(ctx context.Context, s network.Stream, _ *pb.Message) {
	budget := d.h.peers.budget(s.Conn().RemotePeer(), string(d.proto))
	if budget == nil || budget.Allow() {
		return
	}
	d.h.count.throttled.Add(1)
	_ = budget.Wait(ctx) // ends with the DHT, and then the stream does too
}

// enter counts a goroutine in that Close waits for; false when closed.
func (d *DHT) enter() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return false
	}
	d.wg.Add(1)
	return true
}

// AddPeers tells the DHT of other heads. It calls them in the background.
func (d *DHT) AddPeers(list []cluster.Peer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range list {
		id := peer.ID(p.ID)
		if p.ID == d.h.ID() || len(p.Addrs) == 0 {
			continue
		}
		if _, ok := d.calls.seeds[id]; !ok && len(d.calls.seeds) >= maxSeeds {
			for old := range d.calls.seeds { // any one
				delete(d.calls.seeds, old)
				break
			}
		}
		d.calls.seeds[id] = p
		if d.kad.RoutingTable().Find(id) == "" && len(d.calls.pending) < maxSeeds {
			d.calls.pending = append(d.calls.pending, p)
		}
	}
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// run calls heads that AddPeers brings, and all seeds again and again while
// nobody has answered: a head that is alone is of no use to others.
func (d *DHT) run() {
	wait := firstRetry
	for d.ctx.Err() == nil {
		var again <-chan time.Time
		if d.TableSize() == 0 {
			again = time.After(wait)
			wait = min(2*wait, lastRetry)
		} else {
			wait = firstRetry
		}
		select {
		case <-d.ctx.Done():
		case <-d.wake:
		case <-again:
		}
		if list := d.next(); len(list) > 0 {
			d.call(list)
		}
		d.mu.Lock()
		d.calls.busy = false
		d.mu.Unlock()
	}
}

// next takes what is to be called now: the seeds while the table is empty.
func (d *DHT) next() []cluster.Peer {
	lonely := d.TableSize() == 0
	d.mu.Lock()
	defer d.mu.Unlock()
	list := d.calls.pending
	d.calls.pending, d.calls.busy = nil, true
	if lonely {
		list = slices.Collect(maps.Values(d.calls.seeds))
	}
	return list
}

// quiet says that no calls and no walk of the table are under way.
func (d *DHT) quiet() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.calls.pending) == 0 && !d.calls.busy
}

// call connects to the peers. kad-dht takes those that serve the DHT into its
// table as soon as they have said so; then the table is filled through them,
// which kad-dht would do in two minutes.
func (d *DHT) call(list []cluster.Peer) {
	var g errgroup.Group
	g.SetLimit(dialsAtOnce)
	for _, p := range list {
		g.Go(func() error {
			if _, err := d.h.dial(d.ctx, p); err != nil {
				d.h.log.Debug("a head does not answer", "err", err)
			}
			return nil
		})
	}
	_ = g.Wait()
	ctx, cancel := context.WithTimeout(d.ctx, findTimeout)
	defer cancel()
	if !d.inhabited(ctx) {
		return
	}
	select {
	case <-d.kad.RefreshRoutingTable():
	case <-d.ctx.Done():
	}
}

// inhabited waits until the routing table holds somebody, false if ctx ends before.
func (d *DHT) inhabited(ctx context.Context) bool {
	tick := time.NewTicker(tableLook)
	defer tick.Stop()
	for d.TableSize() == 0 {
		select {
		case <-ctx.Done():
			return false
		case <-tick.C:
		}
	}
	return true
}

// TableSize is how many other heads the routing table holds.
func (d *DHT) TableSize() int { return d.kad.RoutingTable().Size() }

// Put stores the claim at the heads nearest to its key, and here. While the
// routing table is empty it waits, until somebody is there or ctx ends; a head
// that stays alone has stored the record all the same, and gets no error.
// ErrOldRecord says that this node knows a higher one.
func (d *DHT) Put(ctx context.Context, lead cluster.Signed, city cluster.City, shard uint) error {
	key, value := HeadKey(d.validator.Trust.Network(), city, shard), cluster.Marshal(lead)
	if err := d.validator.Validate(key, value); err != nil {
		return fmt.Errorf("putting the head record of %s/%d: %w", city, shard, err)
	}
	ctx, cancel := d.bound(ctx)
	defer cancel()
	for {
		err := d.kad.PutValue(ctx, key, value)
		switch {
		case err == nil:
			return nil
		case !errors.Is(err, kbucket.ErrLookupFailure):
			// kad-dht's refusal to lower the local record has no error of its own.
			if best, _, e := d.Find(ctx, city, shard); e == nil && d.validator.Trust.CompareLeads(best, lead) > 0 {
				err = ErrOldRecord
			}
			return fmt.Errorf("putting the head record of %s/%d: %w", city, shard, err)
		}
		if !d.inhabited(ctx) {
			return nil // stored here: all that a lone head can do
		}
	}
}

// bound ends with ctx and with the DHT.
func (d *DHT) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(d.ctx, cancel)
	return ctx, func() { stop(); cancel() }
}

// find is a lookup that is under way.
type find struct {
	trust *cluster.Trust
	news  chan struct{} // an answer came

	mu      sync.Mutex
	asked   bool // answers come from others now, not from the local store
	best    cluster.Signed
	answers int // all
	others  int // those of other heads
}

func (f *find) add(s cluster.Signed) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers++
	if f.asked {
		f.others++
	}
	if f.best.Empty() || f.trust.CompareLeads(s, f.best) > 0 {
		f.best = s
	}
	select {
	case f.news <- struct{}{}:
	default:
	}
}

func (f *find) read() (best cluster.Signed, answers, others int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.best, f.answers, f.others
}

// listening is the validator as kad-dht gets it. kad-dht reports only values
// that beat the one before; the stop rule wants every answer, and each passes here.
type listening struct{ d *DHT }

func (l listening) Validate(key string, value []byte) error {
	s, err := l.d.validator.decode(key, value)
	if err != nil {
		return err
	}
	l.d.mu.Lock()
	f := l.d.running[key]
	l.d.mu.Unlock()
	if f != nil {
		f.add(s)
	}
	return nil
}

func (l listening) Select(key string, values [][]byte) (int, error) {
	return l.d.validator.Select(key, values)
}

type found struct {
	lead    cluster.Signed
	answers int
}

// Find looks up the head of a city. It returns the highest claim of two answers
// from other heads, or of what came within 150 ms after the first answer, or of
// all there are, and how many answers there were, this node's own record
// included; ErrNotFound after at most 3 s. A claim found may be old: the head that it names may be dead, and
// whoever is asked by it answers with the higher one that he knows.
func (d *DHT) Find(ctx context.Context, city cluster.City, shard uint) (lead cluster.Signed, answers int, err error) {
	key := HeadKey(d.validator.Trust.Network(), city, shard)
	// Callers that ask for the same city share one lookup.
	done := d.finds.DoChan(key, func() (any, error) { return d.find(key) })
	select {
	case r := <-done:
		if r.Err != nil {
			return cluster.Signed{}, 0, fmt.Errorf("head of %s/%d: %w", city, shard, r.Err)
		}
		f := r.Val.(found)
		return f.lead, f.answers, nil
	case <-ctx.Done():
		return cluster.Signed{}, 0, fmt.Errorf("head of %s/%d: %w", city, shard, ctx.Err())
	}
}

func (d *DHT) find(key string) (found, error) {
	if !d.enter() {
		return found{}, ErrClosed
	}
	defer d.wg.Done()
	ctx, cancel := context.WithTimeout(d.ctx, findTimeout)
	defer cancel()
	f := &find{trust: d.validator.Trust, news: make(chan struct{}, 1)}
	d.mu.Lock()
	d.running[key] = f
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		delete(d.running, key)
	}()

	values, err := d.kad.SearchValue(ctx, key)
	if err != nil && !errors.Is(err, routing.ErrNotFound) {
		return found{}, err
	}
	f.mu.Lock()
	f.asked = true // kad-dht looks into its own store before it returns
	f.mu.Unlock()
	var settle <-chan time.Time
	for open := values != nil; open; {
		select {
		case _, open = <-values: // ends when all have answered
		case <-f.news:
			_, _, others := f.read()
			if others >= findAnswers {
				open = false
			} else if settle == nil {
				settle = time.After(findSettle)
			}
		case <-settle:
			open = false
		case <-ctx.Done():
			open = false
		}
	}
	best, answers, _ := f.read()
	if best.Empty() {
		return found{}, ErrNotFound
	}
	return found{lead: best, answers: answers}, nil
}

// Close leaves the DHT and returns when its goroutines have ended. The records
// stay for the next StartDHT.
func (d *DHT) Close() error {
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		return nil
	}
	d.closed = true
	d.mu.Unlock()
	d.cancel()
	d.h.p2p.RemoveStreamHandler(d.proto)
	d.wg.Wait() // first: a refresh that begins while kad-dht closes races with its own waiting
	return d.kad.Close()
}
