package trail

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// forge writes logs of nodes a, b and c line by line: "<file> <mono> <event> <fields>", in which a term is written as
// E/hash/K and its head follows after a @.
func forge(t *testing.T, lines ...string) []Event {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for _, l := range lines {
		w := strings.SplitN(l, " ", 4)
		file := filepath.Join(dir, w[0])
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
		node, boot, _ := strings.Cut(w[0], ".") // "a.2" is boot 2 of a, in the file of a
		if boot == "" {
			boot = "1"
		}
		file = filepath.Join(dir, node)
		rest := ""
		if len(w) == 4 {
			rest = "," + fields(w[3], node)
		}
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(f, `{"mono":%s,"node":"%s","city":"wuhan","boot":%s,"event":"%s"%s}`+"\n", w[1], node, boot, w[2], rest)
		f.Close()
	}
	events, err := Read(filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c"))
	if err != nil {
		t.Fatal(err)
	}
	if len(events) != len(lines) {
		t.Fatalf("%d events of %d lines", len(events), len(lines))
	}
	for i := range events {
		events[i].File = filepath.Base(events[i].File)
	}
	return events
}

// fields turns "7/aa/1@b high=7/aa/0 level=2 keys=x,y" into JSON.
func fields(s, node string) string {
	term := func(name, s string) string {
		w := strings.Split(s, "/")
		return fmt.Sprintf(`"%s":{"epoch":%s,"hash":"%s","shard":0,"k":%s}`, name, w[0], w[1], w[2])
	}
	var out []string
	for _, w := range strings.Fields(s) {
		name, value, named := strings.Cut(w, "=")
		switch {
		case !named:
			at, head, ok := strings.Cut(w, "@")
			out = append(out, term("term", at))
			if ok {
				out = append(out, fmt.Sprintf(`"head":"%s","self":%v`, head, head == node))
			}
		case name == "high":
			out = append(out, term("high", value))
		case name == "keys":
			out = append(out, fmt.Sprintf(`"keys":["%s"]`, strings.Join(strings.Split(value, ","), `","`)))
		default:
			out = append(out, fmt.Sprintf(`"%s":%s`, name, value))
		}
	}
	return strings.Join(out, ",")
}

// good is a life without a fault of the protocol: a leads, is paused, b takes over, a doubts and follows; b restarts
// and c takes over.
var good = []string{
	"a 1 boot", "b 1 boot", "c 1 boot",
	"a 2 high 7/aa/0@a", "a 2 lead 7/aa/0@a", "b 3 high 7/aa/0@a", "c 3 high 7/aa/0@a",
	"a 4 ack 7/aa/0 level=2 keys=r1,r2", "b 5 acked level=2 keys=r1", "c 5 acked level=3 keys=r2",
	"a 6 ticket 7/aa/0@a", "b 7 accept 7/aa/0@a high=7/aa/0",
	"b 20 high 7/aa/1@b", "b 20 lead 7/aa/1@b", "c 21 high 7/aa/1@b",
	"a 30 unsure pauseMs=20", "c 31 refuse 7/aa/0@a high=7/aa/1", "a 32 high 7/aa/1@b", "a 32 stepdown 7/aa/0",
	"b 40 ack 7/aa/1 level=2 keys=r3",
	"b.2 50 boot 7/aa/1", "b.2 51 handover 7/aa/1", "c 52 high 7/aa/2@c", "c 52 lead 7/aa/2@c", "b.2 53 high 7/aa/2@c",
	"c 60 high 9/bb/0@c", "c 60 lead 9/bb/0@c", "a 61 high 9/bb/0@c",
}

func goodFacts() Facts {
	return Facts{
		Registry: map[string]int{"r1": 1, "r2": 1, "r3": 1, "r4": 1},
		Pauses:   []Pause{{"a", 8, 29}},
	}
}

func TestCheckPassesWhatIsRight(t *testing.T) {
	if found := Check(forge(t, good...), goodFacts()); len(found) > 0 {
		t.Errorf("%v", found)
	}
}

// Each forged log breaks one promise, and exactly that is found.
func TestCheckFindsWhatIsWrong(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		lines      []string // put after the line that they say, in the order of time
		facts      func(*Facts)
	}{
		{name: "two lead one term", rule: "S1", lines: []string{"b 62 high 9/bb/5@b", "b 62 lead 9/bb/5@b", "a 63 high 9/bb/5@a", "a 63 lead 9/bb/5@a"}},
		{name: "a node acknowledges in the term of another", rule: "S1", lines: []string{"c 33 ack 7/aa/1 level=1 keys=x"}},
		{name: "a node permits in the term of another", rule: "S1", lines: []string{"c 33 ticket 7/aa/1@b"}},
		{name: "a restarted head goes on in its term", rule: "S1", lines: []string{"b.2 51 lead 7/aa/1@b"}},
		{name: "followers differ about the owner", rule: "S1", lines: []string{"a 62 high 9/bb/5@b", "c 63 high 9/bb/5@c"}},
		{name: "High falls", rule: "S2", lines: []string{"c 25 high 7/aa/0@a"}},
		{name: "High falls over a restart", rule: "S2", lines: []string{"c.2 25 boot 7/aa/0"}},
		{name: "High is lost in a restart", rule: "S2", lines: []string{"c.2 25 boot"}},
		{name: "a boot number comes again", rule: "S2", lines: []string{"c 25 boot 7/aa/1"}},
		{name: "a head acts in a term below its own High", rule: "S2", lines: []string{"a 33 ticket 7/aa/0@a"}},
		{name: "a head acknowledges in a term below its own High", rule: "S2", lines: []string{"a 33 ack 7/aa/0 level=1 keys=x"}},
		{name: "a ticket of a lower term is accepted", rule: "S4", lines: []string{"c 33 accept 7/aa/0@a high=7/aa/1"}},
		{name: "an acknowledgement in doubt", rule: "unsure", lines: []string{"a 31 ack 7/aa/0 level=1 keys=x"}},
		{name: "an eviction in doubt", rule: "unsure", lines: []string{"a 31 evict"}},
		{name: "a ticket after a pause without doubt", rule: "unsure", lines: []string{"c 100000000 ticket 9/bb/0@c", "c 300000000 ticket 9/bb/0@c"},
			facts: func(f *Facts) { f.Pauses = append(f.Pauses, Pause{"c", 150, 160}) }},
		{name: "a result acknowledged at level 2 is lost", rule: "S5", facts: func(f *Facts) { delete(f.Registry, "r3") }},
		{name: "a result acknowledged at level 3 is lost", rule: "S5", facts: func(f *Facts) { delete(f.Registry, "r2") }},
		{name: "a result is there twice", rule: "S5", facts: func(f *Facts) { f.Registry["r4"] = 2 }},
		{name: "two certificates of one epoch, both followed", rule: "S6", lines: []string{"b 70 high 9/cc/0@c"}},
		{name: "two certificates of one epoch, one of them refused", rule: "S6", lines: []string{"b 70 refuse 9/aa/0@c high=9/bb/0"}},
		{name: "a log that names another as itself", rule: "log", lines: []string{`c 33 high self=true head="b" 7/aa/1`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			facts := goodFacts()
			if c.facts != nil {
				c.facts(&facts)
			}
			lines := slices.Clone(good)
			for _, l := range c.lines {
				at := slices.IndexFunc(lines, func(o string) bool { return mono(t, o) > mono(t, l) })
				if at < 0 {
					at = len(lines)
				}
				lines = slices.Insert(lines, at, l)
			}
			found := Check(forge(t, lines...), facts)
			if len(found) == 0 || slices.ContainsFunc(found, func(v Violation) bool { return v.Rule != c.rule }) {
				t.Errorf("found %v, want only %s", found, c.rule)
			}
		})
	}
}

