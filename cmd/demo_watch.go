package cmd

import (
	"context"
	"fmt"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"golang.org/x/sync/errgroup"
)

// watched is what says when it changes; see node.Node.
type watched interface {
	Changes() <-chan struct{}
	Status(context.Context) (node.Status, error)
}

// watch waits until the status of n is as want says, and returns when that was first seen. It wakes up by
// the node's own notice of a change, and looks again now and then for what is not announced.
func watch(ctx context.Context, n watched, want func(node.Status) bool) (node.Status, time.Time, error) {
	again := time.NewTicker(watchAgain)
	defer again.Stop()
	for {
		changed := n.Changes()
		st, err := n.Status(ctx)
		at := time.Now()
		if err != nil {
			return st, at, err
		}
		if want(st) {
			return st, at, nil
		}
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
			return st, at, ctx.Err()
		}
	}
}

// watchAgain is how often a status is looked at that no change announces, such as a new backup.
const watchAgain = 50 * time.Millisecond

// settle waits until both clusters are complete: every node is in the succession of the head of its seat
// and in its term, and that head has a backup that could take over.
func (d *demoNet) settle(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range demoHeads {
		head, all := d.byIP(h.ip), d.city(h.city)
		for _, n := range all {
			g.Go(func() error {
				st, _, err := watch(ctx, n, func(st node.Status) bool { return settled(ctx, st, head, len(all)) })
				if err != nil {
					return fmt.Errorf("%w: %s of %s is %s of %d members in term %s, follows %s, backup %s: %w",
						errClaim, n.ip, h.city, st.Role, st.Members, st.Term, dash(shortID(st.Head)), dash(shortID(st.Backup)), err)
				}
				return nil
			})
		}
	}
	return g.Wait()
}

// settled says whether a node with this status is where it will stay: each new name in the succession is a
// new term, so a cluster rests when nobody is left to be named.
func settled(ctx context.Context, st node.Status, head *demoNode, members int) bool {
	if st.Node == head.id {
		return st.Role == "head" && st.Backup != "" && st.Members == members
	}
	lead, err := head.Status(ctx)
	return err == nil && st.Head == head.id && st.Term == lead.Term && st.Role != "endpoint" && st.Role != "orphan"
}

// takeover is what happened after a head was killed.
type takeover struct {
	head      *demoNode
	term      string
	before    string
	reason    string
	took      time.Duration // from the call of Kill to the last survivor's following
	survivors int
}

// killHead ends a head as a crash would and watches the others of its city until all follow one new head.
func (d *demoNet) killHead(ctx context.Context, dead *demoNode) (takeover, error) {
	before, err := dead.Status(ctx)
	if err != nil {
		return takeover{}, fmt.Errorf("status of the head before it is killed: %w", err)
	}
	dead.dead = true
	others := d.city(dead.seat.city)
	seen := make([]node.Status, len(others))
	when := make([]time.Time, len(others))
	g, wctx := errgroup.WithContext(ctx)
	for i, n := range others {
		g.Go(func() (err error) {
			seen[i], when[i], err = watch(wctx, n, func(st node.Status) bool {
				return st.Term != before.Term && st.Head != dead.id && st.Head != "" && st.Role != "orphan"
			})
			return err
		})
	}
	began := time.Now()
	dead.Kill()
	if err := g.Wait(); err != nil {
		return takeover{}, fmt.Errorf("%w: no survivor took over: %w", errClaim, err)
	}
	out := takeover{before: before.Term, term: seen[0].Term, head: d.byID(seen[0].Head), survivors: len(others)}
	for i, st := range seen {
		if st.Head != seen[0].Head || st.Term != seen[0].Term {
			return out, fmt.Errorf("%w: %s follows %s in term %s, %s follows %s in term %s", errClaim,
				others[0].ip, shortID(seen[0].Head), seen[0].Term, others[i].ip, shortID(st.Head), st.Term)
		}
		out.took = max(out.took, when[i].Sub(began))
	}
	if out.head == nil || out.head.dead || out.head.seat.city != dead.seat.city {
		return out, fmt.Errorf("%w: the new head %s is none of the survivors", errClaim, seen[0].Head)
	}
	st, err := out.head.Status(ctx)
	if err != nil {
		return out, fmt.Errorf("status of the new head: %w", err)
	}
	out.reason = st.LastChange
	return out, nil
}
