package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

func TestMeasurePrints(t *testing.T) {
	for name, args := range map[string][]string{
		"measure.txt":         nil,
		"measure-explain.txt": {"--explain"},
		"measure.json":        {"-J"},
		"measure-explain.json": {
			"-o", "json", "--explain"},
		"measure.ndjson": {"-o", "ndjson"},
		"measure.csv":    {"-o", "csv"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRunner(t)
			r.node.measurement = sampleMeasurement()
			if code := r.run(t, append([]string{"measure", "--to", "wuhan"}, args...)...); code != exitOK {
				t.Fatalf("exit code %d, stderr %s", code, &r.err)
			}
			golden(t, name, r.out.Bytes())
		})
	}
}

func envelopeSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(probe.EnvelopeSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("envelope.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("envelope.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func TestMeasureJSONFollowsTheSchema(t *testing.T) {
	schema := envelopeSchema(t)
	r := newRunner(t)
	r.node.measurement = sampleMeasurement()
	r.run(t, "measure", "--to", "wuhan", "-J", "--explain")
	got, err := jsonschema.UnmarshalJSON(&r.out)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(got); err != nil {
		t.Error(err)
	}
}

// Where nothing was measured a script still reads one document, with the reason; stderr and the code stay.
func TestMeasureJSONWhenNothingWasMeasured(t *testing.T) {
	schema := envelopeSchema(t)
	failed := sampleMeasurement()
	failed.Results, failed.Status = nil, probe.StatusFailed
	tried := *failed
	tried.Steps = append(tried.Steps[:len(tried.Steps):len(tried.Steps)], node.Step{Stage: "session", Text: "…Wuhan passed over: refused", AtMs: 8, TookMs: 1})
	for _, tc := range []struct {
		name        string
		m           *node.Measurement
		err         error
		exit        int
		stage, code string
	}{
		{"measure-failed.json", &tried, fmt.Errorf("%w: 1 candidate of wuhan tried, the last one said: refused", node.ErrNoCandidate), 2, "session", "no-candidate"},
		{"no head", failed, fmt.Errorf("%w: asked for 5s", node.ErrNoHead), 2, "lookup", "unreachable"},
		{"no such place", failed, &node.PlaceError{Place: "wuhan", Alive: []string{"changsha"}}, 1, "lookup", "no-such-place"},
		{"busy before it began", nil, node.ErrBusy, 2, "lookup", "busy"},
		{"something else", failed, errors.New("odd"), 2, "lookup", "internal"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRunner(t)
			r.node.measurement, r.node.err = tc.m, tc.err
			if code := r.run(t, "measure", "--to", "wuhan", "-J", "--explain"); code != tc.exit || strings.Count(r.err.String(), "\n") != 1 {
				t.Errorf("exit code %d, want %d; stderr %q", code, tc.exit, &r.err)
			}
			if strings.HasSuffix(tc.name, ".json") {
				golden(t, tc.name, r.out.Bytes())
			}
			var doc struct {
				Status, Target string
				Results        []any
				Error          *probe.Error
				Explain        []node.Step
			}
			if err := json.Unmarshal(r.out.Bytes(), &doc); err != nil {
				t.Fatalf("stdout is not one document: %v: %s", err, &r.out)
			}
			if doc.Status != probe.StatusFailed || doc.Target != "wuhan" || doc.Results == nil || len(doc.Results) != 0 || doc.Error == nil ||
				doc.Error.Stage != tc.stage || doc.Error.Code != tc.code || doc.Error.Message == "" || tc.m != nil && len(doc.Explain) != len(tc.m.Steps) {
				t.Errorf("printed %s", &r.out)
			}
			got, err := jsonschema.UnmarshalJSON(&r.out)
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(got); err != nil {
				t.Error(err)
			}
		})
	}
	r := newRunner(t)
	r.node.err = fmt.Errorf("%w: no", node.ErrBadRequest)
	if code := r.run(t, "measure", "--to", "wuhan", "-J"); code != exitUsage || r.out.Len() > 0 {
		t.Errorf("wrong usage: exit code %d, stdout %q", code, &r.out)
	}
}

func TestMeasureAsksForWhatTheFlagsSay(t *testing.T) {
	r := newRunner(t)
	r.node.measurement = sampleMeasurement()
	code := r.run(t, "measure", "--to", " wuhan ", "-c", "7", "-i", "0.05", "--size", "200", "--timeout", "1500ms", "--packets", "--prefer-dht")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, &r.err)
	}
	want := probe.Params{Count: 7, Interval: 50 * time.Millisecond, Size: 200, Timeout: 1500 * time.Millisecond, KeepSamples: true}
	if r.node.asked.Params != want || r.node.asked.To != "wuhan" || !r.node.asked.PreferDHT || r.node.asked.Tool != probe.ToolLatency {
		t.Errorf("asked for %+v", r.node.asked)
	}
	if r.node.asked.OnProgress != nil {
		t.Error("progress was asked for where stderr is no terminal")
	}
}

