package node_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node"
)

// loggedEvent is a line of the event log, as a program outside reads it.
type loggedEvent struct {
	T, Mono       int64
	Node, City    string
	Boot          uint64
	Event, Head   string
	Self          bool
	Reason, ID    string
	Term, High    *loggedTerm
	Level         uint
	Keys          []string
	Session, Text string
	Lost          uint64
}

type loggedTerm struct {
	Epoch uint64
	Hash  string
	Shard uint
	K     uint64
}

func readEvents(t *testing.T, path string) (out []loggedEvent) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		var e loggedEvent
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		out = append(out, e)
	}
	return out
}

func find(events []loggedEvent, name string) (out []loggedEvent) {
	for _, e := range events {
		if e.Event == name {
			out = append(out, e)
		}
	}
	return out
}

func joinLogged(t *testing.T, m *mesh, city, name string) (*node.Node, string) {
	t.Helper()
	cfg := m.config(city, name)
	cfg.EventLog = filepath.Join(m.dir, name+".jsonl")
	n, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, n)
	return n, cfg.EventLog
}

// The life of a small cluster as its logs tell it: who led which term, and who permitted what.
func TestEventLogTellsTheStory(t *testing.T) {
	m := testMesh(t)
	a, logA := joinLogged(t, m, "wuhan", "a")
	b, logB := joinLogged(t, m, "wuhan", "b")
	eventually(t, b, "b is listed", func(s node.Status) bool { return s.Role == "candidate" || s.Role == "backup" })
	if _, err := a.Measure(testContext(t), quick("wuhan")); err != nil {
		t.Fatal(err)
	}
	before := status(t, a)
	a.Kill()
	m.gone(a)
	after := eventually(t, b, "b leads", func(s node.Status) bool { return s.Role == "head" })
	m.gone(b)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}

	was, is := readEvents(t, logA), readEvents(t, logB)
	if boot := was[0]; boot.Event != "boot" || boot.Node != before.Node || boot.City != "wuhan" || boot.Boot == 0 || boot.Term != nil {
		t.Errorf("the first line is %+v", boot)
	}
	if stops := find(was, "stop"); len(stops) != 0 {
		t.Errorf("a killed node says %+v", stops)
	}
	if last := is[len(is)-1]; last.Event != "stop" {
		t.Errorf("the last line of a node that was stopped is %+v", last)
	}
	leads := find(is, "lead")
	if len(leads) == 0 {
		t.Fatalf("b never leads: %+v", is)
	}
	lead := leads[len(leads)-1]
	if !lead.Self || lead.Head != after.Node || lead.Term == nil || len(lead.Term.Hash) != 16 || lead.Reason == "" {
		t.Errorf("lead %+v", lead)
	}
	for _, l := range find(was, "lead") {
		if *l.Term == *lead.Term {
			t.Errorf("both led %+v", *l.Term)
		}
	}
	tickets, accepts := find(was, "ticket"), find(is, "accept")
	if len(tickets) == 0 || len(accepts) != 1 || accepts[0].Session == "" || accepts[0].Term == nil || accepts[0].High == nil ||
		accepts[0].ID != before.Node || tickets[0].ID != after.Node {
		t.Errorf("tickets %+v, accepted %+v", tickets, accepts)
	}
	for _, events := range [][]loggedEvent{was, is} {
		for i, e := range events {
			if e.T == 0 || e.Mono == 0 || i > 0 && e.Event == "lead" && (events[i-1].Event != "high" || *events[i-1].Term != *e.Term) {
				t.Errorf("line %d: %+v", i, e)
			}
		}
	}
}

// A log on a full disk is not the node's trouble.
func TestEventLogOnAFullDisk(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("/dev/full is of Linux")
	}
	m := testMesh(t)
	cfg := m.config("wuhan", "w")
	cfg.EventLog = "/dev/full"
	n, err := node.Join(testContext(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.nodes = append(m.nodes, n)
	if s := status(t, n); s.Role != "head" {
		t.Errorf("it is %s", s.Role)
	}
}
