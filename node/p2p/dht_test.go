package p2p

import (
	"bytes"
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerprobe/peerprobe/cluster"
)

func startDHT(t testing.TB, h *Host, seeds ...*Host) *DHT {
	t.Helper()
	var list []cluster.Peer
	for _, s := range seeds {
		list = append(list, s.Self())
	}
	d, err := h.StartDHT(context.Background(), list)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("closing the DHT: %v", err)
		}
	})
	return d
}

// head is a host with a DHT and a claim to lead its own city.
type head struct {
	*Host
	dht  *DHT
	city cluster.City
	lead cluster.Signed
}

// heads starts count heads; each knows the first one only. Their records are put.
func (n *testNet) heads(t testing.TB, count int) []head {
	t.Helper()
	sized := func(c *Config) { c.Members = max(c.Members, 4*count) }
	var all []head
	for i := range count {
		name := numbered("head", i)
		h := head{Host: n.host(t, name, sized), city: cluster.City(numbered("city", i))}
		h.lead = n.lead(h.city, 1, 0, 1, seedKey(name))
		if i == 0 {
			h.dht = startDHT(t, h.Host)
		} else {
			h.dht = startDHT(t, h.Host, all[0].Host)
		}
		all = append(all, h)
	}
	for i, h := range all {
		defer func() {
			if t.Failed() {
				t.Logf("head %d: table of %d, quiet %v, %+v", i, h.dht.TableSize(), h.dht.quiet(), h.Counters())
			}
		}()
		eventually(t, "the routing tables fill", func() bool {
			return h.dht.TableSize() >= min(count-1, 10) && h.dht.quiet()
		})
	}
	// A hundred heads that all meet at once in one process make some thousands of
	// handshakes; puts wait behind them.
	ctx, cancel := context.WithTimeout(context.Background(), patience+time.Duration(count)*time.Second)
	defer cancel()
	for _, h := range all {
		if err := h.dht.Put(ctx, h.lead, h.city, 0); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

func same(a, b cluster.Signed) bool {
	return bytes.Equal(a.Payload, b.Payload) && bytes.Equal(a.Sig, b.Sig)
}

func TestTwoHeads(t *testing.T)  { testHeads(t, 2) }
func TestTenHeads(t *testing.T)  { testHeads(t, 10) }
func TestManyHeads(t *testing.T) { testHeads(t, 23) } // above the bucket size: not everybody holds everything

func testHeads(t *testing.T, count int) {
	n := newNet("a")
	all := n.heads(t, count)
	for i, from := range all {
		to := all[(i+1)%count]
		got, answers, err := from.dht.Find(t.Context(), to.city, 0)
		if err != nil || !same(got, to.lead) || answers < 1 {
			t.Fatalf("head %d looks for %s: %d answers, %v", i, to.city, answers, err)
		}
	}
	if _, _, err := all[0].dht.Find(t.Context(), "atlantis", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("a city that nobody leads: %v, want %v", err, ErrNotFound)
	}
}

// A new term shows everywhere, the old holder included, and cannot be undone.
func TestNewTerm(t *testing.T) {
	n := newNet("a")
	all := n.heads(t, 5)
	city, old := all[1].city, all[1].lead
	higher := n.lead(city, 2, 0, 1, seedKey("head-3"))
	if err := all[3].dht.Put(t.Context(), higher, city, 0); err != nil {
		t.Fatal(err)
	}
	for i, h := range all {
		got, _, err := h.dht.Find(t.Context(), city, 0)
		if err != nil || !same(got, higher) {
			t.Errorf("head %d does not see the new term: %v", i, err)
		}
	}
	if err := all[1].dht.Put(t.Context(), old, city, 0); !errors.Is(err, ErrOldRecord) {
		t.Errorf("putting the old term again: %v, want %v", err, ErrOldRecord)
	}
}

// The highest term wins although this node holds a lower one itself.
func TestLocalRecordIsProvisional(t *testing.T) {
	n := newNet("a")
	lower, higher := n.lead("wuhan", 1, 0, 1, seedKey("a")), n.lead("wuhan", 1, 1, 1, seedKey("a"))
	a, b := n.host(t, "a"), n.host(t, "b")
	alone := startDHT(t, a)
	done, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := alone.Put(done, lower, "wuhan", 0); err != nil {
		t.Fatal(err)
	}
	far := startDHT(t, b)
	if err := far.Put(done, higher, "wuhan", 0); err != nil {
		t.Fatal(err)
	}
	alone.AddPeers([]cluster.Peer{b.Self()})
	eventually(t, "the two meet", func() bool { return alone.TableSize() == 1 })
	got, answers, err := alone.Find(t.Context(), "wuhan", 0)
	if err != nil || !same(got, higher) || answers != 2 {
		t.Errorf("%d answers, %v; want the higher of 2", answers, err)
	}
}

func TestLoneHead(t *testing.T) {
	n := newNet("a")
	h := n.host(t, "a")
	d := startDHT(t, h)
	lead := n.lead("wuhan", 1, 0, 1, seedKey("a"))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := d.Put(ctx, lead, "wuhan", 0); err != nil {
		t.Fatalf("a lone head's put: %v", err)
	}
	start := time.Now()
	got, answers, err := d.Find(t.Context(), "wuhan", 0)
	if err != nil || !same(got, lead) || answers != 1 {
		t.Errorf("its own record: %d answers, %v", answers, err)
	}
	if _, _, err := d.Find(t.Context(), "changsha", 0); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v, want %v", err, ErrNotFound)
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("looking alone took %v", took)
	}
	// Leading again on the same host starts with what was known.
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := d.Find(t.Context(), "wuhan", 0); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, want %v", err, ErrClosed)
	}
	if slices.Contains(h.p2p.Mux().Protocols(), d.proto) {
		t.Error("the host still offers the DHT that it has left")
	}
	again := startDHT(t, h)
	if got, _, err := again.Find(t.Context(), "wuhan", 0); err != nil || !same(got, lead) {
		t.Errorf("the record did not outlive the DHT: %v", err)
	}
}

