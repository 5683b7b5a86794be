package probe

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// golden compares with a file in testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (go test -update rewrites it; think first: others read these bytes)\ngot:\n%s\nwant:\n%s", name, got, want)
	}
}

// hexLines shows 16 bytes a line.
func hexLines(b []byte) string {
	var s strings.Builder
	for len(b) > 0 {
		n := min(16, len(b))
		s.WriteString(hex.EncodeToString(b[:n]) + "\n")
		b = b[n:]
	}
	return s.String()
}

func TestPacketGoldens(t *testing.T) {
	at := time.Date(2026, 11, 21, 12, 0, 0, 250_000_000, time.UTC)
	snd := SenderPacket{Seq: 0x01020304, Time: toNTP(at), Estimate: 0x8a7f, SSID: 0xbeef}
	ref := ReflectorPacket{
		Seq: 0x0a0b0c0d, Time: toNTP(at.Add(30 * msec)), Estimate: 0x8101, SSID: 0xbeef,
		ReceiveTime: toNTP(at.Add(20 * msec)), SenderSeq: snd.Seq, SenderTime: snd.Time,
		SenderEstimate: snd.Estimate, SenderTTL: 57,
	}
	var s SessionInfo
	copy(s.ID[:], "session of tests")
	copy(s.Key[:], "a key of 32 bytes for the golden")
	s.Params.Size = 184
	var out bytes.Buffer
	for _, p := range []struct {
		name string
		b    []byte
	}{
		{"plain sender", snd.Append(nil, StampPlain)},
		{"plain reflector", ref.Append(nil, StampPlain)},
		{"authenticated sender, HMAC not filled in", snd.Append(nil, StampAuth)},
		{"authenticated reflector, HMAC not filled in", ref.Append(nil, StampAuth)},
		{"question of a session, sealed, padded to 184", question(s, 7, [cookieSize]byte([]byte("a cookie of 16 b")))},
	} {
		out.WriteString("# " + p.name + "\n" + hexLines(p.b))
	}
	golden(t, "packets.hex", out.Bytes())
}

// RFC 8762 gives the offsets; these are counted by hand in its figures.
func TestOffsets(t *testing.T) {
	r := ReflectorPacket{Seq: 1, Time: 2, Estimate: 3, SSID: 4, ReceiveTime: 5, SenderSeq: 6, SenderTime: 7, SenderEstimate: 8, SenderTTL: 9}
	plain, auth := r.Append(nil, StampPlain), r.Append(nil, StampAuth)
	if len(plain) != 44 || len(auth) != 112 {
		t.Fatalf("lengths %d and %d", len(plain), len(auth))
	}
	last := map[string][2]int{ // last byte of each field: plain, authenticated
		"seq": {3, 3}, "timestamp": {11, 23}, "estimate": {13, 25}, "ssid": {15, 27}, "receive": {23, 39},
		"sender seq": {27, 51}, "sender timestamp": {35, 71}, "sender estimate": {37, 73}, "sender ttl": {40, 80},
	}
	want := map[string]byte{"seq": 1, "timestamp": 2, "estimate": 3, "ssid": 4, "receive": 5, "sender seq": 6, "sender timestamp": 7, "sender estimate": 8, "sender ttl": 9}
	for field, at := range last {
		if plain[at[0]] != want[field] || auth[at[1]] != want[field] {
			t.Errorf("%s: plain %d, authenticated %d, want %d", field, plain[at[0]], auth[at[1]], want[field])
		}
	}
}

func TestHMACIsRFC2104(t *testing.T) {
	// RFC 4231 test case 2: key "Jefe", cut to 128 bits. Our keys have 32 bytes,
	// and HMAC pads keys with zeros to the block, so this is the same key.
	var key [32]byte
	copy(key[:], "Jefe")
	got := newSealer(key).mac([]byte("what do ya want "), []byte("for nothing?"))
	if hex.EncodeToString(got) != "5bdcc146bf60754e6a042426089575c7" {
		t.Errorf("got %x", got)
	}
}

