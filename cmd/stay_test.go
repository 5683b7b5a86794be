package cmd

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"go.uber.org/goleak"
)

// fakeService is ready at once and runs until it is told to end.
type fakeService struct {
	ready chan struct{}
	run   func(context.Context) error
}

func (f *fakeService) Ready() <-chan struct{}        { return f.ready }
func (f *fakeService) Run(ctx context.Context) error { return f.run(ctx) }

func TestStay(t *testing.T) {
	defer goleak.VerifyNone(t)
	isReady := make(chan struct{})
	close(isReady)
	broken := errors.New("disk full")
	untilDone := func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
	for _, tc := range []struct {
		name  string
		ready chan struct{}
		run   func(context.Context) error
		print error // what printing the ready line returns
		want  error
		says  string
	}{
		{"stopped after it was ready", isReady, untilDone, nil, nil, "stopping"},
		{"stopped before it was ready", nil, untilDone, nil, nil, "stopping"},
		{"broke on its way down", isReady, func(ctx context.Context) error { <-ctx.Done(); return broken }, nil, broken, "stopping"},
		{"broke by itself", nil, func(context.Context) error { return broken }, nil, broken, ""},
		{"nobody reads its line", isReady, untilDone, broken, broken, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.ready == nil && tc.says != "" {
				cancel()
			}
			var said bytes.Buffer
			e := &env{err: &said}
			lines := 0
			err := e.stay(ctx, &fakeService{tc.ready, tc.run}, func() error {
				lines++
				if tc.print == nil {
					cancel() // Ctrl-C, when it has come up
				}
				return tc.print
			}, nil)
			if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
				t.Errorf("returned %v, want %v", err, tc.want)
			}
			if !strings.Contains(said.String(), tc.says) || tc.says == "" && said.Len() > 0 {
				t.Errorf("said %q, want %q", &said, tc.says)
			}
			if tc.ready != nil && lines != 1 {
				t.Errorf("the ready line was printed %d times", lines)
			}
		})
	}
}

// What delays a join is said after five seconds, then every thirty, and not any more when it is ready.
func TestStaySaysWhatItWaitsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ready := make(chan struct{})
		began := time.Now()
		var said []time.Duration
		e := &env{err: &bytes.Buffer{}}
		time.AfterFunc(80*time.Second, func() { close(ready) })
		time.AfterFunc(300*time.Second, cancel)
		err := e.stay(ctx, &fakeService{ready, func(ctx context.Context) error { <-ctx.Done(); return nil }},
			func() error { return nil }, func() { said = append(said, time.Since(began)) })
		if want := []time.Duration{waitSaid, waitSaid + waitSaidAgain, waitSaid + 2*waitSaidAgain}; err != nil || !slices.Equal(said, want) {
			t.Errorf("said after %v, want %v; %v", said, want, err)
		}
	})
}

func TestWaitingLine(t *testing.T) {
	up := node.RegistryStatus{Address: "rs:7400", Up: true}
	const then = " does not answer; the registry appoints a new one after about a minute if nobody of its list answers"
	for _, tc := range []struct {
		st   node.Status
		err  error
		want string
	}{
		{node.Status{}, node.ErrNotRunning, "still waiting: registry rs:7400 has not admitted this node yet"},
		{node.Status{City: "wuhan", Head: idB, HeadAddr: "/ip4/192.0.2.7/tcp/9", Registry: up}, nil,
			"still waiting: the head of wuhan, " + idB + " at /ip4/192.0.2.7/tcp/9," + then},
		{node.Status{City: "wuhan", Head: idB, Registry: up}, nil, "still waiting: the head of wuhan, " + idB + "," + then},
		{node.Status{City: "wuhan", Registry: up}, nil, "still waiting: the head of wuhan, which was appointed and has never said that it leads," + then},
		{node.Status{City: "wuhan", Head: idB, Registry: node.RegistryStatus{Address: "rs:7400", Error: "connection refused"}}, nil,
			"still waiting: the head of wuhan, " + idB + "," + then + "; registry rs:7400 does not answer either: connection refused"},
		{node.Status{City: "wuhan", Registry: node.RegistryStatus{Address: "rs:7400", Up: true, Quiet: true}}, nil, "still waiting: registry rs:7400 has just started, " +
			"and appoints nobody to wuhan before the heads of living cities have had half a minute to show themselves"},
	} {
		if got := waitingLine(tc.st, tc.err, "rs:7400"); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

func TestUnknownNote(t *testing.T) {
	for _, tc := range []struct {
		st   node.Status
		want string
	}{
		{node.Status{City: "wuhan", Place: "wuhan (declared, address is private)"}, ""},
		{node.Status{City: "unknown", Place: "unknown (address is private)"},
			"nothing places this node, unknown (address is private): say --city, or add its network to the registry's --geo-map"},
		{node.Status{City: "cn-unknown"}, "nothing places this node, cn-unknown: say --city, or add its network to the registry's --geo-map"},
	} {
		if got := unknownNote(tc.st); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}

func TestJoinedLine(t *testing.T) {
	for _, tc := range []struct {
		st   node.Status
		want string
	}{
		{node.Status{City: "wuhan", Role: "head", Node: idA, Head: idA, Term: "1a/0"}, "joined wuhan as head: " + idA + " in term 1a/0"},
		{node.Status{City: "wuhan", Role: "endpoint", Node: idA, Head: idB, Term: "1a/0"}, "joined wuhan as endpoint: " + idA + " in term 1a/0, head " + idB},
	} {
		if got := joinedLine(tc.st); got != tc.want {
			t.Errorf("%q, want %q", got, tc.want)
		}
	}
}
