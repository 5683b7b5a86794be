package probe

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// sampleResult has every field set.
func sampleResult() *Result {
	path := []truth{
		{forward: 20 * msec, backward: 22 * msec}, {forward: 21 * msec, backward: 22 * msec, dupsBack: 1},
		{lostThere: true}, {forward: 35 * msec, backward: 22 * msec}, {lostBack: true}, {forward: 20 * msec, backward: 25 * msec},
	}
	run, st := play(path, 10*msec, time.Second, 3*msec)
	run.Params.KeepSamples, st.Params.KeepSamples = true, true
	run.Clock = ClockState{Source: ClockAdjtimex, Synchronised: true, ErrorMs: new(4.5)}
	st.Clock = ClockState{Source: ClockAdjtimex, Synchronised: true, ErrorMs: new(2.25)}
	run.Bytes = 1892
	r := &Result{
		Key:       Key{"12D3KooWInitiator", 7, 42},
		Initiator: End{"12D3KooWInitiator", "changsha", 4134, "61.187.64.118"},
		Target:    End{"12D3KooWTarget", "wuhan", 4134, "61.183.207.101"},
		Path:      Path{Mode: ModeDirect},
		Sig: Signatures{
			Initiator: []byte("initiator's"), Target: []byte("target's"), TicketHash: []byte("ticket"),
		},
	}
	run.Fill(r, st)
	r.Path.Local, r.Path.Remote, r.Path.IPVersion = "61.187.64.118:40000", "61.183.207.101:40001", 4
	d := r.FiguresDigest()
	r.Sig.Digest = d[:]
	return r
}

func failedResult() *Result {
	return &Result{
		Schema: ResultSchema, Key: Key{"12D3KooWInitiator", 7, 43}, Tool: ToolLatency, ToolVersion: LatencyVersion,
		Started: time.Date(2026, 11, 21, 12, 0, 0, 1, time.UTC), Ended: time.Date(2026, 11, 21, 12, 0, 1, 0, time.UTC),
		Initiator: End{Node: "12D3KooWInitiator", City: "changsha"}, Params: DefaultParams(), Status: StatusFailed,
		Schedule: SchedulePeriodic, LossTimeoutMs: 2000,
		Error: &Error{StageTicket, CodeRefused, "the target's head refused: too many sessions"},
	}
}

func TestResultRoundTrip(t *testing.T) {
	for _, r := range []*Result{sampleResult(), failedResult(), {}} {
		b := EncodeResult(r)
		got, err := DecodeResult(b)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, r) {
			t.Errorf("came back as\n%+v\nwant\n%+v", got, r)
		}
		if !bytes.Equal(EncodeResult(got), b) {
			t.Error("encoded differently the second time")
		}
		j, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		var back Result
		if err := json.Unmarshal(j, &back); err != nil || !reflect.DeepEqual(&back, r) {
			t.Errorf("JSON came back as %+v, %v", back, err)
		}
	}
}

// A result inside of another message is encoded as it is alone.
func TestResultInsideMessage(t *testing.T) {
	type message struct {
		Result Result `cbor:"1,keyasint"`
	}
	r := sampleResult()
	b, err := cbor.Marshal(message{*r})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, EncodeResult(r)) {
		t.Error("another encoding inside of a message")
	}
	var m message
	if err := cbor.Unmarshal(b, &m); err != nil || !reflect.DeepEqual(&m.Result, r) {
		t.Errorf("%+v, %v", m.Result, err)
	}
}

func TestResultGoldens(t *testing.T) {
	for name, r := range map[string]*Result{"result": sampleResult(), "failed": failedResult()} {
		golden(t, name+".cbor.hex", []byte(hexLines(EncodeResult(r))))
		j, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name+".json", append(j, '\n'))
	}
}

func TestJSONTimesAreUTC(t *testing.T) {
	r := failedResult()
	r.Started = r.Started.In(time.FixedZone("CST", 8*3600))
	j, err := json.Marshal(r)
	if err != nil || !bytes.Contains(j, []byte(`"started":"2026-11-21T12:00:00.000000001Z"`)) {
		t.Errorf("%s, %v", j, err)
	}
}

func TestFiguresDigest(t *testing.T) {
	r := sampleResult()
	d := r.FiguresDigest()
	stripped := *r
	stripped.Samples, stripped.Sig = nil, Signatures{}
	if stripped.FiguresDigest() != d {
		t.Error("the digest covers samples or signatures, which batches do not carry")
	}
	stripped.Latency = new(*r.Latency)
	stripped.Latency.Lost++
	if stripped.FiguresDigest() == d {
		t.Error("the digest does not cover the figures")
	}
	back, err := DecodeResult(EncodeResult(r))
	if err != nil || back.FiguresDigest() != d {
		t.Errorf("the digest changed on the way: %v", err)
	}
}

func sampleTranscript() *Transcript {
	st := &Statement{Version: StatementVersion, Params: DefaultParams(), Received: 9, Stopped: StoppedDone}
	return &Transcript{
		Version: StatementVersion, Session: [16]byte{1}, TicketHash: [32]byte{2}, Key: Key{"n", 1, 2},
		Target: EncodeStatement(st), TargetSig: []byte("sig"), Figures: [16]byte{3}, Sent: 10, Received: 9, Bytes: 100,
	}
}

