package p2p

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerprobe/peerprobe/cluster"
)

func FuzzHello(f *testing.F) {
	n := newNet("a")
	id := cluster26ID(f)
	g := newGate(&counters{})
	g.trust.Store(n.trust)
	own := n.admission(id)
	g.own.Store(&own)
	good, err := g.hello()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(cluster.Marshal(hello{Version: 2}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := g.judge(b, peer.ID(id)); err == nil && (a.admission.ID != id || !same(a.raw, own)) {
			t.Errorf("admitted by %x", b)
		}
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		again, err := decodeHello(cluster.Marshal(h))
		if err != nil || again.Network != h.Network || !same(again.Admission, h.Admission) {
			t.Errorf("%+v came back as %+v, %v", h, again, err)
		}
	})
}

func FuzzJoinDocument(f *testing.F) {
	n := newNet("a")
	doc := n.doc(samplePeer(f))
	good, err := EncodeJoin(doc, SignJoin(doc, n.sign()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"signed":"oA=="}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, signed, err := DecodeJoin(b)
		if err != nil {
			return
		}
		if err := signed.Verify(cluster.DomainJoin, got.Key); err != nil || cluster.NetworkName(got.Key) != got.Network {
			t.Fatalf("a document that does not verify was accepted: %v", err)
		}
		body, err := EncodeJoin(got, signed)
		if err != nil {
			t.Fatal(err)
		}
		if again, s, err := DecodeJoin(body); err != nil || !same(s, signed) || again.Network != got.Network {
			t.Errorf("%+v came back as %+v, %v", got, again, err)
		}
	})
}

func FuzzHeadRecord(f *testing.F) {
	n := newNet("a")
	v := HeadValidator{Trust: n.trust}
	key := HeadKey(n.trust.Network(), "wuhan", 0)
	good := cluster.Marshal(n.lead("wuhan", 1, 0, 1, seedKey("a")))
	f.Add(key, good)
	f.Add(key, good[:len(good)-1])
	f.Add("", []byte{})
	f.Fuzz(func(t *testing.T, k string, b []byte) {
		if v.Validate(k, b) == nil && (k != key || !bytes.Equal(b, good)) {
			t.Errorf("a record was accepted that nobody signed: %q %x", k, b)
		}
		_, _ = v.Select(k, [][]byte{b, good})
	})
}

// FuzzFrames reads foreign bytes as a stream: no frame above the limit, the
// frames read are those that the bytes spell, and the reader ends.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{3, 'a', 'b', 'c', 0, 1, 'x'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Add([]byte{0x80, 0x00})
	f.Add([]byte{5, 'a'})
	const limit = 1 << 10
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &fakeStream{r: bytes.NewReader(b)}
		s := newStream(context.Background(), in, in, limit, time.Second, &counters{})
		var out fakeStream
		w := newStream(context.Background(), &out, &out, limit, time.Second, &counters{})
		for {
			frame, err := s.ReadFrame()
			if errors.Is(err, ErrFrameTooLarge) && !in.reset {
				t.Error("a frame above the limit did not reset the stream")
			}
			if err != nil {
				if err == io.EOF && !bytes.Equal(out.w.Bytes(), b) {
					t.Errorf("%x was read as frames that are written %x", b, out.w.Bytes())
				}
				break
			}
			if len(frame) > limit {
				t.Fatalf("frame of %d bytes, limit %d", len(frame), limit)
			}
			if err := w.WriteFrame(frame); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(b, out.w.Bytes()) {
			t.Errorf("%x was read as frames that are written %x", b, out.w.Bytes())
		}
	})
}

// fakeStream is a libp2p stream with bytes in and bytes out, and no connection to speak of.
type fakeStream struct {
	network.Stream
	r     io.Reader
	w     bytes.Buffer
	reset bool

	reads, writes []time.Time // deadlines that were set
}

func (f *fakeStream) Read(b []byte) (int, error)  { return f.r.Read(b) }
func (f *fakeStream) Write(b []byte) (int, error) { return f.w.Write(b) }
func (f *fakeStream) SetDeadline(time.Time) error { return nil }
func (f *fakeStream) SetReadDeadline(t time.Time) error {
	f.reads = append(f.reads, t)
	return nil
}

func (f *fakeStream) SetWriteDeadline(t time.Time) error {
	f.writes = append(f.writes, t)
	return nil
}

func (f *fakeStream) ResetWithError(_ network.StreamErrorCode) error { f.reset = true; return nil }
func (f *fakeStream) Conn() network.Conn                             { return fakeConn{} }

type fakeConn struct{ network.Conn }

var fakeAddr = ma.StringCast("/ip4/192.0.2.1/tcp/1")

func (fakeConn) RemotePeer() peer.ID           { return "" }
func (fakeConn) RemoteMultiaddr() ma.Multiaddr { return fakeAddr }
func (fakeConn) LocalMultiaddr() ma.Multiaddr  { return fakeAddr }
func (fakeConn) Stat() (s network.ConnStats)   { return s }
