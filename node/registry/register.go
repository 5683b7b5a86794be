package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
)

// maxRegister bounds a frame of the register protocol: an answer carries 32
// Leads of 2 KiB beside the caller's own objects. Requests are bounded by
// cluster.MaxMessage.
const maxRegister = 256 << 10

// serveRegister answers the requests on one stream of the register protocol.
func (s *server) serveRegister(ctx context.Context, r p2p.Remote, stream *p2p.Stream) error {
	for {
		frame, err := stream.ReadFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, known := s.roster.node(r.ID); !known && !s.limiter.allow(r.Addr.Addr(), time.Now()) {
			return s.turnAway(stream, r, refusal(cluster.CodeTooSoon,
				"too many requests from %s: try again in a minute", r.Addr.Addr()))
		}
		req, err := cluster.DecodeRequest(frame)
		if err != nil {
			return s.turnAway(stream, r, refusal(cluster.CodeMalformed, "%s", err))
		}
		if req.Kind == p2p.KindJoin {
			err = stream.WriteMsg(s.joinSigned)
		} else {
			err = stream.WriteMsg(s.answer(ctx, r, req))
		}
		if err != nil {
			return err
		}
	}
}

// turnAway answers with a refusal and ends the stream.
func (s *server) turnAway(stream *p2p.Stream, r p2p.Remote, no *cluster.WireError) error {
	s.log.Debug("request refused", "peer", r.ID.Short(), "from", r.Addr, "why", no.Message)
	return stream.WriteMsg(refused(no))
}

func refused(no *cluster.WireError) *cluster.Answer {
	return &cluster.Answer{Version: cluster.Version, Error: no}
}

// answer decides one request. What it says is durable.
func (s *server) answer(ctx context.Context, r p2p.Remote, req *cluster.Request) *cluster.Answer {
	// The desk's, which may still be at it when ctx has ended.
	var decided *cluster.Answer
	var list []cluster.Peer
	deserted := false
	placed := s.placeRequest(r, req)
	err := s.desk.ask(ctx, func(now int64, t *cluster.Table) (*cluster.Changes, error) {
		var changes cluster.Changes
		var err error
		t.SetQuiet(s.isQuiet())
		switch req.Kind {
		case cluster.CallRegister:
			if decided, changes, err = s.register(now, t, r, req, placed); err == nil && decided != nil && decided.Error == nil {
				list, deserted = s.deserted(now, t, r, req)
			}
		case cluster.CallPropose:
			decided, changes, err = t.Propose(now, r.ID, req)
		case cluster.CallTakeover:
			decided, changes, err = t.Takeover(now, r.ID, req)
		case cluster.CallReport:
			decided, changes, err = t.Report(now, r.ID, req)
		default:
			err = refusal(cluster.CodeMalformed, "request of unknown kind %.32q", string(req.Kind))
		}
		return &changes, err
	})
	answer := new(cluster.Answer)
	if err == nil {
		if answer = decided; answer == nil {
			err = errors.New("the table gave no answer")
		}
	}
	if err == nil && deserted {
		if better := s.rebirth(ctx, r, req, list); better != nil {
			answer = better
		}
	}
	if err != nil {
		var no *cluster.WireError
		switch {
		case errors.As(err, &no):
		case errors.Is(err, errNotStored), errors.Is(err, ErrNotRunning), ctx.Err() != nil:
			no = refusal(cluster.CodeInternal, "%s: try again later", err)
		default:
			no = refusal(cluster.CodeMalformed, "%s", err)
		}
		answer = refused(no)
	}
	switch {
	case answer.Error != nil:
		s.refusedAudit(r, req, answer.Error)
	case req.Kind != cluster.CallRegister: // from a head that leads
		s.roster.hear(time.Now().UnixMilli(), r.ID, req.Living)
		s.suggest(r.ID)
	}
	return answer
}