func TestStatementAndTranscript(t *testing.T) {
	tr := sampleTranscript()
	back, err := DecodeTranscript(EncodeTranscript(tr))
	if err != nil || !reflect.DeepEqual(back, tr) {
		t.Fatalf("%+v, %v", back, err)
	}
	st, err := DecodeStatement(back.Target)
	if err != nil || st.Received != 9 || st.Params != DefaultParams() {
		t.Fatalf("%+v, %v", st, err)
	}
	st.Version = 2
	if _, err := DecodeStatement(EncodeStatement(st)); !errors.Is(err, ErrDecode) {
		t.Errorf("unknown version: %v", err)
	}
	tr.Version = 2
	if _, err := DecodeTranscript(EncodeTranscript(tr)); !errors.Is(err, ErrDecode) {
		t.Errorf("unknown version: %v", err)
	}
}

func TestDecodersAreBounded(t *testing.T) {
	deep := bytes.Repeat([]byte{0x81}, 100)
	for name, b := range map[string][]byte{
		"nothing": nil, "too long": make([]byte, MaxResultBytes+1), "deep": deep,
		"huge array":         {0xa1, 0x12, 0x9b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"huge map":           {0xbb, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"indefinite":         {0xbf, 0xff},
		"key twice":          {0xa2, 1, 1, 1, 1},
		"rest after the end": append(EncodeResult(failedResult()), 0),
	} {
		if _, err := DecodeResult(b); !errors.Is(err, ErrDecode) {
			t.Errorf("result, %s: %v", name, err)
		}
		if _, err := DecodeStatement(b); !errors.Is(err, ErrDecode) {
			t.Errorf("statement, %s: %v", name, err)
		}
		if _, err := DecodeTranscript(b); !errors.Is(err, ErrDecode) {
			t.Errorf("transcript, %s: %v", name, err)
		}
	}
	// The most samples that are ever granted fit, with every figure at its longest.
	r := sampleResult()
	long := 1.0 / 3
	for r.Samples = nil; len(r.Samples) < maxSamples; {
		seq := uint32(len(r.Samples)) + 1<<31
		r.Samples = append(r.Samples, Sample{seq, long, &long, &long, &long, 255, true, true, 65535})
	}
	if b := EncodeResult(r); len(b) > MaxResultBytes {
		t.Errorf("%d samples take %d bytes of %d", len(r.Samples), len(b), MaxResultBytes)
	}
	// What JSON cannot say is refused.
	for _, x := range []float64{math.NaN(), math.Inf(1)} {
		r := failedResult()
		r.LossTimeoutMs = x
		if _, err := DecodeResult(EncodeResult(r)); !errors.Is(err, ErrDecode) {
			t.Errorf("loss timeout of %v: %v", x, err)
		}
	}
	// Unknown fields are for later versions.
	if _, err := DecodeResult([]byte{0xa1, 0x18, 99, 1}); err != nil {
		t.Errorf("unknown field: %v", err)
	}
}

func FuzzDecodeResult(f *testing.F) {
	f.Add(EncodeResult(sampleResult()))
	f.Add(EncodeResult(failedResult()))
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeResult(b)
		if err != nil {
			return
		}
		once := EncodeResult(r)
		again, err := DecodeResult(once)
		if err != nil {
			t.Fatalf("own bytes not understood: %v", err)
		}
		if !bytes.Equal(EncodeResult(again), once) {
			t.Fatal("encoded differently the second time")
		}
		r.FiguresDigest()
		e := NewEnvelope("id", r.Tool, r.Status, r.Started, r.Ended, "x", []Result{*r})
		if _, err := json.Marshal(e); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzDecodeStatement(f *testing.F) {
	f.Add(sampleTranscript().Target)
	f.Fuzz(func(t *testing.T, b []byte) {
		st, err := DecodeStatement(b)
		if err != nil {
			return
		}
		again, err := DecodeStatement(EncodeStatement(st))
		if err != nil || !reflect.DeepEqual(again, st) && !bytes.Equal(EncodeStatement(again), EncodeStatement(st)) {
			t.Fatalf("%+v came back as %+v, %v", st, again, err)
		}
		run, _ := play([]truth{{forward: msec, backward: msec}, {lostBack: true}}, msec, time.Second, 0)
		var r Result
		run.Session, run.TicketHash, run.Params = st.Session, st.TicketHash, st.Params
		run.Fill(&r, st)
		EncodeResult(&r)
	})
}

func FuzzDecodeTranscript(f *testing.F) {
	f.Add(EncodeTranscript(sampleTranscript()))
	f.Fuzz(func(t *testing.T, b []byte) {
		tr, err := DecodeTranscript(b)
		if err != nil {
			return
		}
		again, err := DecodeTranscript(EncodeTranscript(tr))
		if err != nil || !bytes.Equal(EncodeTranscript(again), EncodeTranscript(tr)) {
			t.Fatalf("%+v came back as %+v, %v", tr, again, err)
		}
	})
}
