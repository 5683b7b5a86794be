package main

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/libp2p/go-libp2p/core/crypto"
	ma "github.com/multiformats/go-multiaddr"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// A crowd is a process of many light members. It is told what to do on stdin, a word a line, and answers each with a
// line of JSON.
const (
	cmdRegister = "register" // admit them all, as fast as the registry does
	cmdJoin     = "join"     // start them
	cmdCount    = "count"    // say what was sent and received
	cmdArm      = "arm"      // forget the changes of head so far
	cmdChanges  = "changes"  // say who followed the next one, and when
)

// registerAtOnce is how many of a crowd's members register at a time.
const registerAtOnce = 16

// joinAtOnce is how many of a crowd's members look for their head at a time, and joinPatience how long one may.
const (
	joinAtOnce   = 32
	joinPatience = time.Minute
)

// crowdGC spares processor time for the head, at the price of the crowd's memory.
const crowdGC = 400

// registerTries: a registry under load may answer too late once.
const registerTries = 3

// crowd is what its members share.
type crowd struct {
	ctx      context.Context // of everything that runs
	job      job
	network  ed25519.PublicKey
	trust    *cluster.Trust
	registry cluster.Peer
	members  []*light
	wg       sync.WaitGroup

	sent, got, noDial, leads atomic.Uint64 // messages, dials that failed, changes of High
}

// answer of a crowd to one command.
type answer struct {
	Command string
	Failed  int     `json:",omitempty"` // registrations that had to be repeated
	Count   counts  `json:",omitzero"`
	Adopted []int64 `json:",omitempty"` // monotonic ns, of those who follow a new head
	Heard   []int64 `json:",omitempty"` // monotonic ns, of those who sent a heartbeat to it
	Error   string  `json:",omitempty"`
}

// counts since the start, of all members.
type counts struct {
	Sent, Got                          uint64 // messages
	BytesOut, BytesIn, SegsOut, SegsIn uint64 // of the TCP connections that stand
	Links, NoDial, Leads               uint64
}

func runCrowd(ctx context.Context, j job, in io.Reader, out io.Writer) error {
	debug.SetGCPercent(crowdGC)
	ctx, cancel := context.WithCancel(ctx)
	c := &crowd{ctx: ctx, job: j}
	defer func() { cancel(); c.wg.Wait() }()
	if err := c.meet(ctx); err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	if err := enc.Encode(answer{Command: "ready"}); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		a := answer{Command: lines.Text()}
		var err error
		switch a.Command {
		case cmdRegister:
			a.Failed, err = c.register(ctx)
		case cmdJoin:
			err = c.join(ctx)
		case cmdCount:
			a.Count = c.count()
		case cmdArm:
			for _, l := range c.members {
				l.heard.Store(0)
				l.adopted.Store(0)
			}
		case cmdChanges:
			for _, l := range c.members {
				if at := l.adopted.Load(); at != 0 {
					a.Adopted = append(a.Adopted, at)
				}
				if at := l.heard.Load(); at != 0 {
					a.Heard = append(a.Heard, at)
				}
			}
		default:
			err = fmt.Errorf("no command %q", a.Command)
		}
		if err != nil {
			a.Error = err.Error()
		}
		if err := enc.Encode(a); err != nil {
			return err
		}
	}
	return nil
}

// meet fetches the join document and makes the members, each with a key, an address and a listener.
func (c *crowd) meet(ctx context.Context) error {
	key, err := newKey()
	if err != nil {
		return err
	}
	cfg := p2p.DefaultConfig()
	cfg.Key, cfg.Listen = key, nil
	h, err := p2p.New(cfg)
	if err != nil {
		return err
	}
	defer h.Close()
	doc, _, err := p2p.FetchJoin(ctx, h, c.job.RS)
	if err != nil {
		return err
	}
	c.network, c.trust, c.registry = doc.Key, cluster.NewTrust(doc.Key), doc.Registries[0]
	mux := muxer()
	for i := range c.job.Members {
		l := &light{crowd: c, joined: make(chan struct{}), inbox: make(chan cluster.Input, inboxSize), links: map[cluster.ID][]*link{}, outs: map[cluster.ID]*outbox{}}
		if l.key, err = newKey(); err != nil {
			return err
		}
		l.id = cluster.IDOf(l.key.Public().(ed25519.PublicKey))
		private, err := crypto.UnmarshalEd25519PrivateKey(l.key)
		if err != nil {
			return err
		}
		if l.public, err = crypto.MarshalPublicKey(private.GetPublic()); err != nil {
			return err
		}
		if l.upgrade, err = newUpgrader(private, mux); err != nil {
			return err
		}
		if l.listen, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(netip.AddrPortFrom(address(c.job.First+i), 0))); err != nil {
			return err
		}
		at := l.listen.Addr().(*net.TCPAddr)
		a, err := ma.NewMultiaddr(fmt.Sprintf("/ip4/%s/tcp/%d", at.IP, at.Port))
		if err != nil {
			return err
		}
		l.addr = a.Bytes()
		c.members = append(c.members, l)
	}
	return nil
}

