package p2p

import (
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

const (
	// JoinPath is where a registry's HTTP side shows the join document.
	JoinPath = "/api/v1/join"
	// joinVersion of the document that is spoken here.
	joinVersion = 1
	// maxJoin bounds the document: a hundred registries are below 16 KiB.
	maxJoin = 64 << 10
	// joinTimeout bounds fetching it: one request to one host.
	joinTimeout = 5 * time.Second
)

// ErrBadJoin: what a registry sent is no valid join document.
var ErrBadJoin = errors.New("not a valid join document")

// JoinDoc is what a node learns from a registry before it registers: the
// network's key, and which hosts are its registries. It is signed by that key,
// whose hash is the network's name; whoever pinned the name trusts the document.
type JoinDoc struct {
	Version     uint            `cbor:"1,keyasint"`
	Network     cluster.Network `cbor:"2,keyasint"`
	Key         []byte          `cbor:"3,keyasint"` // network public key, Ed25519
	Registries  []cluster.Peer  `cbor:"4,keyasint"`
	TokenNeeded bool            `cbor:"5,keyasint,omitempty"`
	Issued      int64           `cbor:"6,keyasint,omitempty"` // unix ms, for display
}

// joinJSON is the document as JSON: for people, but for Signed.
type joinJSON struct {
	Network     cluster.Network `json:"network"`
	Key         []byte          `json:"key"` // base64
	Registries  []registryJSON  `json:"registries"`
	TokenNeeded bool            `json:"tokenNeeded"`
	Signed      []byte          `json:"signed"` // base64 of the CBOR of cluster.Signed
}

type registryJSON struct {
	ID    string   `json:"id"`
	Addrs []string `json:"addrs"`
}

// SignJoin signs a document with the network key; Version is set here.
func SignJoin(doc JoinDoc, sign cluster.Signer) cluster.Signed {
	doc.Version = joinVersion
	return cluster.Sign(cluster.DomainJoin, doc, sign)
}

// EncodeJoin is the answer of the registry's HTTP side at JoinPath.
func EncodeJoin(doc JoinDoc, signed cluster.Signed) ([]byte, error) {
	out := joinJSON{
		Network: doc.Network, Key: doc.Key, TokenNeeded: doc.TokenNeeded,
		Registries: []registryJSON{}, Signed: cluster.Marshal(signed),
	}
	for _, r := range doc.Registries {
		e := registryJSON{ID: IDText(r.ID), Addrs: []string{}}
		for _, a := range r.Addrs {
			e.Addrs = append(e.Addrs, AddrText(a))
		}
		out.Registries = append(out.Registries, e)
	}
	return json.MarshalIndent(out, "", "  ")
}

// DecodeJoin reads what EncodeJoin wrote and verifies it. Only the signed part counts.
func DecodeJoin(body []byte) (JoinDoc, cluster.Signed, error) {
	if len(body) > maxJoin {
		return JoinDoc{}, cluster.Signed{}, fmt.Errorf("%w: %d bytes, limit %d", ErrBadJoin, len(body), maxJoin)
	}
	var j joinJSON
	if err := json.Unmarshal(body, &j); err != nil {
		return JoinDoc{}, cluster.Signed{}, fmt.Errorf("%w: %w", ErrBadJoin, err)
	}
	return decodeSignedJoin(j.Signed)
}

func decodeSignedJoin(b []byte) (JoinDoc, cluster.Signed, error) {
	var s cluster.Signed
	if err := cluster.Unmarshal(b, &s); err != nil {
		return JoinDoc{}, cluster.Signed{}, fmt.Errorf("%w: %w", ErrBadJoin, err)
	}
	doc, err := VerifyJoin(s)
	return doc, s, err
}

// VerifyJoin checks that the document is signed by the key in it, and that the
// key's hash is the network's name. That the network is the one wanted is the
// caller's to check: against a pinned name, a token, or at first use on trust.
func VerifyJoin(s cluster.Signed) (JoinDoc, error) {
	var doc JoinDoc
	if err := cluster.Unmarshal(s.Payload, &doc); err != nil {
		return JoinDoc{}, fmt.Errorf("%w: %w", ErrBadJoin, err)
	}
	if doc.Version != joinVersion {
		return JoinDoc{}, fmt.Errorf("%w: %w %d, this node speaks %d", ErrBadJoin, ErrVersion, doc.Version, joinVersion)
	}
	if len(doc.Key) != ed25519.PublicKeySize {
		return JoinDoc{}, fmt.Errorf("%w: network key of %d bytes", ErrBadJoin, len(doc.Key))
	}
	key := ed25519.PublicKey(doc.Key)
	if name := cluster.NetworkName(key); name != doc.Network {
		return JoinDoc{}, fmt.Errorf("%w: it names network %.26q, its key is that of %s", ErrBadJoin, doc.Network, name)
	}
	if err := s.Verify(cluster.DomainJoin, key); err != nil {
		return JoinDoc{}, fmt.Errorf("%w: %w", ErrBadJoin, err)
	}
	if len(doc.Registries) == 0 {
		return JoinDoc{}, fmt.Errorf("%w: it names no registry", ErrBadJoin)
	}
	for _, r := range doc.Registries {
		if _, err := r.ID.PublicKey(); err != nil {
			return JoinDoc{}, fmt.Errorf("%w: a registry's id: %w", ErrBadJoin, err)
		}
	}
	return doc, nil
}

// FetchJoin gets and verifies the join document of the registry at addr:
// "host:port" of its HTTP side, or a multiaddr with /p2p, which also has to name
// one of the registries in the document.
func FetchJoin(ctx context.Context, h *Host, addr string) (JoinDoc, cluster.Signed, error) {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	if strings.HasPrefix(addr, "/") {
		return fetchJoinP2P(ctx, h, addr)
	}
	return fetchJoinHTTP(ctx, addr)
}

func fetchJoinHTTP(ctx context.Context, addr string) (JoinDoc, cluster.Signed, error) {
	base := strings.TrimSuffix(addr, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	fail := func(err error) (JoinDoc, cluster.Signed, error) {
		return JoinDoc{}, cluster.Signed{}, fmt.Errorf("registry at %s: %w", addr, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+JoinPath, nil)
	if err != nil {
		return fail(fmt.Errorf("%w; expected host:port or a multiaddr with /p2p", err))
	}
	// Of its own and without keep-alive: one request, and nothing left behind.
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("redirects are not followed") },
	}
	resp, err := client.Do(req)
	if err != nil {
		if wrapped := new(url.Error); errors.As(err, &wrapped) {
			err = wrapped.Err // the address stands in front already
		}
		if strings.Contains(err.Error(), "malformed HTTP response") {
			return fail(fmt.Errorf("%w: what answers there is no HTTP; nodes join at the HTTP address of `peerprobe rs` (port 7400 unless --listen says otherwise), not at its libp2p port", ErrBadJoin))
		}
		return fail(fmt.Errorf("%w: %w; check the address, and that `peerprobe rs` runs there", ErrUnreachable, err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fail(fmt.Errorf("%w: it answers %s; is this the HTTP address of a registry?", ErrBadJoin, resp.Status))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxJoin+1))
	if err != nil {
		return fail(err)
	}
	doc, signed, err := DecodeJoin(body)
	if err != nil {
		return fail(err)
	}
	return doc, signed, nil
}

func fetchJoinP2P(ctx context.Context, h *Host, addr string) (JoinDoc, cluster.Signed, error) {
	fail := func(err error) (JoinDoc, cluster.Signed, error) {
		return JoinDoc{}, cluster.Signed{}, fmt.Errorf("registry at %s: %w", addr, err)
	}
	to, err := ParsePeer(addr)
	if err != nil {
		return fail(err)
	}
	s, err := h.Open(ctx, to, ProtoRegister, maxJoin)
	if err != nil {
		return fail(err)
	}
	defer s.Close()
	defer s.ResetOn(ctx)()
	if err := s.WriteMsg(cluster.Request{Version: 1, Kind: KindJoin}); err != nil {
		return fail(err)
	}
	b, err := s.ReadFrame()
	if err != nil {
		return fail(err)
	}
	doc, signed, err := decodeSignedJoin(b)
	if err != nil {
		return fail(err)
	}
	for _, r := range doc.Registries {
		if r.ID == to.ID {
			return doc, signed, nil
		}
	}
	return fail(fmt.Errorf("%w: %s is not among the registries that it names", ErrBadJoin, IDText(to.ID)))
}

// KindJoin is the kind of the cluster.Request that asks for the join document
// on the register protocol. The answer is one frame: the signed document itself,
// sent with s.WriteMsg(signed).
const KindJoin = "join"
