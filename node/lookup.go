package node

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// trail is one look-up in another cluster: who was asked, and what the answer is if nobody has a better one.
type trail struct {
	find      *finder
	way       *way
	admission cluster.Signed
	req       *findRequest
	asked     map[cluster.ID]bool
	last      *wireError
}

func (f *finder) newTrail(w *way, admission cluster.Signed, req *findRequest) *trail {
	return &trail{find: f, way: w, admission: admission, req: req, asked: map[cluster.ID]bool{}}
}

// try asks the head of one Lead.
func (t *trail) try(ctx context.Context, lead cluster.Signed, source string) []candidate {
	found, werr := t.find.follow(ctx, t.way, lead, t.admission, t.req, t.asked, source)
	if werr != nil && (t.last == nil || werr.Code != codeNotHead && werr.Code != codeUnreachable) {
		t.last = werr // the words of one who leads say more than that others are away
	}
	return found
}

// elsewhere finds a head of another city, or of another shard of this one, and asks it. Every head that turns out dead,
// deposed or without candidates leads to the next one: those in the table, by turns, then those in the DHT.
func (f *finder) elsewhere(ctx context.Context, w *way, admission cluster.Signed, req *findRequest) ([]candidate, *wireError) {
	t := f.newTrail(w, admission, req)
	began := time.Now()
	known := f.known(ctx, req.City)
	if len(known) == 0 {
		w.add(began, "table", false, "no head of %s in this head's table", req.City)
	} else if req.PreferDHT {
		w.add(began, "table", false, "table of heads passed over, as asked for")
	} else {
		for _, h := range spread(known, f.turns.Add(1)) {
			w.add(began, "table", true, "head of %s in this head's table: %s", shardName(h), short(h.Lead.Head))
			if found := t.try(ctx, h.Raw, "table"); len(found) > 0 {
				return found, nil
			}
			began = time.Now()
		}
	}
	found, err := f.inDHT(ctx, t)
	switch {
	case len(found) > 0:
		return found, nil
	case err != nil && t.last == nil && req.City != f.core.status.Load().City:
		return nil, f.noSuchPlace(ctx, req.City)
	case t.last == nil && err != nil:
		return nil, refuse(codeNoCandidate, "no other node of %s is online", req.City)
	case t.last == nil:
		t.last = refuse(codeUnreachable, "every known head of it has been asked")
	}
	return nil, deserted(req.City, t.last)
}

// inDHT asks the heads that the DHT has of a city. The error says that it has none.
func (f *finder) inDHT(ctx context.Context, t *trail) ([]candidate, error) {
	city, began := t.req.City, time.Now()
	first, err := f.dht.anyOf(ctx, city)
	if err != nil {
		t.way.add(began, "dht", false, "no head of %s in the DHT: %v", city, err)
		return nil, err
	}
	start := uint(f.turns.Add(1))
	for i := range first.shards {
		next := first
		if shard := (start + i) % first.shards; shard != first.shard {
			if next, err = f.dht.of(ctx, city, shard); err != nil {
				t.way.add(began, "dht", false, "no head of shard %d of %s in the DHT: %v", shard, city, err)
				began = time.Now()
				continue
			}
		}
		t.way.add(began, "dht", true, "head of %s from the DHT (%s)", city, plural(next.answers, "answer"))
		f.core.put(ctx, cluster.Learned{Lead: next.lead})
		if found := t.try(ctx, next.lead, "dht"); len(found) > 0 {
			return found, nil
		}
		began = time.Now()
	}
	return nil, nil
}

// spread rotates the heads of a city, so that look-ups go to all of them in turn.
func spread(heads []cluster.KnownHead, turn uint64) []cluster.KnownHead {
	if len(heads) < 2 {
		return heads
	}
	n := int(turn % uint64(len(heads)))
	return slices.Concat(heads[n:], heads[:n])
}

// shardName is the city of a head, and its shard where that is not the first.
func shardName(h cluster.KnownHead) string {
	if h.Shard == 0 {
		return string(h.City)
	}
	return fmt.Sprintf("%s/%d", h.City, h.Shard)
}

// deserted says that a city is known and nobody there leads, as far as can be reached. A refusal by a head
// that does lead is passed on as it is.
func deserted(city cluster.City, last *wireError) *wireError {
	if last.Code != codeNotHead && last.Code != codeUnreachable {
		return last
	}
	return refuse(codeUnreachable, "no head of %s answers (the last one tried: %s)", city, last.Message)
}

// follow asks the head that a Lead names; when it is dead, the candidates whose addresses the Lead
// carries; when somebody answers with a higher Lead, the head of that one.
func (f *finder) follow(ctx context.Context, w *way, raw cluster.Signed, admission cluster.Signed, req *findRequest, asked map[cluster.ID]bool, source string) ([]candidate, *wireError) {
	var last *wireError
	queue := f.peersOf(raw)
	for len(queue) > 0 && ctx.Err() == nil {
		peer := queue[0]
		queue = queue[1:]
		if asked[peer.ID] || peer.ID == f.host.ID() {
			continue
		}
		asked[peer.ID] = true
		began := time.Now()
		found, higher, werr := f.askHead(ctx, peer, admission, req)
		if werr == nil {
			w.add(began, "remote-head", true, "%s, head of %s, names %s", short(peer.ID), req.City, plural(len(found), "candidate"))
			return found, nil
		}
		w.add(began, "remote-head", false, "%s (from the %s): %s", short(peer.ID), source, werr.Message)
		last = werr
		if werr.Code != codeNotHead && werr.Code != codeUnreachable {
			return nil, werr // it leads, and its answer is no
		}
		if l, _, err := f.dht.trust.Lead(higher); err == nil {
			f.core.put(ctx, cluster.Learned{Lead: higher})
			if l.City == req.City {
				queue = append(slices.Clone(l.Addrs), queue...)
			}
		}
	}
	return nil, last
}

// peersOf lists who a Lead says can be asked, the head first.
func (f *finder) peersOf(raw cluster.Signed) []cluster.Peer {
	lead, _, err := f.dht.trust.Lead(raw)
	if err != nil {
		return nil
	}
	return slices.Clone(lead.Addrs)
}
