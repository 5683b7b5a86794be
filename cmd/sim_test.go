package cmd

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster/overlay"
)

// simulate runs one sim command in an environment of its own.
func simulate(t *testing.T, ctx context.Context, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = newEnv(nil, &o, &e).run(ctx, append([]string{"sim"}, args...))
	return code, o.String(), e.String()
}

var smallOverlay = []string{"overlay", "--nodes", "16..40", "--runs", "2", "--lookups", "50", "--join", "plain,nbr1"}

func TestSimOverlayFormats(t *testing.T) {
	code, out, errs := simulate(t, t.Context(), smallOverlay...)
	if code != exitOK || errs != "" {
		t.Fatalf("exit %d, stderr %q", code, errs)
	}
	const rows = 9 * 3 // three zoned geometries twice, three others, each at 16, 32 and 40 nodes
	if n := strings.Count(out, "\n"); n != rows+1 {
		t.Errorf("%d lines, want %d:\n%s", n, rows+1, out)
	}
	if strings.ContainsAny(out, "\x1b\r") {
		t.Error("escape codes without a terminal")
	}

	_, out, _ = simulate(t, t.Context(), append(smallOverlay, "-J")...)
	var doc overlayDoc
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Rows) != rows || doc.Partial || doc.Runs != 2 || doc.Lookups != 50 || doc.Seed != 1 {
		t.Errorf("document: %d rows, %+v", len(doc.Rows), doc)
	}
	for _, r := range doc.Rows {
		zoned := overlay.Geometry(r.Geometry).Zoned()
		if r.Runs != 2 || r.Partial || r.Hops.Mean <= 0 || r.Hops.Half == nil || r.Dead == nil || r.Churned == nil || (r.Zones != nil) != zoned || (r.Join != "") != zoned {
			t.Errorf("row %+v", r)
		}
	}

	_, out, _ = simulate(t, t.Context(), append(smallOverlay, "-o", "csv")...)
	records, err := csv.NewReader(strings.NewReader(out)).ReadAll()
	if err != nil || len(records) != rows+1 {
		t.Errorf("%d records, %v", len(records), err)
	}
	_, out, _ = simulate(t, t.Context(), append(smallOverlay, "-o", "ndjson")...)
	for line := range strings.Lines(out) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

// The seed decides, however many networks are built side by side.
func TestSimOverlayIsRepeatable(t *testing.T) {
	_, one, _ := simulate(t, t.Context(), append(smallOverlay, "-o", "csv", "--jobs", "1")...)
	_, four, _ := simulate(t, t.Context(), append(smallOverlay, "-o", "csv", "--jobs", "4")...)
	_, other, _ := simulate(t, t.Context(), append(smallOverlay, "-o", "csv", "--seed", "2")...)
	if one != four {
		t.Error("--jobs changes figures")
	}
	if one == other {
		t.Error("--seed changes nothing")
	}
}

func TestSimOneNode(t *testing.T) {
	code, out, errs := simulate(t, t.Context(), "overlay", "--nodes", "1", "--runs", "1", "--lookups", "5", "-J")
	var doc overlayDoc
	if err := json.Unmarshal([]byte(out), &doc); err != nil || code != exitOK || errs != "" {
		t.Fatalf("exit %d, %v, %q", code, err, errs)
	}
	for _, r := range doc.Rows {
		if r.Hops.Mean != 0 || r.Degree.Mean != 0 || r.Load.MaxShare != 1 || r.Hops.Half != nil {
			t.Errorf("a lone node: %+v", r)
		}
	}
}

