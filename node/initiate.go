package node

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

const (
	sessionDial   = 3 * time.Second // a dial, a handshake and the target's answer
	finishTimeout = 2 * time.Second // the target's statement, also when the user has had enough
)

// sessionStarter is what a session needs beside the queue.
type sessionStarter struct {
	trust   *cluster.Trust
	bind    netip.Addr
	sign    func(domain string, v any) cluster.Signed
	started atomic.Uint64 // sessions
}

// session measures towards one candidate. A nil result says that this candidate cannot be measured, and
// the next one should be tried.
func (m *measurer) session(ctx context.Context, t *task, c *candidate) (*probe.Result, error) {
	admission, ticket, err := m.checkCandidate(t.city, c)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	dial, cancel := context.WithTimeout(ctx, sessionDial)
	defer cancel()
	stream, grant, err := m.openSession(dial, t, c)
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	if !stream.Remote().Direct {
		stream.Reset()
		return nil, errors.New("only a relayed path to it exists")
	}
	sock, err := probe.ListenUDP(netip.AddrPortFrom(m.localIP(stream), 0))
	if err != nil {
		stream.Reset()
		return nil, fmt.Errorf("no socket to measure with: %w", err)
	}
	defer sock.Close()
	info, remote := sessionInfo(c, ticket, grant, stream)
	result := m.blank(t, admission, info, sock.LocalAddr(), remote)
	t.step(Step{Stage: "session", AtMs: msSince(t.way.start), TookMs: msSince(began), Found: true,
		Text: fmt.Sprintf("%s of %s accepts, UDP %s", short(c.Peer.ID), admission.City, remote)})
	for _, l := range grant.Lowered {
		t.note("the target granted less: %s", l)
	}
	if t.req.OnProgress != nil {
		t.req.OnProgress(Progress{Start: &Start{Initiator: result.Initiator, Target: result.Target, Path: result.Path, Params: info.Params, Lowered: grant.Lowered}})
	}
	m.started.Add(1)
	return m.measure(ctx, t, c, stream, sock, info, remote, result)
}

// openSession presents the ticket and reads the answer.
func (m *measurer) openSession(ctx context.Context, t *task, c *candidate) (*p2p.Stream, *sessionGrant, error) {
	stream, err := m.host.Open(ctx, c.Peer, p2p.ProtoSession, maxSessionFrame)
	if err != nil {
		return nil, nil, fmt.Errorf("not reached: %w", err)
	}
	defer stream.ResetOn(ctx)()
	grant := new(sessionGrant)
	err = stream.WriteMsg(&sessionOpen{Version: WireVersion, Ticket: c.Ticket, Tool: t.req.Tool, Params: t.req.Params})
	if err == nil {
		err = stream.ReadMsg(grant)
	}
	switch {
	case err != nil:
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		err = fmt.Errorf("no answer: %w", err)
	case grant.Error != nil:
		if !grant.Lead.Empty() {
			m.core.put(ctx, cluster.Learned{Lead: grant.Lead})
		}
		err = grant.Error
		if grant.Error.Code == codeStale {
			err = fmt.Errorf("%w: %w", errStaleTicket, err)
		}
	default:
		err = checkGrant(t.req.Params, grant)
	}
	if err != nil {
		stream.Reset()
		return nil, nil, err
	}
	return stream, grant, nil
}

// checkCandidate says whether a head's candidate is what was asked for: a node of the place, admitted
// there, with a ticket of a head of the place, for this node. The heads in between are not trusted.
func (m *measurer) checkCandidate(city cluster.City, c *candidate) (*cluster.Admission, *cluster.Ticket, error) {
	admission, err := m.trust.Admission(c.Admission)
	if err != nil {
		return nil, nil, fmt.Errorf("its head showed no valid admission for it: %w", err)
	}
	if admission.ID != c.Peer.ID || admission.City != city {
		return nil, nil, fmt.Errorf("its head showed the admission of %s in %s", short(admission.ID), admission.City)
	}
	ticket, lead, err := m.trust.Ticket(c.Ticket)
	if err != nil {
		return nil, nil, fmt.Errorf("its ticket is not valid: %w", err)
	}
	if ticket.Target != c.Peer.ID || ticket.Initiator != m.host.ID() || lead.City != city {
		return nil, nil, fmt.Errorf("its ticket is of the head of %s, for %s to measure %s", lead.City, short(ticket.Initiator), short(ticket.Target))
	}
	return admission, ticket, nil
}

// slowest is an interval that a target may grant although a longer one was asked for, so that a session
// fits its limits: a packet a second harms nobody.
const slowest = time.Second

