package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/peerprobe/peerprobe/probe"
)

// fullResult sets every field that a batch carries, pointers included, to something that is not zero.
func fullResult(seed int) probe.Result {
	var r probe.Result
	n := seed
	fill(reflect.ValueOf(&r).Elem(), &n)
	r.Samples = nil
	r.Sig = probe.Signatures{Digest: r.Sig.Digest}
	return r
}

func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Struct:
		if _, ok := v.Interface().(time.Time); ok {
			v.Set(reflect.ValueOf(time.Unix(int64(*n)*1e3, int64(*n)).UTC()))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.String:
		v.SetString(fmt.Sprint("text ", *n))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range 3 {
			fill(v.Index(i), n)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n) / 7)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(*n % 100))
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*n % 100))
	default:
		panic("a result has a field of type " + v.Type().String())
	}
}

func roundTrip(t *testing.T, name string, rs []probe.Result) []byte {
	t.Helper()
	b, err := EncodeBatch(rs)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	back, err := DecodeBatch(b)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if len(rs) != len(back) {
		t.Fatalf("%s: %d became %d", name, len(rs), len(back))
	}
	for i := range rs {
		if !reflect.DeepEqual(rs[i], back[i]) {
			t.Fatalf("%s: result %d\n got %+v\nwant %+v", name, i, back[i], rs[i])
		}
		if rs[i].FiguresDigest() != back[i].FiguresDigest() {
			t.Errorf("%s: result %d has another digest", name, i)
		}
	}
	again, err := EncodeBatch(back)
	if err != nil || !bytes.Equal(b, again) {
		t.Errorf("%s: equal results gave other bytes, %v", name, err)
	}
	return b
}

func TestBatchRoundTrip(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	key := func(n uint64) probe.Key { return probe.Key{Node: "n", Boot: 1, Seq: n} }
	edges := probe.Result{Key: key(1), Latency: &probe.Latency{RTT: probe.Summary{
		Min: f(0), Mean: f(math.Copysign(0, -1)), Median: f(math.MaxFloat64), P90: f(math.SmallestNonzeroFloat64),
		P95: f(math.Inf(1)), P99: f(-1.000001), Max: f(4503599627.370495), Stddev: f(0.1 + 0.2)}}}
	extreme := probe.Result{Key: probe.Key{Node: "n", Boot: math.MaxUint64, Seq: math.MaxUint64}, Schema: math.MaxUint,
		Params:  probe.Params{Interval: math.MinInt64, Timeout: math.MaxInt64},
		Started: time.Unix(0, math.MaxInt64).UTC(), Ended: time.Unix(0, -1).UTC()}
	extreme.Started = time.Date(2261, 12, 31, 0, 0, 0, 0, time.UTC)
	bare := probe.Result{Key: key(2), Sig: probe.Signatures{Digest: []byte{}}}
	many := make([]probe.Result, 300)
	for i := range many {
		if many[i] = fullResult(i * 1000); i%3 == 0 {
			many[i].Latency, many[i].Error = nil, nil
		}
	}
	for name, rs := range map[string][]probe.Result{
		"none": {}, "full": {fullResult(1)}, "edges": {edges, bare, edges}, "extreme": {extreme, bare, extreme}, "many": many,
	} {
		roundTrip(t, name, rs)
	}
	long := fullResult(1)
	long.Samples = []probe.Sample{{Seq: 1}}
	long.Sig.Initiator, long.Sig.Target, long.Sig.TicketHash = []byte{1}, []byte{2}, []byte{3}
	b, err := EncodeBatch([]probe.Result{long})
	if err != nil {
		t.Fatal(err)
	}
	back, err := DecodeBatch(b)
	if err != nil || !reflect.DeepEqual(back[0], fullResult(1)) {
		t.Errorf("samples and originals are not carried: %+v, %v", back, err)
	}
}

// TestColumnsAreNamedForGood: paths are the format. A column may be added here, never changed.
func TestColumnsAreNamedForGood(t *testing.T) {
	seen := map[string]string{}
	for _, c := range resultColumns {
		if other, twice := seen[c.path]; twice {
			t.Errorf("%s and %s have the same path %s", c.name, other, c.path)
		}
		seen[c.path] = fmt.Sprintf("%s %d", c.name, c.kind)
	}
	for path, want := range map[string]string{
		"2.1": "Key.Node 6", "2.2": "Key.Boot 3", "2.3": "Key.Seq 3", "Started": "Started 8", "Ended": "Ended 8",
		"12?": "Error 1", "12.2": "Error.Code 6", "17?": "Latency 1", "17.12.1?": "Latency.RTT.Min 1",
		"17.12.1": "Latency.RTT.Min 4", "16.6": "Clock.OWDValid 5", "10.2": "Params.Interval 2", "19.4": "Sig.Digest 7",
	} {
		if seen[path] != want {
			t.Errorf("column %s is %q, want %q", path, seen[path], want)
		}
	}
	for _, not := range []string{"18", "19.1", "19.2", "19.3"} {
		if name, ok := seen[not]; ok {
			t.Errorf("%s travels", name)
		}
	}
}

func packed(t testing.TB, w batchWire) []byte {
	t.Helper()
	plain, err := recordEnc.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return batchZip().EncodeAll(plain, []byte{batchVersion})
}

