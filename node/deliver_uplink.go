package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

const (
	deliverUplink = 12 * time.Second // the registry syncs its disk
	recallResults = 512              // results that wait again in one commit

	// storePeriod is how often a node that keeps results of a former headship asks whether the registry lost its disk.
	storePeriod = 10 * time.Minute

	maxStoreName    = 64                // bytes of it that are believed
	metaStorePrefix = "registry.store." // then the registry's id: the name of its tables, as last seen
)

// uplink ships what a head holds to the registry.
type uplink struct {
	registry []cluster.Peer
	kick     chan struct{} // there is something new
	now      chan struct{} // the same, and there is reason to believe that the registry answers

	// Of the goroutine of runUplink.
	size  int                     // results in the next batch: halved while one is refused for its content
	aside map[probe.Key]time.Time // results that the registry refused on their own, until when
}

// runUplink ships while this node leads: at once when something comes, and everything that came while one batch was under
// way in the next.
func (d *delivery) runUplink(ctx context.Context) {
	d.up.aside = map[probe.Key]time.Time{}
	wait := deliverRetry
	timer := time.NewTimer(0)
	defer timer.Stop()
	look := time.NewTicker(storePeriod)
	defer look.Stop()
	kick := d.up.kick
	for {
		select {
		case <-ctx.Done():
			return
		case <-kick:
		case <-d.up.now:
			wait = deliverRetry
		case <-timer.C:
		case <-look.C:
			d.lookForStore(ctx)
			continue
		}
		err := d.shipAll(ctx)
		if kick = d.up.kick; err == nil {
			wait = deliverRetry
			timer.Reset(deliverMax) // what was set aside, and what nobody said
			continue
		}
		d.failed.Add(1)
		d.turn.wake()
		d.log.Debug("results wait for the registry", "err", err)
		kick = nil // more of them does not bring it back
		timer.Reset(wait)
		wait = min(2*wait, deliverMax)
	}
}

// shipAll ships until nothing waits, a delivery fails, or this node does not lead any more.
func (d *delivery) shipAll(ctx context.Context) error {
	for ctx.Err() == nil && d.core.status.Load().Leading {
		if more, err := d.shipOnce(ctx); err != nil || !more {
			return err
		}
	}
	return nil
}

// shipOnce ships one batch and releases it. More: there may be another.
func (d *delivery) shipOnce(ctx context.Context) (more bool, err error) {
	u := &d.up
	maps.DeleteFunc(u.aside, func(_ probe.Key, until time.Time) bool { return time.Now().After(until) })
	results, err := d.db.HeldNext(string(d.core.status.Load().City), u.size, batchBytes, func(k probe.Key) bool {
		_, ok := u.aside[k]
		return ok
	})
	if err != nil || len(results) == 0 {
		return false, err
	}
	err = d.toRegistry(ctx, results)
	switch {
	case err == nil:
		u.size = min(2*u.size, batchResults)
		return true, d.release(ctx, results)
	case !isInvalid(err):
		return false, err
	case len(results) > 1:
		u.size = len(results) / 2
		return true, nil
	}
	d.log.Warn("a result is refused by the registry, and held back", "result", results[0].Key.String(), "why", err)
	u.aside[results[0].Key] = time.Now().Add(asideTime)
	return true, nil
}

// release says that the registry has results, first to the disk.
func (d *delivery) release(ctx context.Context, results []probe.Result) error {
	keys := make([]probe.Key, len(results))
	for i := range results {
		keys[i] = results[i].Key
	}
	if err := d.db.ReleaseHeld(time.Now(), keys); err != nil {
		d.vitals.wrote(err)
		return err
	}
	d.core.put(ctx, cluster.Released{Keys: resultKeys(keys)})
	return nil
}

