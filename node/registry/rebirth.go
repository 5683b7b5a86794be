package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
)

// rebirthDial bounds the dials to a deserted list: a dial and two round trips,
// and below the five seconds for which a node waits for its answer.
const rebirthDial = p2p.DialTimeout + time.Second

// reborn finds out whether a city has lost everybody who may lead it.
type reborn struct {
	started time.Time // of this run; monotonic
	dial    func(context.Context, cluster.Peer) error

	mu      sync.Mutex
	dialled map[cluster.City]bool // a check is under way: others of the city ask again by themselves
}

func newReborn(dial func(context.Context, cluster.Peer) error) *reborn {
	return &reborn{started: time.Now(), dial: dial, dialled: make(map[cluster.City]bool)}
}

// begin is false where the city is being checked already.
func (b *reborn) begin(city cluster.City) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.dialled[city] {
		return false
	}
	b.dialled[city] = true
	return true
}

func (b *reborn) end(city cluster.City) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.dialled, city)
}

// dialAnew calls a peer on a new connection: one that stands may have been dead
// for a while.
func (s *server) dialAnew(ctx context.Context, to cluster.Peer) error {
	if err := s.host.ClosePeer(to.ID); err != nil {
		s.log.Debug("old connection not closed", "peer", to.ID.Short(), "err", err)
	}
	_, err := s.host.Introduce(ctx, to)
	return err
}

// sight is what the registry knows beside its tables.
func (s *server) sight(unreached map[cluster.ID]bool) cluster.Sight {
	return cluster.Sight{Up: time.Since(s.reborn.started), Heard: s.roster.lastHeard, Unreached: unreached}
}

// deserted says whether the city of a node that has just registered seems to be
// deserted, and whom to dial then. It runs at the desk.
func (s *server) deserted(now int64, t *cluster.Table, r p2p.Remote, req *cluster.Request) (names []cluster.Peer, ok bool) {
	if req.CutOffMs == 0 {
		return nil, false
	}
	names, err := t.Deserted(now, r.ID, req, s.sight(nil))
	if err != nil {
		s.log.Debug("no rebirth", "peer", r.ID.Short(), "why", err)
	}
	return names, err == nil
}

// rebirth dials the list of a city that seems to be deserted, and if nobody is
// there names the caller. It gives what the caller is to be answered then; nil:
// what it was answered already.
func (s *server) rebirth(ctx context.Context, r p2p.Remote, req *cluster.Request, names []cluster.Peer) *cluster.Answer {
	me, ok := s.roster.node(r.ID)
	if !ok || !s.reborn.begin(me.city) {
		return nil
	}
	defer s.reborn.end(me.city)
	unreached := s.dialAll(ctx, names)
	if len(unreached) < len(names) || ctx.Err() != nil {
		return nil
	}
	var answer *cluster.Answer // the desk's, which may still be at it when ctx has ended
	err := s.desk.ask(ctx, func(now int64, t *cluster.Table) (*cluster.Changes, error) {
		var changes cluster.Changes
		var err error
		answer, changes, err = t.Rebirth(now, r.ID, req, s.sight(unreached))
		return &changes, err
	})
	switch {
	case errors.Is(err, cluster.ErrNoRebirth):
		s.log.Debug("no rebirth", "city", me.city, "peer", r.ID.Short(), "why", err)
		return nil
	case err != nil:
		s.log.Warn("no rebirth", "city", me.city, "peer", r.ID.Short(), "err", err)
		return nil
	case answer.Error == nil:
		s.noteRebirth(r, me.city, len(names))
	}
	return answer
}

// dialAll dials all at once and gives those who do not answer. Who answers has
// been heard of.
func (s *server) dialAll(ctx context.Context, names []cluster.Peer) map[cluster.ID]bool {
	ctx, cancel := context.WithTimeout(ctx, rebirthDial)
	defer cancel()
	errs := make([]error, len(names))
	var wg sync.WaitGroup
	for i, p := range names {
		wg.Go(func() { errs[i] = s.reborn.dial(ctx, p) })
	}
	wg.Wait()
	unreached := make(map[cluster.ID]bool)
	for i, p := range names {
		if errs[i] == nil {
			s.roster.hear(time.Now().UnixMilli(), p.ID, nil)
			continue
		}
		s.log.Debug("dialled in vain", "peer", p.ID.Short(), "err", errs[i])
		unreached[p.ID] = true
	}
	return unreached
}

func (s *server) noteRebirth(r p2p.Remote, city cluster.City, gone int) {
	s.audit.add(store.AuditEntry{
		At: time.Now(), Actor: p2p.IDText(r.ID), Action: auditReborn, Object: string(city),
		Answer: fmt.Sprintf("first of a new list: nobody of the old one (%d) answers", gone), From: r.Addr.String(),
	})
	s.log.Info("reborn", "city", city, "head", r.ID.Short(), "gone", gone)
}
