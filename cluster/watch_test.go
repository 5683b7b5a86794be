package cluster

import (
	"fmt"
	"testing"
	"time"
)

// deaf is a city of which the second candidate hears nobody; what it gets comes from the test.
func deaf(t *testing.T, seed uint64, size int) (n *network, head, second *host) {
	t.Helper()
	n = newNetwork(t, seed)
	all := n.city("wuhan", size)
	head = n.leader(all...)
	second = n.inOrder(head)[1]
	n.run(time.Second)
	n.away = true
	n.cut = func(_, to ID) bool { return to == second.id }
	return n, head, second
}

// probing waits for the next probe, and says how long that took.
func (n *network) probing(h *host, limit time.Duration) time.Duration {
	return n.until(limit, func() bool { return h.m.watch.probe != nil || h.m.leading() })
}

func (n *network) testify(h *host, i int, fresh bool, seq uint64) {
	p := h.m.watch.probe
	n.step(h, Received{From: p.asked[i], Message: &Message{ProbeRes: &ProbeRes{Term: h.m.high.term, Req: p.req, Fresh: fresh, Stands: fresh, Seq: seq}}})
}

// TestR3HalfDecides: a claim is put off only where at least half of the answers are fresh and the seq has moved on; so
// a lying witness alone neither deposes a head nor keeps a dead one.
func TestR3HalfDecides(t *testing.T) {
	const moved, stuck, no, silent = 'm', 's', 'n', '-'
	for answers, claims := range map[string]bool{
		"---": true, "nnn": true, "mnn": true, "m--": false, "mn-": false, "mmn": false, "mmm": false, "sss": true, "ssm": false, "snn": true,
	} {
		t.Run(answers, func(t *testing.T) {
			n, _, second := deaf(t, 300, 6)
			n.probing(second, 10*time.Second)
			seq := second.m.watch.probe.seq
			for i, a := range answers {
				switch a {
				case moved:
					n.testify(second, i, true, seq+1)
				case stuck:
					n.testify(second, i, true, seq)
				case no:
					n.testify(second, i, false, seq+5)
				case silent:
				}
			}
			n.run(DefaultTimers().ProbeWait)
			if second.m.leading() != claims {
				t.Errorf("leads: %v, want %v", second.m.leading(), claims)
			}
		})
	}
}

// TestR3LatestAnswerCounts: a correction replaces what a witness said before.
func TestR3LatestAnswerCounts(t *testing.T) {
	n, _, second := deaf(t, 301, 6)
	n.probing(second, 10*time.Second)
	seq := second.m.watch.probe.seq
	for i := range 3 {
		n.testify(second, i, true, seq+1)
	}
	n.testify(second, 0, false, seq)
	n.testify(second, 1, false, seq)
	n.run(DefaultTimers().ProbeWait)
	if !second.m.leading() {
		t.Error("two of three took back what they said, and it was put off all the same")
	}
}

// TestR3Correction: a witness that answered fresh says so when its own connection to the head breaks, once.
func TestR3Correction(t *testing.T) {
	n := newNetwork(t, 302)
	all := n.city("wuhan", 4)
	head := n.leader(all...)
	n.run(time.Second)
	second, third := n.inOrder(head)[1], n.inOrder(head)[2]
	ask := Received{From: second.id, Message: &Message{Probe: &Probe{Term: head.m.high.term, Req: 7}}}
	answers := func(in Input) []*ProbeRes {
		out, err := third.m.Step(n.now, in)
		if err != nil {
			t.Fatal(err)
		}
		return messages(out, func(m *Message) *ProbeRes { return m.ProbeRes })
	}
	if got := answers(ask); len(got) != 1 || !got[0].Fresh || !got[0].Stands || got[0].Req != 7 || got[0].Seq == 0 {
		t.Fatalf("answered %+v", got)
	}
	if got := answers(Disconnected{Peer: head.id}); len(got) != 1 || got[0].Fresh || got[0].Stands || got[0].Req != 7 {
		t.Errorf("corrected %+v", got)
	}
	if got := answers(Disconnected{Peer: head.id}); len(got) != 0 {
		t.Errorf("corrected twice: %+v", got)
	}
	if got := answers(ask); len(got) != 1 || got[0].Fresh {
		t.Errorf("fresh without a connection: %+v", got)
	}
}

