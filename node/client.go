package node

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	clientDial   = 2 * time.Second             // to a socket on this machine
	clientFinish = finishTimeout + time.Second // after a stop: the node fetches the target's statement first
	clientAgain  = 20 * time.Millisecond       // a stop that overtook its request
	maxAPILine   = 16 << 20                    // a measurement with a hundred thousand samples
)

// Client talks to a node that runs in another process of this user.
type Client struct {
	path string
	http *http.Client
}

// Dial checks that a node listens on a control socket (see ControlPath, FindSockets).
func Dial(path string) (*Client, error) {
	conn, err := net.DialTimeout("unix", path, clientDial)
	if err != nil {
		return nil, fmt.Errorf("no node answers on %s: %w; start one with `peerprobe join`", path, err)
	}
	conn.Close()
	dialer := &net.Dialer{Timeout: clientDial}
	transport := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dialer.DialContext(ctx, "unix", path) },
		DisableKeepAlives: true, // a command asks once and ends
	}
	return &Client{path: path, http: &http.Client{Transport: transport}}, nil
}

// Status is what the node says of itself.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.get(ctx, "/v1/status", &s)
}

// Nodes lists the live nodes of all clusters that the node's head knows.
func (c *Client) Nodes(ctx context.Context) (l []NodeInfo, err error) {
	return l, c.get(ctx, "/v1/nodes", &l)
}

// Clusters lists the clusters that the node's head knows.
func (c *Client) Clusters(ctx context.Context) (l []ClusterInfo, err error) {
	return l, c.get(ctx, "/v1/clusters", &l)
}

// Results pages through the results that the node keeps.
func (c *Client) Results(ctx context.Context, q ResultQuery) (page ResultPage, err error) {
	return page, c.get(ctx, "/v1/results?"+q.values().Encode(), &page)
}

// Drain asks the node not to lead, or takes that back: see Node.Drain.
func (c *Client) Drain(ctx context.Context, on bool) error {
	method := http.MethodPut
	if !on {
		method = http.MethodDelete
	}
	resp, err := c.do(ctx, method, "/v1/drain", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	return refusal(resp, http.StatusNoContent)
}

func (c *Client) get(ctx context.Context, path string, v any) error {
	resp, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := refusal(resp, http.StatusOK); err != nil {
		return err
	}
	if err := json.NewDecoder(resp.Body).Decode(v); err != nil {
		return fmt.Errorf("the node's answer to %s: %w", path, err)
	}
	return nil
}

// refusal is the error in an answer that has not the status that was hoped for.
func refusal(resp *http.Response, hoped int) error {
	if resp.StatusCode == hoped {
		return nil
	}
	var line apiLine
	if err := json.NewDecoder(resp.Body).Decode(&line); err != nil || line.Error == nil {
		return fmt.Errorf("the node answered %s to %s", resp.Status, resp.Request.URL.Path)
	}
	return line.Error.err()
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://node"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err // "http://node" means nothing to anybody
		}
		return nil, fmt.Errorf("the node behind %s: %w", c.path, err)
	}
	return resp, nil
}

// Measure lets the node measure. When ctx ends, the node is told to stop, and what was measured until then
// is returned.
func (c *Client) Measure(ctx context.Context, req Request) (*Measurement, error) {
	if ctx.Err() != nil {
		return nil, stoppedError(ctx, "before it began")
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadRequest, err)
	}
	id := newTaskID()
	call, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan struct{})
	unstop := context.AfterFunc(ctx, func() {
		defer close(ended)
		bound, done := context.WithTimeout(call, clientFinish)
		defer done()
		c.stop(bound, id)
		<-bound.Done()
		cancel()
	})
	defer func() {
		if !unstop() {
			cancel()
			<-ended
		}
	}()
	m, err := c.measure(call, id, body, req.OnProgress)
	if err != nil && m == nil && call.Err() != nil {
		return nil, fmt.Errorf("%w; the node did not say within %v what it had", stoppedError(ctx, "before its end"), clientFinish)
	}
	return m, err
}

func (c *Client) measure(ctx context.Context, id string, body []byte, on func(Progress)) (*Measurement, error) {
	resp, err := c.do(ctx, http.MethodPost, "/v1/measurements/"+id, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return readMeasurement(resp.Body, on)
}

// stop tells the node to end a measurement, again while the node does not know it yet: the request may
// still be on its way.
func (c *Client) stop(ctx context.Context, id string) {
	tick := time.NewTicker(clientAgain)
	defer tick.Stop()
	for {
		resp, err := c.do(ctx, http.MethodDelete, "/v1/measurements/"+id, nil)
		if err != nil {
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusNotFound {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// readMeasurement reads the lines of a running measurement.
func readMeasurement(r io.Reader, on func(Progress)) (*Measurement, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxAPILine)
	for lines.Scan() {
		var line apiLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, fmt.Errorf("the node's answer: %w", err)
		}
		switch {
		case line.Done != nil:
			return line.Done, nil
		case line.Error != nil:
			return line.Error.Partial, line.Error.err()
		case line.Progress != nil && on != nil:
			on(*line.Progress)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("the node's answer broke off: %w", err)
	}
	return nil, errors.New("the node ended before the measurement did")
}

func (q ResultQuery) values() url.Values {
	v := url.Values{}
	for name, text := range map[string]string{"from": q.From, "to": q.To, "after": q.After} {
		if text != "" {
			v.Set(name, text)
		}
	}
	if q.Limit > 0 {
		v.Set("limit", strconv.Itoa(q.Limit))
	}
	return v
}

// maxResultPage bounds one page of results.
const maxResultPage = 1000

func parseResultQuery(v url.Values) (ResultQuery, error) {
	q := ResultQuery{From: v.Get("from"), To: v.Get("to"), After: v.Get("after")}
	if text := v.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxResultPage {
			return q, fmt.Errorf("%w: limit is %q: it must be 1 to %d", ErrBadRequest, text, maxResultPage)
		}
		q.Limit = n
	}
	return q, nil
}