// rounded is by how much a target may raise a small size, so that cookie and MAC fit: a TLV header.
const rounded = 4

// maxLowered is how many words about lowered parameters are believed: there are five parameters.
const maxLowered = 8

// checkGrant refuses a grant that would send more, or faster, than this node's user has asked for: whoever
// answers may not make others' traffic.
func checkGrant(asked probe.Params, grant *sessionGrant) error {
	g := grant.Params
	switch {
	case g.Validate() != nil:
		return fmt.Errorf("it granted nonsense: %w", g.Validate())
	case grant.Port == 0 || len(grant.Key) != len(probe.SessionInfo{}.Key) || !slices.ContainsFunc(grant.Key, func(b byte) bool { return b != 0 }):
		return errors.New("it granted a session without key or port")
	case g.Count > asked.Count, g.Size > max(asked.Size, probe.MinSize+rounded), g.Timeout > asked.Timeout, g.KeepSamples && !asked.KeepSamples,
		g.Interval < min(asked.Interval, slowest):
		return fmt.Errorf("it granted more than was asked for: %d packets of %d bytes, one in %v", g.Count, g.Size, g.Interval)
	}
	grant.Lowered = grant.Lowered[:min(len(grant.Lowered), maxLowered)]
	return nil
}

func sessionInfo(c *candidate, ticket *cluster.Ticket, grant *sessionGrant, stream *p2p.Stream) (probe.SessionInfo, netip.AddrPort) {
	info := probe.SessionInfo{ID: ticket.Session, TicketHash: c.Ticket.Hash(), Params: grant.Params}
	copy(info.Key[:], grant.Key)
	return info, netip.AddrPortFrom(stream.Remote().Addr.Addr(), grant.Port)
}

func (m *measurer) localIP(stream *p2p.Stream) netip.Addr {
	if m.bind.IsValid() {
		return m.bind
	}
	return stream.Remote().Local.Addr()
}

// measure runs the tool, fetches the target's statement, and keeps the result.
func (m *measurer) measure(ctx context.Context, t *task, c *candidate, stream *p2p.Stream, sock probe.Socket, info probe.SessionInfo, remote netip.AddrPort, result *probe.Result) (*probe.Result, error) {
	run, watch := watchStream(ctx, stream, info.Params)
	defer watch.stop()
	tool, _ := probe.ToolByName(t.req.Tool)
	measured, err := tool.Run(run, info, sock, remote, func(s probe.Sample) {
		if t.req.OnProgress != nil {
			t.req.OnProgress(Progress{Sample: &s})
		}
	})
	if err != nil {
		stream.Reset()
		return nil, fmt.Errorf("nothing could be sent: %w", err)
	}
	stopped := ""
	if run.Err() != nil {
		stopped = context.Cause(run).Error()
	}
	signed, statement := watch.statement(m.trust, c.Peer.ID, info, stopped)
	measured.Fill(result, statement)
	sayStopped(run, result)
	record := store.ResultRecord{Result: *result, Statement: signed, Ticket: c.Ticket}
	record.Transcript = m.signResult(&record.Result, signed, statement, info)
	if err := m.db.AddResult(record, true); err != nil {
		t.note("the result could not be stored: %v", err)
	} else {
		m.spool()
	}
	watch.receipt(&record)
	if statement == nil {
		t.note("the target's statement is missing: loss is not split by direction")
	}
	return &record.Result, nil
}

// sayStopped says for people why a run ended early.
func sayStopped(run context.Context, r *probe.Result) {
	if r.Error == nil || run.Err() == nil || r.Latency == nil {
		return
	}
	cause, e := context.Cause(run), *r.Error
	after := fmt.Sprintf("after %d of %d packets", r.Latency.Sent, r.Params.Count)
	switch e.Code {
	case probe.CodeCancelled:
		e.Message = "stopped " + after
		if errors.Is(cause, errStopping) {
			e.Message += ": this node is stopping"
		}
	case probe.CodeTimeout:
		e.Message = "its time was up " + after
	case probe.CodePeerGone:
		e.Message = "the target went away " + after
	}
	r.Error = &e
}

