package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

const (
	sessionsAtOnce = 4                // served side by side; more would measure one another
	sessionSlack   = 10 * time.Second // beyond the granted duration: handshake, last answers, signatures
	sessionStep    = 5 * time.Second  // one frame of the session stream, when nothing is being measured
)

// responder is the target's side of sessions. Its own limits always win, whatever a ticket says.
type responder struct {
	core   *core
	host   *p2p.Host
	db     *store.DB
	limits probe.Limits
	bind   netip.Addr
	sign   func(domain string, v any) cluster.Signed
	trust  *cluster.Trust
	log    *slog.Logger
	events *eventLog

	serving atomic.Int64
	served  atomic.Uint64
	refused counters
}

// serve is one session, from the initiator's first frame to its receipt.
func (t *responder) serve(ctx context.Context, r p2p.Remote, s *p2p.Stream) error {
	s.SetDeadline(time.Now().Add(sessionStep))
	var open sessionOpen
	if err := s.ReadMsg(&open); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	if n := t.serving.Add(1); n > sessionsAtOnce {
		t.serving.Add(-1)
		return t.decline(s, refuse(codeBusy, "%d sessions run here already: ask another node, or again in some seconds", sessionsAtOnce), cluster.Signed{})
	}
	defer t.serving.Add(-1)
	info, lowered, werr, lead := t.agree(ctx, r, &open)
	if werr != nil {
		return t.decline(s, werr, lead)
	}
	local := t.bind
	if !local.IsValid() {
		local = r.Local.Addr()
	}
	sock, err := probe.ListenUDP(netip.AddrPortFrom(local, 0))
	if err != nil {
		return t.decline(s, refuse(codeRefused, "no socket to measure with: %v", err), cluster.Signed{})
	}
	defer sock.Close()
	grant := &sessionGrant{Params: info.Params, Lowered: lowered, Key: info.Key[:], Port: sock.LocalAddr().Port()}
	if err := s.WriteMsg(grant); err != nil {
		return fmt.Errorf("session: %w", err)
	}
	tool, _ := probe.ToolByName(open.Tool)
	statement, err := t.reflect(ctx, s, tool.Respond(info, sock, rand.Reader), info.Params)
	if err != nil {
		return err
	}
	t.served.Add(1)
	return t.finish(s, open.Ticket, info, statement)
}

func (t *responder) decline(s *p2p.Stream, werr *wireError, lead cluster.Signed) error {
	t.refused.add(werr.Code)
	return s.WriteMsg(&sessionGrant{Error: werr, Lead: lead})
}

// agree checks the ticket and grants parameters.
func (t *responder) agree(ctx context.Context, r p2p.Remote, open *sessionOpen) (info probe.SessionInfo, lowered []string, werr *wireError, lead cluster.Signed) {
	if open.Version != WireVersion {
		return info, nil, refuse(codeBadRequest, "session protocol version %d is not spoken here (%d is)", open.Version, WireVersion), lead
	}
	if _, ok := probe.ToolByName(open.Tool); !ok {
		return info, nil, refuse(codeBadRequest, "tool %q is not known here", open.Tool), lead
	}
	if err := open.Params.Validate(); err != nil {
		return info, nil, refuse(codeBadRequest, "%v", err), lead
	}
	var ticket *cluster.Ticket
	var err error
	if !t.core.ask(ctx, func(m *cluster.Machine, at cluster.Instant) {
		ticket, err = m.CheckTicket(at, r.ID, open.Ticket, open.Tool)
		st := m.Status()
		lead = st.HighRaw
		t.logTicket(open.Ticket, st.Term, err)
	}) {
		return info, nil, refuse(codeBusy, "the node is stopping"), lead
	}
	if err != nil {
		code := codeRefused
		if no := new(cluster.RefusedTicket); errors.As(err, &no) && (no.Code == cluster.TicketStale || no.Code == cluster.TicketExpired) {
			code = codeStale
		}
		return info, nil, refuse(code, "%v", err), lead
	}
	if !bytes.Equal(ticket.Lead.Sig, lead.Sig) { // its issuer may lead a term that this node has not heard of
		t.core.put(ctx, cluster.Learned{Lead: ticket.Lead})
	}
	info = probe.SessionInfo{ID: ticket.Session, TicketHash: open.Ticket.Hash()}
	if _, err := rand.Read(info.Key[:]); err != nil {
		return info, nil, refuse(codeRefused, "no session key: %v", err), lead
	}
	info.Params, lowered = open.Params.Grant(within(t.limits, ticket))
	return info, lowered, nil, lead
}

// logTicket tells the event log what became of a ticket that was shown.
func (t *responder) logTicket(ticket cluster.Signed, high cluster.Term, err error) {
	if err == nil {
		t.events.ticket("accept", ticket, high, "")
	} else if no := new(cluster.RefusedTicket); errors.As(err, &no) {
		t.events.ticket("refuse", ticket, high, no.Code)
	}
}

