package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"
)

const (
	askTimeout     = 2 * time.Second // one head asks another: a dial and one answer
	findTimeout    = 8 * time.Second // table, DHT and the certificate's list, each with its own limit
	candidateCount = 4               // so many ranked candidates answer a question
	lookupsAtOnce  = 16              // look-ups that a head runs side by side; the others wait in order
	lookupsWaiting = 256             // beyond this a head says that it is busy
	maxAlive       = 200             // cities that an answer names, by the alphabet: more help nobody, and it has to fit a frame
	maxSteps       = 64              // steps of a look-up that are believed: a way has about ten

	// Tickets a second that a head issues to one other head for guests. Nodes of the operator's own are
	// bounded by that head's queue.
	guestTickets = 20
	askersKept   = 4096 // asking heads whose budget is remembered, at 100 bytes each
)

// finder answers "who can be measured in this place": the head's side of the two-phase look-up (paper
// section 2.3): own cluster, own table of heads, the DHT, the remote head.
type finder struct {
	core  *core
	host  *p2p.Host
	dht   *dhtRole
	turn  *semaphore.Weighted // first in, first out
	queue chan struct{}
	guest ticketBudget
	turns atomic.Uint64 // of heads that are asked: see spread
}

// ticketBudget bounds the tickets that each asking head gets.
type ticketBudget struct {
	mu  sync.Mutex
	lru *simplelru.LRU[cluster.ID, *rate.Limiter]
}

// take takes n tickets out of a head's budget, if they are there.
func (b *ticketBudget) take(head cluster.ID, n int, at time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.lru == nil {
		b.lru, _ = simplelru.NewLRU[cluster.ID, *rate.Limiter](askersKept, nil) // fails only for a size below 1
	}
	l, ok := b.lru.Get(head)
	if !ok {
		l = rate.NewLimiter(guestTickets, guestTickets)
		b.lru.Add(head, l)
	}
	return l.AllowN(at, n)
}

func newFinder(c *core, host *p2p.Host, dht *dhtRole) *finder {
	return &finder{core: c, host: host, dht: dht,
		turn: semaphore.NewWeighted(lookupsAtOnce), queue: make(chan struct{}, lookupsWaiting)}
}

// way records the steps of one look-up.
type way struct {
	start time.Time
	steps []wireStep
}

func (w *way) add(began time.Time, stage string, found bool, format string, args ...any) {
	w.steps = append(w.steps, wireStep{
		Stage: stage, Text: fmt.Sprintf(format, args...), Found: found,
		Took: time.Since(began).Microseconds(), At: time.Since(w.start).Microseconds(),
	})
}

// find looks a place up for one of this head's members (or for itself).
func (f *finder) find(ctx context.Context, initiator cluster.ID, admission cluster.Signed, req *findRequest) (*findAnswer, *wireError) {
	select {
	case f.queue <- struct{}{}:
		defer func() { <-f.queue }()
	default:
		return nil, refuse(codeBusy, "the head has %d look-ups waiting: ask again in a moment", lookupsWaiting)
	}
	ctx, cancel := context.WithTimeout(ctx, findTimeout)
	defer cancel()
	if err := f.turn.Acquire(ctx, 1); err != nil {
		return nil, refuse(codeBusy, "the head did not come to this look-up within %v", findTimeout)
	}
	defer f.turn.Release(1)

	w := &way{start: time.Now()}
	began := time.Now()
	st := f.core.status.Load()
	if !st.Leading {
		return nil, refuse(codeNotHead, "this node does not lead %s", st.City)
	}
	if req.City == st.City {
		found, werr := f.own(ctx, initiator, req.Tool)
		if werr == nil {
			w.add(began, "own-cluster", true, "%s is this cluster: %s", req.City, plural(len(found), "candidate"))
			return &findAnswer{Candidates: found, Steps: w.steps}, nil
		}
		if st.Shards < 2 || werr.Code != codeNoCandidate {
			return nil, werr
		}
		w.add(began, "own-cluster", false, "nobody else of this shard of %s is online", req.City)
	} else {
		w.add(began, "own-cluster", false, "%s is not this cluster (%s)", req.City, st.City)
	}
	found, werr := f.elsewhere(ctx, w, admission, req)
	if werr != nil {
		return nil, werr
	}
	return &findAnswer{Candidates: found, Steps: w.steps}, nil
}

// alone looks a place up for a transient node whose city has no head: among the heads that the registry
// named when it registered.
func (f *finder) alone(ctx context.Context, admission cluster.Signed, req *findRequest) (*findAnswer, *wireError) {
	t := f.newTrail(&way{start: time.Now()}, admission, req)
	known := f.known(ctx, req.City)
	if len(known) == 0 {
		return nil, f.noSuchPlace(ctx, req.City)
	}
	for _, h := range known {
		t.way.add(t.way.start, "table", true, "head of %s as the registry named it: %s", shardName(h), short(h.Lead.Head))
		if found := t.try(ctx, h.Raw, "registry"); len(found) > 0 {
			return &findAnswer{Candidates: found, Steps: t.way.steps}, nil
		}
	}
	if t.last == nil {
		return nil, refuse(codeUnreachable, "the head of %s that the registry named has no address", req.City)
	}
	return nil, t.last
}

