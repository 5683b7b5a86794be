package p2p

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

func TestStreamBetweenAdmittedPeers(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	seen := make(chan Remote, 1)
	b.Handle(ProtoTask, HandleOptions{}, func(ctx context.Context, r Remote, s *Stream) error {
		seen <- r
		return echo(ctx, r, s)
	})
	s := open(t, a, b, ProtoTask)
	for _, text := range []string{"", "x", strings.Repeat("y", DefaultMaxFrame)} {
		if err := s.WriteFrame([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := s.ReadFrame()
		if err != nil || string(got) != text {
			t.Fatalf("echo of %d bytes: %d bytes, %v", len(text), len(got), err)
		}
	}
	r := <-seen
	if r.ID != a.ID() || r.Admission == nil || r.Admission.ID != a.ID() || r.AdmissionRaw.Empty() || !r.Direct {
		t.Errorf("remote as seen by the handler: %+v", r)
	}
	if r.Addr != s.Remote().Local || r.Local != s.Remote().Addr || !r.Addr.IsValid() || !r.Local.IsValid() {
		t.Errorf("ends do not agree: %v %v here, %v %v there", s.Remote().Local, s.Remote().Addr, r.Local, r.Addr)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ReadFrame(); err != io.EOF {
		t.Errorf("after the end: %v, want io.EOF", err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if got := b.Counters().Accepted; got != 1 {
		t.Errorf("accepted %d streams, want 1", got)
	}
}

func TestMessages(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoTask, HandleOptions{}, echo)
	s := open(t, a, b, ProtoTask)
	want := cluster.Ticket{Version: 1, Tool: "latency", Initiator: a.ID()}
	if err := s.WriteMsg(want); err != nil {
		t.Fatal(err)
	}
	var got cluster.Ticket
	if err := s.ReadMsg(&got); err != nil || got.Tool != want.Tool || got.Initiator != want.Initiator {
		t.Errorf("message came back as %+v, %v", got, err)
	}
	if err := s.WriteFrame([]byte("\xff\xff")); err != nil {
		t.Fatal(err)
	}
	if err := s.ReadMsg(&got); err == nil {
		t.Error("two bytes that are no CBOR were read as a message")
	}
}

// A reader that does not read must not hold a writer for ever, and must not
// make the other side keep more than the stream's window.
func TestSlowReader(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	release := make(chan struct{})
	defer close(release)
	b.Handle(ProtoTask, HandleOptions{}, func(ctx context.Context, _ Remote, s *Stream) error {
		select {
		case <-release:
		case <-ctx.Done():
		}
		return nil
	})
	s := open(t, a, b, ProtoTask)
	if err := s.SetDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	frame, sent := make([]byte, DefaultMaxFrame), 0
	var err error
	for err == nil {
		if err = s.WriteFrame(frame); err == nil {
			sent += len(frame)
		}
		if sent > 16*maxWindow {
			t.Fatalf("%d bytes went to a peer that reads nothing", sent)
		}
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("writing to a peer that reads nothing: %v, want a timeout", err)
	}
	if sent > maxWindow {
		t.Errorf("%d bytes in flight, the window is %d", sent, maxWindow)
	}
}

func TestIdleStreamEnds(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	done := make(chan error, 1)
	b.Handle(ProtoTask, HandleOptions{Idle: 50 * time.Millisecond}, func(ctx context.Context, r Remote, s *Stream) error {
		err := echo(ctx, r, s)
		done <- err
		return err
	})
	s := open(t, a, b, ProtoTask)
	var timeout net.Error
	if err := <-done; !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("idle stream: %v, want a timeout", err)
	}
	if _, err := s.ReadFrame(); !errors.Is(err, ErrRefused) {
		t.Errorf("opener: %v, want %v", err, ErrRefused)
	}
}

// Every frame has a deadline of its own, from its first byte on: trickling does
// not hold a stream, and neither does a peer that does not read.
func TestFrameDeadlines(t *testing.T) {
	within := func(what string, got time.Time, want time.Duration) {
		t.Helper()
		if left := time.Until(got); left > want || left < want-time.Minute/20 {
			t.Errorf("%s: deadline in %v, want %v", what, left, want)
		}
	}
	in := &fakeStream{r: iotest.OneByteReader(bytes.NewReader([]byte{1, 'x', 1}))}
	s := newStream(t.Context(), in, in, 100, time.Minute, &counters{})
	if _, err := s.ReadFrame(); err != nil {
		t.Fatal(err)
	}
	within("the first byte", in.reads[0], time.Minute)
	within("the rest of a frame", in.reads[1], frameTimeout)
	if err := s.WriteFrame([]byte("x")); err != nil {
		t.Fatal(err)
	}
	within("a frame to be written", in.writes[0], frameTimeout)
	s.SetIdle(NoIdle)
	if _, err := s.ReadFrame(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that breaks off: %v", err)
	}
	if !in.reads[2].IsZero() {
		t.Errorf("no idle time, but a deadline in %v", time.Until(in.reads[2]))
	}
	within("the rest of a frame, without idle time", in.reads[3], frameTimeout)
	soon := time.Now().Add(time.Second)
	if err := s.SetDeadline(soon); err != nil {
		t.Fatal(err)
	}
	_ = s.WriteFrame(nil)
	if !in.writes[1].Equal(soon) {
		t.Error("the caller's earlier deadline was put off")
	}
}

// A frame that came in one piece costs one deadline, and none at all where a stream may wait for ever: at ten thousand
// heartbeats a second they were a tenth of the work.
func TestWholeFrameNeedsNoDeadline(t *testing.T) {
	in := &fakeStream{r: bytes.NewReader([]byte{1, 'x', 1, 'y', 1})}
	s := newStream(t.Context(), in, in, 100, NoIdle, &counters{})
	for range 2 {
		if _, err := s.ReadFrame(); err != nil {
			t.Fatal(err)
		}
	}
	if len(in.reads) != 0 {
		t.Errorf("%d deadlines for frames that were there", len(in.reads))
	}
	if _, err := s.ReadFrame(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a frame that breaks off: %v", err)
	}
	if len(in.reads) != 1 {
		t.Errorf("%d deadlines for a frame of which the rest is awaited, want 1", len(in.reads))
	}
}

func TestDeadlineWakesReader(t *testing.T) {
	n := newNet("a")
	a, b := n.host(t, "a"), n.host(t, "b")
	b.Handle(ProtoMember, HandleOptions{Idle: NoIdle}, echo)
	s := open(t, a, b, ProtoMember)
	_ = s.SetDeadline(time.Time{})
	got := make(chan error, 1)
	go func() { _, err := s.ReadFrame(); got <- err }()
	eventually(t, "the stream arrives", func() bool { return b.Counters().Accepted == 1 })
	_ = s.SetDeadline(time.Now())
	select {
	case err := <-got:
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Errorf("%v, want a timeout", err)
		}
	case <-time.After(patience):
		t.Fatal("the reader sleeps on")
	}
}