func mono(t *testing.T, line string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(strings.Fields(line)[1], "%d", &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// Results below level 2 may be lost with a disk, and nothing is said where the registry was not asked.
func TestCheckKnowsWhatWasNotPromised(t *testing.T) {
	events := forge(t, "a 1 boot", "a 2 high 7/aa/0@a", "a 2 lead 7/aa/0@a", "a 3 ack 7/aa/0 level=1 keys=x")
	if found := Check(events, Facts{Registry: map[string]int{}}); len(found) > 0 {
		t.Errorf("%v", found)
	}
	events = forge(t, "a 1 boot", "a 2 high 7/aa/0@a", "a 2 lead 7/aa/0@a", "a 3 ack 7/aa/0 level=2 keys=x")
	if found := Check(events, Facts{}); len(found) > 0 {
		t.Errorf("%v", found)
	}
	if found := Check(events, Facts{Registry: map[string]int{}}); len(found) != 1 {
		t.Errorf("%v", found)
	}
}

// Lines that a kill tore are passed over, and files merge by the clock.
func TestReadMergesAndPassesOverTornLines(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a := write("a", `{"mono":3,"event":"x"}`+"\n"+`{"mono":4,"ev`+"\n"+`{"mono":5,"event":"z"}`+"\n"+`{"mono":6`)
	b := write("b", `{"mono":4,"event":"y"}`+"\n")
	events, err := Read(a, b, filepath.Join(dir, "none"))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range events {
		got = append(got, fmt.Sprintf("%s%s%d", e.Event, filepath.Base(e.File), e.Line))
	}
	if want := "xa1 yb1 za3"; strings.Join(got, " ") != want {
		t.Errorf("read %v, want %s", got, want)
	}
}