func newKey() (ed25519.PrivateKey, error) {
	_, key, err := ed25519.GenerateKey(nil)
	return key, err
}

// register admits all members and says how many had to ask again.
func (c *crowd) register(ctx context.Context) (failed int, err error) {
	var again atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(registerAtOnce)
	for _, l := range c.members {
		g.Go(func() error {
			var err error
			for range registerTries {
				if err = l.register(ctx); err == nil {
					return nil
				}
				again.Add(1)
			}
			return err
		})
	}
	err = g.Wait()
	return int(again.Load()), err
}

// hello is the first frame of every stream but those of the register protocol: see package p2p.
type hello struct {
	Version   uint            `cbor:"1,keyasint"`
	Network   cluster.Network `cbor:"2,keyasint"`
	Admission cluster.Signed  `cbor:"3,keyasint"`
}

// register asks the registry once. Its connection is given back: the head's is what counts here.
func (l *light) register(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := l.crowd
	s, err := l.openStream(ctx, c.registry.ID, c.registry.Addrs, protoRegister, nil)
	if err != nil {
		return err
	}
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, k := range l.links[c.registry.ID] {
			_ = k.conn.Close() // its serve takes it out
		}
	}()
	if err := s.raw.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if err := s.writeFrame(cluster.Marshal(&cluster.Request{
		Version: cluster.Version, Kind: cluster.CallRegister, Self: cluster.Peer{ID: l.id, Addrs: [][]byte{l.addr}}, City: c.job.City, Transient: true,
	})); err != nil {
		return err
	}
	frame, err := s.frames.ReadMsg()
	if err != nil {
		return err
	}
	got := new(cluster.Answer)
	if err := cluster.Unmarshal(frame, got); err != nil {
		return err
	}
	if got.Error != nil {
		return got.Error
	}
	if _, err := c.trust.Admission(got.Admission); err != nil {
		return err
	}
	l.passed = got
	l.hello = cluster.Marshal(hello{Version: 1, Network: c.trust.Network(), Admission: got.Admission})
	return nil
}

// join starts all members, a few at a time: each has beaten once before the next comes. They find the head in what the
// registry answered.
func (c *crowd) join(ctx context.Context) error {
	g, limited := errgroup.WithContext(ctx)
	g.SetLimit(joinAtOnce)
	for _, l := range c.members {
		g.Go(func() error {
			if err := l.start(ctx); err != nil {
				return err
			}
			select {
			case <-l.joined:
				return nil
			case <-limited.Done():
				return limited.Err()
			case <-time.After(joinPatience):
				return fmt.Errorf("member %s found no head within %v", l.id.Short(), joinPatience)
			}
		})
	}
	return g.Wait()
}

func (c *crowd) count() counts {
	n := counts{Sent: c.sent.Load(), Got: c.got.Load(), NoDial: c.noDial.Load(), Leads: c.leads.Load()}
	for _, l := range c.members {
		l.mu.Lock()
		for _, links := range l.links {
			for _, k := range links {
				k.add(&n)
			}
		}
		l.mu.Unlock()
	}
	return n
}

// add counts what the kernel says of the connection.
func (k *link) add(n *counts) {
	raw, err := k.raw.SyscallConn()
	if err != nil {
		return // closed
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		n.Links++
		n.BytesOut += info.Bytes_acked
		n.BytesIn += info.Bytes_received
		n.SegsOut += uint64(info.Segs_out)
		n.SegsIn += uint64(info.Segs_in)
	})
}