// A put waits for the first neighbour and reaches it.
func TestPutWaitsForCompany(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	first := startDHT(t, a)
	lead := n.lead("wuhan", 1, 0, 1, seedKey("a"))
	put := make(chan error, 1)
	go func() { put <- first.Put(t.Context(), lead, "wuhan", 0) }()
	second := startDHT(t, b, a)
	select {
	case err := <-put:
		if err != nil {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("the put waits on")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if got, _, err := second.Find(t.Context(), "wuhan", 0); err != nil || !same(got, lead) {
		t.Errorf("the neighbour does not hold the record: %v", err)
	}
}

// A head that takes streams and says nothing holds a lookup up for 150 ms after
// the first answer, not until the lookup's own end.
func TestMuteHead(t *testing.T) {
	n := newNet("a")
	all := n.heads(t, 3)
	over := make(chan struct{})
	defer close(over)
	mute := all[2]
	mute.p2p.SetStreamHandler(mute.dht.proto, func(s network.Stream) { <-over; _ = s.Reset() })
	for _, h := range all[:2] { // streams that kad-dht keeps open would be answered
		if err := mute.ClosePeer(h.ID()); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	got, answers, err := all[0].dht.Find(t.Context(), all[1].city, 0)
	if err != nil || !same(got, all[1].lead) || answers != 2 {
		t.Errorf("%d answers, %v; want 2", answers, err)
	}
	if took := time.Since(start); took < findSettle || took > time.Second {
		t.Errorf("took %v, want a little more than %v", took, findSettle)
	}
}

// A head that does not answer costs one question answerTimeout, not ten seconds twice, and the next ones nothing: ten
// silent ones nearest to a key would otherwise take all of a lookup's time.
func TestSilentHeadIsPassedOver(t *testing.T) {
	n := newNet("a")
	all := n.heads(t, 2)
	over := make(chan struct{})
	defer close(over)
	mute := all[1]
	mute.p2p.SetStreamHandler(mute.dht.proto, func(s network.Stream) { <-over; _ = s.Reset() })
	g := gatedHost{Host: all[0].p2p, d: all[0].dht}
	ask := func() error {
		s, err := g.NewStream(t.Context(), mute.p2p.ID(), mute.dht.proto)
		if err != nil {
			return err
		}
		defer s.Reset()
		if _, err := s.Write([]byte{1, 0}); err != nil {
			return err
		}
		_, err = s.Read(make([]byte, 1))
		return err
	}
	start := time.Now()
	var timeout net.Error
	if err := ask(); !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("no answer: %v, want a timeout", err)
	}
	if took := time.Since(start); took > answerTimeout+patience/10 {
		t.Errorf("no answer for %v, want %v", took, answerTimeout)
	}
	if err := ask(); !errors.Is(err, errSilent) {
		t.Errorf("asked again: %v, want %v", err, errSilent)
	}
	q := &all[0].dht.silent
	q.mu.Lock()
	q.until[mute.p2p.ID()] = time.Now().Add(-1)
	q.mu.Unlock()
	if q.is(mute.p2p.ID()) || len(q.until) != 0 {
		t.Error("it is passed over for ever")
	}
	for i := range maxSilent + 1 {
		q.add(peer.ID(numbered("peer", i)))
	}
	if len(q.until) > maxSilent {
		t.Errorf("%d silent peers are remembered, want %d at most", len(q.until), maxSilent)
	}
}

// With a third of the heads gone a lookup still ends in time.
func TestDeadHeads(t *testing.T) {
	n := newNet("a")
	all := n.heads(t, 10)
	for _, h := range all[7:] {
		if err := h.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 6 {
		start := time.Now()
		got, _, err := all[i].dht.Find(t.Context(), all[i+1].city, 0)
		if took := time.Since(start); err != nil || !same(got, all[i+1].lead) || took > time.Second {
			t.Errorf("after %v: %v", took, err)
		}
	}
}

// A stranger is connected like anybody, but gets nothing from the DHT, and into
// nobody's routing table.
func TestStrangerInDHT(t *testing.T) {
	n, other := newNet("a"), newNet("b")
	a, b := n.host(t, "a"), n.host(t, "b")
	d := startDHT(t, a)
	startDHT(t, b, a)
	eventually(t, "the two meet", func() bool { return d.TableSize() == 1 })
	for name, admit := range map[string]func(h *Host){
		"no admission":    func(h *Host) { h.SetTrust(n.trust); h.SetAdmission(cluster.Signed{}) },
		"another network": func(h *Host) { h.SetTrust(other.trust); h.SetAdmission(other.admission(h.ID())) },
	} {
		t.Run(name, func(t *testing.T) {
			s := stranger(t, "stranger")
			admit(s)
			before := a.Counters().NotAdmitted
			// The raw protocol, as somebody would speak it who skips the hello.
			if err := s.p2p.Connect(t.Context(), addrInfo(a.Self())); err != nil {
				t.Fatal(err)
			}
			raw, err := s.p2p.NewStream(t.Context(), peer.ID(a.ID()), d.proto)
			if err != nil {
				t.Fatal(err)
			}
			_ = raw.SetDeadline(time.Now().Add(patience))
			_, _ = raw.Write([]byte{2, 8, 4}) // FIND_NODE
			if _, err := raw.Read(make([]byte, 1)); !errors.Is(err, network.ErrReset) {
				t.Errorf("a DHT stream without admission: %v, want a reset", err)
			}
			if got := a.Counters().NotAdmitted; got != before+1 {
				t.Errorf("counted %d, want %d", got, before+1)
			}
			// The same program on the other side: it serves the DHT, but its hello fails.
			if s.gate.trust.Load() == n.trust {
				ds := startDHT(t, s, a)
				eventually(t, "its hello is refused", func() bool { return a.Counters().NotAdmitted > before+1 })
				if ds.TableSize() != 0 {
					t.Error("a stranger's table holds a head that refused it")
				}
			}
			if d.TableSize() != 1 {
				t.Errorf("the routing table holds %d, the stranger among them", d.TableSize())
			}
		})
	}
}

func TestBarredInDHT(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	d := startDHT(t, a)
	startDHT(t, b, a)
	eventually(t, "the two meet", func() bool { return d.TableSize() == 1 })
	a.SetBarred([]cluster.ID{b.ID()})
	if a.gate.knows(peer.ID(b.ID())) {
		t.Error("the barred peer is still known as admitted")
	}
	eventually(t, "the connection is dropped", func() bool { return !a.Connected(b.ID()) })
}

// A head that starts anew has forgotten who showed what; its peers show it again.
func TestRestartedHead(t *testing.T) {
	n := newNet("a")
	all := n.heads(t, 3)
	self := all[0].Self()
	if err := all[0].dht.Close(); err != nil {
		t.Fatal(err)
	}
	if err := all[0].Host.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its end shows", func() bool { return !all[1].Connected(self.ID) })
	back := n.host(t, "head-0", func(c *Config) { c.Listen = []string{AddrText(self.Addrs[0])} })
	d := startDHT(t, back, all[1].Host)
	eventually(t, "it meets the others", func() bool { return d.TableSize() == 2 })
	got, _, err := d.Find(t.Context(), all[2].city, 0)
	if err != nil || !same(got, all[2].lead) {
		t.Errorf("the head that came back: %v", err)
	}
}

// Seeds that do not answer are called again.
func TestSeedThatComesLater(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	self := b.Self()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := a.StartDHT(t.Context(), []cluster.Peer{self})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	eventually(t, "the first round of calls fails", func() bool { return d.quiet() })
	startDHT(t, n.host(t, "b", func(c *Config) { c.Listen = []string{AddrText(self.Addrs[0])} }))
	eventually(t, "the seed is called again", func() bool { return d.TableSize() == 1 })
}

func TestStartDHTBeforeJoining(t *testing.T) {
	if _, err := stranger(t, "a").StartDHT(t.Context(), nil); !errors.Is(err, ErrNoNetwork) {
		t.Errorf("%v, want %v", err, ErrNoNetwork)
	}
}

func TestHeadValidator(t *testing.T) {
	n, other := newNet("a"), newNet("b")
	v := HeadValidator{Trust: n.trust}
	own := seedKey("a")
	good := n.lead("wuhan", 1, 0, 1, own)
	key := HeadKey(n.trust.Network(), "wuhan", 0)
	if want := "/peerprobe/head/" + string(n.trust.Network()) + "/wuhan/0"; key != want {
		t.Errorf("key %s, want %s", key, want)
	}
	tampered := good
	tampered.Payload = bytes.Replace(good.Payload, []byte("wuhan"), []byte("xuhan"), 1)
	var claim cluster.Lead // signed by somebody who is not in the succession
	if err := cluster.Unmarshal(good.Payload, &claim); err != nil {
		t.Fatal(err)
	}
	usurper := cluster.Sign(cluster.DomainLead, claim, cluster.SignerOf(seedKey("usurper")))
	claim.Reason = strings.Repeat("x", cluster.MaxLead)
	long := cluster.Sign(cluster.DomainLead, claim, cluster.SignerOf(own))
	for _, row := range []struct {
		name, key string
		value     []byte
		ok        bool
	}{
		{"a valid claim", key, cluster.Marshal(good), true},
		{"under another city's key", HeadKey(n.trust.Network(), "changsha", 0), cluster.Marshal(good), false},
		{"under another shard's key", HeadKey(n.trust.Network(), "wuhan", 1), cluster.Marshal(good), false},
		{"under another network's key", HeadKey(other.trust.Network(), "wuhan", 0), cluster.Marshal(good), false},
		{"of another network", HeadKey(other.trust.Network(), "wuhan", 0), cluster.Marshal(other.lead("wuhan", 1, 0, 1, own)), false},
		{"altered after signing", key, cluster.Marshal(tampered), false},
		{"signed by somebody else", key, cluster.Marshal(usurper), false},
		{"too large", key, cluster.Marshal(long), false},
		{"with bytes behind it", key, append(cluster.Marshal(good), 0), false},
		{"encoded otherwise", key, append([]byte{0xb8, 0x02}, cluster.Marshal(good)[1:]...), false},
		{"no CBOR", key, []byte("wuhan"), false},
		{"empty", key, nil, false},
	} {
		if err := v.Validate(row.key, row.value); (err == nil) != row.ok {
			t.Errorf("%s: %v", row.name, err)
		}
	}
}

func TestHeadValidatorSelect(t *testing.T) {
	n := newNet("a")
	v := HeadValidator{Trust: n.trust}
	own := seedKey("a")
	key := HeadKey(n.trust.Network(), "wuhan", 0)
	rec := func(epoch, k, seq uint64) []byte { return cluster.Marshal(n.lead("wuhan", epoch, k, seq, own)) }
	for _, row := range []struct {
		name   string
		values [][]byte
		want   int
	}{
		{"one", [][]byte{rec(1, 0, 1)}, 0},
		{"equal: the first", [][]byte{rec(1, 0, 1), rec(1, 0, 1)}, 0},
		{"equal and lower", [][]byte{rec(1, 0, 0), rec(1, 0, 1), rec(1, 0, 1)}, 1},
		{"higher seq", [][]byte{rec(1, 0, 1), rec(1, 0, 2)}, 1},
		{"higher take-over beats seq", [][]byte{rec(1, 0, 9), rec(1, 1, 1)}, 1},
		{"higher epoch beats all", [][]byte{rec(1, 9, 9), rec(2, 0, 0)}, 1},
		{"rubbish is passed over", [][]byte{[]byte("x"), rec(1, 0, 1)}, 1},
	} {
		if got, err := v.Select(key, row.values); err != nil || got != row.want {
			t.Errorf("%s: %d, %v; want %d", row.name, got, err, row.want)
		}
	}
	if _, err := v.Select(key, [][]byte{[]byte("x")}); err == nil {
		t.Error("rubbish alone was selected")
	}
}
