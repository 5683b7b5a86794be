package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// The local API, version 1: HTTP on the control socket. Who may open the socket is the user that runs the
// node: the file mode says so.
//
//	GET    /v1/status             Status
//	GET    /v1/nodes              [NodeInfo]
//	GET    /v1/clusters           [ClusterInfo]
//	GET    /v1/results?...        ResultPage (from, to, limit, after)
//	PUT    /v1/drain              ask the node not to lead
//	DELETE /v1/drain              take that back
//	POST   /v1/measurements/{id}  Request -> lines of JSON: Progress ..., then {"done": Measurement} or {"error": apiError}
//	DELETE /v1/measurements/{id}  stop it: what was measured still comes as "done"

const (
	maxAPIRequest = 64 << 10         // bytes of a request's body
	apiHeaderWait = 5 * time.Second  // a local client that sends no header for so long is stuck
	apiLines      = 1024             // lines of progress that wait for a slow client: a second at the highest rate
	apiStall      = 10 * time.Second // a client that takes nothing for so long is not written to any more
	apiShutdown   = 2 * time.Second  // running requests may finish when the node leaves
)

// apiError is an error on the local API. Codes name this package's sentinels.
type apiError struct {
	Code    string       `json:"code"`
	Message string       `json:"message"`
	Place   string       `json:"place,omitempty"`
	Alive   []string     `json:"alive,omitempty"`
	Partial *Measurement `json:"partial,omitempty"` // the way that was taken until it failed
}

// apiLine is one line of a running measurement.
type apiLine struct {
	*Progress
	Done  *Measurement `json:"done,omitempty"`
	Error *apiError    `json:"error,omitempty"`
}

// apiCodes maps sentinels to codes and back.
var apiCodes = []struct {
	code   string
	err    error
	status int
}{
	{"no-such-place", ErrNoSuchPlace, http.StatusNotFound},
	{"no-candidate", ErrNoCandidate, http.StatusBadGateway},
	{"no-head", ErrNoHead, http.StatusBadGateway},
	{"busy", ErrBusy, http.StatusTooManyRequests},
	{"bad-request", ErrBadRequest, http.StatusBadRequest},
	{"not-running", ErrNotRunning, http.StatusServiceUnavailable},
	{"stopped", context.Canceled, http.StatusServiceUnavailable},
	{"timeout", context.DeadlineExceeded, http.StatusGatewayTimeout},
}

func toAPIError(err error) (*apiError, int) {
	out := &apiError{Code: "internal", Message: err.Error()}
	status := http.StatusInternalServerError
	for _, c := range apiCodes {
		if errors.Is(err, c.err) {
			out.Code, status = c.code, c.status
			break
		}
	}
	var place *PlaceError
	if errors.As(err, &place) {
		out.Place, out.Alive = place.Place, place.Alive
	}
	return out, status
}

// remoteError is an error that came over the local API: it reads as it was said, and errors.Is finds the
// sentinel.
type remoteError struct {
	text string
	is   error
}

func (e *remoteError) Error() string { return e.text }
func (e *remoteError) Unwrap() error { return e.is }

func (e *apiError) err() error {
	if e.Code == "no-such-place" && e.Place != "" {
		return &PlaceError{Place: e.Place, Alive: e.Alive}
	}
	for _, c := range apiCodes {
		if c.code == e.Code {
			return &remoteError{text: e.Message, is: c.err}
		}
	}
	return errors.New(e.Message)
}

// controlServer serves the local API of one peer.
type controlServer struct {
	api API
	mu  sync.Mutex
	run map[string]context.CancelFunc // measurements under way, by id
}

// openControl binds the socket, unless the configuration says that there is none.
func (p *peer) openControl() (net.Listener, func(), error) {
	if p.cfg.NoControl {
		return nil, func() {}, nil
	}
	return listenControl(p.cfg.Data)
}

// serveControl answers until ctx ends.
func (p *peer) serveControl(ctx context.Context, ln net.Listener) error {
	c := &controlServer{api: local{p}, run: map[string]context.CancelFunc{}}
	server := &http.Server{Handler: c.routes(), ReadHeaderTimeout: apiHeaderWait,
		BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	select {
	case err := <-done:
		return fmt.Errorf("local API: %w", err)
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), apiShutdown)
	defer cancel()
	err := server.Shutdown(bound)
	if err != nil {
		server.Close()
	}
	<-done
	return nil
}

