package registry

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

const (
	// recallAtOnce bounds the connections to nodes that are recalled: a city's
	// worth of them comes back within seconds, and not at the same moment.
	recallAtOnce = 16
	// recallTimeout is a dial, a frame and its answer.
	recallTimeout = 5 * time.Second
)

// recall asks nodes to register again. Who is not reached does so by itself, at
// its next start or within the hour.
func (s *server) recall(ctx context.Context, to []cluster.Peer) {
	var g errgroup.Group
	g.SetLimit(recallAtOnce)
	for _, peer := range to {
		g.Go(func() error {
			ctx, cancel := context.WithTimeout(ctx, recallTimeout)
			defer cancel()
			if err := s.recallOne(ctx, peer); err != nil {
				s.log.Debug("not recalled: it registers by itself later", "peer", peer.ID.Short(), "err", err)
			}
			return nil
		})
	}
	_ = g.Wait() // none of them fails
}

func (s *server) recallOne(ctx context.Context, peer cluster.Peer) error {
	stream, err := s.host.Open(ctx, peer, p2p.ProtoRecall, p2p.RecallFrame)
	if err != nil {
		return err
	}
	defer stream.ResetOn(ctx)()
	if err = stream.WriteMsg(&p2p.RecallMsg{Version: p2p.RecallVersion}); err == nil {
		err = stream.ReadMsg(new(p2p.RecallMsg))
	}
	if err != nil {
		stream.Reset()
		return err
	}
	return stream.Close()
}
