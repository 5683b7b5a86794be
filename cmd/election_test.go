package cmd

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
)

// docs/election.md promises a test for each rule, invariant and hard case. Here it is held to that.

// tableRows are the rows of all tables of a page whose header ends with a column of that name, cell by cell.
func tableRows(text, last string) (rows [][]string) {
	inside := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			inside = false
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case cells[len(cells)-1] == last:
			inside = true
		case inside && !strings.HasPrefix(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	return rows
}

var testFunc = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

// allTests are the names of all tests of the module, with the directories that have one of that name.
func allTests(t *testing.T) map[string][]string {
	found := map[string][]string{}
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(b), -1) {
			found[m[1]] = append(found[m[1]], filepath.Dir(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 100 {
		t.Fatalf("only %d tests were found", len(found))
	}
	return found
}

var testName = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")

func TestElectionPageNamesItsTests(t *testing.T) {
	b, err := os.ReadFile("../docs/election.md")
	if err != nil {
		t.Fatal(err)
	}
	tests := allTests(t)
	var subjects []string
	for _, row := range tableRows(string(b), "tests") {
		subjects = append(subjects, row[0])
		names := testName.FindAllStringSubmatch(row[len(row)-1], -1)
		if len(names) == 0 {
			t.Errorf("%q has no test", row[0])
		}
		for _, n := range names {
			if len(tests[n[1]]) == 0 {
				t.Errorf("%q names %s: there is no such test", row[0], n[1])
			}
		}
	}
	var must []string
	for letter, n := range map[string]int{"R": 11, "S": 6, "L": 5} {
		for i := range n {
			must = append(must, fmt.Sprintf("%s%d", letter, i+1))
		}
	}
	for _, m := range must {
		if !slices.ContainsFunc(subjects, func(s string) bool { return s == m || strings.HasPrefix(s, m+" ") }) {
			t.Errorf("no row is about %s", m)
		}
	}
	if cases := len(subjects) - len(must); cases < 18 {
		t.Errorf("%d hard cases, there are 18 at least", cases)
	}
}

func TestElectionPageShowsTheTimers(t *testing.T) {
	b, err := os.ReadFile("../docs/election.md")
	if err != nil {
		t.Fatal(err)
	}
	profiles := []cluster.Timers{cluster.DefaultTimers(), cluster.LANTimers(), cluster.WANTimers()}
	rows := tableRows(string(b), "what it is")
	if len(rows) != 9 {
		t.Fatalf("%d timers", len(rows))
	}
	for i, row := range rows {
		for j, p := range profiles {
			all := []fmt.Stringer{p.Beacon, p.BeaconAll, p.Heartbeat, p.HeartbeatAll, p.Suspect, p.Stagger, p.ProbeWait, p.Evict, p.Orphan}
			want := strings.Replace(all[i].String(), "1m0s", "60s", 1)
			if got := strings.ReplaceAll(row[1+j], " ", ""); got != want {
				t.Errorf("%s of profile %d is %s, the page says %s", row[0], j, want, got)
			}
		}
	}
}