// own picks candidates among this head's members and writes their tickets. A head that is unsure whether it still leads
// knows in a second.
func (f *finder) own(ctx context.Context, initiator cluster.ID, tool string) (found []candidate, werr *wireError) {
	for {
		turned, unsure := f.core.turn.wait(), false
		found, werr, unsure = f.pick(ctx, initiator, tool)
		if !unsure {
			return found, werr
		}
		select {
		case <-turned:
		case <-ctx.Done():
			return nil, werr
		case <-f.core.done:
			return nil, werr
		}
	}
}

func (f *finder) pick(ctx context.Context, initiator cluster.ID, tool string) (found []candidate, werr *wireError, unsure bool) {
	ok := f.core.ask(ctx, func(m *cluster.Machine, at cluster.Instant) {
		if !m.Status().Leading {
			werr = refuse(codeNotHead, "this node does not lead %s any more", m.Status().City)
			return
		}
		picked, err := m.Pick(at, candidateCount, initiator)
		if err != nil {
			werr, unsure = refuse(codeBusy, "%v", err), errors.Is(err, cluster.ErrUnsure)
			return
		}
		for _, p := range picked {
			ticket, err := m.IssueTicket(p, initiator, tool, newSessionID(), cluster.TicketLimits{})
			if err != nil {
				werr = refuse(codeRefused, "no ticket: %v", err)
				return
			}
			f.core.events.ticket("ticket", ticket, m.Status().Term, "")
			found = append(found, candidate{
				Peer: cluster.Peer{ID: p.Row.ID, Addrs: p.Row.Addrs}, Admission: p.Row.Admission, Ticket: ticket,
			})
		}
	})
	switch {
	case !ok:
		return nil, refuse(codeBusy, "the head is stopping"), false
	case werr != nil:
		return nil, werr, unsure
	case len(found) == 0:
		return nil, refuse(codeNoCandidate, "no other node of %s is online", f.core.status.Load().City), false
	}
	return found, nil, false
}

// askHead asks one remote head for candidates.
func (f *finder) askHead(ctx context.Context, peer cluster.Peer, admission cluster.Signed, req *findRequest) ([]candidate, cluster.Signed, *wireError) {
	ask := &askRequest{Task: req.Task, Initiator: admission, City: req.City, Tool: req.Tool}
	if st := f.core.status.Load(); st.Leading {
		ask.Lead = st.HighRaw
	}
	answer, err := askTask(ctx, f.host, peer, &taskRequest{Version: WireVersion, Ask: ask})
	if err != nil {
		return nil, cluster.Signed{}, refuse(codeUnreachable, "not reached: %v", err)
	}
	if answer.Error != nil {
		return nil, answer.Lead, answer.Error
	}
	if answer.Found == nil || len(answer.Found.Candidates) == 0 || len(answer.Found.Candidates) > candidateCount {
		return nil, cluster.Signed{}, refuse(codeBadRequest, "it answered without candidates")
	}
	if !answer.Lead.Empty() {
		f.core.put(ctx, cluster.Learned{Lead: answer.Lead})
	}
	return answer.Found.Candidates, answer.Lead, nil
}

