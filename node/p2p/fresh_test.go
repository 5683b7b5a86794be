package p2p

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerprobe/peerprobe/cluster"
)

func freshContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

var loopback = netip.MustParseAddr("127.0.0.1")

// A fresh dial is one more connection than stands, of which nothing stays; who is connected does not notice.
func TestDialFresh(t *testing.T) {
	n := newNet("fresh")
	a, b := n.host(t, "fresh-a"), n.host(t, "fresh-b")
	var came, went atomic.Int64
	b.Notify(func(cluster.ID) { came.Add(1) }, func(cluster.ID) { went.Add(1) })
	b.Handle("/test/echo", HandleOptions{}, echo)
	if answer, err := ask(t, a, b, "/test/echo", "x"); err != nil || answer != "x" {
		t.Fatalf("%q, %v", answer, err)
	}
	if seen, ok := a.Observed(b.ID()); !ok || seen != loopback {
		t.Errorf("b is seen at %v, %v", seen, ok)
	}
	for range 3 {
		if err := a.DialFresh(freshContext(t), b.Self(), loopback); err != nil {
			t.Fatal(err)
		}
	}
	conns := func(h *Host, of *Host) int { return len(h.p2p.Network().ConnsToPeer(peer.ID(of.ID()))) }
	eventually(t, "one connection is left", func() bool { return conns(b, a) == 1 && conns(a, b) == 1 })
	if answer, err := ask(t, a, b, "/test/echo", "y"); err != nil || answer != "y" {
		t.Errorf("afterwards: %q, %v", answer, err)
	}
	eventually(t, "b was told of a", func() bool { return came.Load() == 1 })
	if n := went.Load(); n != 0 {
		t.Errorf("b was told %d times that a went", n)
	}
}

// A fresh dial goes only where the peer says that it listens and is seen, and not to many of its ports.
func TestDialFreshIsNoPortScan(t *testing.T) {
	n := newNet("scan")
	a, b := n.host(t, "scan-a"), n.host(t, "scan-b")
	if err := a.DialFresh(freshContext(t), b.Self(), netip.MustParseAddr("127.0.0.2")); !errors.Is(err, ErrNotAnnounced) {
		t.Errorf("seen elsewhere: %v", err)
	}
	if err := a.DialFresh(freshContext(t), cluster.Peer{ID: b.ID()}, loopback); !errors.Is(err, ErrNotAnnounced) {
		t.Errorf("nothing announced: %v", err)
	}
	var knocks atomic.Int64
	victim := cluster.Peer{ID: b.ID()}
	for range 5 { // ports of somebody who is no peer at all
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				knocks.Add(1)
				c.Close()
			}
		}()
		t.Cleanup(func() { ln.Close(); <-done })
		port := ln.Addr().(*net.TCPAddr).AddrPort().String()[len("127.0.0.1:"):]
		addr, err := ParseAddr("/ip4/127.0.0.1/tcp/" + port)
		if err != nil {
			t.Fatal(err)
		}
		victim.Addrs = append(victim.Addrs, addr)
	}
	if err := a.DialFresh(freshContext(t), victim, loopback); !errors.Is(err, ErrUnreachable) {
		t.Errorf("somebody who is no peer: %v", err)
	}
	if got := knocks.Load(); got == 0 || got > maxFresh {
		t.Errorf("%d ports were knocked at, at most %d may be", got, maxFresh)
	}
}

// Somebody else at the peer's address is not the peer.
func TestDialFreshProvesWhoIsThere(t *testing.T) {
	n := newNet("who")
	a, b, c := n.host(t, "who-a"), n.host(t, "who-b"), n.host(t, "who-c")
	if err := a.DialFresh(freshContext(t), cluster.Peer{ID: b.ID(), Addrs: c.Addrs()}, loopback); !errors.Is(err, ErrUnreachable) {
		t.Errorf("c passes for b: %v", err)
	}
	if _, ok := a.Observed(b.ID()); ok {
		t.Error("a peer that is not connected is seen")
	}
}
