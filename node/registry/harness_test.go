package registry

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/ipfs/go-log/v2/writer.(*MirrorWriter).logRoutine"), // starts with the import
	)
}

// testWait bounds everything a test waits for: far above what it takes, so that
// a busy machine does not matter.
const testWait = 30 * time.Second

func testConfig(t testing.TB) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Data = t.TempDir()
	cfg.Listen, cfg.Web = "127.0.0.1:0", "127.0.0.1:0"
	cfg.P2P = []string{"/ip4/127.0.0.1/tcp/0"}
	cfg.GeoMapText = locate.DemoMap
	cfg.Members = 64
	cfg.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
	return cfg
}

// running is a registry that runs in a test.
type running struct {
	*Registry
	t    testing.TB
	cfg  Config
	stop context.CancelFunc
	end  chan error
}

func start(t testing.TB, cfg Config) *running {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{Registry: r, t: t, cfg: cfg, stop: cancel, end: make(chan error, 1)}
	go func() { run.end <- r.Run(ctx) }()
	select {
	case <-r.Ready():
	case err := <-run.end:
		cancel()
		t.Fatalf("the registry ended before it was ready: %v", err)
	case <-time.After(testWait):
		cancel()
		t.Fatal("the registry is not ready")
	}
	t.Cleanup(run.close)
	return run
}

// close stops the registry; twice is harmless.
func (r *running) close() {
	r.t.Helper()
	if r.stop == nil {
		return
	}
	r.stop()
	r.stop = nil
	select {
	case err := <-r.end:
		if err != nil {
			r.t.Errorf("Run: %v", err)
		}
	case <-time.After(testWait):
		r.t.Error("the registry does not end")
	}
}

// startFails runs a registry that must end by itself, and returns its error.
func startFails(t testing.TB, cfg Config) error {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	err = r.Run(ctx)
	if err == nil {
		t.Fatal("the registry ran")
	}
	select {
	case <-r.Ready():
		t.Error("a registry that failed says that it is ready")
	default:
	}
	return err
}

// client is a node, as far as a registry can tell.
type client struct {
	t    testing.TB
	key  ed25519.PrivateKey
	host *p2p.Host
	reg  cluster.Peer
	net  *cluster.Trust
	adm  cluster.Signed
}