func TestMeasureVerboseShowsPackets(t *testing.T) {
	r := newRunner(t)
	r.node.measurement = sampleMeasurement()
	if code := r.run(t, "measure", "--to", "wuhan", "-v"); code != exitOK {
		t.Fatalf("exit code %d", code)
	}
	golden(t, "measure-verbose.stderr", r.err.Bytes())
}

func TestMeasureRefusesBadInput(t *testing.T) {
	for _, tc := range []struct {
		args []string
		want string
	}{
		{nil, "give --to with a city"},
		{[]string{"--to", "  "}, "give --to with a city"},
		{[]string{"wuhan"}, "write --to wuhan"},
		{[]string{"--to", "wuhan", "--count", "0"}, "--count is 0: at least 1 packet"},
		{[]string{"--to", "wuhan", "--count", "x"}, `invalid argument "x" for "-c, --count"`},
		{[]string{"--to", "wuhan", "--count", "99999999"}, "count is 99999999, at most"},
		{[]string{"--to", "wuhan", "--interval", "-1s"}, "--interval is -1s: it must be above 0"},
		{[]string{"--to", "wuhan", "--interval", "fast"}, "write 200ms, 1.5s, or seconds as a bare number"},
		{[]string{"--to", "wuhan", "--interval", "NaN"}, "is not a duration"},
		{[]string{"--to", "wuhan", "--size", "3"}, "--size is 3: an authenticated STAMP packet has at least 112 bytes"},
		{[]string{"--to", "wuhan", "--timeout", "0"}, "--timeout is 0s: it must be above 0"},
		{[]string{"--to", "wuhan", "--tool", "magic"}, `--tool "magic" is not known: there is latency`},
		{[]string{"--to", "wuhan", "--max-loss", "1percent"}, `--max-loss "1percent" is not a percentage`},
		{[]string{"--to", "wuhan", "--max-loss", "101%"}, "is not a percentage"},
		{[]string{"--to", "wuhan", "--max-loss", "NaN"}, "is not a percentage"},
		{[]string{"--to", "wuhan", "--max-rtt", "20ms"}, "write figure=duration"},
		{[]string{"--to", "wuhan", "--max-rtt", "p42=20ms"}, "figures are min, mean"},
		{[]string{"--to", "wuhan", "--max-rtt", "p95=20"}, `"20" is not a duration above 0`},
		{[]string{"--to", "wuhan", "-o", "yaml"}, `--output "yaml" is not a format`},
		{[]string{"--to", "wuhan", "-J", "-o", "csv"}, "contradict each other"},
		{[]string{"--to", "wuhan", "--nope"}, "unknown flag: --nope (see 'peerprobe measure --help')"},
	} {
		t.Run(strings.Join(tc.args, " "), func(t *testing.T) {
			r := newRunner(t)
			code := r.run(t, append([]string{"measure"}, tc.args...)...)
			said := r.err.String()
			if code != exitUsage || !strings.Contains(said, tc.want) {
				t.Errorf("exit code %d, said %q; want %d and %q", code, said, exitUsage, tc.want)
			}
			if strings.Count(said, "\n") != 1 || r.out.Len() > 0 {
				t.Errorf("want one line on stderr and nothing on stdout; stderr %q, stdout %q", said, &r.out)
			}
			if r.node.asked.To != "" {
				t.Error("the node was asked all the same")
			}
		})
	}
}

