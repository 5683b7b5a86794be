package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
)

// Pages of members end where a frame does, and together are all of them, once.
func TestMembersPages(t *testing.T) {
	var all []cluster.MemberInfo
	for i := range 350 {
		all = append(all, cluster.MemberInfo{Heard: true, Row: cluster.Row{
			ID:        cluster.ID(fmt.Sprintf("member-%03d", i)),
			Admission: cluster.Signed{Payload: make([]byte, 900), Sig: make([]byte, 64)},
			Addrs:     slices.Repeat([][]byte{make([]byte, 24)}, 8),
		}})
	}
	all = append(all, cluster.MemberInfo{Row: cluster.Row{ID: "silent"}})
	var got []cluster.ID
	var after cluster.ID
	for more := true; more; {
		var page []viewMember
		left := viewBytes
		page, more = membersPage(slices.Clone(all), after, &left)
		if n := len(cluster.Marshal(&taskAnswer{View: &viewAnswer{Members: page}})); n > maxTaskFrame {
			t.Fatalf("a page of %d bytes does not fit a frame", n)
		}
		for _, m := range page {
			got = append(got, m.Peer.ID)
		}
		after = got[len(got)-1]
	}
	if len(got) != 350 || !slices.IsSorted(got) {
		t.Errorf("%d members in order %v", len(got), slices.IsSorted(got))
	}
}

func TestHeadsPages(t *testing.T) {
	var all []cluster.KnownHead
	for i := range 120 {
		all = append(all, cluster.KnownHead{City: cluster.City(fmt.Sprintf("city-%03d", i)), Raw: cluster.Signed{Payload: make([]byte, 1800), Sig: make([]byte, 64)}})
	}
	n, after, pages := 0, cluster.City(""), 0
	for more := true; more; pages++ {
		var page []cluster.Signed
		left := viewBytes
		page, more = headsPage(slices.Clone(all), after, &left)
		if b := len(cluster.Marshal(&taskAnswer{View: &viewAnswer{Heads: page}})); b > maxTaskFrame {
			t.Fatalf("a page of %d bytes does not fit a frame", b)
		}
		n += len(page)
		after = all[n-1].City
	}
	if n != len(all) || pages < 3 {
		t.Errorf("%d heads in %d pages", n, pages)
	}
}

func TestGuestBudget(t *testing.T) {
	var b ticketBudget
	at := time.Unix(1000, 0)
	issued := 0
	for range 100 {
		if b.take("a", candidateCount, at) {
			issued += candidateCount
		}
	}
	if issued != guestTickets {
		t.Errorf("%d tickets at once, want %d", issued, guestTickets)
	}
	if !b.take("b", candidateCount, at) {
		t.Error("one head's budget is another's")
	}
	if !b.take("a", guestTickets, at.Add(time.Second)) {
		t.Error("a second later there is no new budget")
	}
}

// The queue of one peer: the oldest goes when it is full, and a flush waits for all of it.
func TestSenderQueue(t *testing.T) {
	s := &sender{nudge: make(chan struct{}, 1)}
	if s.written() != nil {
		t.Error("an empty queue has to be waited for")
	}
	for i := range peerQueue + 10 {
		if first := s.push(cluster.Envelope{Addrs: [][]byte{{byte(i)}}}); first != (i == 0) {
			t.Errorf("message %d wants a goroutine: %v", i, first)
		}
	}
	written := s.written()
	for i := range peerQueue {
		e, ok := s.pop()
		if !ok || e.Addrs[0][0] != byte(i+10) {
			t.Fatalf("message %d is %v, %v", i, e.Addrs, ok)
		}
		select {
		case <-written:
			t.Fatal("written before the last message was")
		default:
		}
	}
	if _, ok := s.pop(); ok {
		t.Error("a message too many")
	}
	<-written
}