func TestSimBadInput(t *testing.T) {
	for _, c := range []struct {
		args string
		want string // in the message
	}{
		{"overlay --nodes 0", `--nodes "0": choose 1 to`},
		{"overlay --nodes -4", `--nodes "-4"`},
		{"overlay --nodes 1000,", `--nodes ""`},
		{"overlay --nodes 512..256", "ends before it begins"},
		{"overlay --nodes 1e12", "choose 1 to"},
		{"overlay --nodes 10.5", "not a whole number"},
		{"overlay --nodes NaN", "not a whole number"},
		{"overlay --geometry torus", `unknown geometry "torus": there is dbcan, can2`},
		{"overlay --geometry dbcan,,", "unknown geometry"},
		{"overlay --join best --geometry dbcan", `join rule "best"`},
		{"overlay --lookups 0", "--lookups is 0"},
		{"overlay --lookups 99000000", "--lookups is 99000000: choose 1 to"},
		{"overlay --lookups 10000000 --runs 1000", "ask for fewer"},
		{"overlay --runs 0", "--runs is 0"},
		{"overlay --jobs 0", "--jobs is 0"},
		{"overlay --dead 100%", "somebody has to be left"},
		{"overlay --dead x", `--dead "x"`},
		{"overlay --churn -1", "turnover -1"},
		{"overlay --churn NaN", "turnover NaN"},
		{"overlay --k 0", "k is 0"},
		{"overlay --alpha 0", "alpha is 0"},
		{"overlay --successors 0", "0 successors"},
		{"overlay --key-bits 0", "keys of 0 bits"},
		{"overlay --key-bits 4 --geometry dbcan --nodes 1000 --runs 1", "key is shorter than the ids"},
		{"overlay --key-bits 32 --geometry chord --nodes 10 --runs 1", "key of 32 bits, ids of 64"},
		{"overlay --svg /nowhere/at/all.svg", "--svg:"},
		{"overlay --svg .", "is no file that could be replaced"},
		{"overlay --svg /", "is no file that could be replaced"},
		{"overlay --join best --geometry chord", `join rule "best"`},
		{"overlay surplus", "unknown command"},
		{"scale --endpoints 0", `--endpoints "0"`},
		{"scale --endpoints 10 --cities 20", "20 cities of 10 endpoints"},
		{"scale --cities 0", `--cities "0"`},
		{"scale --heads 0", "0 heads"},
		{"scale --sessions weibull", `"weibull" is no distribution`},
		{"scale --rule luck", `"luck" is no rule`},
		{"scale --geometry torus", "unknown geometry"},
		{"scale --cost x=1", `"x" is no cost`},
		{"scale --cost connection", "write name=value"},
		{"scale --session 0", "must be above 0"},
		{"scale --elsewhere 120%", "--elsewhere"},
		{"scale --processor 0", "must be above 0"},
		{"scale --lookups 0", "at least 1"},
		{"scale --session 1ns", "choose 10s or more"},
		{"scale --per-hour 1e307", "measurements an hour"},
		{"scale --per-hour NaN", "measurements an hour"},
		{"what", `unknown command "what"`},
	} {
		code, out, errs := simulate(t, t.Context(), strings.Fields(c.args)...)
		if code != exitUsage || !strings.Contains(errs, c.want) || out != "" || strings.Count(errs, "\n") != 1 {
			t.Errorf("sim %s: exit %d, %q, want %q", c.args, code, errs, c.want)
		}
	}
}

// What was not measured is null in JSON and empty in CSV, never 0.
func TestSimNullsForWhatWasNotMeasured(t *testing.T) {
	for args, want := range map[string]string{
		"--nodes 1":                         `"zones":null "load":{"max_share":1,"busiest":null} "dead":null "churned":null`,
		"--nodes 100 --dead 0.1% --churn 0": `"dead":null "churned":null`,
		"--nodes 30000 --dead 99%":          `"hops":null`, // with a dead node on every way nobody arrives
	} {
		geometry := "koorde"
		_, out, _ := simulate(t, t.Context(), append(strings.Fields("overlay --runs 1 --lookups 30 -o ndjson --geometry "+geometry), strings.Fields(args)...)...)
		for w := range strings.FieldsSeq(want) {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %s in %s", args, w, out)
			}
		}
	}
	_, out, _ := simulate(t, t.Context(), strings.Fields("overlay --runs 1 --lookups 30 --geometry dbcan --nodes 16 --dead 0.1% --churn 0 -o csv")...)
	if lines := strings.Split(out, "\n"); len(lines) != 3 || !strings.HasSuffix(lines[1], strings.Repeat(",", 8)) {
		t.Errorf("csv: %s", out)
	}
}

// Each geometry and rule is built once, however often it is named.
func TestSimNamedTwice(t *testing.T) {
	o := simOverlayOptions{geometry: []string{"dbcan", "DBCAN", "chord"}, join: []string{"nbr1", "nbr1"}, nodes: "8", lookups: 1, runs: 1, jobs: 1,
		dead: "0", k: 20, alpha: 3, successors: 8, keyBits: 128}
	if plan, err := o.plan(); err != nil || len(plan) != 2 {
		t.Errorf("%d networks, %v", len(plan), err)
	}
}

