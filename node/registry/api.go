package registry

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// Formats of /api/v1/results.
const (
	formatPlain      = "plain"      // {"results": [...], "next": "..."}: results as package probe has them
	formatGlobalping = "globalping" // probe.Envelope; the next page is in the Link header
)

// maxQuery bounds the text of a query: a cursor is below 300 bytes.
const maxQuery = 2 << 10

func (s *server) getHealth(w http.ResponseWriter, r *http.Request) {
	type health struct {
		Status  string          `json:"status"`
		Network cluster.Network `json:"network"`
		ID      string          `json:"id"`
	}
	h := health{"ok", s.info.Network, p2p.IDText(s.info.ID)}
	status := http.StatusOK
	err := s.desk.ask(r.Context(), func(int64, *cluster.Table) (*cluster.Changes, error) { return nil, nil })
	if err != nil {
		h.Status, status = err.Error(), http.StatusServiceUnavailable
	}
	writeJSON(w, status, h)
}

func (s *server) getNodes(w http.ResponseWriter, r *http.Request) {
	if _, err := parameters(r.URL.RawQuery); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	nodes, err := s.nodes(r.Context())
	s.reply(w, err, struct {
		Network cluster.Network `json:"network"`
		Nodes   []Node          `json:"nodes"`
	}{s.info.Network, nodes})
}

func (s *server) getClusters(w http.ResponseWriter, r *http.Request) {
	if _, err := parameters(r.URL.RawQuery); err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	clusters, err := s.clusters(r.Context())
	s.reply(w, err, struct {
		Network  cluster.Network `json:"network"`
		Clusters []Cluster       `json:"clusters"`
	}{s.info.Network, clusters})
}

func (s *server) reply(w http.ResponseWriter, err error, v any) {
	if err != nil {
		writeError(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	writeJSON(w, http.StatusOK, v)
}

func (s *server) getResults(w http.ResponseWriter, r *http.Request) {
	q, format, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		writeError(w, http.StatusBadRequest, err.Error())
		return
	}
	page, err := s.store.Results(q)
	switch {
	case errors.Is(err, store.ErrInvalid):
		writeError(w, http.StatusBadRequest, err.Error())
	case err != nil:
		s.log.Error("results not read", "err", err)
		writeError(w, http.StatusInternalServerError, "the results could not be read; the registry's log says why")
	case format == formatGlobalping:
		if page.Next != "" {
			next := r.URL.Query()
			next.Set("after", page.Next)
			w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", pathResults, next.Encode()))
		}
		writeJSON(w, http.StatusOK, envelope(q, page))
	default:
		if page.Results == nil {
			page.Results = []probe.Result{}
		}
		writeJSON(w, http.StatusOK, struct {
			Results []probe.Result `json:"results"`
			Next    string         `json:"next"`
		}{page.Results, page.Next})
	}
}

// envelope shows a page as one measurement: from the first start to the last end.
func envelope(q store.Query, page store.Page) probe.Envelope {
	var created, updated time.Time
	tool := q.Tool
	for _, r := range page.Results {
		if created.IsZero() || r.Started.Before(created) {
			created = r.Started
		}
		if r.Ended.After(updated) {
			updated = r.Ended
		}
		if tool == "" {
			tool = r.Tool
		}
	}
	if tool == "" {
		tool = "latency"
	}
	return probe.NewEnvelope("results", tool, probe.StatusFinished, created, updated, q.TargetCity, page.Results)
}

// parseQuery reads the parameters of /api/v1/results: from and to (cities),
// since and until (RFC 3339), tool, node, status, limit, after (the "next" of
// the page before), format (plain or globalping).
func parseQuery(raw string) (q store.Query, format string, err error) {
	if len(raw) > maxQuery {
		return q, "", fmt.Errorf("the query has %d bytes, at most %d are read", len(raw), maxQuery)
	}
	v, err := parameters(raw, "from", "to", "since", "until", "tool", "node", "status", "limit", "after", "format")
	if err != nil {
		return q, "", err
	}
	q = store.Query{Tool: v.Get("tool"), Node: v.Get("node"), Status: v.Get("status"), After: v.Get("after")}
	if q.InitiatorCity, err = cityParameter(v, "from"); err != nil {
		return q, "", err
	}
	if q.TargetCity, err = cityParameter(v, "to"); err != nil {
		return q, "", err
	}
	if q.From, err = timeParameter(v, "since"); err != nil {
		return q, "", err
	}
	if q.To, err = timeParameter(v, "until"); err != nil {
		return q, "", err
	}
	if text := v.Get("limit"); text != "" {
		if q.Limit, err = strconv.Atoi(text); err != nil || q.Limit < 1 || q.Limit > store.MaxLimit {
			return q, "", fmt.Errorf("limit is %.20q: it must be a number from 1 to %d", text, store.MaxLimit)
		}
	}
	switch q.Status {
	case "", probe.StatusFinished, probe.StatusPartial, probe.StatusFailed:
	default:
		return q, "", fmt.Errorf("status is %.20q: it must be %s, %s or %s", q.Status, probe.StatusFinished, probe.StatusPartial, probe.StatusFailed)
	}
	switch format = v.Get("format"); format {
	case "":
		format = formatPlain
	case formatPlain, formatGlobalping:
	default:
		return q, "", fmt.Errorf("format is %.20q: it must be %s or %s", format, formatPlain, formatGlobalping)
	}
	return q, format, nil
}

func cityParameter(v url.Values, name string) (string, error) {
	text := v.Get(name)
	if text == "" {
		return "", nil
	}
	city, err := locate.City(text)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return city, nil
}

func timeParameter(v url.Values, name string) (time.Time, error) {
	text := v.Get(name)
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s is %.40q: it must be a time like 2026-01-31T12:00:00Z", name, text)
	}
	return t, nil
}
