package node

import (
	"bytes"
	"cmp"
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"golang.org/x/time/rate"
)

// Attestation: what a member says that it is capable of orders the succession only as far as its head has seen it. The
// head asks for a short transfer and counts what arrives in which time by its own clock; and it makes one fresh
// connection to the member, at an address that the member announces and at which it is seen.
//
// One stream /peerprobe/attest/1 a transfer: the head's request, the member's answer, then frames of the bytes that the
// head's seed makes. The head resets the stream when it has seen enough.
//
// Version log: 1 first.

const (
	attestVersion = 1
	attestBytes   = 1 << 20                // of one transfer, at most
	attestTime    = 500 * time.Millisecond // of one transfer, at most; whichever comes first
	attestFrame   = 16 << 10               // bytes; small, so that a slow line shows how slow it is
	attestStep    = 2 * time.Second        // a dial, or the wait for the member's answer

	attestEvery = 6 * time.Hour    // a member is measured again
	attestAgain = 10 * time.Minute // after a try that failed
	attestLook  = 10 * time.Second // how often a head looks whether somebody is due
	attestBatch = 32               // who are due at one look: a city of ten thousand is not sorted for each

	// A head measures one member at a time: the names of a list at once, then attestRate a minute, 0.8 Mbit/s at most,
	// however large the city is. A member allows its head a little more often than the head comes.
	attestRate  = 6
	attestBurst = cluster.MaxSuccession
	allowBurst  = 4

	attestStreams = 2 // of one peer: one, and one that is about to end
)

// attestRequest asks a member for a transfer. Limits: Bytes at most attestBytes.
type attestRequest struct {
	Version uint     `cbor:"1,keyasint"`
	Seed    [32]byte `cbor:"2,keyasint"` // of the bytes: so nothing on the way can make them shorter
	Bytes   uint64   `cbor:"3,keyasint"`
}

// attestAnswer comes before the bytes, or instead of them.
type attestAnswer struct {
	Error *wireError `cbor:"1,keyasint,omitempty"`
}

func (r *attestRequest) check() *wireError {
	switch {
	case r.Version != attestVersion:
		return refuse(codeBadRequest, "attestation version %d is not spoken here (%d is)", r.Version, attestVersion)
	case r.Bytes == 0 || r.Bytes > attestBytes:
		return refuse(codeBadRequest, "%d bytes are asked for: 1 to %d", r.Bytes, attestBytes)
	}
	return nil
}

// attester is both sides of it.
type attester struct {
	core  *core
	host  *p2p.Host
	trust *cluster.Trust
	log   *slog.Logger
	busy  func() bool // sessions are served here, which a transfer would disturb
	look  time.Duration
	turn  *rate.Limiter // of a head
	allow *rate.Limiter // of a member
	tried map[cluster.ID]time.Time
}

func newAttester(c *core, host *p2p.Host, trust *cluster.Trust, busy func() bool, log *slog.Logger) *attester {
	return &attester{core: c, host: host, trust: trust, log: log, busy: busy, look: attestLook, tried: map[cluster.ID]time.Time{},
		turn: rate.NewLimiter(rate.Every(time.Minute/attestRate), attestBurst), allow: rate.NewLimiter(rate.Every(time.Minute), allowBurst)}
}

// run measures members, one at a time, while this node leads.
func (a *attester) run(ctx context.Context) {
	tick := time.NewTicker(a.look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if !a.mayMeasure() {
			clear(a.tried)
			continue
		}
		for _, m := range a.due(ctx) {
			if err := a.turn.Wait(ctx); err != nil || !a.mayMeasure() {
				break
			}
			a.measure(ctx, m)
		}
	}
}

// mayMeasure says that this node leads, without a doubt, and has nothing better to do.
func (a *attester) mayMeasure() bool {
	st := a.core.status.Load()
	return st.Leading && !st.Unsure && st.Health == "" && !a.busy()
}

// due are the members that should be measured now: candidates first, those never measured before others, the best by
// what they claim.
func (a *attester) due(ctx context.Context) []cluster.Row {
	var members []cluster.MemberInfo
	a.core.ask(ctx, func(m *cluster.Machine, _ cluster.Instant) { members = m.Members() })
	st := a.core.status.Load()
	return dueOf(members, st, a.tried, time.Now())
}

func dueOf(members []cluster.MemberInfo, st *cluster.Status, tried map[cluster.ID]time.Time, at time.Time) []cluster.Row {
	list := successionOf(st.Cert, st.Shard)
	var due []cluster.Row
	for _, m := range members {
		age := at.Sub(time.UnixMilli(m.Row.Attested.At))
		if m.Heard && m.Row.ID != st.Self && (m.Row.Attested.At == 0 || age > attestEvery) && at.Sub(tried[m.Row.ID]) > attestAgain {
			due = append(due, m.Row)
		}
	}
	rank := func(r cluster.Row) int {
		switch listed := slices.Contains(list, r.ID); {
		case listed && r.Attested.At == 0:
			return 0
		case listed:
			return 1
		case r.Attested.At == 0:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(due, func(a, b cluster.Row) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), b.Priority.Compare(a.Priority), cmp.Compare(a.Attested.At, b.Attested.At))
	})
	return due[:min(len(due), attestBatch)]
}

// successionOf is the list of one shard; nil: there is none.
func successionOf(c *cluster.Certificate, shard uint) []cluster.ID {
	if c == nil || int(shard) >= len(c.Successions) {
		return nil
	}
	return c.Successions[shard]
}