// TestR3FreshIsFirstHand: a witness vouches only for what it heard itself, within 2.5 beacons, and not across a pause.
func TestR3FreshIsFirstHand(t *testing.T) {
	n := newNetwork(t, 303)
	all := n.city("wuhan", 10)
	head := n.leader(all...)
	n.run(time.Second)
	third := n.inOrder(head)[2]
	fresh := func(h *host) bool {
		n.carry(h, h.m.Tick(n.now)) // what it says is as of its last step
		return h.m.testify(1).Fresh
	}
	if !fresh(third) {
		t.Error("a candidate that hears the head is not fresh")
	}
	n.cut = func(from, to ID) bool { return from == head.id && to == third.id }
	n.run(1300 * time.Millisecond) // a beacon came within the first half second
	if fresh(third) {
		t.Error("fresh after 2.5 beacons of silence")
	}
	n.cut = func(_, _ ID) bool { return false }
	n.run(time.Second)
	n.freeze(third, true)
	n.run(time.Minute)
	n.thaw(third)
	if fresh(third) {
		t.Error("fresh after its own pause")
	}
	n.run(time.Second)
	n.away, n.cut = true, func(_, to ID) bool { return to == third.id }
	n.kill(head, true)
	second := n.inOrder(third)[1]
	n.until(10*time.Second, second.m.leading)
	n.step(third, Received{From: all[9].id, Message: &Message{Lead: &second.hard.High}})
	if third.m.high.term != second.m.high.term || fresh(third) {
		t.Error("fresh on hearsay")
	}
	n.step(third, Received{From: second.id, Message: &Message{Beacon: &Beacon{Term: second.m.high.term, Seq: 99}}})
	if !fresh(third) {
		t.Error("not fresh after a beacon")
	}
}

// TestR3DoublesAndGivesUp: an unhinted suppression doubles the next Suspect, and after three in a row nobody is asked
// to wait any more.
func TestR3DoublesAndGivesUp(t *testing.T) {
	n, _, second := deaf(t, 304, 6)
	tm := DefaultTimers()
	n.probing(second, 10*time.Second)
	for round := range maxSuppressions + 1 {
		if round > 0 {
			if took := n.probing(second, time.Minute); took != 2*tm.Suspect {
				t.Errorf("round %d: suspected again after %v, want %v", round, took, 2*tm.Suspect)
			}
		}
		seq := second.m.watch.probe.seq
		for i := range 3 {
			n.testify(second, i, true, seq+1+uint64(round))
		}
		n.run(tm.ProbeWait)
		if second.m.leading() != (round == maxSuppressions) {
			t.Fatalf("round %d: leads %v", round, second.m.leading())
		}
	}
}

// TestR3AfterAHint: a suppression after a hint is followed by another probe half a ProbeWait later, without doubling.
func TestR3AfterAHint(t *testing.T) {
	n, head, second := deaf(t, 305, 6)
	tm := DefaultTimers()
	n.step(second, Disconnected{Peer: head.id})
	if second.m.watch.probe == nil {
		t.Fatal("the hint did not remove the wait")
	}
	req := second.m.watch.probe.req
	for i := range 3 {
		n.testify(second, i, true, second.m.watch.seq+1)
	}
	n.run(tm.ProbeWait)
	if second.m.leading() || second.m.watch.doubled {
		t.Fatal("not suppressed, or doubled")
	}
	took := n.until(time.Minute, func() bool { return second.m.watch.probe.req != req })
	if took != tm.ProbeWait/2 {
		t.Errorf("asked again after %v, want %v", took, tm.ProbeWait/2)
	}
	for i := range 3 {
		n.testify(second, i, false, 0)
	}
	if !second.m.leading() {
		t.Error("all said no, and it waits")
	}
}

// TestR2OneInLine: the candidate at distance d suspects one Stagger later for each place, and a hint spares the first
// its wait only.
func TestR2OneInLine(t *testing.T) {
	for d := range 4 {
		if d == 0 {
			continue
		}
		for _, hint := range []bool{false, true} {
			n := newNetwork(t, 306)
			head := n.leader(n.city("wuhan", 6)...)
			h := n.inOrder(head)[d]
			n.run(time.Second)
			n.away, n.cut = true, func(_, to ID) bool { return to == h.id }
			heard := h.m.watch.heard
			if hint {
				n.step(h, Disconnected{Peer: head.id})
			}
			n.probing(h, time.Minute)
			tm := DefaultTimers()
			want := heard.Add(tm.Suspect + time.Duration(d-1)*tm.Stagger)
			if hint && d == 1 {
				want = n.now
			}
			if n.now != want {
				t.Errorf("d = %d, hint %v: suspects after %v of silence, want %v", d, hint, n.now.Sub(heard), want.Sub(heard))
			}
		}
	}
}

