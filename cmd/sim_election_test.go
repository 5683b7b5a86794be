package cmd

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var smallElection = []string{"election", "--nodes", "1,3", "--hours", "0.02", "--trials", "2", "--loss", "0,20"}

func TestSimElectionFormats(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.json")
	code, out, errs := simulate(t, t.Context(), append(smallElection, "--json-file", file)...)
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, stderr %q", code, errs)
	}
	for _, want := range []string{"head and backup", "kill -9", "one head p50", "datagram", "available"} {
		if !strings.Contains(out, want) {
			t.Errorf("the table has no %q:\n%s", want, out)
		}
	}
	saved, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, out, _ = simulate(t, t.Context(), append(smallElection, "-J", "--jobs", "1")...)
	if out != string(saved) {
		t.Error("the same seed gives other figures, or the file is another document than -J")
	}
	var doc electionDoc
	if err := json.Unmarshal(saved, &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Schema != 1 || len(doc.TakeOvers) != 12 || len(doc.Heals) != 6 || len(doc.Loss) != 4 || len(doc.Traffic) != 2 {
		t.Errorf("schema %d, %d take-overs, %d heals, %d losses, %d cities", doc.Schema, len(doc.TakeOvers), len(doc.Heals), len(doc.Loss), len(doc.Traffic))
	}
	for _, r := range doc.TakeOvers {
		if (r.Done == nil) != (r.Nodes == 1 && r.Fault != "restart") {
			t.Errorf("%+v", r)
		}
	}
	_, out, _ = simulate(t, t.Context(), append(smallElection, "-o", "csv")...)
	if records, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(records) < 100 {
		t.Errorf("%d records, %v", len(records), err)
	}
	_, out, _ = simulate(t, t.Context(), append(smallElection, "-o", "ndjson")...)
	if strings.Count(out, "\n") != 1 || !json.Valid([]byte(out)) {
		t.Errorf("ndjson is not one line: %.80s", out)
	}
}

// TestSimElectionFields: names in JSON are a stable interface.
func TestSimElectionFields(t *testing.T) {
	spread := &electionSpread{}
	full := &electionDoc{TakeOvers: []electionTakeOver{{Detected: spread, Done: spread}}, Heals: []electionHeal{{OneHead: spread}},
		Loss: []electionLoss{{}}, Traffic: []electionTraffic{{}}}
	schedules := schedulesDoc{Kinds: []schedulesKind{{}}, Broken: []schedulesBreak{{Kinds: []string{"crash"}}}}
	var names []string
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for name, inner := range v {
				walk(prefix+"."+name, inner)
			}
		case []any:
			walk(prefix+"[]", v[0])
		default:
			names = append(names, fmt.Sprintf("%s %T", prefix, v))
		}
	}
	for name, doc := range map[string]any{"figures": full, "schedules": schedules} {
		raw, err := json.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(raw, &v); err != nil {
			t.Fatal(err)
		}
		walk(name, v)
	}
	slices.Sort(names)
	golden(t, "sim-election-fields.txt", []byte(strings.Join(names, "\n")+"\n"))
}

func TestSimSchedules(t *testing.T) {
	code, out, errs := simulate(t, t.Context(), "election", "--schedules", "6", "--seed", "3")
	if code != exitOK || errs != "" || !strings.Contains(out, "6 schedules from seed 3 on") || !strings.Contains(out, "partition") {
		t.Errorf("exit %d, stderr %q:\n%s", code, errs, out)
	}
	code, out, _ = simulate(t, t.Context(), "election", "--schedules", "1", "--seed", "3", "--kind", "partition", "--trace", "--messages")
	for _, want := range []string{"FAULT partition", "CALM", "says beacon"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("exit %d, the trace has no %q", code, want)
		}
	}
	_, out, _ = simulate(t, t.Context(), "election", "--schedules", "3", "-J")
	var doc schedulesDoc
	if err := json.Unmarshal([]byte(out), &doc); err != nil || doc.Schedules != 3 || doc.Next != 4 || len(doc.Kinds) < 20 {
		t.Errorf("%v: %+v", err, doc)
	}
	gone, stop := context.WithCancel(t.Context())
	stop()
	_, _, errs = simulate(t, gone, "election", "--schedules", "100", "--seed", "7")
	if !strings.Contains(errs, "go on with --seed 7 --schedules 100") {
		t.Errorf("an interrupted run says %q", errs)
	}
}

func TestSimElectionUsage(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"--nodes 0", "--nodes"}, {"--nodes 100000", "at most 2000"}, {"--loss 95", "--loss"}, {"--hours 0", "--hours"}, {"--trials 0", "--trials"},
		{"--timers slow", "default, lan and wan"}, {"--jobs 0", "--jobs"}, {"--trace", "--schedules"}, {"--schedules 1 --kind storm", "no kind of fault"},
		{"--schedules 1 --trace -J", "for people"},
	} {
		code, _, errs := simulate(t, t.Context(), append([]string{"election"}, strings.Fields(tc.args)...)...)
		if code != exitUsage || !strings.Contains(errs, tc.want) {
			t.Errorf("%s: exit %d, %q", tc.args, code, errs)
		}
	}
	if err := writeDocument(t.TempDir(), electionDoc{}); err == nil || !strings.Contains(err.Error(), "--json-file") {
		t.Errorf("a directory as --json-file: %v", err)
	}
}