func TestBatchRefuses(t *testing.T) {
	if _, err := EncodeBatch(make([]probe.Result, MaxBatchRows+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too many: %v", err)
	}
	bad := fullResult(1)
	bad.Tool = "\xff"
	if _, err := EncodeBatch([]probe.Result{bad}); !errors.Is(err, ErrInvalid) {
		t.Errorf("not UTF-8: %v", err)
	}
	huge := make([]probe.Result, 20)
	for i := range huge {
		huge[i] = fullResult(i)
		huge[i].Error.Message = strings.Repeat(fmt.Sprint(i), 1<<20)
	}
	if _, err := EncodeBatch(huge); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	good, err := EncodeBatch([]probe.Result{fullResult(1), fullResult(2)})
	if err != nil {
		t.Fatal(err)
	}
	node := columnWire{Path: "2.1", Kind: uint8(kindString), Data: []byte("\x00\x01n\x00")}
	for name, b := range map[string][]byte{
		"nothing":         {},
		"version":         append([]byte{9}, good[1:]...),
		"cut":             good[:len(good)-1],
		"not zstd":        []byte("\x01hello"),
		"longer":          append(bytes.Clone(good), 1),
		"huge frame":      make([]byte, MaxBatchBytes+1),
		"not CBOR":        batchZip().EncodeAll([]byte("\xff"), []byte{batchVersion}),
		"too many rows":   packed(t, batchWire{Rows: MaxBatchRows + 1}),
		"no keys":         packed(t, batchWire{Rows: 2}),
		"column twice":    packed(t, batchWire{Rows: 2, Columns: []columnWire{node, node}}),
		"kind":            packed(t, batchWire{Rows: 2, Columns: []columnWire{{Path: "2.1", Kind: 2}}}),
		"too few values":  packed(t, batchWire{Rows: 3, Columns: []columnWire{node}}),
		"too many values": packed(t, batchWire{Rows: 1, Columns: []columnWire{node}}),
		"text index":      packed(t, batchWire{Rows: 1, Columns: []columnWire{{Path: "2.1", Kind: 6, Data: []byte("\x01\x01n")}}}),
		"text length":     packed(t, batchWire{Rows: 1, Columns: []columnWire{{Path: "2.1", Kind: 6, Data: []byte("\x00\x7fn")}}}),
		"text bytes":      packed(t, batchWire{Rows: 1, Columns: []columnWire{{Path: "2.1", Kind: 6, Data: []byte("\x00\x01\xff")}}}),
		"overflow":        packed(t, batchWire{Rows: 2, Columns: []columnWire{node, {Path: "7.3", Kind: 3, Data: []byte("\x80\x80\x80\x80\x80\x01\x00")}}}),
		"bool":            packed(t, batchWire{Rows: 2, Columns: []columnWire{node, {Path: "16.6", Kind: 5, Data: []byte{2, 0}}}}),
		"float token":     packed(t, batchWire{Rows: 1, Columns: []columnWire{{Path: "2.1", Kind: 6, Data: []byte("\x00\x01n")}, {Path: "15", Kind: 4, Data: append([]byte{1, 3}, make([]byte, 8)...)}}}),
		"float":           packed(t, batchWire{Rows: 2, Columns: []columnWire{node, {Path: "15", Kind: 4, Data: []byte{2, 1, 1, 0}}}}),
	} {
		if rs, err := DecodeBatch(b); err == nil || !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: %d results, %v", name, len(rs), err)
		}
	}
	bomb := batchZip().EncodeAll(make([]byte, maxBatchPlain+1), []byte{batchVersion})
	if _, err := DecodeBatch(bomb); !errors.Is(err, zstd.ErrDecoderSizeExceeded) {
		t.Errorf("bomb of %d bytes: %v", len(bomb), err)
	}
	if rs, err := DecodeBatch(packed(t, batchWire{Rows: 2, Columns: []columnWire{node, {Path: "99.1", Kind: 77, Data: []byte("new")}}})); err != nil || rs[1].Key.Node != "n" {
		t.Errorf("a column of later versions is ignored: %+v, %v", rs, err)
	}
}

// TestBatchMemory: the most that a megabyte from anybody may cost.
func TestBatchMemory(t *testing.T) {
	ones := bytes.Repeat([]byte{1}, MaxBatchRows)
	w := batchWire{Rows: MaxBatchRows, Columns: []columnWire{{Path: "2.1", Kind: 6, Data: append([]byte("\x00\x01n"), make([]byte, MaxBatchRows-1)...)}}}
	for _, c := range resultColumns {
		if c.kind == kindPresent {
			w.Columns = append(w.Columns, columnWire{Path: c.path, Kind: uint8(c.kind), Data: ones})
		}
	}
	b := packed(t, w)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	rs, err := DecodeBatch(b)
	runtime.ReadMemStats(&after)
	if err != nil || len(rs) != MaxBatchRows || rs[0].Latency == nil {
		t.Fatalf("%d results, %v", len(rs), err)
	}
	if used := after.TotalAlloc - before.TotalAlloc; used > 64<<20 {
		t.Errorf("%d bytes of batch took %d bytes of memory", len(b), used)
	}
}

// TestBatchSize: an order of magnitude below JSON.
func TestBatchSize(t *testing.T) {
	rs := sampleResults(1000)
	b := roundTrip(t, "sample", rs)
	js, err := json.Marshal(rs)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("1000 results: %d bytes, JSON %d, ratio %.1f", len(b), len(js), float64(len(js))/float64(len(b)))
	if len(b)*10 > len(js) {
		t.Errorf("1000 results take %d bytes, JSON %d", len(b), len(js))
	}
}