func newKey(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func publicOf(key ed25519.PrivateKey) ed25519.PublicKey { return key.Public().(ed25519.PublicKey) }

func newHost(t testing.TB, key ed25519.PrivateKey, ip string) *p2p.Host {
	t.Helper()
	h, err := p2p.New(p2p.Config{
		Key: key, Listen: []string{"/ip4/" + ip + "/tcp/0"}, Members: 8,
		Bind: netip.MustParseAddr(ip), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	})
	return h
}

// join makes a client at the address ip; it knows the network and is not
// registered yet.
func (r *running) join(ip string) *client { return r.joinAs(newKey(r.t), ip) }

func (r *running) joinAs(key ed25519.PrivateKey, ip string) *client {
	r.t.Helper()
	c := &client{t: r.t, key: key, host: newHost(r.t, key, ip)}
	doc, _, err := p2p.FetchJoin(context.Background(), c.host, r.Info().JoinAddr)
	if err != nil {
		r.t.Fatal(err)
	}
	if doc.Network != r.Info().Network {
		r.t.Fatalf("network %s, the registry says %s", doc.Network, r.Info().Network)
	}
	c.reg, c.net = doc.Registries[0], cluster.NewTrust(doc.Key)
	c.host.SetTrust(c.net)
	return c
}

func (c *client) id() cluster.ID { return c.host.ID() }

// try sends one request on a stream of its own.
func (c *client) try(req cluster.Request) (*cluster.Answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	s, err := c.host.Open(ctx, c.reg, p2p.ProtoRegister, maxRegister)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	req.Version = cluster.Version
	if req.Self.ID == "" {
		req.Self = c.host.Self()
	}
	if err := s.WriteMsg(req); err != nil {
		return nil, err
	}
	frame, err := s.ReadFrame()
	if err != nil {
		return nil, err
	}
	return cluster.DecodeAnswer(frame)
}

func (c *client) call(req cluster.Request) *cluster.Answer {
	c.t.Helper()
	a, err := c.try(req)
	if err != nil {
		c.t.Fatal(err)
	}
	if a.Error != nil {
		c.t.Fatalf("%s refused: %s: %s", req.Kind, a.Error.Code, a.Error.Message)
	}
	return a
}

// register registers and takes over the admission.
func (c *client) register(req cluster.Request) *cluster.Answer {
	c.t.Helper()
	req.Kind = cluster.CallRegister
	a := c.call(req)
	adm, err := c.net.Admission(a.Admission)
	if err != nil || adm.ID != c.id() {
		c.t.Fatalf("admission %+v: %v", adm, err)
	}
	c.adm = a.Admission
	c.host.SetAdmission(a.Admission)
	return a
}

// refused sends a request that must be refused with the code.
func (c *client) refused(code string, req cluster.Request) *cluster.WireError {
	c.t.Helper()
	a, err := c.try(req)
	if err != nil {
		c.t.Fatal(err)
	}
	if a.Error == nil {
		c.t.Fatalf("%s was accepted", req.Kind)
	}
	if a.Error.Code != code {
		c.t.Errorf("%s refused as %s (%s), want %s", req.Kind, a.Error.Code, a.Error.Message, code)
	}
	return a.Error
}

func (c *client) city() string {
	c.t.Helper()
	adm, err := c.net.Admission(c.adm)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(adm.City)
}

// lead signs the claim to lead under a certificate.
func (c *client) lead(cert cluster.Signed, k, seq uint64, others ...cluster.Peer) cluster.Signed {
	c.t.Helper()
	parsed, err := c.net.Certificate(cert)
	if err != nil {
		c.t.Fatal(err)
	}
	return cluster.Sign(cluster.DomainLead, cluster.Lead{
		Certificate: cert, Network: c.net.Network(), City: parsed.City, K: k, Head: c.id(),
		Boot: 1, Seq: seq, Addrs: append([]cluster.Peer{c.host.Self()}, others...), Reason: "test",
	}, cluster.SignerOf(c.key))
}

// becomeHead registers as the first of a city and claims to lead it.
func (c *client) becomeHead() (cert, lead cluster.Signed) {
	c.t.Helper()
	a := c.register(cluster.Request{})
	lead = c.lead(a.Cert, 0, 1)
	c.call(cluster.Request{Kind: cluster.CallTakeover, Cert: a.Cert, Lead: lead, Admission: c.adm})
	return a.Cert, lead
}

// batch signs results as a head does.
func (c *client) batch(lead cluster.Signed, rs ...probe.Result) *p2p.ResultsMsg {
	c.t.Helper()
	raw, err := store.EncodeBatch(rs)
	if err != nil {
		c.t.Fatal(err)
	}
	return &p2p.ResultsMsg{
		Version: p2p.ResultsVersion, Batch: raw, Lead: lead,
		Sig: cluster.Sign(cluster.DomainBatch, p2p.BatchDigest(raw), cluster.SignerOf(c.key)),
	}
}

// deliver sends one batch.
func (c *client) deliver(msg *p2p.ResultsMsg) (*p2p.ResultsAck, error) {
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	s, err := c.host.Open(ctx, c.reg, p2p.ProtoResults, p2p.MaxResults)
	if err != nil {
		return nil, err
	}
	ack := new(p2p.ResultsAck)
	if err := errors.Join(s.WriteMsg(msg), s.ReadMsg(ack)); err != nil {
		return nil, errors.Join(err, s.Reset())
	}
	return ack, s.Close()
}

// result is a measurement that c made.
func (c *client) result(seq uint64, at time.Time) probe.Result {
	rtt := 2.93
	return probe.Result{
		Schema: probe.ResultSchema, Key: probe.Key{Node: p2p.IDText(c.id()), Boot: 1, Seq: seq},
		Tool: "latency", ToolVersion: "1", Started: at, Ended: at.Add(time.Second),
		Initiator: probe.End{Node: p2p.IDText(c.id()), City: "changsha", IP: "127.61.187.2"},
		Target:    probe.End{Node: "12D3KooWTarget", City: "wuhan", IP: "127.61.183.2"},
		Params:    probe.DefaultParams(), Status: probe.StatusFinished, Schedule: probe.SchedulePeriodic,
		Latency: &probe.Latency{Sent: 10, Received: 10, RTT: probe.Summary{Median: &rtt}, Timestamps: probe.TimestampsUser},
	}
}