func testHost(t *testing.T) *p2p.Host {
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	h, err := p2p.New(p2p.Config{Key: key, Members: 10, Listen: []string{"/ip4/127.0.0.1/tcp/0"}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// A peer that cannot be reached costs the caller nothing, and flush does not wait longer than it may.
func TestUnreachablePeer(t *testing.T) {
	host, away := testHost(t), testHost(t)
	to := away.Self()
	away.Close()
	p := newPeers(host, slog.New(slog.DiscardHandler))
	p.send(cluster.Envelope{To: to.ID, Addrs: to.Addrs, Message: &cluster.Message{}}) // before the start: dropped
	ctx, cancel := context.WithCancel(context.Background())
	p.start(ctx)
	for range 3 * peerQueue {
		p.send(cluster.Envelope{To: to.ID, Addrs: to.Addrs, Message: &cluster.Message{}})
	}
	flush, done := context.WithTimeout(ctx, patienceOfFlush)
	defer done()
	p.flush(flush)
	p.sweep(time.Now().Add(-peerIdle))
	if len(p.byID) != 1 {
		t.Errorf("%d senders while the message is young, want 1", len(p.byID))
	}
	p.sweep(time.Now())
	if len(p.byID) != 0 {
		t.Error("a sender that has nothing to send is kept for ever")
	}
	cancel()
	p.wg.Wait()
	p.send(cluster.Envelope{To: to.ID, Message: &cluster.Message{}}) // after the end: dropped
	p.wg.Wait()
}

// Who is turned away comes again later and later, and not together with the others.
func TestPauseAfterFailedDials(t *testing.T) {
	p, s := newPeers(testHost(t), slog.New(slog.DiscardHandler)), &sender{}
	for _, want := range []time.Duration{retryDropped, 2 * retryDropped, 4 * retryDropped, 4 * retryDropped} {
		if got := p.pause(s, fmt.Errorf("handshake: %w", syscall.ECONNRESET)); got < want || got > want+want/2 {
			t.Errorf("a pause of %v, want %v to %v", got, want, want+want/2)
		}
	}
	if got := p.pause(s, context.DeadlineExceeded); got != retryDropped {
		t.Errorf("a peer that is silent is left alone for %v, want %v", got, retryDropped)
	}
}

// What everybody is told waits for its turn to dial, so that dials do not starve one another; whoever calls here in
// the meantime needs none, and nothing outlasts the node.
func TestAnnouncementsTakeTurns(t *testing.T) {
	p := newPeers(testHost(t), slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	p.start(ctx)
	for range announceDials {
		if took, ok := p.slot(&sender{}); !took || !ok {
			t.Fatal("no turn while there are free ones")
		}
	}
	s := &sender{nudge: make(chan struct{}, 1)}
	s.push(cluster.Envelope{})
	got := make(chan [2]bool)
	wait := func() { took, ok := p.slot(s); got <- [2]bool{took, ok} }
	go wait()
	s.push(cluster.Envelope{}) // another message, but no connection
	<-p.slots
	if g := <-got; g != [2]bool{true, true} {
		t.Errorf("a freed turn: %v", g)
	}
	go wait()
	cancel()
	if g := <-got; g != [2]bool{} {
		t.Errorf("after the end: %v", g)
	}
	p.wg.Wait()
	for want, m := range map[bool][]*cluster.Message{
		true:  {{Lead: &cluster.Signed{}}, {Beacon: &cluster.Beacon{}}, {Cert: &cluster.CertMessage{}}},
		false: {{Probe: &cluster.Probe{}}, {WhoIs: &cluster.WhoIs{}}, {Replicate: &cluster.Replicate{}}, {Heartbeat: &cluster.Heartbeat{}}},
	} {
		for _, m := range m {
			if announces(m) != want {
				t.Errorf("%s waits for a turn: %v, want %v", m.Kind(), !want, want)
			}
		}
	}
}

const patienceOfFlush = 10 * time.Second

// A node that cannot make its term durable stops, before it says anything.
func TestLoopStopsWithoutDisk(t *testing.T) {
	hard, err := store.OpenHard(filepath.Join(t.TempDir(), hardFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := hard.Close(); err != nil {
		t.Fatal(err)
	}
	c := &core{hard: hard, send: func(cluster.Envelope) { t.Error("something was sent") }}
	err = c.carryOut(nil, cluster.Output{Hard: &cluster.HardState{Boot: 7}, Out: []cluster.Envelope{{}}})
	if !errors.Is(err, store.ErrClosed) {
		t.Errorf("error %v", err)
	}
}

// Nobody waits for a loop that has ended or is full.
func TestLoopAnswersNobodyAfterItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &core{inbox: make(chan cluster.Input), asks: make(chan func(*cluster.Machine, cluster.Instant)), done: make(chan struct{})}
		full, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		c.put(full, cluster.Stopping{})
		if c.ask(full, func(*cluster.Machine, cluster.Instant) { t.Error("asked") }) {
			t.Error("a loop that does not run answers")
		}
		close(c.done)
		c.put(context.Background(), cluster.Stopping{})
		if c.ask(context.Background(), func(*cluster.Machine, cluster.Instant) {}) {
			t.Error("a loop that has ended answers")
		}
	})
}

func TestJoinedErrors(t *testing.T) {
	a, b := errors.New("a"), errors.New("b")
	if err := joined([]error{a, b}); err.Error() != "a; b" || !errors.Is(err, a) || !errors.Is(err, b) {
		t.Errorf("error %v", err)
	}
	if err := joined([]error{a}); err != a {
		t.Errorf("error %v", err)
	}
	if joined(nil) == nil {
		t.Error("nobody was asked, and that is no error")
	}
}