// blank is a result with everything that is known before the first packet.
func (m *measurer) blank(t *task, target *cluster.Admission, info probe.SessionInfo, local, remote netip.AddrPort) *probe.Result {
	version := 6
	if remote.Addr().Unmap().Is4() {
		version = 4
	}
	st := m.core.status.Load()
	var own *cluster.Admission
	if a, err := m.trust.Admission(m.id.admission()); err == nil {
		own = a
	}
	return &probe.Result{
		Schema:    probe.ResultSchema,
		Key:       probe.Key{Node: p2p.IDText(m.host.ID()), Boot: st.Boot, Seq: m.seq()},
		Initiator: probe.End{Node: p2p.IDText(m.host.ID()), City: string(st.City), ASN: asnOf(own), IP: local.Addr().Unmap().String()},
		Target:    probe.End{Node: p2p.IDText(target.ID), City: string(target.City), ASN: asnOf(target), IP: remote.Addr().Unmap().String()},
		Path:      probe.Path{Mode: probe.ModeDirect, IPVersion: version, Local: local.String(), Remote: remote.String(), Transport: "udp"},
		Params:    info.Params,
	}
}

// asnOf is the network that the registry knows a node by; 0 if none.
func asnOf(a *cluster.Admission) uint32 {
	if a == nil || a.About == nil {
		return 0
	}
	return a.About.ASN
}

// signResult puts both ends' signatures into the result and returns the initiator's signed transcript.
func (m *measurer) signResult(r *probe.Result, signed cluster.Signed, st *probe.Statement, info probe.SessionInfo) cluster.Signed {
	r.Sig = probe.Signatures{TicketHash: info.TicketHash[:]}
	figures := r.FiguresDigest()
	transcript := probe.Transcript{Version: probe.StatementVersion, Session: info.ID, TicketHash: info.TicketHash,
		Key: r.Key, Figures: figures, Bytes: r.BytesUsed}
	if r.Latency != nil {
		transcript.Sent, transcript.Received = uint64(r.Latency.Sent), uint64(r.Latency.Received)
		transcript.Duplicates = uint64(r.Latency.Duplicates)
	}
	if st != nil {
		transcript.Target, transcript.TargetSig = signed.Payload, signed.Sig
		r.Sig.Target = signed.Sig
	}
	out := m.sign(cluster.DomainResult, &transcript)
	r.Sig.Digest, r.Sig.Initiator = figures[:], out.Sig
	return out
}

// watcher reads the session stream while the tool runs: if the target closes it, the run ends.
type watcher struct {
	stream *p2p.Stream
	cancel context.CancelCauseFunc
	read   chan readStatement // one value: the target's statement, or why there is none
}

type readStatement struct {
	msg sessionStatement
	err error
}

// watchStream returns a context for the tool that ends with ctx or with the target's stream.
func watchStream(ctx context.Context, stream *p2p.Stream, p probe.Params) (context.Context, *watcher) {
	run, cancel := context.WithCancelCause(ctx)
	w := &watcher{stream: stream, cancel: cancel, read: make(chan readStatement, 1)}
	stream.SetIdle(p2p.NoIdle)
	stream.SetDeadline(time.Now().Add(p.Duration() + sessionSlack))
	go func() {
		var got readStatement
		got.err = stream.ReadMsg(&got.msg)
		if got.err != nil {
			cancel(fmt.Errorf("%w: %w", probe.ErrPeerGone, got.err))
		}
		w.read <- got
	}()
	return run, w
}

// statement says that measuring is over and waits, bounded, for the target's signed account. It returns
// nothing when the target is gone or its account does not verify.
func (w *watcher) statement(trust *cluster.Trust, target cluster.ID, info probe.SessionInfo, stopped string) (cluster.Signed, *probe.Statement) {
	w.stream.SetDeadline(time.Now().Add(finishTimeout))
	if err := w.stream.WriteMsg(&sessionDone{Stopped: stopped}); err != nil {
		return cluster.Signed{}, nil
	}
	got := <-w.read
	w.read <- got
	if got.err != nil {
		return cluster.Signed{}, nil
	}
	key, err := target.PublicKey()
	if err != nil || got.msg.Statement.Verify(cluster.DomainStatement, key) != nil {
		return cluster.Signed{}, nil
	}
	st, err := probe.DecodeStatement(got.msg.Statement.Payload)
	if err != nil || st.Session != info.ID || st.TicketHash != info.TicketHash {
		return cluster.Signed{}, nil
	}
	return got.msg.Statement, st
}

// receipt sends the initiator's half to the target. Whether it arrives changes nothing here.
func (w *watcher) receipt(r *store.ResultRecord) {
	if len(r.Statement.Sig) == 0 {
		return
	}
	short := r.Result
	short.Samples = nil // thousands of them do not fit a frame; the signed figures do not cover them
	w.stream.WriteMsg(&sessionReceipt{Result: probe.EncodeResult(&short), Transcript: r.Transcript})
}

// stop ends the reading and joins it.
func (w *watcher) stop() {
	w.cancel(nil)
	w.stream.SetDeadline(time.Now())
	<-w.read
}
