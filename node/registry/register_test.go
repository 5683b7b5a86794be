package registry

import (
	"context"
	"errors"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

func TestRegisterRateLimit(t *testing.T) {
	r := start(t, testConfig(t))
	flood := func(c *client, n int) (answered int) {
		ctx, cancel := context.WithTimeout(context.Background(), testWait)
		defer cancel()
		s, err := c.host.Open(ctx, c.reg, p2p.ProtoRegister, maxRegister)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for range n {
			if err := s.WriteMsg(cluster.Request{Version: 1, Kind: p2p.KindJoin}); err != nil {
				break
			}
			frame, err := s.ReadFrame()
			if err != nil {
				break
			}
			if a, err := cluster.DecodeAnswer(frame); err == nil && a.Error != nil {
				if a.Error.Code != cluster.CodeTooSoon {
					t.Errorf("refused as %s", a.Error.Code)
				}
				break
			}
			answered++
		}
		return answered
	}
	stranger := r.join("127.61.187.2")
	if n := flood(stranger, 3*registerBurst); n < registerBurst || n > registerBurst+int(testWait.Seconds()) {
		t.Errorf("a stranger got %d answers, the burst is %d", n, registerBurst)
	}
	known := r.join("127.61.187.3")
	known.register(cluster.Request{})
	if n := flood(known, 3*registerBurst); n != 3*registerBurst {
		t.Errorf("an admitted node got %d answers of %d", n, 3*registerBurst)
	}
}

func TestMalformedRequests(t *testing.T) {
	r := start(t, testConfig(t))
	c := r.join("127.61.187.2")
	ctx := context.Background()
	s, err := c.host.Open(ctx, c.reg, p2p.ProtoRegister, maxRegister)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.WriteFrame([]byte("\xffnonsense")); err != nil {
		t.Fatal(err)
	}
	frame, err := s.ReadFrame()
	if err != nil {
		t.Fatal(err)
	}
	if a, err := cluster.DecodeAnswer(frame); err != nil || a.Error == nil || a.Error.Code != cluster.CodeMalformed {
		t.Errorf("nonsense was answered %+v, %v", a, err)
	}
	c.refused(cluster.CodeMalformed, cluster.Request{Kind: "dance"})
	big, err := c.host.Open(ctx, c.reg, p2p.ProtoRegister, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer big.Close()
	_ = big.WriteFrame(make([]byte, maxRegister+1))
	if _, err := big.ReadFrame(); !errors.Is(err, p2p.ErrFrameTooLarge) {
		t.Errorf("a huge frame: %v", err)
	}
}