// A drawing replaces a file, or makes one; not a directory, a pipe or a device.
func TestSimSVGIsAFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "old.svg")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := replaceable(file); err != nil {
		t.Error(err)
	}
	if err := replaceable(filepath.Join(dir, "new.svg")); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{dir, os.DevNull} {
		if err := replaceable(bad); err == nil {
			t.Errorf("%s would be replaced", bad)
		}
	}
}

func TestParseSizes(t *testing.T) {
	for s, want := range map[string][]int{
		"256..2048":   {256, 512, 1024, 2048},
		"100..1000":   {100, 200, 400, 800, 1000},
		"50000,1000":  {1000, 50000},
		"1e3,1000,8":  {8, 1000},
		"4..16,8..32": {4, 8, 16, 32},
		"7..7":        {7},
	} {
		if got, err := parseSizes(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %v %v, want %v", s, got, err, want)
		}
	}
}

// What was measured before an interrupt is printed and marked.
func TestSimInterrupted(t *testing.T) {
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if code, out, errs := simulate(t, stopped, smallOverlay...); code != exitNothing || out != "" || !strings.Contains(errs, "interrupted before") {
		t.Errorf("at once: exit %d, %q, %q", code, out, errs)
	}
	if code, _, errs := simulate(t, stopped, "scale"); code != exitNothing || !strings.Contains(errs, "interrupted") {
		t.Errorf("scale: exit %d, %q", code, errs)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := newSimRun(newEnv(nil, io.Discard, io.Discard), 5000, 2)
	o := simOverlayOptions{runs: 5000, dead: "0"}
	plan := []overlay.Experiment{overlay.DefaultExperiment(overlay.CAN2, 64), overlay.DefaultExperiment(overlay.Chord, 64)}
	go func() {
		for tick := time.Tick(time.Millisecond); r.finished() < 3; {
			<-tick
		}
		cancel()
	}()
	results, err := r.all(ctx, plan)
	if err != nil {
		t.Fatal(err)
	}
	doc := overlayDocument(plan, results, o)
	if len(doc.Rows) != 1 || !doc.Rows[0].Partial || doc.Rows[0].Runs < 3 || !doc.Partial {
		t.Fatalf("document: %+v", doc)
	}
	var table bytes.Buffer
	if err := overlayListing(o).writeRows(&table, formatTable, doc.Rows); err != nil || !strings.Contains(table.String(), "partial") {
		t.Errorf("%v: %s", err, table.String())
	}
}

// An error of one network ends all, with its reason.
func TestSimErrorEndsAll(t *testing.T) {
	short := overlay.DefaultExperiment(overlay.DBCAN, 500)
	short.KeyBits = 3
	_, err := newSimRun(newEnv(nil, io.Discard, io.Discard), 50, 2).all(t.Context(), []overlay.Experiment{short})
	if !errors.Is(err, overlay.ErrShortKey) {
		t.Errorf("%v", err)
	}
}

func TestSimFigures(t *testing.T) {
	charts := []svgChart{
		figure2([]*overlay.Summary{summaryOf(t, overlay.DBCAN, 300), nil, summaryOf(t, overlay.DBCAN, 500)}),
		figure3([]*overlay.Summary{nil, summaryOf(t, overlay.CAN2, 300), summaryOf(t, overlay.DBCAN, 300)}),
		figure4(overlayDoc{Rows: []overlayRow{
			{Geometry: "dbcan", Join: "plain", Nodes: 1024, Hops: simHops{Mean: 8}}, {Geometry: "dbcan", Join: "plain", Nodes: 2048, Hops: simHops{Mean: 9}},
			{Geometry: "can3", Join: "plain", Nodes: 1024, Hops: simHops{Mean: 7.5}}, {Geometry: "can3", Join: "plain", Nodes: 2048, Hops: simHops{Mean: 9.5}},
			{Geometry: "can2", Join: "plain", Nodes: 2048, Hops: simHops{Mean: 30}}, {Geometry: "chord", Nodes: 1024, Hops: simHops{Mean: 5}},
		}}),
	}
	svg := svgDocument(charts)
	for dec := xml.NewDecoder(strings.NewReader(svg)); ; {
		if _, err := dec.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not XML: %v", err)
		}
	}
	for _, want := range []string{"Figure 2", "Figure 3", "Figure 4", "can3 crosses dbcan at about 1536 nodes", "can2 is longer than dbcan at 1 of 2 sizes", "not measured", "Dashed: not in the paper"} {
		if !strings.Contains(svg, want) {
			t.Errorf("the figures do not say %q", want)
		}
	}
	if nothing := svgDocument([]svgChart{figure2(make([]*overlay.Summary, 3))}); strings.Contains(nothing, "As in the paper") || !strings.Contains(nothing, "not measured") {
		t.Error("figure 2 claims to be like the paper's without a measurement")
	}
	if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Error("a figure has coordinates that are no numbers")
	}
	for _, c := range charts {
		for _, line := range c.noteLines() {
			if len(line) > noteColumns {
				t.Errorf("a note has %d columns: %s", len(line), line)
			}
		}
	}
}

