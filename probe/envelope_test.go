package probe

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(EnvelopeSchema))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// envelopes of every status, with and without what may be absent.
func envelopes() map[string]Envelope {
	created := time.Date(2026, 11, 21, 12, 0, 0, 0, time.FixedZone("CST", 8*3600))
	full, failed := *sampleResult(), *failedResult()
	partial := full
	partial.Status, partial.Error = StatusPartial, stopped(ErrPeerGone)
	partial.Samples = nil
	place := Place{
		Node: full.Target.Node, Continent: "AS", Country: "CN", State: "Hubei", Region: "Eastern Asia", Network: "Chinanet",
		Latitude: new(30.58), Longitude: new(114.27), Tags: []string{"eyeball"},
	}
	return map[string]Envelope{
		"full":    NewEnvelope("01J", ToolLatency, StatusFinished, created, created.Add(time.Second), "wuhan", []Result{full, partial, failed}, place),
		"nothing": NewEnvelope("01J", ToolLatency, StatusFailed, created, created, "wuhan", nil),
	}
}

func TestEnvelopeFitsSchema(t *testing.T) {
	schema := compileSchema(t)
	for name, e := range envelopes() {
		b, err := json.MarshalIndent(e, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, "envelope-"+name+".json", append(b, '\n'))
	}
	files, err := filepath.Glob("testdata/envelope-*.json")
	if err != nil || len(files) != len(envelopes()) {
		t.Fatalf("%d goldens, %v", len(files), err)
	}
	for name, e := range envelopes() {
		if err := schema.Validate(asDoc(t, e)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func asDoc(t *testing.T, v any) any {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// Every field that the program writes is in the schema, and the other way
// round: a field is not forgotten in either.
func TestSchemaIsComplete(t *testing.T) {
	var schema struct {
		Properties map[string]any
		Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
	}
	if err := json.Unmarshal(EnvelopeSchema, &schema); err != nil {
		t.Fatal(err)
	}
	e := envelopes()["full"]
	e.Error, e.Notes = stopped(ErrPeerGone), []string{"a note"}
	r := e.Results[0].Result
	sample := r.Samples[0]
	sample.Lost, sample.Late, sample.Dups = true, true, 1
	for def, v := range map[string]any{
		"": e, "probe": e.Results[0].Probe, "result": r, "latency": r.Latency, "summary": r.Forward, "jitter": r.Jitter,
		"clock": r.Clock, "clockState": r.Clock.Target, "path": r.Path, "params": r.Params, "error": stopped(ErrPeerGone),
		"sample": sample, "sig": r.Sig,
	} {
		want := schema.Properties
		if def != "" {
			want = schema.Defs[def].Properties
		}
		got := asDoc(t, v).(map[string]any)
		for k := range got {
			if _, ok := want[k]; !ok {
				t.Errorf("%s.%s is not in the schema", def, k)
			}
		}
		for k := range want {
			if _, ok := got[k]; !ok {
				t.Errorf("%s.%s is in the schema only", def, k)
			}
		}
	}
}

// The schema refuses what is wrong: it is not a schema of everything.
func TestSchemaRefuses(t *testing.T) {
	schema := compileSchema(t)
	b, err := json.Marshal(envelopes()["full"])
	if err != nil {
		t.Fatal(err)
	}
	for old, wrong := range map[string]string{
		`"status":"partial"`:    `"status":"so-so"`,
		`"lossPct":33`:          `"lossPct":233`,
		`"code":"peer-gone"`:    `"code":"went away"`,
		`"sent":6`:              `"sent":"6"`,
		`"timestamps":"user"`:   `"timestamps":""`,
		`"createdAt":"2026`:     `"createdAt":"yesterday`,
		`"owdValid":true`:       `"owdValid":null`,
		`"received":4`:          `"recieved":4`,
		`"ipdvMeanAbs":`:        `"ipdv":`,
		`"mode":"direct"`:       `"mode":"magic"`,
		`"nodeId":"12D3KooWI`:   `"id":"12D3KooWI`,
		`"ticketHash":"dGlja`:   `"ticketHash":["dGlja`,
		`"lossForward":1`:       `"lossForward":-1`,
		`"stage":"ticket"`:      `"stage":"somewhere"`,
		`"asn":4134`:            `"asn":0`,
		`"latitude":30.58`:      `"latitude":130.58`,
		`"intervalMs":10`:       `"intervalMs":"10ms"`,
		`"serverProcUs":40`:     `"serverProcUs":-40`,
		`"tags":["eyeball"]`:    `"tags":null`,
		`"timings":[`:           `"timing":[`,
		`"schema":1,"id":"01J"`: `"schema":2,"id":"01J"`,
	} {
		if !strings.Contains(string(b), old) {
			t.Errorf("%s is not there to be changed", old)
			continue
		}
		text := strings.Replace(string(b), old, wrong, 1)
		if wrong == `"ticketHash":["dGlja` {
			text = strings.Replace(text, `"ticketHash":["dGlja2V0"`, `"ticketHash":["dGlja2V0"]`, 1)
		}
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", wrong, err)
		}
		if schema.Validate(doc) == nil {
			t.Errorf("%s was accepted", wrong)
		}
	}
}

func TestEnvelopeFigures(t *testing.T) {
	item := envelopes()["full"].Results[0]
	r := item.Result
	if *r.Stats.Total != 6 || *r.Stats.Rcv != 4 || *r.Stats.Drop != 2 || len(r.Timings) != 4 || *r.Timings[0].TTL != 60 {
		t.Errorf("%+v, %d timings", r.Stats, len(r.Timings))
	}
	near(t, "min", r.Stats.Min, 42)
	near(t, "loss", r.Stats.Loss, 100.0/3)
	if *item.Probe.City != "changsha" || *item.Peer.City != "wuhan" || *item.Peer.State != "Hubei" || item.Probe.Country != nil {
		t.Errorf("%+v\n%+v", item.Probe, item.Peer)
	}
	if !strings.Contains(r.RawOutput, "6 packets sent, 4 received, 2 lost (33.3%)") {
		t.Errorf("raw output:\n%s", r.RawOutput)
	}
	failed := envelopes()["full"].Results[2].Result
	if failed.Latency != nil || failed.Stats != (EnvelopeStats{}) || failed.Forward != nil || len(failed.Timings) != 0 {
		t.Errorf("figures of a failure: %+v", failed)
	}
}
