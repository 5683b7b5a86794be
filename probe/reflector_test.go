package probe

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"testing"
	"time"
)

var (
	initiator = netip.MustParseAddrPort("192.0.2.1:1000")
	stranger  = netip.MustParseAddrPort("203.0.113.9:4242")
)

// bench is a reflector without network, and a sender's packets to give it.
type bench struct {
	t   testing.TB
	s   SessionInfo
	ref *Reflector
	in  int // bytes
	out int
}

func newBench(t testing.TB, p Params) *bench {
	_, b := fakePair(always(0), always(0))
	s := session(p)
	return &bench{t: t, s: s, ref: NewReflector(s, b, rand.Reader)}
}

// question makes a packet as the sender would.
func (x *bench) question(seq uint32, cookie [cookieSize]byte) []byte {
	return question(x.s, seq, cookie)
}

func question(s SessionInfo, seq uint32, cookie [cookieSize]byte) []byte {
	p := SenderPacket{Seq: seq, Time: 1, Estimate: 1, SSID: ssid(s.ID)}
	b := appendTLVs(p.Append(nil, StampAuth), &cookie, s.Params.Size)
	set, ok := parseTLVs(b)
	if !ok {
		panic("own packet malformed")
	}
	newSealer(s.Key).seal(b, set)
	return b
}

// ask gives a datagram to the reflector; nil: no answer.
func (x *bench) ask(b []byte, from netip.AddrPort) []byte {
	now := time.Now()
	out := x.ref.handle(b, from, 60, now)
	x.in += len(b)
	x.out += len(out)
	if len(out) > len(b) {
		x.t.Fatalf("%d bytes for %d", len(out), len(b))
	}
	if out != nil {
		x.ref.sent(out, now, now)
	}
	return out
}

// cookieFor shakes hands as sender seq.
func (x *bench) cookieFor(seq uint32, from netip.AddrPort) [cookieSize]byte {
	x.t.Helper()
	out := x.ask(x.question(seq, [cookieSize]byte{}), from)
	if out == nil {
		x.t.Fatal("no cookie")
	}
	set, ok := parseTLVs(out)
	if !ok || !newSealer(x.s.Key).check(out, set) {
		x.t.Fatal("the answer does not check")
	}
	return [cookieSize]byte(out[set.cookie:])
}

func TestHandshakeFixesTheAddress(t *testing.T) {
	x := newBench(t, DefaultParams())
	cookie := x.cookieFor(0, initiator)
	if x.ask(x.question(1, cookie), stranger) != nil {
		t.Error("a cookie of one address was taken from another")
	}
	if x.ask(x.question(1, cookie), netip.AddrPortFrom(initiator.Addr(), 1001)) != nil {
		t.Error("a cookie of one port was taken from another")
	}
	if x.ask(x.question(1, cookie), initiator) == nil {
		t.Fatal("no answer to the right cookie")
	}
	before := x.ref.Statement()
	if x.ask(x.question(2, [cookieSize]byte{}), stranger) != nil || x.ask(x.question(2, cookie), stranger) != nil {
		t.Error("the address is fixed, and another one was answered")
	}
	if x.ask(x.question(2, cookie), initiator) == nil {
		t.Error("the stranger's packet took the sequence number of the initiator's")
	}
	after := x.ref.Statement()
	if after.BadCookie != before.BadCookie+2 || after.Received != 3 || after.Replied != 3 {
		t.Errorf("counts %+v", after)
	}
}

func TestThreeCookiesASession(t *testing.T) {
	p := DefaultParams()
	p.Count = 100
	x := newBench(t, p)
	answers := 0
	for i := range uint32(50) {
		from := netip.AddrPortFrom(stranger.Addr(), uint16(i))
		if x.ask(x.question(i, [cookieSize]byte{}), from) != nil {
			answers++
		}
	}
	if answers != maxCookieReplies {
		t.Errorf("%d cookie replies, want %d", answers, maxCookieReplies)
	}
}

func TestNoAnswer(t *testing.T) {
	x := newBench(t, DefaultParams())
	cookie := x.cookieFor(0, initiator)
	good := x.question(1, cookie)
	answer := slices.Clone(x.ask(x.question(2, cookie), initiator))
	other := session(x.s.Params)
	other.ID = x.s.ID
	changed := func(at int) []byte {
		b := slices.Clone(good)
		b[at] ^= 1
		return b
	}
	resealed := func(change func(b []byte)) []byte {
		b := slices.Clone(good)
		change(b)
		set, ok := parseTLVs(b)
		if !ok {
			t.Fatal("malformed")
		}
		newSealer(x.s.Key).seal(b, set)
		return b
	}
	wrong := cookie
	wrong[15] ^= 1
	bare := good[:authSize]
	tests := map[string][]byte{
		"empty":                      {},
		"one byte":                   {1},
		"wrong base MAC":             changed(macOffset),
		"wrong TLV MAC":              changed(MinSize - 1),
		"changed sequence":           changed(3),
		"changed cookie":             changed(authSize + tlvHeader),
		"changed timestamp":          changed(20),
		"another session's key":      question(other, 1, cookie),
		"truncated":                  good[:len(good)-1],
		"without TLVs":               bare,
		"plain mode":                 (&SenderPacket{Seq: 1, SSID: ssid(x.s.ID)}).Append(nil, StampPlain),
		"longer than granted":        append(slices.Clone(good), tlvUnrecognised, tlvPadding, 0, 0),
		"wrong cookie, right MAC":    x.question(1, wrong),
		"sequence beyond the count":  x.question(uint32(x.s.Params.Count), cookie),
		"greatest sequence":          x.question(1<<32-1, cookie),
		"another SSID":               resealed(func(b []byte) { b[26] ^= 1 }),
		"not zero where zero is due": resealed(func(b []byte) { b[40] = 1 }),
		"its own answer":             answer,
		"cookie of another type":     resealed(func(b []byte) { b[authSize+1] = 200 }),
	}
	for name, b := range tests {
		if out := x.ask(b, initiator); out != nil {
			t.Errorf("%s: answered with %d bytes", name, len(out))
		}
	}
	if x.ask(good, initiator) == nil {
		t.Fatal("the packet that all others were made of was not answered")
	}
	if x.ask(good, initiator) != nil {
		t.Error("replayed: answered again")
	}
	if st := x.ref.Statement(); st.Duplicates != 1 || st.Received != 3 {
		t.Errorf("counts %+v", st)
	}
}