func TestMeasureExitCodes(t *testing.T) {
	edit := func(f func(*probe.Result)) *node.Measurement {
		m := sampleMeasurement()
		f(&m.Results[0])
		return m
	}
	partial := edit(func(r *probe.Result) {
		r.Status = probe.StatusPartial
		r.Error = &probe.Error{Stage: probe.StageRun, Code: probe.CodePeerGone, Message: "the target went away after 2 packets"}
	})
	silence := edit(func(r *probe.Result) {
		r.Latency = &probe.Latency{Sent: 3, Lost: 3, LossPct: new(100.0)}
	})
	for _, tc := range []struct {
		name string
		m    *node.Measurement
		err  error
		args []string
		code int
		said string
	}{
		{"finished", sampleMeasurement(), nil, nil, 0, "note: candidate 12D3KooWX passed over: it is busy\n"},
		{"within the gates", sampleMeasurement(), nil, []string{"--max-loss", "34%", "--max-rtt", "p95=15ms,max=20ms"}, 0, ""},
		{"loss gate", sampleMeasurement(), nil, []string{"--max-loss", "33.3"}, 2, "gate: loss is 33.333 %, above 33.3 %"},
		{"rtt gate", sampleMeasurement(), nil, []string{"--max-rtt", "p95=14.9ms"}, 2, "gate: RTT p95 is 15 ms, above 14.9 ms"},
		{"second rtt gate", sampleMeasurement(), nil, []string{"--max-rtt", "p95=1s", "--max-rtt", "min=9ms"}, 2, "gate: RTT min is 10 ms"},
		{"figure not measured", edit(func(r *probe.Result) { r.Latency.RTT.P99 = nil }), nil, []string{"--max-rtt", "p99=1s"}, 2, "gate: RTT p99 was not measured"},
		{"partial", partial, nil, nil, 0, "note: the result is partial: the target went away after 2 packets"},
		{"partial, strict", partial, nil, []string{"--strict"}, 2, "gate: the result is partial"},
		{"no packet came back", silence, nil, nil, 2, "nothing was measured"},
		{"no such place", nil, &node.PlaceError{Place: "wuhan", Alive: []string{"beijing", "changsha"}}, nil, 1, "no node in wuhan is online; nearest: changsha (293 km)"},
		{"no such place, wrapped", nil, fmt.Errorf("x: %w", &node.PlaceError{Place: "atlantis"}), nil, 1, "no other city is online either"},
		{"place that has just come up", nil, &node.PlaceError{Place: "Wuhan", Alive: []string{"changsha", "wuhan"}}, nil, 2, "try again"},
		{"bad request", nil, fmt.Errorf("%w: no", node.ErrBadRequest), nil, 1, "bad request"},
		{"nobody there", nil, errors.New("no node there can be measured"), nil, 2, "measuring to wuhan: no node there can be measured"},
		{"no result", &node.Measurement{}, nil, nil, 2, "nothing was measured"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRunner(t)
			r.node.measurement, r.node.err = tc.m, tc.err
			code := r.run(t, append([]string{"measure", "--to", "wuhan"}, tc.args...)...)
			if code != tc.code || !strings.Contains(r.err.String(), tc.said) {
				t.Errorf("exit code %d, want %d; stderr %q, want %q in it", code, tc.code, &r.err, tc.said)
			}
		})
	}
}

func TestMeasureInterrupted(t *testing.T) {
	r := newRunner(t)
	r.node.interrupt = true
	r.node.measurement = sampleMeasurement()
	r.node.measurement.Results[0].Status = probe.StatusPartial
	if code := r.run(t, "measure", "--to", "wuhan"); code != exitOK {
		t.Errorf("exit code %d after Ctrl-C with something measured", code)
	}
	if !strings.Contains(r.out.String(), "3 sent, 2 received, 1 lost") || !strings.Contains(r.err.String(), "partial: it was stopped here") {
		t.Errorf("no summary after Ctrl-C:\n%s\n%s", &r.out, &r.err)
	}
	r.node.measurement = nil
	r.node.err = errors.New("context canceled")
	if code := r.run(t, "measure", "--to", "wuhan"); code != exitNothing {
		t.Errorf("exit code %d after Ctrl-C with nothing measured", code)
	}
	if !strings.Contains(r.err.String(), "stopped before anything was measured") {
		t.Errorf("said %q", &r.err)
	}
}

