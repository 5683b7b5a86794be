package store

import (
	"bytes"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
)

// FuzzDecodeBatch: bytes from any head. What decodes encodes again, and then always to the same bytes.
func FuzzDecodeBatch(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		b, err := EncodeBatch(sampleResults(n))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) { batchAgain(t, b) })
}

// FuzzBatchPlain fuzzes below the compression, where mutations hit something.
func FuzzBatchPlain(f *testing.F) {
	for _, n := range []int{0, 1, 5} {
		b, err := EncodeBatch(sampleResults(n))
		if err != nil {
			f.Fatal(err)
		}
		plain, err := batchUnzip().DecodeAll(b[1:], nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		batchAgain(t, batchZip().EncodeAll(plain, []byte{batchVersion}))
	})
}

func batchAgain(t *testing.T, b []byte) {
	rs, err := DecodeBatch(b)
	if err != nil {
		return
	}
	once, err := EncodeBatch(rs)
	if err != nil {
		t.Fatalf("decoded and not encoded: %v", err)
	}
	back, err := DecodeBatch(once)
	if err != nil {
		t.Fatalf("encoded and not decoded: %v", err)
	}
	twice, err := EncodeBatch(back)
	if err != nil || !bytes.Equal(once, twice) || len(rs) != len(back) {
		t.Fatalf("%d results became %d, other bytes, %v", len(rs), len(back), err)
	}
}

// FuzzColumn fuzzes the values of one column.
func FuzzColumn(f *testing.F) {
	f.Add(uint(0), uint8(3), []byte{2, 2, 2})
	f.Add(uint(7), uint8(2), []byte("\x00\x01n\x00"))
	f.Fuzz(func(t *testing.T, which uint, rows uint8, data []byte) {
		c := resultColumns[which%uint(len(resultColumns))]
		e, l := probe.Error{}, probe.Latency{}
		rs := make([]probe.Result, rows)
		for i := range rs {
			if i%2 == 0 && c.kind != kindPresent {
				rs[i].Error, rs[i].Latency = &e, &l
			}
		}
		c.decode(rs, columnWire{Kind: uint8(c.kind), Data: data}) // any error, no panic
	})
}

// FuzzRecords: every decoder of table values and keys takes any bytes, and what it takes it writes again
// as it understood it.
func FuzzRecords(f *testing.F) {
	rec := ResultRecord{Result: sampleResults(1)[0], Ticket: cluster.Signed{Payload: []byte("p"), Sig: []byte("s")}}
	s, err := newStored(&rec, 5)
	if err != nil {
		f.Fatal(err)
	}
	token, err := encodeToken(Token{Label: "l", Uses: 3, Expires: time.Unix(9, 0)})
	if err != nil {
		f.Fatal(err)
	}
	seeds := [][]byte{s.key, s.value, s.facts, token, spans{{1, 2}, {9, 9}}.encode()}
	for _, v := range []any{
		auditWire{At: 1, Actor: "a"}, taskWire{ID: "t", Keys: []probe.Key{{Node: "n"}}}, HeadRecord{City: "c"},
		cluster.HardState{Boot: 1}, cluster.NodeState{ID: "n", Tags: []string{"t"}}, cluster.Row{ID: "n"},
		cluster.CityState{City: "c", History: []cluster.HeadChange{{Reason: "r"}}},
	} {
		b, err := encodeRecord(v)
		if err != nil {
			f.Fatal(err)
		}
		seeds = append(seeds, b)
	}
	for _, b := range seeds {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := parseKey(b); err == nil && !bytes.Equal(appendKey(nil, k), b) {
			t.Errorf("key %s", k)
		}
		if sp, err := decodeSpans(b); err == nil && !bytes.Equal(sp.encode(), b) {
			t.Errorf("intervals %v", sp)
		}
		parseFacts(b)
		decodeAudit(b)
		decodeTask(b)
		if r, err := decodeResult(b); err == nil {
			once, err := encodeResult(&r)
			if err != nil {
				return // a key that the tables refuse
			}
			back, err := decodeResult(once)
			if err != nil {
				t.Fatalf("encoded and not decoded: %v", err)
			}
			if twice, err := encodeResult(&back); err != nil || !bytes.Equal(once, twice) {
				t.Errorf("result: other bytes, %v", err)
			}
		}
		again[tokenWire](t, b)
		again[HeadRecord](t, b)
		again[cluster.HardState](t, b)
		again[cluster.NodeState](t, b)
		again[cluster.Row](t, b)
		again[cluster.CityState](t, b)
		again[cluster.Signed](t, b)
	})
}

func again[T any](t *testing.T, b []byte) {
	var v, back T
	if decodeRecord(b, &v) != nil {
		return
	}
	once, err := encodeRecord(v)
	if err != nil {
		t.Fatalf("%T: decoded and not encoded: %v", v, err)
	}
	if err := decodeRecord(once, &back); err != nil {
		t.Fatalf("%T: encoded and not decoded: %v", v, err)
	}
	if twice, err := encodeRecord(back); err != nil || !bytes.Equal(once, twice) {
		t.Fatalf("%T: other bytes, %v", v, err)
	}
}
