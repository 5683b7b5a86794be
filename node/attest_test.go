package node

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

func TestReceiptTakesOnlyWhatWasAskedFor(t *testing.T) {
	req := &attestRequest{Version: attestVersion, Seed: [32]byte{7}, Bytes: 3 * attestFrame / 2}
	honest := func() *rand.ChaCha8 { return rand.NewChaCha8(req.Seed) }
	next := func(c *rand.ChaCha8, n int) []byte {
		b := make([]byte, n)
		c.Read(b)
		return b
	}
	for name, send := range map[string]func(r *receipt) error{
		"the bytes": func(r *receipt) error {
			c := honest()
			return errors.Join(r.take(next(c, attestFrame)), r.take(next(c, attestFrame/2)))
		},
		"zeros":          func(r *receipt) error { return r.take(make([]byte, attestFrame)) },
		"nothing":        func(r *receipt) error { return r.take(nil) },
		"too large":      func(r *receipt) error { return r.take(next(honest(), attestFrame+1)) },
		"the same twice": func(r *receipt) error { b := next(honest(), 1000); return errors.Join(r.take(b), r.take(b)) },
		"more than asked for": func(r *receipt) error {
			c := honest()
			return errors.Join(r.take(next(c, attestFrame)), r.take(next(c, attestFrame)))
		},
	} {
		r := newReceipt(req)
		if err := send(r); errors.Is(err, errGarbage) == (name == "the bytes") || r.left < 0 {
			t.Errorf("%s: error %v, %d left", name, err, r.left)
		}
	}
}

// What a member is asked is bounded whatever the head says, and read back as written.
func FuzzAttestRequest(f *testing.F) {
	f.Add(cluster.Marshal(&attestRequest{Version: attestVersion, Seed: [32]byte{1, 2}, Bytes: attestBytes}))
	f.Add(cluster.Marshal(&attestRequest{Version: 9, Bytes: 1}))
	f.Add(cluster.Marshal(&attestRequest{Version: attestVersion, Bytes: attestBytes + 1}))
	f.Add(cluster.Marshal(&attestRequest{Version: attestVersion}))
	f.Add([]byte{0xa0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var req attestRequest
		if cluster.Unmarshal(b, &req) != nil || req.check() != nil {
			return
		}
		if req.Bytes < 1 || req.Bytes > attestBytes {
			t.Errorf("%d bytes pass", req.Bytes)
		}
		var again attestRequest
		if err := cluster.Unmarshal(cluster.Marshal(&req), &again); err != nil || again != req {
			t.Errorf("%+v came back as %+v, %v", req, again, err)
		}
	})
}

// Whatever frames a member sends, only bytes of the head's own stream count.
func FuzzAttestFrames(f *testing.F) {
	f.Add([]byte{0, 1, 2}, uint16(100))
	f.Add([]byte{3, 3, 3, 3}, uint16(60000))
	f.Add([]byte{200, 1, 0}, uint16(1))
	f.Fuzz(func(t *testing.T, plan []byte, asked uint16) {
		req := &attestRequest{Version: attestVersion, Seed: [32]byte{9}, Bytes: uint64(asked)}
		r, honest, counted := newReceipt(req), rand.NewChaCha8(req.Seed), 0
		for _, p := range plan { // the low bits say how long, the highest whether it lies
			frame := make([]byte, int(p&0x7f)*200)
			honest.Read(frame)
			if p&0x80 != 0 && len(frame) > 0 {
				frame[len(frame)/2] ^= 1
			}
			if r.take(frame) != nil {
				break
			}
			if p&0x80 != 0 {
				t.Error("a lie counts")
			}
			counted += len(frame)
		}
		if r.left < 0 || counted+r.left != int(asked) {
			t.Errorf("%d counted and %d left of %d", counted, r.left, asked)
		}
	})
}

func TestAttestAnswerFitsItsFrame(t *testing.T) {
	long := refuse(codeNotHead, "%s", bytes.Repeat([]byte("x"), 4096))
	if n := len(cluster.Marshal(&attestAnswer{Error: long})); n > attestFrame {
		t.Errorf("%d bytes", n)
	}
}

// Candidates come first, then who claims most; who was measured lately or could not be is left alone.
func TestDueMembers(t *testing.T) {
	at := time.UnixMilli(1_800_000_000_000)
	row := func(id string, capacity uint8, age time.Duration) cluster.MemberInfo {
		m := cluster.MemberInfo{Heard: true, Row: cluster.Row{ID: cluster.ID(id), Priority: cluster.Priority{Reachable: true, Capacity: capacity}}}
		if age > 0 {
			m.Row.Attested.At = at.Add(-age).UnixMilli()
		}
		return m
	}
	silent := row("silent", 10, 0)
	silent.Heard = false
	members := []cluster.MemberInfo{
		row("old", 9, 2*attestEvery), row("weak", 1, 0), row("strong", 8, 0), row("fresh", 10, time.Hour), row("tried", 10, 0), row("self", 10, 0),
		silent, row("listed", 2, 0), row("listed old", 10, 7*time.Hour), row("listed fresh", 10, time.Minute),
	}
	st := &cluster.Status{Self: "self", Shard: 1, Cert: &cluster.Certificate{Successions: [][]cluster.ID{{"weak"}, {"self", "listed", "listed old", "listed fresh"}}}}
	tried := map[cluster.ID]time.Time{"tried": at.Add(-attestAgain / 2), "strong": at.Add(-2 * attestAgain)}
	var got []string
	for _, r := range dueOf(members, st, tried, at) {
		got = append(got, string(r.ID))
	}
	if want := []string{"listed", "listed old", "strong", "weak", "old"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("due are %q, want %q", got, want)
	}
	var many []cluster.MemberInfo
	for i := range 10_000 {
		many = append(many, row(fmt.Sprintf("m%05d", i), 0, 0))
	}
	if n := len(dueOf(many, st, nil, at)); n != attestBatch {
		t.Errorf("%d are due at a look, want %d", n, attestBatch)
	}
}

// However many members there are, a head makes so many transfers an hour, and a member allows so many.
func TestAttestationIsRare(t *testing.T) {
	a := newAttester(nil, nil, nil, nil, nil)
	at := time.Now()
	turns, allowed := 0, 0
	for s := range 3600 {
		for range 100 {
			if a.turn.AllowN(at.Add(time.Duration(s)*time.Second), 1) {
				turns++
			}
			if a.allow.AllowN(at.Add(time.Duration(s)*time.Second), 1) {
				allowed++
			}
		}
	}
	if turns > attestBurst+60*attestRate || turns < 60*attestRate-1 {
		t.Errorf("%d transfers in an hour", turns)
	}
	if allowed > allowBurst+60 || allowed < 60 {
		t.Errorf("%d are allowed in an hour", allowed)
	}
}

func TestPrefixOf(t *testing.T) {
	for ip, want := range map[string]string{"61.187.64.118": "61.187.64.0/24", "::ffff:61.187.64.118": "61.187.64.0/24",
		"2001:db8:1:2::3": "2001:db8:1::/48", "fe80::1%eth0": "fe80::/48"} {
		if got := prefixOf(netip.MustParseAddr(ip)); got != want {
			t.Errorf("%s is in %q, want %q", ip, got, want)
		}
	}
	if got := prefixOf(netip.Addr{}); got != "" {
		t.Errorf("nowhere is in %q", got)
	}
}