// toRegistry delivers one merged, compressed and signed batch.
func (d *delivery) toRegistry(ctx context.Context, results []probe.Result) error {
	raw, err := store.EncodeBatch(results)
	if err != nil {
		return err
	}
	msg := &p2p.ResultsMsg{Version: p2p.ResultsVersion, Batch: raw, Lead: d.core.status.Load().HighRaw}
	msg.Sig = d.sign(cluster.DomainBatch, p2p.BatchDigest(raw))
	var errs []error
	for _, peer := range d.up.registry {
		ack, err := d.askRegistry(ctx, peer, msg)
		if err == nil && ack.Error != nil {
			err = ack.Error
		}
		if err == nil {
			d.log.Debug("results delivered", "added", ack.Added, "known", ack.Known, "bytes", len(raw))
			return nil
		}
		if isInvalid(err) {
			return err // the next one would say the same
		}
		errs = append(errs, fmt.Errorf("registry %s: %w", short(peer.ID), err))
	}
	return joined(errs)
}

// askRegistry sends one frame to a registry, and looks whether that has lost what it had.
func (d *delivery) askRegistry(ctx context.Context, peer cluster.Peer, msg *p2p.ResultsMsg) (*p2p.ResultsAck, error) {
	ctx, cancel := context.WithTimeout(ctx, deliverUplink)
	defer cancel()
	ack, err := sendResults(ctx, d.host, peer, msg)
	if err != nil {
		return nil, err
	}
	return ack, d.sawStore(ctx, peer.ID, ack.Store)
}

// sawStore notes the name of a registry's tables. Where it is another one than before, the registry has lost what it had:
// everything that is kept here waits again, and then the name is noted, so that a crash in between loses nothing. The
// same where this node keeps results and never saw a name. Each result is counted once all the same, since the registry
// knows those that it has.
func (d *delivery) sawStore(ctx context.Context, registry cluster.ID, name string) error {
	before, err := d.storeName(registry)
	if err != nil || name == "" || name == before {
		return err
	}
	if kept := d.db.HeldStats().Kept; kept > 0 {
		d.log.Warn("the registry has new tables: what it had of this city goes there again", "registry", short(registry), "results", kept)
	}
	for {
		keys, err := d.db.Recall(recallResults)
		if err != nil {
			return err
		}
		if len(keys) == 0 {
			break
		}
		d.stored(ctx, d.host.ID(), cluster.Term{}, keys)
	}
	if err := d.db.SetMeta(metaStorePrefix+p2p.IDText(registry), []byte(name)); err != nil {
		return err
	}
	nudge(d.up.kick)
	return nil
}

// storeName is the name of a registry's tables as last seen; "": never.
func (d *delivery) storeName(registry cluster.ID) (string, error) {
	name, err := d.db.Meta(metaStorePrefix + p2p.IDText(registry))
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return string(name), err
}

// storeNames are those that this head knows. Its backup, which does not talk to registries, has them from it.
func (d *delivery) storeNames() (names []p2p.StoreName) {
	for _, peer := range d.up.registry[:min(len(d.up.registry), p2p.MaxStores)] {
		if name, err := d.storeName(peer.ID); err == nil && name != "" {
			names = append(names, p2p.StoreName{Registry: peer.ID, Name: name})
		}
	}
	return names
}

// heardStores takes in what the head knows of the registries of this network. A first name says nothing about a loss.
func (d *delivery) heardStores(ctx context.Context, msg *p2p.ResultsMsg) error {
	for _, s := range msg.Stores[:min(len(msg.Stores), p2p.MaxStores)] {
		if !slices.ContainsFunc(d.up.registry, func(p cluster.Peer) bool { return p.ID == s.Registry }) || len(s.Name) > maxStoreName {
			continue
		}
		before, err := d.storeName(s.Registry)
		switch {
		case err != nil || s.Name == "":
		case before == "":
			err = d.db.SetMeta(metaStorePrefix+p2p.IDText(s.Registry), []byte(s.Name))
		default:
			err = d.sawStore(ctx, s.Registry, s.Name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// lookForStore asks registries for the names of their tables, where this node keeps results and does not lead: a head
// hears it with each batch.
func (d *delivery) lookForStore(ctx context.Context) {
	if d.core.status.Load().Leading || d.db.HeldStats().Kept == 0 {
		return
	}
	for _, peer := range d.up.registry {
		if _, err := d.askRegistry(ctx, peer, &p2p.ResultsMsg{Version: p2p.ResultsVersion}); err != nil {
			d.log.Debug("registry not asked for its tables", "registry", short(peer.ID), "err", err)
		}
	}
}
