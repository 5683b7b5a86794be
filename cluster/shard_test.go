package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// divided waits until a city has n shards, each with one head that all its living members follow, that counts
// exactly them, and that knows the heads of the other shards.
func (n *network) divided(limit time.Duration, shards int, hosts ...*host) (heads []*host, took time.Duration) {
	n.t.Helper()
	took = n.until(limit, func() bool { heads = n.headsByShard(shards, hosts); return heads != nil })
	if heads == nil {
		n.t.Fatalf("not %d settled shards after %v: %s", shards, limit, n.describe())
	}
	return heads, took
}

// headsByShard are the heads of all shards, where everything is as it should be; else nil.
func (n *network) headsByShard(shards int, hosts []*host) []*host {
	heads, members := make([]*host, shards), make([]int, shards)
	for _, h := range hosts {
		if h.m == nil || h.frozen {
			continue
		}
		s := ShardOf(h.id, uint(shards))
		if h.m.shards() != shards || h.m.shard() != s {
			return nil
		}
		members[s]++
		if h.m.leading() {
			if heads[s] != nil {
				return nil
			}
			heads[s] = h
		}
	}
	if slices.Contains(heads, nil) {
		return nil
	}
	for _, h := range hosts {
		if h.m == nil || h.frozen {
			continue
		}
		head := heads[h.m.shard()]
		if h.m.high.term != head.m.high.term {
			return nil
		}
		if h == head && (h.m.Status().Members != members[h.m.shard()] || !n.knowsSiblings(h, heads)) {
			return nil
		}
	}
	return heads
}

func (n *network) knowsSiblings(h *host, heads []*host) bool {
	known := h.m.HeadsOf(h.city)
	if len(known) != len(heads)-1 {
		return false
	}
	for _, k := range known {
		if k.Shard == h.m.shard() || k.Term != heads[k.Shard].m.high.term {
			return false
		}
	}
	return true
}

// many starts size nodes of a city that should have n heads. Every shard has at least three of them.
func (n *network) many(city City, size int, heads uint) []*host {
	n.t.Helper()
	if _, err := n.registry.SetHeads(n.ms(), city, heads); err != nil {
		n.t.Fatal(err)
	}
	var all []*host
	counts := make([]int, heads)
	for i := 0; len(all) < size; i++ {
		name := fmt.Sprintf("%s-%d", city, i)
		s := ShardOf(testID(name), heads)
		if counts[s] > size/int(heads) {
			continue // spread evenly
		}
		counts[s]++
		all = append(all, n.join(name, city))
		n.run(50 * time.Millisecond)
	}
	return all
}

// TestShards: a city grows to three heads as nodes come; each node follows the head of its own shard; a head that dies
// is replaced in its shard without the registry, and nobody else notices but for the new Lead.
func TestShards(t *testing.T) {
	n := newNetwork(t, 80)
	all := n.many("wuhan", 15, 3)
	heads, _ := n.divided(40*time.Second, 3, all...)
	n.run(20 * time.Second) // lists complete
	for i, h := range heads {
		st := h.m.Status()
		if st.Shard != uint(i) || st.Shards != 3 || st.Backup == "" || len(h.m.list()) < 3 {
			t.Errorf("shard %d: %+v", i, st)
		}
		for _, id := range h.m.list() {
			if ShardOf(id, 3) != uint(i) {
				t.Errorf("%s is listed in shard %d", id.Short(), i)
			}
		}
	}
	n.away = true
	terms := []Term{heads[0].m.high.term, heads[1].m.high.term, heads[2].m.high.term}
	dead := heads[1]
	n.kill(dead, true)
	after, took := n.divided(20*time.Second, 3, all...)
	if after[1] == dead || after[1].m.high.term.Compare(terms[1]) <= 0 || after[1].m.high.term.Shard != 1 {
		t.Errorf("shard 1 is led by %s in %s", after[1].name, after[1].m.high.term)
	}
	if after[0] != heads[0] || after[2] != heads[2] || after[0].m.high.term != terms[0] || after[2].m.high.term != terms[2] {
		t.Error("a take-over in one shard moved another")
	}
	t.Logf("taken over and known to the other heads after %v", took)
	n.boot(dead)
	n.divided(30*time.Second, 3, all...)
}

