package cmd

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

// fakeWatched changes its status at given times; announced or not.
type fakeWatched struct {
	changes chan struct{}
	status  func() (node.Status, error)
}

func (f *fakeWatched) Changes() <-chan struct{}                    { return f.changes }
func (f *fakeWatched) Status(context.Context) (node.Status, error) { return f.status() }

func TestWatch(t *testing.T) {
	isHead := func(st node.Status) bool { return st.Role == "head" }
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		changed := began.Add(time.Second + watchAgain/2) // between two looks
		f := &fakeWatched{changes: make(chan struct{}), status: func() (node.Status, error) {
			if time.Now().Before(changed) {
				return node.Status{Role: "backup"}, nil
			}
			return node.Status{Role: "head"}, nil
		}}
		_, at, err := watch(t.Context(), f, isHead)
		if err != nil || at.Sub(began) != time.Second+watchAgain {
			t.Errorf("unannounced: seen after %v, %v", at.Sub(began), err)
		}

		began = time.Now()
		changed = began.Add(time.Second + watchAgain/2)
		time.AfterFunc(time.Until(changed), func() { close(f.changes) })
		_, at, err = watch(t.Context(), f, isHead)
		if err != nil || at != changed {
			t.Errorf("announced: seen after %v, %v", at.Sub(began), err)
		}

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		f.changes = make(chan struct{})
		if _, _, err := watch(ctx, f, func(node.Status) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("returned %v", err)
		}
		f.status = func() (node.Status, error) { return node.Status{}, node.ErrNotRunning }
		if _, _, err := watch(t.Context(), f, isHead); !errors.Is(err, node.ErrNotRunning) {
			t.Errorf("returned %v", err)
		}
	})
}

func TestChart(t *testing.T) {
	var samples []probe.Sample
	for i := range 40 {
		samples = append(samples, probe.Sample{Seq: uint32(i), SentMs: float64(i) * 20, RTT: new(1 + float64(i%10)/10)})
	}
	samples[20] = probe.Sample{Seq: 20, SentMs: 400, Lost: true}
	got := chart(samples)
	golden(t, "chart.txt", []byte(got))
	for line := range strings.Lines(got) {
		if n := len([]rune(line)); n > 80 {
			t.Errorf("a line has %d columns", n)
		}
	}
	if got := chart(samples[:1]); !strings.Contains(got, "too few packets") {
		t.Errorf("one packet: %q", got)
	}
}

// The demo keeps its promises: it checks every claim itself, and exits 0 only if they hold.
func TestDemoOnce(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	code, out, said := once(t, "demo", "--once")
	if code != exitOK {
		t.Fatalf("exit code %d: %s\n%s", code, said, out)
	}
	for _, want := range []string{"ready after", "registry", "Changsha", "Wuhan", "took over in term", "RTT in ms over"} {
		if !strings.Contains(out, want) {
			t.Errorf("the demo does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(said, "note:") {
		t.Errorf("the demo complains: %s", said)
	}
}