// register places the node and admits it. It runs at the desk.
func (s *server) register(now int64, t *cluster.Table, r p2p.Remote, req *cluster.Request, placed placed) (*cluster.Answer, cluster.Changes, error) {
	none := cluster.Changes{}
	if r.ID == s.info.ID {
		return nil, none, refusal(cluster.CodeMalformed, "a node with the registry's own key: make another data directory for it")
	}
	ip := r.Addr.Addr().Unmap()
	before, known := s.roster.node(r.ID)
	place := placed.answer
	city := cluster.City(place.City)
	class, no := s.doorman.admit(now, r.ID, ip, r.Local.Addr().Unmap(), req, city)
	if no != nil {
		return refused(no), none, nil
	}
	answer, changes, err := t.RegisterAt(now, r.ID, req, cluster.Placement{City: city, Place: place.Place(), Class: class,
		About: aboutOf(place, s.places.light.doubt(r.ID, city))})
	if err != nil || answer == nil || answer.Error != nil {
		return answer, changes, err
	}
	s.roster.keepObserved(changes.Nodes)
	for i := range changes.Nodes {
		if changes.Nodes[i].ID == r.ID {
			changes.Nodes[i].Observed, changes.Nodes[i].Evidence = ip.String(), placed.evidence
		}
	}
	s.roster.expect(changes.Nodes)
	for _, n := range changes.Nodes {
		if n.ID != r.ID || known && before.serial == n.Serial {
			continue
		}
		s.audit.add(store.AuditEntry{
			At: time.UnixMilli(now), Actor: p2p.IDText(r.ID), Action: auditAdmit, Object: string(city),
			Answer: fmt.Sprintf("%s, class %s, serial %d", place.Place(), class, n.Serial), From: r.Addr.String(),
		})
		s.log.Info("node admitted", "peer", r.ID.Short(), "city", city, "place", place.Place(), "class", class, "from", r.Addr)
		if place.Note != "" {
			s.log.Info("about its place", "peer", r.ID.Short(), "note", place.Note)
		}
	}
	return answer, changes, nil
}

// refusedAudit writes down who was refused. Calls that come too soon, or from
// a head that another has replaced, are everyday life and not refusals.
func (s *server) refusedAudit(r p2p.Remote, req *cluster.Request, no *cluster.WireError) {
	s.log.Debug("request refused", "kind", req.Kind, "peer", r.ID.Short(), "from", r.Addr, "code", no.Code, "why", no.Message)
	if no.Code == cluster.CodeTooSoon || no.Code == cluster.CodeNotHead || no.Code == cluster.CodeInternal {
		return
	}
	s.audit.add(store.AuditEntry{
		At: time.Now(), Actor: p2p.IDText(r.ID), Action: auditRefuse, Object: string(req.Kind),
		Answer: no.Code + ": " + no.Message, From: r.Addr.String(),
	})
}

// noteChanges follows the table: heads that are new, nodes that are barred. It
// runs at the desk and must not block.
func (s *server) noteChanges(c cluster.Changes) {
	for _, h := range c.Heads {
		late := ""
		if h.Late {
			late = " (heard of late: a higher term was known)"
		}
		s.audit.add(store.AuditEntry{
			At: time.UnixMilli(h.At), Actor: p2p.IDText(h.Head), Action: auditHead, Object: string(h.City),
			Answer: fmt.Sprintf("shard %d, term %s: %s%s", h.Term.Shard, h.Term, h.Reason, late),
		})
		s.log.Info("head", "city", h.City, "shard", h.Term.Shard, "head", h.Head.Short(), "term", h.Term, "reason", h.Reason, "late", h.Late)
		if now, ok := s.roster.head(h.City, h.Term.Shard); ok && now.head.ID == h.Head && len(now.head.Addrs) > 0 {
			s.dht.AddPeers([]cluster.Peer{now.head})
		}
	}
	if !c.Barred.Empty() {
		s.applyBarred(c.Barred)
	}
}

func (s *server) applyBarred(raw cluster.Signed) {
	b, err := s.trust.Barred(raw)
	if err != nil {
		s.log.Error("list of barred nodes not used", "err", err)
		return
	}
	s.host.SetBarred(b.IDs)
}