// Unknown extensions come back marked, known ones unmarked (RFC 8972 sec. 4).
func TestUnknownTLV(t *testing.T) {
	p := DefaultParams()
	p.Size = MinSize + 8
	x := newBench(t, p)
	cookie := [cookieSize]byte{}
	q := SenderPacket{Seq: 0, SSID: ssid(x.s.ID)}
	b := append(q.Append(nil, StampAuth), tlvUnrecognised, 230, 0, 4, 1, 2, 3, 4)
	b = append(b, appendTLVs(make([]byte, 0, 80), &cookie, 0)...)
	set, ok := parseTLVs(b)
	if !ok {
		t.Fatal("malformed")
	}
	newSealer(x.s.Key).seal(b, set)
	out := x.ask(b, initiator)
	if out == nil {
		t.Fatal("no answer")
	}
	if out[authSize] != tlvUnrecognised || !bytes.Equal(out[authSize+4:authSize+8], []byte{1, 2, 3, 4}) || out[authSize+8] != 0 {
		t.Errorf("TLVs came back as % x", out[authSize:authSize+16])
	}
}

func TestFollowUpTellsThePreviousAnswer(t *testing.T) {
	x := newBench(t, DefaultParams())
	cookie := x.cookieFor(0, initiator)
	left := x.ref.prevT3
	out := x.ask(x.question(1, cookie), initiator)
	set, _ := parseTLVs(out)
	no, at, ok := getFollowUp(out[set.followUp:])
	if !ok || no != 0 || !at.Equal(left) {
		t.Errorf("follow-up of answer %d at %v (%v), want 0 at %v", no, at, ok, left)
	}
	if got := binary.BigEndian.Uint32(out); got != 1 {
		t.Errorf("second answer has number %d", got)
	}
}

// The initiator takes nothing but answers of its session.
func TestReceiverRefuses(t *testing.T) {
	x := newBench(t, DefaultParams())
	rcv := newReceiver(x.s, x.ref.sock, initiator)
	q := x.question(0, [cookieSize]byte{})
	answer := slices.Clone(x.ask(q, initiator))
	now := time.Now()
	if _, ok := rcv.parse(answer, initiator, 64, now); !ok {
		t.Fatal("right answer refused")
	}
	if _, ok := rcv.parse(answer, stranger, 64, now); ok {
		t.Error("taken from a stranger")
	}
	if _, ok := rcv.parse(q, initiator, 64, now); ok {
		t.Error("its own question, sent back, was taken as an answer")
	}
	set, _ := parseTLVs(answer)
	for i := range answer {
		if i == set.hmac-tlvHeader {
			continue // the flags of the HMAC TLV itself are what it does not cover
		}
		b := slices.Clone(answer)
		b[i] ^= 0x10
		if _, ok := rcv.parse(b, initiator, 64, now); ok {
			t.Fatalf("byte %d changed, and taken", i)
		}
	}
	for n := range answer {
		if _, ok := rcv.parse(answer[:n], initiator, 64, now); ok {
			t.Fatalf("cut to %d bytes, and taken", n)
		}
	}
}

func TestNoRandomness(t *testing.T) {
	_, b := fakePair(always(0), always(0))
	ref := NewReflector(session(DefaultParams()), b, bytes.NewReader(nil))
	if err := ref.Run(context.Background()); err == nil || errors.Is(err, ErrParams) {
		t.Errorf("without randomness: %v", err)
	}
}

// FuzzReflector gives a reflector whatever comes, sealed or not, and counts.
func FuzzReflector(f *testing.F) {
	x := newBench(f, DefaultParams())
	f.Add(x.question(0, [cookieSize]byte{}), false, uint16(1000))
	f.Add(x.question(3, [cookieSize]byte{}), true, uint16(1000))
	f.Add(make([]byte, authSize), true, uint16(1))
	f.Add(append(make([]byte, authSize), 0x80, 252, 0, 16), true, uint16(1))
	f.Fuzz(func(t *testing.T, b []byte, seal bool, port uint16) {
		x := newBench(t, DefaultParams())
		if seal { // as one who has the key
			if set, ok := parseTLVs(b); ok && len(b) >= MinSize {
				newSealer(x.s.Key).seal(b, set)
				binary.BigEndian.PutUint16(b[26:], ssid(x.s.ID))
				newSealer(x.s.Key).seal(b, set)
			}
		}
		from := netip.AddrPortFrom(initiator.Addr(), port)
		for range 5 {
			if out := x.ask(b, from); out != nil {
				if !seal {
					t.Fatal("answered without a MAC")
				}
				set, ok := parseTLVs(out)
				if !ok || !newSealer(x.s.Key).check(out, set) {
					t.Fatal("the answer does not check")
				}
			}
		}
		if x.out > x.in {
			t.Fatalf("%d bytes out for %d in", x.out, x.in)
		}
		if st := x.ref.Statement(); st.Replied > st.Received || st.Received > 1 {
			t.Fatalf("counts %+v", st)
		}
	})
}