func (c *controlServer) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/status", answer(func(r *http.Request) (Status, error) { return c.api.Status(r.Context()) }))
	mux.HandleFunc("GET /v1/nodes", answer(func(r *http.Request) ([]NodeInfo, error) { return c.api.Nodes(r.Context()) }))
	mux.HandleFunc("GET /v1/clusters", answer(func(r *http.Request) ([]ClusterInfo, error) { return c.api.Clusters(r.Context()) }))
	mux.HandleFunc("GET /v1/results", answer(func(r *http.Request) (ResultPage, error) {
		q, err := parseResultQuery(r.URL.Query())
		if err != nil {
			return ResultPage{}, err
		}
		return c.api.Results(r.Context(), q)
	}))
	mux.HandleFunc("PUT /v1/drain", c.drain(true))
	mux.HandleFunc("DELETE /v1/drain", c.drain(false))
	mux.HandleFunc("POST /v1/measurements/{id}", c.measure)
	mux.HandleFunc("DELETE /v1/measurements/{id}", c.cancel)
	return mux
}

// answer is a handler that sends what f returns.
func answer[T any](f func(*http.Request) (T, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := f(r)
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			e, status := toAPIError(err)
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(apiLine{Error: e})
			return
		}
		json.NewEncoder(w).Encode(v)
	}
}

// measure runs one measurement and sends what happens as it happens. When the client goes away, the
// measurement ends; when it only does not read, the measurement goes on.
func (c *controlServer) measure(w http.ResponseWriter, r *http.Request) {
	fail := func(status int, e *apiError) {
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(apiLine{Error: e})
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	var req Request
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxAPIRequest)) // all of it: only then is a client missed that goes away
	if err == nil {
		err = json.Unmarshal(body, &req)
	}
	if err != nil {
		fail(http.StatusBadRequest, &apiError{Code: "bad-request", Message: "request is not JSON as expected: " + err.Error()})
		return
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	id := r.PathValue("id")
	if !c.begin(id, cancel) {
		fail(http.StatusConflict, &apiError{Code: "bad-request", Message: "measurement " + id + " is running: give each an id of its own"})
		return
	}
	defer c.end(id)
	out := newLineWriter(w)
	req.OnProgress = out.progress
	m, err := c.api.Measure(ctx, req)
	last := apiLine{Done: m}
	if err != nil {
		e, _ := toAPIError(err)
		e.Partial = m
		last = apiLine{Error: e}
	}
	out.finish(last)
}

// drain asks the node not to lead, or takes that back.
func (c *controlServer) drain(on bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := c.api.Drain(r.Context(), on); err != nil {
			e, status := toAPIError(err)
			w.WriteHeader(status)
			json.NewEncoder(w).Encode(apiLine{Error: e})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}

// begin books a measurement under its id; false: there is one.
func (c *controlServer) begin(id string, cancel context.CancelFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.run[id] != nil {
		return false
	}
	c.run[id] = cancel
	return true
}

func (c *controlServer) end(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.run, id)
}

// lineWriter sends lines to a client from a goroutine of its own, so that a slow one does not hold up what
// is being measured. Progress that does not fit its queue is left out; the last line has everything.
type lineWriter struct {
	lines chan apiLine
	ended chan struct{}
}

func newLineWriter(w http.ResponseWriter) *lineWriter {
	l := &lineWriter{lines: make(chan apiLine, apiLines), ended: make(chan struct{})}
	go l.run(w)
	return l
}

func (l *lineWriter) progress(p Progress) {
	select {
	case l.lines <- apiLine{Progress: &p}:
	default:
	}
}

func (l *lineWriter) run(w http.ResponseWriter) {
	defer close(l.ended)
	enc, control := json.NewEncoder(w), http.NewResponseController(w)
	var broken error
	for line := range l.lines {
		if broken != nil {
			continue
		}
		control.SetWriteDeadline(time.Now().Add(apiStall))
		if broken = enc.Encode(line); broken == nil {
			broken = control.Flush()
		}
	}
}

// finish sends the last line and joins the goroutine.
func (l *lineWriter) finish(last apiLine) {
	l.lines <- last
	close(l.lines)
	<-l.ended
}

func (c *controlServer) cancel(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	cancel := c.run[r.PathValue("id")]
	c.mu.Unlock()
	if cancel == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	cancel()
	w.WriteHeader(http.StatusNoContent)
}

// local is a peer as the API sees it.
type local struct{ *peer }

func (l local) Measure(ctx context.Context, req Request) (*Measurement, error) {
	return l.roles.measure.Measure(ctx, req)
}
func (l local) Drain(ctx context.Context, on bool) error      { return l.drain(ctx, on) }
func (l local) Status(context.Context) (Status, error)        { return l.status(), nil }
func (l local) Nodes(ctx context.Context) ([]NodeInfo, error) { return l.roles.view.Nodes(ctx) }
func (l local) Clusters(ctx context.Context) ([]ClusterInfo, error) {
	return l.roles.view.Clusters(ctx)
}
func (l local) Results(_ context.Context, q ResultQuery) (ResultPage, error) { return l.results(q) }
