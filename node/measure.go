package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
	"golang.org/x/sync/semaphore"
)

const (
	tasksAtOnce  = 8                // measurements that one node runs side by side; the others wait in order
	tasksWaiting = 64               // beyond this a node says that it is busy
	headPatience = 10 * time.Second // how long a task looks for a head: longer than any take-over
	headRetry    = 250 * time.Millisecond

	// placePatience is how long a place that nobody knows is looked for: a city whose first node has just
	// joined is in the DHT some tens of milliseconds later.
	placePatience = time.Second
)

// Errors that callers branch on. They are wrapped with what was tried and what came back.
var (
	ErrNoSuchPlace = errors.New("no such place")
	ErrNoCandidate = errors.New("no node there can be measured")
	ErrNoHead      = errors.New("no head of the own cluster answers")
	ErrBusy        = errors.New("too many measurements are waiting")
	ErrBadRequest  = errors.New("bad request")

	errStopping    = errors.New("the node is stopping")
	errStaleTicket = errors.New("the ticket's issuer does not lead any more")
)

// PlaceError says that a place has no live cluster, and which ones are alive.
type PlaceError struct {
	Place string
	Alive []string
}

func (e *PlaceError) Error() string {
	return fmt.Sprintf("no node in %q is online; alive: %s", e.Place, strings.Join(e.Alive, ", "))
}

// Is makes errors.Is(err, ErrNoSuchPlace) hold.
func (e *PlaceError) Is(target error) bool { return target == ErrNoSuchPlace }

// measurer is the initiator's side: the task queue (first in, first out; the paper's message queue), the
// look-up through the own head, the session, the result.
type measurer struct {
	core  *core
	host  *p2p.Host
	db    *store.DB
	find  *finder
	turn  *semaphore.Weighted
	queue chan struct{}
	id    identity
	seq   func() uint64 // of results, in this boot
	spool func()        // something was spooled
	life  life
	sessionStarter
}

// life ends when the node leaves: what it measures then ends with what it has.
type life struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func newLife() life {
	ctx, cancel := context.WithCancelCause(context.Background())
	return life{ctx, cancel}
}

// stop ends the running measurements, lets no other begin, and waits for the end of them or of ctx.
func (m *measurer) stop(ctx context.Context) {
	m.life.cancel(errStopping)
	_ = m.turn.Acquire(ctx, tasksAtOnce) // all turns are back when all have ended
}

// Measure is Node.Measure.
func (m *measurer) Measure(ctx context.Context, req Request) (*Measurement, error) {
	city, err := checkRequest(&req, func(c cluster.City) bool {
		return c == m.core.status.Load().City || len(m.find.known(ctx, c)) > 0
	})
	if err != nil {
		return nil, err
	}
	t := &task{req: req, city: city, way: way{start: time.Now()}, m: Measurement{
		ID: newTaskID(), To: req.To, Tool: req.Tool, Created: time.Now(), Status: probe.StatusFailed,
	}}
	select {
	case m.queue <- struct{}{}:
		defer func() { <-m.queue }()
	default:
		return nil, fmt.Errorf("%w: %d measurements wait on this node; ask again in a moment", ErrBusy, tasksWaiting)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(m.life.ctx, func() { cancel(errStopping) })()
	if err := m.turn.Acquire(ctx, 1); err != nil {
		return nil, stoppedError(ctx, "while it waited for its turn")
	}
	defer m.turn.Release(1)
	begun := m.recordBeside(t)
	err = m.run(ctx, t)
	begun()
	t.m.Updated = time.Now()
	if err := m.record(t, t.m.Status); err != nil {
		t.note("the task could not be recorded: %v", err)
	}
	return &t.m, err
}

// stoppedError says that somebody, or the node's end, stopped a measurement that has no result.
func stoppedError(ctx context.Context, when string) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errStopping):
		return fmt.Errorf("%w any more: it stopped %s", ErrNotRunning, when)
	case errors.Is(cause, context.Canceled):
		return fmt.Errorf("stopped %s: %w", when, cause)
	}
	return fmt.Errorf("its time was up %s: %w", when, cause)
}