// TestR4Number: the take-over number is the smallest above the last that is one's own.
func TestR4Number(t *testing.T) {
	n := newNetwork(t, 307)
	all := n.city("wuhan", 3)
	head := n.leader(all...)
	order := n.inOrder(head)
	raw := head.m.cert.raw
	for k := range uint64(7) {
		for i, h := range order {
			if int(k%3) == i {
				continue
			}
			fresh := n.inOrder(head)[i]
			m, err := New(Config{Network: networkPublic(), City: "wuhan"}, fresh.row, HardState{Boot: fresh.row.Boot, Cert: raw,
				High: leadOf(t, raw, k, 1, order[k%3].name)}, SignerOf(h.key), nil)
			if err != nil {
				t.Fatal(err)
			}
			want := k + 1
			for int(want%3) != i {
				want++
			}
			if got, d, ok := m.inLine(); !ok || got != want || d != int(want-k) {
				t.Errorf("after take-over %d, place %d claims %d at distance %d, want %d", k, i, got, d, want)
			}
		}
	}
}

// TestR4NewEpoch: where an epoch has no Lead yet, its first waits as ever, the others for 2 Suspects and their places.
func TestR4NewEpoch(t *testing.T) {
	for place := range 3 {
		n, head, second := deaf(t, 308, 4)
		n.kill(head, false)
		names := []ID{testID("nobody"), testID("nobody else"), head.id}
		names[place] = second.id
		cert := Sign(DomainCert, Certificate{Version: Version, Network: n.trust.Network(), City: "wuhan",
			Epoch: NextEpoch(head.high.Epoch, n.ms(), 1), Successions: [][]ID{names}, Timers: DefaultTimers()}, SignerOf(networkKey()))
		n.run(time.Second)
		at := n.now
		n.step(second, Received{From: testID("x"), Message: &Message{Cert: &CertMessage{Certificate: cert}}})
		n.probing(second, time.Minute)
		tm := DefaultTimers()
		want := tm.Suspect
		if place > 0 {
			want = 2*tm.Suspect + time.Duration(place)*tm.Stagger
		}
		if got := n.now.Sub(at); got != want {
			t.Errorf("place %d suspects after %v, want %v", place, got, want)
		}
		n.until(tm.ProbeWait, second.m.leading)
		if !second.m.leading() || second.m.high.term.K != uint64(place) {
			t.Errorf("place %d: %s", place, n.describe())
		}
	}
}

// TestR1EqualTermFromOthers: what others say of the head is no sign of its life; what it says itself is.
func TestR1EqualTermFromOthers(t *testing.T) {
	n, head, second := deaf(t, 309, 4)
	n.run(time.Second)
	heard := second.m.watch.heard
	again := Message{Lead: &head.hard.High}
	n.step(second, Received{From: n.inOrder(head)[2].id, Message: &again})
	n.step(second, Learned{Lead: head.hard.High})
	if second.m.watch.heard != heard {
		t.Error("hearsay refreshed the head's liveness")
	}
	n.step(second, Received{From: head.id, Message: &again})
	if second.m.watch.heard != n.now {
		t.Error("the head itself did not")
	}
}

// TestR1LowerIsStale: every kind of control message of a lower term is answered with the higher Lead, and does nothing.
func TestR1LowerIsStale(t *testing.T) {
	n := newNetwork(t, 310)
	all := n.city("wuhan", 4)
	head := n.leader(all...)
	old, low := head.hard.High, head.m.high.term
	n.run(time.Second)
	n.kill(head, true)
	n.away = true
	n.run(10 * time.Second)
	next := n.leader(all...)
	for name, msg := range map[string]*Message{
		"beacon":    {Beacon: &Beacon{Term: low, Seq: 1 << 40}},
		"lead":      {Lead: &old},
		"heartbeat": {Heartbeat: &Heartbeat{Term: low, Boot: 1 << 50, Seq: 1}},
		"resign":    {Resign: &Resign{Term: low, To: next.id}},
		"replicate": {Replicate: &Replicate{Term: low}},
		"replack":   {ReplAck: &ReplAck{Term: low}},
	} {
		for _, h := range []*host{next, all[3]} {
			n.run(2 * time.Second) // the limiter's window
			if h.m == nil {
				continue
			}
			before := fmt.Sprintf("%+v", h.m.watch) + fmt.Sprint(h.m.table.version, h.m.high.term)
			out, err := h.m.Step(n.now, Received{From: head.id, Message: msg})
			if err != nil {
				t.Fatal(err)
			}
			stale := messages(out, func(m *Message) *Signed { return m.Stale })
			if after := fmt.Sprintf("%+v", h.m.watch) + fmt.Sprint(h.m.table.version, h.m.high.term); len(stale) != 1 || before != after {
				t.Errorf("%s of a lower term: %d Stale\nbefore %s\nafter  %s", name, len(stale), before, after)
			}
			h.saying, h.said = nil, nil
		}
	}
}
