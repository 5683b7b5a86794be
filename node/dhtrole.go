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
)

const (
	recordCheck   = time.Minute      // a head reads its own key back: PutValue says nothing about refusals
	recordRefresh = 10 * time.Minute // records live an hour, and nobody republishes them for us
	putTimeout    = 10 * time.Second // a routing table that has dead heads in it takes some dials
	putRetry      = time.Second      // an empty routing table fills as soon as another head is up
)

var errNoDHT = errors.New("this node is not in the DHT: it does not lead")

// dhtRole is a head's part in the DHT of heads: a server while it leads, nothing otherwise.
type dhtRole struct {
	host  *p2p.Host
	trust *cluster.Trust
	seeds []cluster.Peer // the registries: plain members of the DHT
	learn func(cluster.Signed)
	log   *slog.Logger
	lead  chan cluster.Signed // the own Lead to put; empty: stepped down. Holds the newest only.
	hold  atomic.Bool         // this head is unsure whether it still leads: nothing is put (R6)

	mu  sync.Mutex
	dht *p2p.DHT
}

func newDHTRole(host *p2p.Host, trust *cluster.Trust, seeds []cluster.Peer, log *slog.Logger) *dhtRole {
	return &dhtRole{host: host, trust: trust, seeds: seeds, log: log, lead: make(chan cluster.Signed, 1)}
}

// set tells the role that this node leads with a claim, or (empty) that it does not lead any more.
func (d *dhtRole) set(lead cluster.Signed) {
	for {
		select {
		case d.lead <- lead:
			return
		default:
		}
		select {
		case <-d.lead:
		default:
		}
	}
}

// run starts and stops the DHT as terms come and go, and keeps the own record alive.
func (d *dhtRole) run(ctx context.Context) {
	defer d.close()
	var own cluster.Signed
	var put time.Time // when the record was last put with success
	tick := time.NewTimer(recordCheck)
	defer tick.Stop()
	for {
		wait := recordCheck
		select {
		case <-ctx.Done():
			return
		case own = <-d.lead:
			put = time.Time{}
		case <-tick.C:
		}
		if own.Empty() {
			d.close()
		} else if d.start(ctx) {
			wait = d.keep(ctx, own, &put)
		}
		tick.Reset(wait)
	}
}

// keep puts the record when it is due and reads it back; it says when to look again.
func (d *dhtRole) keep(ctx context.Context, own cluster.Signed, put *time.Time) time.Duration {
	lead, _, err := d.trust.Lead(own)
	if err != nil {
		d.log.Error("own Lead does not verify", "err", err)
		return recordCheck
	}
	dht := d.current()
	if time.Since(*put) >= recordRefresh {
		if d.hold.Load() {
			return putRetry
		}
		put1, cancel := context.WithTimeout(ctx, putTimeout)
		err := dht.Put(put1, own, lead.City, lead.Shard)
		cancel()
		if err != nil {
			d.log.Debug("head record not put yet", "err", err)
			return putRetry
		}
		if dht.TableSize() == 0 {
			return putRetry // stored here only: a lone head
		}
		*put = time.Now()
		d.log.Debug("head record put", "city", lead.City, "table", dht.TableSize())
		return recordCheck
	}
	if found, _, err := dht.Find(ctx, lead.City, lead.Shard); err == nil && d.trust.CompareLeads(found, own) > 0 {
		d.learn(found)
	}
	return recordCheck
}

func (d *dhtRole) start(ctx context.Context) bool {
	if d.current() != nil {
		return true
	}
	dht, err := d.host.StartDHT(ctx, d.seeds)
	if err != nil {
		d.log.Warn("DHT not started", "err", err)
		return false
	}
	d.mu.Lock()
	d.dht = dht
	d.mu.Unlock()
	return true
}

func (d *dhtRole) current() *p2p.DHT {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dht
}

func (d *dhtRole) close() {
	d.mu.Lock()
	dht := d.dht
	d.dht = nil
	d.mu.Unlock()
	if dht != nil {
		dht.Close()
	}
}

// met tells the DHT of another head.
func (d *dhtRole) met(lead cluster.Signed) {
	dht := d.current()
	if dht == nil {
		return
	}
	if l, _, err := d.trust.Lead(lead); err == nil && len(l.Addrs) > 0 {
		dht.AddPeers(l.Addrs[:1])
	}
}

// find asks the DHT for the head of a city's shard.
func (d *dhtRole) find(ctx context.Context, city cluster.City, shard uint) (cluster.Signed, int, error) {
	dht := d.current()
	if dht == nil {
		return cluster.Signed{}, 0, errNoDHT
	}
	return dht.Find(ctx, city, shard)
}

// found is what the DHT has of one shard.
type found struct {
	lead    cluster.Signed
	shard   uint
	shards  uint // of the city, as the certificate says
	answers int
}

// anyOf asks the DHT for the head of one shard of a city, when it is not known how many there are: of the first, and in
// case that has none, of the second. The certificate in the Lead says how many others there are to ask for.
func (d *dhtRole) anyOf(ctx context.Context, city cluster.City) (found, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var second found
	var wg sync.WaitGroup
	wg.Go(func() { second, _ = d.of(ctx, city, 1) })
	first, err := d.of(ctx, city, 0)
	if err == nil {
		cancel() // the second is not needed
		wg.Wait()
		return first, nil
	}
	if wg.Wait(); second.lead.Empty() {
		return found{}, err
	}
	return second, nil
}

// of asks the DHT for the head of a city's shard, and for how many shards there are.
func (d *dhtRole) of(ctx context.Context, city cluster.City, shard uint) (found, error) {
	raw, answers, err := d.find(ctx, city, shard)
	if err != nil {
		return found{}, err
	}
	_, cert, err := d.trust.Lead(raw)
	if err != nil {
		return found{}, err
	}
	return found{lead: raw, shard: shard, shards: uint(len(cert.Successions)), answers: answers}, nil
}
