package registry

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/peerprobe/peerprobe/node/p2p"
)

// Limits of the HTTP side. Requests are short and have no body; answers are
// some megabytes at most.
const (
	httpHeaderTimeout = 5 * time.Second
	httpReadTimeout   = 10 * time.Second
	httpWriteTimeout  = 30 * time.Second
	httpIdleTimeout   = 60 * time.Second
	httpMaxHeader     = 8 << 10
	// httpConns bounds the connections of one listener: nodes fetch the join
	// document once and leave.
	httpConns = 512
)

// Paths of the HTTP side.
const (
	pathHealth   = "/healthz"
	pathNodes    = "/api/v1/nodes"
	pathClusters = "/api/v1/clusters"
	pathResults  = "/api/v1/results"
)

// openSites opens both HTTP listeners.
func (s *server) openSites(cfg Config, network ed25519.PublicKey) error {
	public, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("--listen %s: %w; stop what uses the port, or give another address", cfg.Listen, err)
	}
	s.info.JoinAddr = joinAddr(cfg, public.Addr())
	join, err := s.joinDocument()
	if err != nil {
		return errors.Join(err, public.Close())
	}
	open := http.NewServeMux()
	s.common(open, join)
	s.add(public, open, anyHost)
	if cfg.Web == "" {
		return nil
	}
	web, err := net.Listen("tcp", cfg.Web)
	if err != nil {
		return fmt.Errorf("--web %s: %w; stop what uses the port, or give another address", cfg.Web, err)
	}
	s.info.Web = "http://" + reachable(web.Addr())
	if !web.Addr().(*net.TCPAddr).IP.IsLoopback() {
		s.log.Warn("nodes, clusters and results can be read by whoever reaches this address", "web", web.Addr())
	}
	all := http.NewServeMux()
	s.common(all, join)
	all.HandleFunc(pathNodes, s.getNodes)
	all.HandleFunc(pathClusters, s.getClusters)
	all.HandleFunc(pathResults, s.getResults)
	s.add(web, all, ownHosts(append(cfg.Advertise, cfg.Web)))
	return nil
}

// joinDocument is the JSON of the join document.
func (s *server) joinDocument() ([]byte, error) {
	doc, err := p2p.VerifyJoin(s.joinSigned)
	if err != nil {
		return nil, err
	}
	text, err := p2p.EncodeJoin(doc, s.joinSigned)
	return append(text, '\n'), err
}

func (s *server) common(mux *http.ServeMux, join []byte) {
	mux.HandleFunc(p2p.JoinPath, func(w http.ResponseWriter, _ *http.Request) { writeBytes(w, http.StatusOK, join) })
	mux.HandleFunc(pathHealth, s.getHealth)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, fmt.Sprintf("there is nothing at %.100q", r.URL.Path))
	})
}

func (s *server) add(l net.Listener, h http.Handler, hosts func(string) bool) {
	s.sites = append(s.sites, site{
		listener: netutil.LimitListener(l, httpConns),
		server: &http.Server{
			Handler:           guard(h, hosts),
			ReadHeaderTimeout: httpHeaderTimeout, ReadTimeout: httpReadTimeout,
			WriteTimeout: httpWriteTimeout, IdleTimeout: httpIdleTimeout,
			MaxHeaderBytes: httpMaxHeader,
			ErrorLog:       nil, // what clients do wrong is not the operator's matter
		},
	})
}

// guard lets through reads for hosts that are ours, and sets the headers that
// keep browsers from doing anything but show the answer.
func guard(next http.Handler, hosts func(string) bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if !hosts(r.Host) {
			writeError(w, http.StatusMisdirectedRequest, fmt.Sprintf("this is not %.100q: use the address of the registry, or name the host with --advertise", r.Host))
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "only GET and HEAD are answered here")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// anyHost: what the public side shows is meant for everybody.
func anyHost(string) bool { return true }

// ownHosts accepts addresses, localhost and the names given. A page of another
// site that had its own name resolve to this host (DNS rebinding) comes with
// that name, and is refused.
func ownHosts(names []string) func(string) bool {
	own := map[string]bool{"localhost": true}
	for _, n := range names {
		if host, _, err := net.SplitHostPort(n); err == nil {
			n = host
		}
		if n != "" && !strings.HasPrefix(n, "/") {
			own[strings.ToLower(strings.TrimSuffix(n, "."))] = true
		}
	}
	return func(hostport string) bool {
		host := hostport
		if h, _, err := net.SplitHostPort(hostport); err == nil {
			host = h
		}
		host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
		if _, err := netip.ParseAddr(host); err == nil {
			return true
		}
		return own[strings.ToLower(strings.TrimSuffix(host, "."))]
	}
}

// joinAddr is the address that others are told to join at.
func joinAddr(cfg Config, listening net.Addr) string {
	port := fmt.Sprint(listening.(*net.TCPAddr).Port)
	for _, a := range cfg.Advertise {
		if !strings.HasPrefix(a, "/") {
			return net.JoinHostPort(a, port)
		}
	}
	return reachable(listening)
}

// reachable is a listening address with a host in place of a wildcard: the
// address from which this host would talk to others.
func reachable(listening net.Addr) string {
	tcp := listening.(*net.TCPAddr)
	if !tcp.IP.IsUnspecified() {
		return tcp.String()
	}
	host := "127.0.0.1"
	// Connecting a UDP socket sends nothing; it only asks the routing table. The
	// address is of the documentation range.
	if c, err := net.Dial("udp", "192.0.2.1:9"); err == nil {
		if local, ok := c.LocalAddr().(*net.UDPAddr); ok {
			host = local.IP.String()
		}
		_ = c.Close()
	}
	return net.JoinHostPort(host, fmt.Sprint(tcp.Port))
}

type errorJSON struct {
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

func writeError(w http.ResponseWriter, status int, message string) {
	var e errorJSON
	e.Error.Type = strings.ToLower(strings.ReplaceAll(http.StatusText(status), " ", "_"))
	e.Error.Message = message
	writeJSON(w, status, e)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":{"type":"internal","message":"the answer could not be encoded"}}`)
	}
	writeBytes(w, status, append(b, '\n'))
}

// writeBytes does not write to b: many requests may share it.
func writeBytes(w http.ResponseWriter, status int, b []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // whoever went away misses it
}

// parameters checks that a query has only the parameters named, each once.
func parameters(raw string, names ...string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	for name, values := range q {
		known := false
		for _, n := range names {
			known = known || n == name
		}
		if !known {
			return nil, fmt.Errorf("unknown parameter %.50q: known are %s", name, strings.Join(names, ", "))
		}
		if len(values) > 1 {
			return nil, fmt.Errorf("parameter %s is given %d times", name, len(values))
		}
	}
	return q, nil
}
