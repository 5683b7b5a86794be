package registry

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

// get asks with a client that keeps nothing open.
func get(t *testing.T, method, url, host string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	c := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: testWait}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestSites(t *testing.T) {
	r := start(t, testConfig(t))
	public, web := "http://"+r.Info().JoinAddr, r.Info().Web
	port := web[strings.LastIndex(web, ":"):]
	for _, tt := range []struct {
		method, url, host string
		status            int
		body              string
	}{
		{"GET", public + "/api/v1/join", "", 200, `"network": "` + string(r.Info().Network)},
		{"GET", public + "/healthz", "", 200, `"status": "ok"`},
		{"GET", public + "/healthz", "rs.example.net", 200, `"ok"`},
		{"GET", public + "/api/v1/nodes", "", 404, `"error"`},
		{"GET", public + "/api/v1/clusters", "", 404, `"error"`},
		{"GET", public + "/api/v1/results", "", 404, `"error"`},
		{"GET", public + "/", "", 404, `"not_found"`},
		{"GET", public + "/debug/pprof/", "", 404, `"not_found"`},
		{"POST", public + "/api/v1/join", "", 405, `"method_not_allowed"`},
		{"GET", web + "/api/v1/join", "", 200, `"network"`},
		{"GET", web + "/healthz", "", 200, `"ok"`},
		{"GET", web + "/api/v1/nodes", "", 200, `"nodes": []`},
		{"GET", web + "/api/v1/clusters", "", 200, `"clusters": []`},
		{"GET", web + "/api/v1/results", "", 200, `"results": []`},
		{"HEAD", web + "/api/v1/nodes", "", 200, ``},
		{"DELETE", web + "/api/v1/nodes", "", 405, `"method_not_allowed"`},
		{"GET", web + "/api/v1/nodes?x=1", "", 400, `unknown parameter`},
		{"GET", web + "/api/v1/results?limit=0", "", 400, `limit is`},
		{"GET", web + "/api/v1/results?after=zzz", "", 400, `cursor`},
		{"GET", web + "/api/v1/nodes", "localhost" + port, 200, `"nodes"`},
		{"GET", web + "/api/v1/nodes", "[::1]" + port, 200, `"nodes"`},
		{"GET", web + "/api/v1/nodes", "evil.example" + port, 421, `"misdirected_request"`},
		{"GET", web + "/api/v1/nodes", "127.0.0.1.evil.example", 421, `"error"`},
	} {
		resp, body := get(t, tt.method, tt.url, tt.host)
		if resp.StatusCode != tt.status || !strings.Contains(string(body), tt.body) {
			t.Errorf("%s %s as %q: %d %s", tt.method, tt.url, tt.host, resp.StatusCode, body)
		}
		h := resp.Header
		if h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" ||
			!strings.Contains(h.Get("Content-Security-Policy"), "default-src 'none'") || h.Get("Cache-Control") != "no-store" ||
			h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s %s: headers %v", tt.method, tt.url, h)
		}
		if tt.method != "HEAD" && !json.Valid(body) {
			t.Errorf("%s %s: no JSON: %s", tt.method, tt.url, body)
		}
	}
	doc, _, err := p2p.FetchJoin(t.Context(), nil, r.Info().JoinAddr)
	if err != nil || doc.Network != r.Info().Network || doc.TokenNeeded || doc.Registries[0].ID != r.Info().ID {
		t.Errorf("join document %+v, %v", doc, err)
	}
}