func TestMeasureFindsTheNode(t *testing.T) {
	r := newRunner(t)
	r.node.measurement = sampleMeasurement()
	sock := r.sockets[0]
	if code := r.run(t, "measure", "--to", "wuhan", "--data", filepath.Dir(sock)); code != exitOK {
		t.Errorf("--data: exit code %d: %s", code, &r.err)
	}
	r.dialErr = syscall.ECONNREFUSED // the node was killed and left its socket behind
	if code := r.run(t, "measure", "--to", "wuhan", "--data", filepath.Dir(sock), "--rs", "127.0.0.1:7400"); code != exitOK || len(r.joined) != 1 {
		t.Errorf("killed node and --rs: exit code %d, joined %d times: %s", code, len(r.joined), &r.err)
	}
	r.dialErr = fs.ErrPermission
	if code := r.run(t, "measure", "--to", "wuhan", "--data", filepath.Dir(sock), "--rs", "127.0.0.1:7400"); code != exitUsage || !strings.Contains(r.err.String(), "cannot talk to the node behind") {
		t.Errorf("another user's node: exit code %d: %s", code, &r.err)
	}
	r.dialErr = nil
	r.sockets = []string{"/a/control.sock", "/b/control.sock"}
	if code := r.run(t, "measure", "--to", "wuhan"); code != exitUsage || !strings.Contains(r.err.String(), "choose one with --data DIR out of /a, /b") {
		t.Errorf("two nodes: exit code %d: %s", code, &r.err)
	}
	r.sockets = nil
	if code := r.run(t, "measure", "--to", "wuhan"); code != exitUsage || !strings.Contains(r.err.String(), "give --rs HOST:PORT to join for this one measurement") {
		t.Errorf("no node: exit code %d: %s", code, &r.err)
	}
	if code := r.run(t, "status", "--data", "/nowhere"); code != exitUsage || !strings.Contains(r.err.String(), "no node runs with data directory /nowhere: start one with") {
		t.Errorf("no node there: exit code %d: %s", code, &r.err)
	}
}

func TestMeasureOnce(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := newRunner(t)
	r.sockets = nil
	r.env[tokenVariable] = "net.secret\n"
	r.node.measurement = sampleMeasurement()
	if code := r.run(t, "measure", "--to", "wuhan", "--rs", "127.0.0.1:7400", "--city", "changsha", "--bind", "127.0.0.1"); code != exitOK {
		t.Fatalf("exit code %d: %s", code, &r.err)
	}
	if len(r.joined) != 1 {
		t.Fatalf("joined %d times", len(r.joined))
	}
	j := r.joined[0]
	if !j.cfg.Transient || j.cfg.RS != "127.0.0.1:7400" || j.cfg.City != "changsha" || j.cfg.Token != "net.secret" || j.cfg.Bind.String() != "127.0.0.1" {
		t.Errorf("joined as %+v", j.cfg)
	}
	if !j.exists || !j.left {
		t.Errorf("directory there while it ran: %v, left afterwards: %v", j.exists, j.left)
	}
	if _, err := os.Stat(j.cfg.Data); !os.IsNotExist(err) {
		t.Errorf("the temporary directory %s is still there (%v)", j.cfg.Data, err)
	}
	dir := t.TempDir()
	if code := r.run(t, "measure", "--to", "wuhan", "--rs", "127.0.0.1:7400", "--data", dir); code != exitOK {
		t.Fatalf("with --data: exit code %d: %s", code, &r.err)
	}
	if _, err := os.Stat(dir); r.joined[1].cfg.Data != dir || err != nil {
		t.Errorf("--data was not kept: %v, %v", r.joined[1].cfg.Data, err)
	}
	for _, args := range [][]string{{"--bind", "x"}, {"--token-file", "/nowhere"}} {
		if code := r.run(t, append([]string{"measure", "--to", "wuhan", "--rs", "127.0.0.1:7400"}, args...)...); code != exitUsage {
			t.Errorf("%v: exit code %d", args, code)
		}
	}
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "peerprobe-once-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestJSONNames(t *testing.T) {
	r := newRunner(t)
	r.node.measurement = sampleMeasurement()
	r.run(t, "measure", "--to", "wuhan", "-J")
	var doc map[string]json.RawMessage
	if err := json.Unmarshal(r.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"id", "type", "status", "createdAt", "updatedAt", "target", "results"} {
		if _, ok := doc[name]; !ok {
			t.Errorf("Globalping's %q is missing", name)
		}
	}
}