// checkRequest fills defaults and says what makes no sense. alive tells cities that are known to be led.
func checkRequest(req *Request, alive func(cluster.City) bool) (cluster.City, error) {
	if req.Tool == "" {
		req.Tool = probe.ToolLatency
	}
	if _, ok := probe.ToolByName(req.Tool); !ok {
		var names []string
		for _, t := range probe.Tools() {
			names = append(names, t.Name)
		}
		return "", fmt.Errorf("%w: no tool %q; there is %s", ErrBadRequest, req.Tool, strings.Join(names, ", "))
	}
	if req.Params == (probe.Params{}) {
		req.Params = probe.DefaultParams()
	}
	if err := req.Params.Validate(); err != nil {
		return "", fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	if slug := cluster.City(locate.Slug(req.To)); alive(slug) {
		return slug, nil // alive under that very name: the table of cities is not needed
	}
	city, err := locate.City(req.To)
	if err != nil {
		return "", fmt.Errorf("%w: %q names no place: %w; say a city, as in --to wuhan", ErrBadRequest, req.To, err)
	}
	return cluster.City(city), nil
}

// task is one measurement under way.
type task struct {
	req  Request
	city cluster.City
	way  way
	m    Measurement
}

func (t *task) step(s Step) {
	t.m.Steps = append(t.m.Steps, s)
	if t.req.OnProgress != nil {
		t.req.OnProgress(Progress{Step: &s})
	}
}

func (t *task) note(format string, args ...any) {
	t.m.Notes = append(t.m.Notes, fmt.Sprintf(format, args...))
}

// run looks up candidates and tries them, and once more when a change of head came in between: the
// tickets of the old term are void then.
func (m *measurer) run(ctx context.Context, t *task) error {
	err := m.attempt(ctx, t)
	if errors.Is(err, errStaleTicket) && ctx.Err() == nil {
		t.note("the head of %s changed in between: looked up again", t.city)
		err = m.attempt(ctx, t)
	}
	return err
}

// attempt looks up candidates and tries them in order.
func (m *measurer) attempt(ctx context.Context, t *task) error {
	found, err := m.candidates(ctx, t)
	if err != nil {
		return err
	}
	var last error
	for _, c := range found {
		began := time.Now()
		result, err := m.session(ctx, t, &c)
		if result != nil {
			t.m.Results = append(t.m.Results, *result)
			t.m.Status = result.Status
			return nil
		}
		last = err
		t.step(Step{Stage: "session", AtMs: msSince(t.way.start), TookMs: msSince(began),
			Text: fmt.Sprintf("%s passed over: %v", short(c.Peer.ID), err)})
		t.note("candidate %s passed over: %v", p2p.IDText(c.Peer.ID), err)
		if ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return stoppedError(ctx, "before anything was measured")
	}
	return fmt.Errorf("%w: %s of %s tried, the last one said: %w", ErrNoCandidate, plural(len(found), "candidate"), t.city, last)
}

// candidates asks the own head, and asks again with the same task id while the head changes.
func (m *measurer) candidates(ctx context.Context, t *task) ([]candidate, error) {
	user := ctx
	ctx, cancel := context.WithTimeout(ctx, headPatience)
	defer cancel()
	req := &findRequest{Task: t.m.ID, City: t.city, Tool: t.req.Tool, PreferDHT: t.req.PreferDHT}
	var last error
	for {
		changed := m.core.turn.wait()
		began := time.Now()
		found, werr, err := m.askOwnHead(ctx, req)
		switch {
		case user.Err() != nil && (err != nil || werr != nil):
			return nil, stoppedError(user, "before anything was measured") // whatever broke off then is no fault of the far end
		case err != nil:
			last = err
		case werr == nil:
			m.steps(t, began, found)
			return found.Candidates, nil
		case werr.Code == codeNoSuchPlace && time.Since(t.way.start) > placePatience:
			return nil, &PlaceError{Place: t.req.To, Alive: werr.Alive}
		case werr.Code == codeNoSuchPlace:
			last = werr
		case werr.Code != codeNotHead:
			return nil, fmt.Errorf("%w: %w", ErrNoCandidate, werr)
		default:
			last = werr
		}
		retry := time.NewTimer(headRetry)
		select {
		case <-changed:
		case <-retry.C:
		case <-ctx.Done():
			retry.Stop()
			if user.Err() != nil {
				return nil, stoppedError(user, "before anything was measured")
			}
			return nil, fmt.Errorf("%w: asked for %v: %w", ErrNoHead, time.Since(t.way.start).Round(time.Millisecond), last)
		}
		retry.Stop()
	}
}

// askOwnHead asks over the network, or this node itself when it leads.
func (m *measurer) askOwnHead(ctx context.Context, req *findRequest) (*findAnswer, *wireError, error) {
	st := m.core.status.Load()
	if st.Leading {
		found, werr := m.find.find(ctx, m.host.ID(), m.id.admission(), req)
		return found, werr, nil
	}
	if m.id.transient && st.Role == cluster.RoleOrphan {
		found, werr := m.find.alone(ctx, m.id.admission(), req)
		return found, werr, nil
	}
	if st.High == nil {
		return nil, nil, errors.New("this node knows no head yet")
	}
	ask, stop := m.core.whileHeadIs(ctx, st.High.Head)
	defer stop()
	answer, err := askTask(ask, m.host, headOf(st.High), &taskRequest{Version: WireVersion, Find: req})
	if err != nil {
		return nil, nil, fmt.Errorf("head %s: %w", short(st.High.Head), err)
	}
	if !answer.Lead.Empty() {
		m.core.put(ctx, cluster.Learned{Lead: answer.Lead})
	}
	if found := answer.Found; found != nil {
		found.Candidates = found.Candidates[:min(len(found.Candidates), candidateCount)]
		found.Steps = found.Steps[:min(len(found.Steps), maxSteps)]
	}
	if answer.Error == nil && (answer.Found == nil || len(answer.Found.Candidates) == 0) {
		return nil, nil, fmt.Errorf("head %s answered nothing", short(st.High.Head))
	}
	return answer.Found, answer.Error, nil
}

// steps puts the head's account of the look-up into the task's own time.
func (m *measurer) steps(t *task, began time.Time, found *findAnswer) {
	offset := msSince(t.way.start) - msSince(began)
	head := m.core.status.Load()
	switch {
	case head.Leading:
		t.step(Step{Stage: "head", AtMs: offset, Text: "this node leads its cluster and looks itself", Found: true})
	case head.High == nil || m.id.transient && head.Role == cluster.RoleOrphan:
		t.step(Step{Stage: "head", AtMs: offset, Text: fmt.Sprintf("no head of %s answers: this node looks itself", head.City)})
		t.note("%s has no head: the registry does not get this result, since only heads deliver", head.City)
	default:
		t.step(Step{Stage: "head", AtMs: offset, TookMs: msSince(began), Found: true,
			Text: fmt.Sprintf("asked own head %s (term %s)", short(head.High.Head), head.Term)})
	}
	for _, s := range found.Steps {
		t.step(Step{Stage: s.Stage, Text: s.Text, Found: s.Found, AtMs: offset + float64(s.At)/1000, TookMs: float64(s.Took) / 1000})
	}
}

// row is the task as the store keeps it.
func (t *task) row(status string) store.Task {
	return store.Task{ID: t.m.ID, Request: cluster.Marshal(findRequest{Task: t.m.ID, City: t.city, Tool: t.req.Tool}),
		Status: status, Created: t.m.Created, Updated: time.Now()}
}

// record keeps the task's state; losing it costs only history.
func (m *measurer) record(t *task, status string) error {
	keys := make([]probe.Key, len(t.m.Results))
	for i := range t.m.Results {
		keys[i] = t.m.Results[i].Key
	}
	row := t.row(status)
	row.Keys = keys
	return m.db.PutTask(row)
}

// recordBeside records that the task runs, while it runs already: no packet waits for the disk. The
// function that it returns joins it.
func (m *measurer) recordBeside(t *task) (wait func()) {
	begun := t.row("running")
	var wg sync.WaitGroup
	wg.Go(func() { _ = m.db.PutTask(begun) }) // the record of its end comes in any case
	return wg.Wait
}

func newTaskID() string {
	var b [12]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

func msSince(t time.Time) float64 { return float64(time.Since(t).Microseconds()) / 1000 }
