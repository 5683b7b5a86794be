package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func testEventLog(f *fakeFile) (*eventLog, func()) {
	l := newEventLog(f, slog.New(slog.DiscardHandler))
	return l, l.start(eventSelf{node: "n", city: "wuhan", boot: 7, shard: func() uint { return 0 }})
}

// fakeFile is a disk as bad as it is told to be.
type fakeFile struct {
	bytes.Buffer
	writes int
	write  func(f *fakeFile, b []byte) (int, error) // nil: a good one
}

func (f *fakeFile) Write(b []byte) (int, error) {
	f.writes++
	if f.write != nil {
		return f.write(f, b)
	}
	return f.Buffer.Write(b)
}

func (f *fakeFile) Close() error { return nil }

// lines decodes what is in a log; text that is no JSON comes as an event "torn".
func lines(text string) (out []eventLine) {
	for line := range strings.Lines(text) {
		var e eventLine
		if json.Unmarshal([]byte(line), &e) != nil || !strings.HasSuffix(line, "\n") {
			e = eventLine{Event: "torn"}
		}
		out = append(out, e)
	}
	return out
}

func names(lines []eventLine) (out []string) {
	for _, l := range lines {
		out = append(out, l.Event)
	}
	return out
}

// Each event is in the file, with one write, before put returns.
func TestEventLogHoldsNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fakeFile{}
		l, end := testEventLog(f)
		for i, event := range []string{"boot", "high", "lead"} {
			l.put(eventLine{Event: event})
			if got := lines(f.String()); f.writes != i+1 || len(got) != i+1 || got[i].Event != event || got[i].Node != "n" || got[i].Boot != 7 || got[i].Mono == 0 {
				t.Errorf("after %s: %d writes, %+v", event, f.writes, got)
			}
		}
		end()
		l.put(eventLine{Event: "late"}) // after the end: nobody waits, nothing is written
		if got := lines(f.String()); len(got) != 3 {
			t.Errorf("%+v", got)
		}
	})
}

// A disk that fails, or takes half a line, costs lines and nothing else; the next line says how many.
func TestEventLogOnAFailingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no space left on device")
		f := &fakeFile{}
		l, end := testEventLog(f)
		l.put(eventLine{Event: "one"})
		f.write = func(f *fakeFile, b []byte) (int, error) { n, _ := f.Buffer.Write(b[:10]); return n, full }
		l.put(eventLine{Event: "two"})
		f.write = func(*fakeFile, []byte) (int, error) { return 0, full }
		l.put(eventLine{Event: "three"})
		f.write = nil
		l.put(eventLine{Event: "four"})
		l.put(eventLine{Event: "five"})
		end()
		got := lines(f.String())
		if want := []string{"one", "torn", "four", "five"}; !slices.Equal(names(got), want) || got[2].Lost != 2 || got[3].Lost != 0 {
			t.Errorf("%v, %+v", names(got), got)
		}
	})
}

// A disk that hangs holds the node up once, briefly, and never again until it is back.
func TestEventLogOnAHangingDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := make(chan struct{})
		f := &fakeFile{}
		f.write = func(f *fakeFile, b []byte) (int, error) { <-back; return f.Buffer.Write(b) }
		l, end := testEventLog(f)
		began := time.Now()
		for range 10 * eventLogQueue {
			l.put(eventLine{Event: "x"})
		}
		if took := time.Since(began); took != eventLogWait {
			t.Errorf("a hanging disk held the node up for %v, want %v once", took, eventLogWait)
		}
		close(back)
		synctest.Wait()
		l.put(eventLine{Event: "back"})
		end()
		got := lines(f.String())
		lost := uint64(0)
		for _, e := range got {
			lost += e.Lost
		}
		if n := uint64(len(got)) + lost; n != 10*eventLogQueue+1 || got[len(got)-1].Event != "back" {
			t.Errorf("%d lines and %d lost are %d, want %d; the last is %s", len(got), lost, n, 10*eventLogQueue+1, got[len(got)-1].Event)
		}
	})
}

// What a killed process left of a line is ended, and a log that cannot be opened is said at the start.
func TestEventLogOpens(t *testing.T) {
	path := filepath.Join(t.TempDir(), "events.jsonl")
	if err := os.WriteFile(path, []byte("{\"event\":\"one\"}\n{\"eve"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := openEventLog(path, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	end := l.start(eventSelf{shard: func() uint { return 0 }})
	l.put(eventLine{Event: "two"})
	end()
	l.close()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := names(lines(string(text))); !slices.Equal(got, []string{"one", "torn", "two"}) {
		t.Errorf("%v", got)
	}
	if _, err := openEventLog(filepath.Join(t.TempDir(), "no", "such"), nil); err == nil || !strings.Contains(err.Error(), "--event-log") {
		t.Errorf("error %v", err)
	}
}