func TestNTP(t *testing.T) {
	for _, tt := range []struct {
		t time.Time
		v uint64
	}{
		{time.Unix(0, 0), 0x83aa7e80_00000000},
		{time.Unix(0, 500_000_000), 0x83aa7e80_80000000},
		{time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC), 0xffffffff_00000000},
		{time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC), 0}, // the era ends
		{time.Date(2040, 1, 1, 0, 0, 0, 1, time.UTC), 0x0754fd00_00000005},
	} {
		if got := toNTP(tt.t); got != tt.v {
			t.Errorf("%v is %#x, want %#x", tt.t, got, tt.v)
		}
		if back := fromNTP(tt.v); !back.Equal(tt.t) {
			t.Errorf("%#x is %v, want %v", tt.v, back, tt.t)
		}
	}
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for ns := range 200_000 { // every nanosecond survives
		x := at.Add(time.Duration(ns*4999 + ns%7))
		if got := fromNTP(toNTP(x)); !got.Equal(x) {
			t.Fatalf("%v came back as %v", x, got)
		}
	}
}

func TestErrorEstimate(t *testing.T) {
	value := func(e uint16) float64 { // milliseconds
		return float64(e&0xff) * float64(uint64(1)<<(e>>8&0x3f)) / (1 << 32) * 1000
	}
	for _, bound := range []float64{0, 0.0001, 0.5, 1, 3.7, 16, 250, 16000} {
		e := errorEstimate(ClockState{Synchronised: true, ErrorMs: &bound})
		if e>>15 != 1 || e>>14&1 != 0 {
			t.Errorf("%v ms: flags of %#x", bound, e)
		}
		if v := value(e); v < bound || v > bound*1.02+0.0001 {
			t.Errorf("%v ms is written as %v ms", bound, v)
		}
	}
	if e := errorEstimate(ClockState{}); e>>15 != 0 || e&0xff == 0 {
		t.Errorf("unsynchronised clock: %#x", e)
	}
}

func TestPacketSizes(t *testing.T) {
	for _, tt := range []struct{ n, most, want int }{
		{112, 1452, 172}, {172, 1452, 172}, {173, 1452, 176}, {175, 174, 172}, {176, 1452, 176}, {1000, 1452, 1000},
	} {
		got := packetSize(tt.n, tt.most)
		if got != tt.want {
			t.Errorf("packetSize(%d, %d) = %d, want %d", tt.n, tt.most, got, tt.want)
		}
		if b := question(SessionInfo{Params: Params{Size: got}}, 0, [cookieSize]byte{}); len(b) != got {
			t.Errorf("a packet of %d bytes has %d", got, len(b))
		}
	}
}

func FuzzSenderPacket(f *testing.F) {
	f.Add(make([]byte, 112), true)
	f.Add(make([]byte, 44), false)
	f.Fuzz(func(t *testing.T, b []byte, auth bool) {
		m := StampPlain
		if auth {
			m = StampAuth
		}
		var p, q SenderPacket
		if p.Parse(b, m) != nil {
			return
		}
		if err := q.Parse(p.Append(nil, m), m); err != nil || p != q {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
	})
}

func FuzzReflectorPacket(f *testing.F) {
	f.Add(make([]byte, 112), true)
	f.Add(make([]byte, 44), false)
	f.Fuzz(func(t *testing.T, b []byte, auth bool) {
		m := StampPlain
		if auth {
			m = StampAuth
		}
		var p, q ReflectorPacket
		if p.Parse(b, m) != nil {
			return
		}
		if err := q.Parse(p.Append([]byte{1, 2}, m)[2:], m); err != nil || p != q {
			t.Fatalf("%+v came back as %+v, %v", p, q, err)
		}
	})
}

func FuzzTLVs(f *testing.F) {
	f.Add(question(SessionInfo{}, 0, [cookieSize]byte{})[authSize:])
	f.Add([]byte{0, 1, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, tlvs []byte) {
		b := append(make([]byte, authSize), tlvs...)
		set, ok := parseTLVs(b)
		if !ok {
			return
		}
		if set.hmac < authSize || set.hmac+macSize > len(b) || set.cookie > set.hmac || set.followUp > set.hmac {
			t.Fatalf("%+v of %d bytes", set, len(b))
		}
		answerFlags(b)
		if again, ok := parseTLVs(b); !ok || again != set {
			t.Fatalf("flags changed %+v into %+v", set, again)
		}
		var p ReflectorPacket
		if p.Parse(b, StampAuth) != nil {
			t.Fatal("too short")
		}
		if set.followUp != 0 {
			getFollowUp(b[set.followUp:])
		}
	})
}