// within lowers the node's limits to what the ticket allows.
func within(l probe.Limits, t *cluster.Ticket) probe.Limits {
	if t.MaxRate > 0 {
		l.MinInterval = max(l.MinInterval, time.Second/time.Duration(t.MaxRate))
	}
	if t.Packets > 0 {
		l.MaxCount = int(min(uint64(l.MaxCount), t.Packets))
	}
	if t.Seconds > 0 {
		l.MaxDuration = min(l.MaxDuration, time.Duration(t.Seconds)*time.Second)
	}
	return l
}

// reflect answers packets until the initiator says that it is done, closes the stream, or the granted
// time is over.
func (t *responder) reflect(ctx context.Context, s *p2p.Stream, r probe.Responder, p probe.Params) (probe.Statement, error) {
	limit := p.Duration() + sessionSlack
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s.SetIdle(p2p.NoIdle)
	s.SetDeadline(time.Now().Add(limit))
	var done sessionDone
	var readErr error
	var wg sync.WaitGroup
	wg.Go(func() {
		readErr = s.ReadMsg(&done)
		cancel()
	})
	runErr := r.Run(ctx)
	if runErr == nil || ctx.Err() != nil {
		runErr = nil
	} else {
		s.Reset() // the socket failed: there is nobody to wait for
	}
	wg.Wait()
	if err := errors.Join(runErr, readErr); err != nil {
		return probe.Statement{}, fmt.Errorf("session broken off: %w", err)
	}
	return r.Statement(), nil
}

// finish signs what was seen, sends it, and keeps the initiator's half.
func (t *responder) finish(s *p2p.Stream, ticket cluster.Signed, info probe.SessionInfo, st probe.Statement) error {
	s.SetDeadline(time.Now().Add(sessionStep))
	signed := t.sign(cluster.DomainStatement, &st)
	if err := s.WriteMsg(&sessionStatement{Statement: signed}); err != nil {
		return fmt.Errorf("session: statement not sent: %w", err)
	}
	var receipt sessionReceipt
	if err := s.ReadMsg(&receipt); err != nil {
		return fmt.Errorf("session: no receipt: %w", err)
	}
	result, err := probe.DecodeResult(receipt.Result)
	if err != nil {
		return fmt.Errorf("session: receipt: %w", err)
	}
	if err := checkTranscript(s.Remote().ID, result, receipt.Transcript); err != nil {
		return fmt.Errorf("session: receipt: %w", err)
	}
	if err := t.checkReceipt(info, signed, result, receipt.Transcript); err != nil {
		return fmt.Errorf("session: receipt: %w", err)
	}
	return t.db.AddResult(store.ResultRecord{Result: *result, Statement: signed, Transcript: receipt.Transcript, Ticket: ticket}, false)
}

// checkReceipt says whether a receipt is of this session and of this target: the store is no place for
// whatever an initiator likes to sign.
func (t *responder) checkReceipt(info probe.SessionInfo, statement cluster.Signed, r *probe.Result, signed cluster.Signed) error {
	transcript, err := probe.DecodeTranscript(signed.Payload)
	if err != nil {
		return err
	}
	if transcript.Session != info.ID || transcript.TicketHash != info.TicketHash || r.Target.Node != p2p.IDText(t.host.ID()) {
		return fmt.Errorf("result %s is of another session", r.Key)
	}
	if len(transcript.TargetSig) > 0 && !bytes.Equal(transcript.TargetSig, statement.Sig) {
		return fmt.Errorf("result %s has another statement than was sent", r.Key)
	}
	return nil
}

// checkTranscript says whether a result is what its initiator signed.
func checkTranscript(from cluster.ID, r *probe.Result, signed cluster.Signed) error {
	if r.Key.Node != p2p.IDText(from) {
		return fmt.Errorf("result %s is not of %s, who sent it", r.Key, p2p.IDText(from))
	}
	key, err := from.PublicKey()
	if err != nil {
		return err
	}
	if err := signed.Verify(cluster.DomainResult, key); err != nil {
		return fmt.Errorf("result %s: transcript: %w", r.Key, err)
	}
	transcript, err := probe.DecodeTranscript(signed.Payload)
	if err != nil {
		return fmt.Errorf("result %s: transcript: %w", r.Key, err)
	}
	if transcript.Key != r.Key || transcript.Figures != r.FiguresDigest() {
		return fmt.Errorf("result %s: the signature is of other figures", r.Key)
	}
	return nil
}

// newSessionID draws the id of a session.
func newSessionID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// counters counts refusals by reason. Reasons are a closed set.
type counters struct {
	mu sync.Mutex
	n  map[string]uint64
}

func (c *counters) add(reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]uint64{}
	}
	c.n[reason]++
}

func (c *counters) copyTo(to map[string]uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for k, v := range c.n {
		to[k] += v
	}
}