// TestShardsChange: more shards and fewer, while the city lives; and heads of another city hear of it.
func TestShardsChange(t *testing.T) {
	n := newNetwork(t, 81)
	all := n.many("wuhan", 12, 1)
	other := n.join("elsewhere", "changsha")
	n.settled(20*time.Second, all...)
	n.run(15 * time.Second)
	for _, shards := range []uint{3, 2, 4, 1} {
		if _, err := n.registry.SetHeads(n.ms(), "wuhan", shards); err != nil {
			t.Fatal(err)
		}
		// The heads hear of it with their next report.
		_, took := n.divided(reportEvery+15*time.Second, int(shards), all...)
		t.Logf("%d shards after %v", shards, took)
		limit := 2*headsEvery + 5*time.Second
		got := n.until(limit, func() bool { return len(other.m.HeadsOf("wuhan")) == int(shards) })
		if got >= limit {
			t.Errorf("changsha knows %d heads of wuhan, want %d", len(other.m.HeadsOf("wuhan")), shards)
		}
		for i, h := range other.m.HeadsOf("wuhan") {
			if h.Shard != uint(i) {
				t.Errorf("head %d is of shard %d", i, h.Shard)
			}
		}
	}
}

// TestShardsFast: who stands first in a new shard claims at once: it asks the head that it had, which says no.
func TestShardsFast(t *testing.T) {
	n := newNetwork(t, 82)
	all := n.many("wuhan", 12, 1)
	n.settled(20*time.Second, all...)
	n.run(15 * time.Second)
	changes, err := n.registry.SetHeads(n.ms(), "wuhan", 3)
	if err != nil || len(changes.Cities) != 1 {
		t.Fatal(err, changes)
	}
	head := n.leader(all...)
	n.step(head, Answered{Kind: CallReport, Answer: &Answer{Version: Version, Cert: changes.Cities[0].Cert}})
	n.away = true
	led := n.until(10*time.Second, func() bool {
		leading := 0
		for _, h := range all {
			leading += number(h.m.leading())
		}
		return leading == 3
	})
	if led > 100*time.Millisecond {
		t.Errorf("three heads after %v, want at once: %s", led, n.describe())
	}
	_, took := n.divided(10*time.Second, 3, all...)
	if took > 5*time.Second {
		t.Errorf("everybody follows after %v", took)
	}
	t.Logf("heads after %v, everybody follows %v later", led, took)
}

// TestShardsLossy: a change of the number of shards while messages are lost, and while the old head dies of it.
func TestShardsLossy(t *testing.T) {
	for seed := range uint64(12) {
		n := newNetwork(t, 900+seed)
		all := n.many("wuhan", 12, 1)
		head, _ := n.settled(20*time.Second, all...)
		n.run(15 * time.Second)
		n.drop, n.double, n.jitter = 0.2, 0.1, 20*time.Millisecond
		if _, err := n.registry.SetHeads(n.ms(), "wuhan", 2+uint(seed%2)); err != nil {
			t.Fatal(err)
		}
		n.until(reportEvery+time.Second, func() bool { return head.m.shards() > 1 })
		if seed%3 == 0 {
			n.kill(head, seed%2 == 0)
		}
		n.run(20 * time.Second)
		n.drop, n.double = 0, 0
		n.divided(45*time.Second, 2+int(seed%2), all...)
		if head.m == nil {
			n.boot(head)
			n.divided(45*time.Second, 2+int(seed%2), all...)
		}
	}
}