// measure attests one member and tells the machine.
func (a *attester) measure(ctx context.Context, m cluster.Row) {
	if ad, err := a.trust.Admission(m.Admission); err != nil || ad.Transient {
		a.tried[m.ID] = time.Now()
		return
	}
	to := cluster.Peer{ID: m.ID, Addrs: m.Addrs}
	seen, ok := a.host.Observed(m.ID)
	if !ok { // it is not connected any more
		a.tried[m.ID] = time.Now()
		return
	}
	found := cluster.Attestation{At: time.Now().UnixMilli(), Prefix: prefixOf(seen), Reachable: a.reachable(ctx, to, seen)}
	speed, err := a.transfer(ctx, to)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		a.log.Debug("member not measured", "member", short(m.ID), "err", err)
		a.tried[m.ID] = time.Now()
		no := new(wireError)
		if m.Attested.At != 0 || errors.As(err, &no) && (no.Code == codeBusy || no.Code == codeNotHead) {
			return // what was measured before stands, or it is not the member's fault
		}
	}
	found.Capacity = cluster.CapacityBucket(speed)
	a.log.Debug("member measured", "member", short(m.ID), "reachable", found.Reachable, "bit/s", int64(speed), "prefix", found.Prefix)
	a.core.put(ctx, cluster.Attested{ID: m.ID, Attestation: found})
}

// reachable says whether a fresh connection comes about to where the member says that it listens and is seen.
func (a *attester) reachable(ctx context.Context, to cluster.Peer, seen netip.Addr) bool {
	ctx, cancel := context.WithTimeout(ctx, attestStep)
	defer cancel()
	err := a.host.DialFresh(ctx, to, seen)
	if err != nil {
		a.log.Debug("member not reachable from outside", "member", short(to.ID), "err", err)
	}
	return err == nil
}

// prefixOf is the network of an address: its /24, or /48 of IPv6.
func prefixOf(ip netip.Addr) string {
	bits := 48
	if ip = ip.Unmap(); ip.Is4() {
		bits = 24
	}
	p, err := ip.Prefix(bits)
	if err != nil || !p.IsValid() {
		return ""
	}
	return p.String()
}

// transfer is how fast a member sends, in bits a second. The clock runs from the request to the last byte, so a member
// gains nothing by holding back, and one that stops midway is charged for all the time.
func (a *attester) transfer(ctx context.Context, to cluster.Peer) (bitsPerSecond float64, err error) {
	open, cancel := context.WithTimeout(ctx, attestStep)
	defer cancel()
	s, err := a.host.Open(open, to, p2p.ProtoAttest, attestFrame)
	if err != nil {
		return 0, err
	}
	defer s.Reset() // what is still on its way is not wanted
	defer s.ResetOn(ctx)()
	req := attestRequest{Version: attestVersion, Bytes: attestBytes}
	crand.Read(req.Seed[:])
	got := newReceipt(&req)
	began := time.Now()
	s.SetDeadline(began.Add(attestStep))
	var answer attestAnswer
	if err = s.WriteMsg(&req); err == nil {
		err = s.ReadMsg(&answer)
	}
	switch {
	case err != nil:
		return 0, err
	case answer.Error != nil:
		return 0, answer.Error
	}
	s.SetDeadline(began.Add(attestTime))
	for got.left > 0 {
		frame, err := s.ReadFrame()
		if err != nil && time.Since(began) >= attestTime {
			break
		}
		if err == nil {
			err = got.take(frame)
		}
		if err != nil {
			return 0, err
		}
	}
	return float64(attestBytes-got.left) * 8 / time.Since(began).Seconds(), nil
}

// receipt checks what arrives of a transfer.
type receipt struct {
	stream *rand.ChaCha8
	left   int
	want   []byte
}

func newReceipt(r *attestRequest) *receipt {
	return &receipt{stream: rand.NewChaCha8(r.Seed), left: int(r.Bytes), want: make([]byte, attestFrame)}
}

// errGarbage says that other bytes came than the seed makes.
var errGarbage = errors.New("the bytes are not those that were asked for")

func (r *receipt) take(frame []byte) error {
	if len(frame) == 0 || len(frame) > min(r.left, len(r.want)) {
		return fmt.Errorf("%w: a frame of %d where %d are left", errGarbage, len(frame), r.left)
	}
	want := r.want[:len(frame)]
	r.stream.Read(want)
	if !bytes.Equal(want, frame) {
		return errGarbage
	}
	r.left -= len(frame)
	return nil
}

// serve is the member's side: only its head may ask, and not often.
func (a *attester) serve(ctx context.Context, r p2p.Remote, s *p2p.Stream) error {
	s.SetDeadline(time.Now().Add(attestStep))
	var req attestRequest
	if err := s.ReadMsg(&req); err != nil {
		return fmt.Errorf("attestation: %w", err)
	}
	if no := a.judge(r.ID, &req); no != nil {
		return s.WriteMsg(&attestAnswer{Error: no})
	}
	if err := s.WriteMsg(&attestAnswer{}); err != nil {
		return fmt.Errorf("attestation: %w", err)
	}
	stream := rand.NewChaCha8(req.Seed)
	frame := make([]byte, attestFrame)
	for left := int(req.Bytes); left > 0; {
		frame = frame[:min(left, attestFrame)]
		stream.Read(frame)
		if err := s.WriteFrame(frame); err != nil {
			return nil // the head has seen enough
		}
		left -= len(frame)
	}
	return nil
}

// judge says why a request is refused; nil: it is not.
func (a *attester) judge(from cluster.ID, req *attestRequest) *wireError {
	st := a.core.status.Load()
	switch no := req.check(); {
	case no != nil:
		return no
	case st.High == nil || st.Leading || st.High.Head != from:
		return refuse(codeNotHead, "only the head of %s may measure this node", st.City)
	case a.busy():
		return refuse(codeBusy, "sessions run here: ask again later")
	case !a.allow.Allow():
		return refuse(codeBusy, "this node was measured a moment ago")
	}
	return nil
}
