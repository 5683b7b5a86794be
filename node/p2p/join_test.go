package p2p

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

func cluster26ID(t testing.TB) cluster.ID {
	t.Helper()
	return cluster.IDOf(seedKey("id").Public().(ed25519.PublicKey))
}

func (n *testNet) doc(registries ...cluster.Peer) JoinDoc {
	return JoinDoc{
		Network: n.trust.Network(), Key: n.key.Public().(ed25519.PublicKey),
		Registries: registries, TokenNeeded: true, Issued: 1700000000000,
	}
}

func samplePeer(t testing.TB) cluster.Peer {
	addr, err := ParseAddr("/ip4/192.0.2.1/tcp/7401")
	if err != nil {
		t.Fatal(err)
	}
	return cluster.Peer{ID: cluster26ID(t), Addrs: [][]byte{addr}}
}

func TestJoinOverHTTP(t *testing.T) {
	n := newNet("a")
	doc := n.doc(samplePeer(t))
	body, err := EncodeJoin(doc, SignJoin(doc, n.sign()))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"network": "` + string(n.trust.Network()), "12D3KooW", "/ip4/192.0.2.1/tcp/7401", `"tokenNeeded": true`} {
		if !bytes.Contains(body, []byte(want)) {
			t.Errorf("the JSON lacks %s:\n%s", want, body)
		}
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != JoinPath {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write(body)
	}))
	defer srv.Close()
	for _, addr := range []string{strings.TrimPrefix(srv.URL, "http://"), srv.URL} {
		got, signed, err := FetchJoin(t.Context(), nil, addr)
		if err != nil || got.Network != doc.Network || !got.TokenNeeded || len(got.Registries) != 1 || got.Registries[0].ID != cluster26ID(t) || signed.Empty() {
			t.Errorf("from %s: %+v, %v", addr, got, err)
		}
	}
}

func TestJoinFromBadServers(t *testing.T) {
	for _, row := range []struct {
		name string
		h    http.HandlerFunc
		want error
	}{
		{"no registry", http.NotFound, ErrBadJoin},
		{"not JSON", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, ErrBadJoin},
		{"endless", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 4*maxJoin)) }, ErrBadJoin},
		{"redirects", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, ErrUnreachable},
		{"silent", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, context.DeadlineExceeded},
	} {
		t.Run(row.name, func(t *testing.T) {
			srv := httptest.NewServer(row.h)
			defer srv.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if _, _, err := FetchJoin(ctx, nil, srv.Listener.Addr().String()); !errors.Is(err, row.want) {
				t.Errorf("%v, want %v", err, row.want)
			}
		})
	}
	for _, addr := range []string{"", "127.0.0.1:1", "::::"} {
		if _, _, err := FetchJoin(t.Context(), nil, addr); err == nil {
			t.Errorf("address %q gave a document", addr)
		}
	}
}

func TestJoinVerification(t *testing.T) {
	n, other := newNet("a"), newNet("b")
	good := n.doc(samplePeer(t))
	with := func(f func(*JoinDoc)) JoinDoc { d := good; f(&d); return d }
	for _, row := range []struct {
		name string
		s    cluster.Signed
		ok   bool
	}{
		{"good", SignJoin(good, n.sign()), true},
		{"signed by another key", SignJoin(good, other.sign()), false},
		{"another network's name", SignJoin(with(func(d *JoinDoc) { d.Network = other.trust.Network() }), n.sign()), false},
		{"another network's key", SignJoin(with(func(d *JoinDoc) { d.Key = other.doc().Key }), n.sign()), false},
		{"short key", SignJoin(with(func(d *JoinDoc) { d.Key = d.Key[:31] }), n.sign()), false},
		{"no registry", SignJoin(with(func(d *JoinDoc) { d.Registries = nil }), n.sign()), false},
		{"a registry without id", SignJoin(with(func(d *JoinDoc) { d.Registries = []cluster.Peer{{}} }), n.sign()), false},
		{"another domain", cluster.Sign(cluster.DomainCert, with(func(d *JoinDoc) { d.Version = joinVersion }), n.sign()), false},
		{"another version", cluster.Sign(cluster.DomainJoin, with(func(d *JoinDoc) { d.Version = 2 }), n.sign()), false},
		{"empty", cluster.Signed{}, false},
	} {
		doc, err := VerifyJoin(row.s)
		if (err == nil) != row.ok || err != nil && !errors.Is(err, ErrBadJoin) {
			t.Errorf("%s: %+v, %v", row.name, doc, err)
		}
	}
}

func TestJoinOverLibp2p(t *testing.T) {
	n := newNet("a")
	node, reg := stranger(t, "node"), n.host(t, "registry")
	var doc JoinDoc
	reg.Handle(ProtoRegister, HandleOptions{Open: true}, func(_ context.Context, _ Remote, s *Stream) error {
		var req cluster.Request
		if err := s.ReadMsg(&req); err != nil {
			return err
		}
		if req.Kind != KindJoin {
			t.Errorf("request of kind %q", req.Kind)
		}
		return s.WriteMsg(SignJoin(doc, n.sign()))
	})
	addr := PeerText(reg.Self())[0]
	doc = n.doc(reg.Self())
	got, _, err := FetchJoin(t.Context(), node, addr)
	if err != nil || got.Network != n.trust.Network() {
		t.Errorf("%+v, %v", got, err)
	}
	doc = n.doc(samplePeer(t))
	if _, _, err := FetchJoin(t.Context(), node, addr); !errors.Is(err, ErrBadJoin) {
		t.Errorf("a host that is not in the document: %v, want %v", err, ErrBadJoin)
	}
	// Another registry at the same address: its identity is pinned in the address.
	wrong := AddrText(reg.Addrs()[0]) + "/p2p/" + IDText(cluster26ID(t))
	if _, _, err := FetchJoin(t.Context(), node, wrong); !errors.Is(err, ErrIdentity) {
		t.Errorf("a host with another identity: %v, want %v", err, ErrIdentity)
	}
	if _, _, err := FetchJoin(t.Context(), node, "/ip4/127.0.0.1/tcp/1"); err == nil {
		t.Error("an address without a peer id was accepted")
	}
}