// TestShardsWhileCutOff: a node that slept through a change of shards finds its own when it comes back, with the registry
// away; so does one that starts from its disk.
func TestShardsWhileCutOff(t *testing.T) {
	n := newNetwork(t, 83)
	all := n.many("wuhan", 14, 1)
	n.settled(20*time.Second, all...)
	n.run(15 * time.Second)
	var asleep, dead *host
	for _, h := range all {
		if s := ShardOf(h.id, 3); !h.m.leading() && s == 1 && asleep == nil {
			asleep = h
		} else if !h.m.leading() && s == 2 && dead == nil {
			dead = h
		}
	}
	asleep.frozen = true
	n.kill(dead, true)
	n.cut = func(from, to ID) bool { return from == asleep.id || to == asleep.id }
	n.registry.SetHeads(n.ms(), "wuhan", 3)
	n.divided(reportEvery+30*time.Second, 3, all...)
	n.away = true
	n.run(time.Minute)
	asleep.frozen, n.cut = false, func(_, _ ID) bool { return false }
	n.boot(dead)
	_, took := n.divided(30*time.Second, 3, all...)
	t.Logf("both are back after %v", took)
}

// TestShardNewcomer: a newcomer is told of its shard's head by the registry; away from the registry, a node that knows
// only the head of another shard is told by that one.
func TestShardNewcomer(t *testing.T) {
	n := newNetwork(t, 84)
	all := n.many("wuhan", 12, 3)
	heads, _ := n.divided(40*time.Second, 3, all...)
	late := n.join("late", "wuhan")
	all = append(all, late)
	n.divided(10*time.Second, 3, all...)
	head := heads[(late.m.shard()+1)%3]
	lost := heads[late.m.shard()].m.high.raw
	late.m.high = leadView{}
	n.step(head, Received{From: late.id, Message: &Message{WhoIs: late.m.whoIs()}})
	if i := slices.IndexFunc(head.saying, func(e Envelope) bool {
		return e.To == late.id && e.Message.Lead != nil && e.Message.Lead.Hash() == lost.Hash()
	}); i < 0 {
		t.Errorf("the head of shard %d does not name the head of shard %d", head.m.shard(), late.m.shard())
	}
}