func summaryOf(t *testing.T, g overlay.Geometry, nodes int) *overlay.Summary {
	t.Helper()
	e := overlay.DefaultExperiment(g, nodes)
	e.Lookups = 5
	s, err := e.Run(0, nil)
	if err != nil {
		t.Fatal(err)
	}
	sum := overlay.Summarize([]*overlay.Sample{s})
	return &sum
}

func TestSimSVGFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "figures.svg")
	code, _, errs := simulate(t, t.Context(), "overlay", "--geometry", "dbcan", "--nodes", "16..64", "--runs", "1", "--lookups", "20", "--svg", file)
	if code != exitOK || !strings.Contains(errs, file) {
		t.Fatalf("exit %d, %q", code, errs)
	}
	svg, err := os.ReadFile(file)
	if err != nil || !bytes.Contains(svg, []byte("50000 nodes")) || !bytes.HasSuffix(svg, []byte("</svg>\n")) {
		t.Errorf("%v, %d bytes", err, len(svg))
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	if code, _, _ := simulate(t, stopped, "overlay", "--svg", file); code != exitNothing {
		t.Errorf("interrupted: exit %d", code)
	}
	left, err := filepath.Glob(file + "*")
	if now, _ := os.ReadFile(file); err != nil || len(left) != 1 || !bytes.Equal(now, svg) {
		t.Errorf("an interrupted run changed the drawing or left something: %v", left)
	}
}

func TestNiceStep(t *testing.T) {
	for most, want := range map[float64]float64{0: 1, 0.7: 0.1, 9: 1, 35: 5, 63: 10, 100: 10, 110: 20} {
		if got := niceStep(most); math.Abs(got-want) > 1e-9 {
			t.Errorf("axis up to %v in steps of %v, want %v", most, got, want)
		}
	}
}

func TestSimScaleFormats(t *testing.T) {
	args := []string{"scale", "--endpoints", "1000", "--cities", "100", "--lookups", "50"}
	code, out, errs := simulate(t, t.Context(), args...)
	if code != exitOK || errs != "" || !strings.Contains(out, "first limit: ") || !strings.Contains(out, "two layers") {
		t.Errorf("exit %d, %q:\n%s", code, errs, out)
	}
	_, out, _ = simulate(t, t.Context(), append(args, "-J", "--cost", "connection=6e7")...)
	var doc scaleDoc
	if err := json.Unmarshal([]byte(out), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.First != "head: memory" || len(doc.Costs) == 0 || len(doc.Roles) != 3 || doc.Cluster != 10 {
		t.Errorf("document: first limit %q, %d costs, %d roles, clusters of %v", doc.First, len(doc.Costs), len(doc.Roles), doc.Cluster)
	}
	_, out, _ = simulate(t, t.Context(), append(args, "-o", "csv")...)
	if records, err := csv.NewReader(strings.NewReader(out)).ReadAll(); err != nil || len(records) < 50 {
		t.Errorf("%d records, %v", len(records), err)
	}
	_, out, errs = simulate(t, t.Context(), "scale", "--costs")
	if !strings.Contains(out, "heartbeat-frame") || !strings.Contains(out, "20") || !strings.Contains(errs, "measured by: ") {
		t.Errorf("costs: %q, %q", out, errs)
	}
}