// askTask sends one request on a task stream of its own.
func askTask(ctx context.Context, host *p2p.Host, peer cluster.Peer, req *taskRequest) (*taskAnswer, error) {
	limit := askTimeout
	if req.Find != nil {
		limit = findTimeout + askTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stream, err := host.Open(ctx, peer, p2p.ProtoTask, maxTaskFrame)
	if err != nil {
		return nil, err
	}
	defer stream.ResetOn(ctx)()
	answer := new(taskAnswer)
	if err = stream.WriteMsg(req); err == nil {
		err = stream.ReadMsg(answer)
	}
	if err == nil {
		stream.Close()
		return answer, nil
	}
	stream.Reset()
	if cause := context.Cause(ctx); errors.Is(cause, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no answer within %v: %w", limit, cause)
	} else if cause != nil {
		return nil, cause
	}
	return nil, err
}

func (f *finder) known(ctx context.Context, city cluster.City) (known []cluster.KnownHead) {
	f.core.ask(ctx, func(m *cluster.Machine, _ cluster.Instant) { known = m.HeadsOf(city) })
	return known
}

// noSuchPlace names the cities that are alive, as far as this head knows.
func (f *finder) noSuchPlace(ctx context.Context, city cluster.City) *wireError {
	var alive []string
	if st := f.core.status.Load(); st.Role != cluster.RoleOrphan {
		alive = append(alive, string(st.City))
	}
	f.core.ask(ctx, func(m *cluster.Machine, _ cluster.Instant) {
		for _, h := range m.Heads() {
			if !slices.Contains(alive, string(h.City)) {
				alive = append(alive, string(h.City))
			}
		}
	})
	slices.Sort(alive)
	return &wireError{Code: codeNoSuchPlace, Alive: alive[:min(len(alive), maxAlive)],
		Message: fmt.Sprintf("no cluster %q is alive; %d are", city, len(alive))}
}

// serve answers a task stream.
func (f *finder) serve(ctx context.Context, r p2p.Remote, s *p2p.Stream) error {
	var req taskRequest
	if err := s.ReadMsg(&req); err != nil {
		return fmt.Errorf("task request: %w", err)
	}
	return s.WriteMsg(f.answer(ctx, r, &req))
}

func (f *finder) answer(ctx context.Context, r p2p.Remote, req *taskRequest) *taskAnswer {
	st := f.core.status.Load()
	out := &taskAnswer{Lead: st.HighRaw}
	switch {
	case req.Version != WireVersion:
		out.Error = refuse(codeBadRequest, "task protocol version %d is not spoken here (%d is)", req.Version, WireVersion)
	case req.View != nil:
		out.View, out.Error = f.view(ctx, req.View)
	case !st.Leading:
		out.Error = refuse(codeNotHead, "this node does not lead %s", st.City)
	case req.Find != nil:
		if r.Admission.City != st.City {
			out.Error = refuse(codeRefused, "a node of %s asks its own head, not the head of %s", r.Admission.City, st.City)
			break
		}
		out.Found, out.Error = f.find(ctx, r.ID, r.AdmissionRaw, req.Find)
	case req.Ask != nil:
		out.Found, out.Error = f.asked(ctx, r, req.Ask)
	default:
		out.Error = refuse(codeBadRequest, "the request asks nothing")
	}
	return out
}

// asked answers another head. The Lead that it shows is news for the table of heads.
func (f *finder) asked(ctx context.Context, r p2p.Remote, req *askRequest) (*findAnswer, *wireError) {
	st := f.core.status.Load()
	if req.City != st.City {
		return nil, refuse(codeNotHead, "this head leads %s, not %s", st.City, req.City)
	}
	var judged error
	if !f.core.ask(ctx, func(m *cluster.Machine, _ cluster.Instant) { judged = m.JudgeRequester(req.Lead, req.Initiator) }) {
		return nil, refuse(codeBusy, "the head is stopping")
	}
	if judged != nil {
		return nil, refuse(codeRefused, "request refused: %v", judged)
	}
	initiator, werr := f.requester(r.ID, req)
	if werr != nil {
		return nil, werr
	}
	if initiator.Class != cluster.ClassOwn && !f.guest.take(r.ID, candidateCount, time.Now()) {
		return nil, refuse(codeBusy, "%s has used up its %d tickets a second for guests: ask again in a second", short(r.ID), guestTickets)
	}
	if !req.Lead.Empty() {
		f.core.put(ctx, cluster.Learned{Lead: req.Lead})
	}
	found, werr := f.own(ctx, initiator.ID, req.Tool)
	if werr != nil {
		return nil, werr
	}
	return &findAnswer{Candidates: found}, nil
}

// requester is who wants to measure, if the one that asks may ask for him: the head of his city, or he
// himself where he is transient and shows no head (JudgeRequester lets only a transient node do that).
func (f *finder) requester(asking cluster.ID, req *askRequest) (*cluster.Admission, *wireError) {
	initiator, err := f.dht.trust.Admission(req.Initiator)
	if err != nil {
		return nil, refuse(codeRefused, "request refused: the initiator's admission: %v", err)
	}
	if req.Lead.Empty() {
		if initiator.ID != asking {
			return nil, refuse(codeRefused, "request refused: a node without a head asks for itself only")
		}
		return initiator, nil
	}
	lead, _, err := f.dht.trust.Lead(req.Lead)
	if err != nil || lead.Head != asking {
		return nil, refuse(codeRefused, "request refused: the Lead shown is not the asking head's")
	}
	if initiator.City != lead.City {
		return nil, refuse(codeRefused, "request refused: the initiator is not a member of the asking head's city")
	}
	return initiator, nil
}

// plural is "1 candidate", "2 candidates".
func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return fmt.Sprintf("%d %ss", n, word)
}

// short is the end of a peer id, enough to tell nodes apart in a sentence.
func short(id cluster.ID) string {
	text := p2p.IDText(id)
	if len(text) <= shortLen {
		return text
	}
	return "…" + text[len(text)-shortLen:]
}

const shortLen = 8 // characters of base58: one in 10^14