// Hosts of a new network fetch the join document at the same time: the race detector sees who writes to it.
func TestManyFetchTheJoinDocumentAtOnce(t *testing.T) {
	r := start(t, testConfig(t))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			if _, _, err := p2p.FetchJoin(t.Context(), nil, r.Info().JoinAddr); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func TestNoWeb(t *testing.T) {
	cfg := testConfig(t)
	cfg.Web = ""
	if r := start(t, cfg); r.Info().Web != "" {
		t.Errorf("a web address %q out of nothing", r.Info().Web)
	}
}

func TestWebShowsWhatIsThere(t *testing.T) {
	r := start(t, testConfig(t))
	c := r.join("127.61.187.2")
	_, lead := c.becomeHead()
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	var rs []probe.Result
	for i := range uint64(5) {
		rs = append(rs, c.result(i+1, at.Add(time.Duration(i)*time.Minute)))
	}
	rs[4].Status = probe.StatusFailed
	if ack, err := c.deliver(c.batch(lead, rs...)); err != nil || ack.Added != 5 {
		t.Fatalf("%+v, %v", ack, err)
	}
	var nodes struct{ Nodes []Node }
	fetch(t, r.Info().Web+"/api/v1/nodes", &nodes)
	if len(nodes.Nodes) != 1 || nodes.Nodes[0].Role != RoleHead || !nodes.Nodes[0].Online {
		t.Errorf("nodes %+v", nodes)
	}
	var clusters struct{ Clusters []Cluster }
	fetch(t, r.Info().Web+"/api/v1/clusters", &clusters)
	if len(clusters.Clusters) != 1 || clusters.Clusters[0].Head != nodes.Nodes[0].ID || clusters.Clusters[0].Term == "" {
		t.Errorf("clusters %+v", clusters)
	}
	var seen []uint64
	for after, pages := "", 0; pages < 10; pages++ {
		var page struct {
			Results []probe.Result
			Next    string
		}
		fetch(t, r.Info().Web+"/api/v1/results?limit=2&from=长沙&after="+url.QueryEscape(after), &page)
		for _, x := range page.Results {
			seen = append(seen, x.Key.Seq)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(seen, []uint64{5, 4, 3, 2, 1}) {
		t.Errorf("pages showed %v", seen)
	}
	var env probe.Envelope
	resp := fetch(t, r.Info().Web+"/api/v1/results?format=globalping&limit=3&status=finished&to=wuhan", &env)
	if len(env.Results) != 3 || env.Type != "latency" || !env.CreatedAt.Equal(at.Add(time.Minute)) {
		t.Errorf("envelope %+v", env)
	}
	if l := resp.Header.Get("Link"); !strings.Contains(l, `rel="next"`) || !strings.Contains(l, "format=globalping") {
		t.Errorf("link %q", l)
	}
	for query, want := range map[string]int{
		"status=failed": 1, "to=changsha": 0, "tool=latency": 5, "tool=trace": 0,
		"since=2026-01-31T12:02:00Z": 3, "until=2026-01-31T12:02:00Z": 2, "node=" + p2p.IDText(c.id()): 5,
	} {
		var page struct{ Results []json.RawMessage }
		fetch(t, r.Info().Web+"/api/v1/results?"+query, &page)
		if len(page.Results) != want {
			t.Errorf("%s: %d results, want %d", query, len(page.Results), want)
		}
	}
}

func fetch(t *testing.T, url string, v any) *http.Response {
	t.Helper()
	resp, body := get(t, "GET", url, "")
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %d %s", url, resp.StatusCode, body)
	}
	if err := json.Unmarshal(body, v); err != nil {
		t.Fatalf("%s: %v: %s", url, err, body)
	}
	return resp
}

func TestParseQuery(t *testing.T) {
	for raw, want := range map[string]string{
		"limit=x": "limit is", "limit=-1": "limit is", "limit=1001": "limit is", "limit=1&limit=2": "given 2 times",
		"from=%20": "from: not the name of a city", "to=!": "to: not the name", "since=yesterday": "since is",
		"until=1": "until is", "status=fine": "status is", "format=xml": "format is", "colour=red": "unknown parameter",
		"a=%zz": "query:", "a;b": "query:", strings.Repeat("x", maxQuery+1): "bytes",
	} {
		if _, _, err := parseQuery(raw); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q in it", raw, err, want)
		}
	}
	q, format, err := parseQuery("from=%E9%95%BF%E6%B2%99&to=Wuhan&limit=5&after=abc&format=globalping&since=2026-01-31T12:00:00%2B08:00")
	want := store.Query{InitiatorCity: "changsha", TargetCity: "wuhan", Limit: 5, After: "abc", From: q.From}
	if err != nil || format != formatGlobalping || q != want || q.From.Unix() != 1769832000 {
		t.Errorf("%+v %s %v", q, format, err)
	}
}

func FuzzParseQuery(f *testing.F) {
	for _, s := range []string{"", "from=wuhan&to=%E9%95%BF%E6%B2%99", "limit=10&after=AAAA", "since=2026-01-31T12:00:00Z&format=plain", "%", "a=b;c=d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		q, format, err := parseQuery(raw)
		if err != nil {
			if len(err.Error()) > 3*maxQuery {
				t.Fatalf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if q.Limit < 0 || q.Limit > store.MaxLimit || format != formatPlain && format != formatGlobalping {
			t.Fatalf("%+v %s", q, format)
		}
		for _, city := range []string{q.InitiatorCity, q.TargetCity} {
			if city != "" && cluster.City(city).Validate() != nil {
				t.Fatalf("city %q", city)
			}
		}
	})
}

// FuzzHTTP sends foreign request lines through the whole HTTP side.
func FuzzHTTP(f *testing.F) {
	gone := make(chan struct{})
	close(gone)
	s := &server{desk: &desk{gone: gone}}
	mux := http.NewServeMux()
	mux.HandleFunc(pathNodes, func(w http.ResponseWriter, r *http.Request) {
		if _, err := parameters(r.URL.RawQuery); err != nil {
			writeError(w, http.StatusBadRequest, err.Error())
			return
		}
		s.reply(w, nil, []Node{})
	})
	s.common(mux, []byte("{}"))
	h := guard(mux, ownHosts([]string{"rs.example.net"}))
	f.Add("/api/v1/nodes", "x=1", "rs.example.net:80", "GET")
	f.Add("//..//api", "%", "[::1]:7402", "POST")
	f.Add("/a\x00\"", "", "evil\r\n", "HEAD")
	f.Fuzz(func(t *testing.T, path, query, host, method string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, &http.Request{Method: method, Host: host, URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{}})
		if loc := w.Header().Get("Location"); loc != "" && w.Code/100 == 3 {
			return // the mux cleans the path
		}
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%d: no JSON: %q", w.Code, w.Body.Bytes())
		}
	})
}

func TestOwnHosts(t *testing.T) {
	own := ownHosts([]string{"RS.example.net.", "/ip4/192.0.2.1/tcp/1", "127.0.0.1:7402"})
	var yes []string
	for _, h := range []string{"rs.example.net", "rs.example.NET:7402", "localhost:1", "127.0.0.1", "[::1]:80", "192.168.1.4:7402", "", "example.net", "evil", "localhost.evil", "rs.example.net.evil:80"} {
		if own(h) {
			yes = append(yes, h)
		}
	}
	if want := []string{"rs.example.net", "rs.example.NET:7402", "localhost:1", "127.0.0.1", "[::1]:80", "192.168.1.4:7402"}; !slices.Equal(yes, want) {
		t.Error(fmt.Sprint(yes))
	}
}