// TestShardTicket: a head lets nobody of another shard into its table, and a target takes tickets of its own shard's
// head only.
func TestShardTicket(t *testing.T) {
	n := newNetwork(t, 85)
	all := n.many("wuhan", 12, 3)
	heads, _ := n.divided(40*time.Second, 3, all...)
	n.run(5 * time.Second)
	own, _ := heads[0].m.Pick(n.now, 1, "")
	if len(own) != 1 || ShardOf(own[0].Row.ID, 3) != 0 {
		t.Fatalf("picked %+v", own)
	}
	target, asker := n.hosts[own[0].Row.ID], all[0]
	for i, h := range heads[:2] {
		ticket, err := h.m.IssueTicket(own[0], asker.id, "latency", [16]byte{byte(i)}, TicketLimits{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = target.m.CheckTicket(n.now, asker.id, ticket, "latency")
		var no *RefusedTicket
		if i == 0 && err != nil || i == 1 && (!errors.As(err, &no) || no.Code != TicketCity) {
			t.Errorf("ticket of shard %d: %v", i, err)
		}
	}
	hb := &Heartbeat{Term: heads[1].m.high.term, Boot: 1, Seq: 1, Row: &target.row}
	if _, err := heads[1].m.Step(n.now, Received{From: target.id, Message: &Message{Heartbeat: hb}}); !errors.Is(err, ErrForeign) {
		t.Errorf("a member of another shard is taken in: %v", err)
	}
	// A term of another shard says nothing, whatever its number.
	beacon := &Beacon{Term: heads[2].m.high.term, Boot: 1, Seq: 1 << 40}
	before := target.m.high.term
	n.step(target, Received{From: heads[2].id, Message: &Message{Beacon: beacon}})
	if target.m.high.term != before || len(target.saying) > 0 && target.saying[0].Message.WhoIs != nil {
		t.Error("a beacon of another shard had an effect")
	}
}

// TestShardRebirth: all who may lead one shard are gone; one of its members is named, and the other shards' lists stay.
func TestShardRebirth(t *testing.T) {
	n := newNetwork(t, 86)
	all := n.many("wuhan", 32, 4)
	heads, _ := n.divided(40*time.Second, 4, all...)
	n.run(70 * time.Second)
	list := slices.Clone(heads[1].m.list())
	i := slices.IndexFunc(all, func(h *host) bool { return h.m.shard() == 1 && !slices.Contains(list, h.id) })
	if i < 0 || len(list) != Slots(4) {
		t.Fatalf("a list of %d, and everybody is in it", len(list))
	}
	heir := all[i]
	for _, id := range list {
		n.kill(n.hosts[id], true)
	}
	n.run(rebirthSilent + rebirthCutOff)
	before := n.registry.cities["wuhan"].cert.cert.Successions
	if err := n.renew(heir, list...); err != nil {
		t.Fatal(err)
	}
	after := n.registry.cities["wuhan"].cert.cert.Successions
	n.until(10*time.Second, heir.m.leading)
	if st := heir.m.Status(); !st.Leading || st.Shard != 1 || !strings.HasPrefix(st.LastChange, "rebirth") {
		t.Fatalf("%+v", st)
	}
	for s := range before {
		if same := slices.Equal(before[s], after[s]); same != (s != 1) {
			t.Errorf("the list of shard %d was %v, is %v", s, before[s], after[s])
		}
	}
	n.divided(30*time.Second, 4, all...)
}

// TestShardSizes: every Lead of a city with as many shards as there may be fits a DHT record, also with a long name.
func TestShardSizes(t *testing.T) {
	city := City(strings.Repeat("x", maxCity))
	for shards := 1; shards <= MaxHeads; shards++ {
		var lists [][]ID
		total := 0
		for s := range shards {
			var list []ID
			for i := range Slots(shards) {
				list = append(list, testID(fmt.Sprint(s, "-", i)))
			}
			total += len(list)
			lists = append(lists, list)
		}
		if Slots(shards) < 2 || total > max(maxNames, MaxSuccession) {
			t.Fatalf("%d shards of %d names", shards, Slots(shards))
		}
		cert := Sign(DomainCert, Certificate{Version: Version, Network: NetworkName(networkPublic()), City: city, Epoch: 1<<63 - 1,
			Successions: lists, Timers: WANTimers(), Issued: startMs}, SignerOf(networkKey()))
		long := [][]byte{make([]byte, 24), make([]byte, 24), make([]byte, 24), make([]byte, 24)}
		head := Peer{lists[0][0], long}
		raw := Sign(DomainLead, Lead{Certificate: cert, Network: NetworkName(networkPublic()), City: city, Head: head.ID, Boot: startMs,
			Seq: 1 << 20, Addrs: []Peer{head, head}, Reason: "rebirth: nobody of the list before answered"}, SignerOf(testKey("0-0")))
		if size := len(raw.Payload) + len(raw.Sig); size > MaxLead {
			t.Errorf("a Lead of %d shards with two peers has %d bytes, at most %d fit", shards, size, MaxLead)
		}
		if _, _, err := NewTrust(networkPublic()).Lead(raw); err != nil {
			t.Error(err)
		}
	}
}

// TestShardOf: shards are even, and one more shard moves members to the new one only.
func TestShardOf(t *testing.T) {
	counts := make([]int, 4)
	for i := range 4000 {
		id := testID(fmt.Sprint("n", i))
		for n := range uint(6) {
			few, more := ShardOf(id, n+1), ShardOf(id, n+2)
			if few > n || more != few && more != n+1 {
				t.Fatalf("%d shards: %d, one more: %d", n+1, few, more)
			}
		}
		counts[ShardOf(id, 4)]++
	}
	for s, n := range counts {
		if n < 900 || n > 1100 {
			t.Errorf("shard %d of 4 has %d of 4000", s, n)
		}
	}
}

// TestShardSiblings: a head tells the heads of the other shards at once that it leads; they tell one another of one that
// is new to them.
func TestShardSiblings(t *testing.T) {
	n := newNetwork(t, 87)
	all := n.many("wuhan", 12, 3)
	heads, _ := n.divided(40*time.Second, 3, all...)
	n.run(15 * time.Second)
	n.away = true
	n.kill(heads[1], true)
	var next *host
	n.until(10*time.Second, func() bool {
		for _, h := range all {
			if h.m != nil && h.m.leading() && h.m.shard() == 1 {
				next = h
			}
		}
		return next != nil
	})
	if next == nil {
		t.Fatalf("nobody leads shard 1: %s", n.describe())
	}
	n.run(n.delay + n.delay/2) // one way
	for _, h := range []*host{heads[0], heads[2]} {
		if i := slices.IndexFunc(h.m.HeadsOf("wuhan"), func(k KnownHead) bool { return k.Shard == 1 && k.Lead.Head == next.id }); i < 0 {
			t.Errorf("the head of shard %d has not heard who leads shard 1", h.m.shard())
		}
	}
}

// TestShardOutdated: Leads of shards that a city does not have any more are forgotten, and not learned again.
func TestShardOutdated(t *testing.T) {
	n := newNetwork(t, 88)
	all := n.many("wuhan", 12, 3)
	far := n.join("far", "changsha")
	heads, _ := n.divided(40*time.Second, 3, all...)
	n.run(headsEvery + 15*time.Second)
	var old []Signed
	for _, h := range heads {
		old = append(old, h.m.high.raw)
	}
	n.registry.SetHeads(n.ms(), "wuhan", 2)
	after, _ := n.divided(reportEvery+15*time.Second, 2, all...)
	n.run(headsEvery + 15*time.Second)
	for _, raw := range old {
		n.step(far, Learned{Lead: raw})
		n.step(after[0], Learned{Lead: raw})
	}
	if got := far.m.HeadsOf("wuhan"); len(got) != 2 || got[0].Shard != 0 || got[1].Shard != 1 {
		t.Errorf("changsha knows %d heads of wuhan, want those of two shards", len(got))
	}
	if got := after[0].m.HeadsOf("wuhan"); len(got) != 1 || got[0].Shard != 1 {
		t.Errorf("the head of shard 0 knows %d others", len(got))
	}
	if k, ok := far.m.Head("wuhan"); !ok || k.Shard != 0 || k.City != "wuhan" {
		t.Errorf("the first head of wuhan: %+v", k)
	}
}

// TestShardAsks: a node of a city that has been divided anew asks the names of its new list who leads, at once and then
// every Heartbeat, although the head that it had was heard a moment ago.
func TestShardAsks(t *testing.T) {
	n := newNetwork(t, 89)
	all := n.many("wuhan", 15, 1)
	n.settled(20*time.Second, all...)
	n.run(15 * time.Second)
	changes, err := n.registry.SetHeads(n.ms(), "wuhan", 3)
	if err != nil || len(changes.Cities) != 1 {
		t.Fatal(err, changes)
	}
	raw := changes.Cities[0].Cert
	cert := certOf(t, raw)
	i := slices.IndexFunc(all, func(h *host) bool { return !h.m.leading() && cert.listOf(h.id)[0] != h.id })
	h := all[i]
	n.cut = func(from, to ID) bool { return true }
	n.step(h, Received{From: cert.listOf(h.id)[0], Message: &Message{Cert: &CertMessage{Certificate: raw}}})
	asked := 0
	for range 4 {
		for _, e := range h.saying {
			if e.Message.WhoIs != nil && slices.Contains(cert.listOf(h.id), e.To) {
				asked++
			}
		}
		h.saying, h.said = nil, nil
		n.now = n.now.Add(DefaultTimers().Heartbeat)
		n.carry(h, h.m.Tick(n.now))
	}
	if want := 4 * (len(cert.listOf(h.id)) - 1); asked < want-2 {
		t.Errorf("%d questions in four heartbeats, want %d", asked, want)
	}
}
