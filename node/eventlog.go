package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// The event log tells programs what a node does to its cluster: which term it follows and leads, what it
// acknowledges, permits and refuses. It is append-only, one JSON object a line and one write a line, nothing held
// back: what a node acted on is in the file of a node that was killed the moment after.
//
// A line that cannot be written is dropped and counted in the field "lost" of the next one. A write that was cut
// short (full disk, kill -9) leaves a line that is no JSON; the next line begins afresh.
//
// Version log of the fields: 1 first. Fields may be added.

const (
	eventLogQueue = 256                   // lines that wait for a slow disk; beyond it they are dropped and counted
	eventLogWait  = 50 * time.Millisecond // a line takes microseconds; a disk that takes longer is not waited for
	eventLogEnd   = time.Second           // a write that hangs in the kernel cannot be ended: it is left behind
)

// eventLine is one line.
type eventLine struct {
	T     int64  `json:"t"`    // unix ns
	Mono  int64  `json:"mono"` // ns of a clock that all processes of this machine share (CLOCK_BOOTTIME; elsewhere than on Linux: of this process)
	Node  string `json:"node"`
	City  string `json:"city"`
	Shard uint   `json:"shard"`
	Boot  uint64 `json:"boot"`
	Event string `json:"event"`

	Term      *eventTerm `json:"term,omitempty"`
	High      *eventTerm `json:"high,omitempty"` // this node's own highest, where another term is judged
	Head      string     `json:"head,omitempty"`
	Self      bool       `json:"self,omitempty"` // the head is this node
	Reason    string     `json:"reason,omitempty"`
	ID        string     `json:"id,omitempty"` // the other node
	SilenceMs int64      `json:"silenceMs,omitempty"`
	PauseMs   int64      `json:"pauseMs,omitempty"`
	Level     uint       `json:"level,omitempty"`
	Keys      []string   `json:"keys,omitempty"`
	Session   string     `json:"session,omitempty"`
	Text      string     `json:"text,omitempty"`
	Lost      uint64     `json:"lost,omitempty"` // lines before this one that could not be written
}

// eventTerm is a term with all that tells it from another.
type eventTerm struct {
	Epoch uint64 `json:"epoch"`
	Hash  string `json:"hash"` // the first 8 bytes of the certificate's hash
	Shard uint   `json:"shard"`
	K     uint64 `json:"k"`
}

// termEvent is a term as the log has it; nil: none.
func termEvent(t cluster.Term) *eventTerm {
	if t.IsZero() {
		return nil
	}
	return &eventTerm{Epoch: t.Epoch, Hash: hex.EncodeToString(t.CertHash[:8]), Shard: t.Shard, K: t.K}
}

// eventLog is the file and the goroutine that owns it. All methods work on nil: then nothing is logged.
type eventLog struct {
	file  io.WriteCloser
	log   *slog.Logger
	lines chan queuedLine
	done  chan struct{}
	lost  atomic.Uint64
	stuck atomic.Bool // somebody waited in vain: nobody waits until the disk is back
	self  eventSelf
}

// eventSelf is who writes.
type eventSelf struct {
	node  string
	city  string
	boot  uint64
	trust *cluster.Trust
	shard func() uint
}

type queuedLine struct {
	line    eventLine
	written chan struct{}
}

// openEventLog opens the file for appending, or makes it. A line that a killed process left torn is ended.
func openEventLog(path string, log *slog.Logger) (*eventLog, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE, keyMode)
	if err != nil {
		return nil, fmt.Errorf("event log: %w; give another file with --event-log", err)
	}
	if info, err := f.Stat(); err == nil && info.Mode().IsRegular() && info.Size() > 0 {
		last := make([]byte, 1)
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			f.Write([]byte("\n")) // a disk that is full now says so with the next line
		}
	}
	return newEventLog(f, log), nil
}

func newEventLog(f io.WriteCloser, log *slog.Logger) *eventLog {
	return &eventLog{file: f, log: log, lines: make(chan queuedLine, eventLogQueue), done: make(chan struct{})}
}

// start begins to write; end writes what waits and joins, for a bounded time.
func (l *eventLog) start(self eventSelf) (end func()) {
	if l == nil {
		return func() {}
	}
	l.self = self
	ctx, cancel := context.WithCancel(context.Background())
	go l.run(ctx)
	return func() {
		cancel()
		select {
		case <-l.done:
		case <-time.After(eventLogEnd):
		}
	}
}

// close gives a file back that was never written to; start's end does it otherwise.
func (l *eventLog) close() {
	if l != nil {
		l.file.Close()
	}
}

func (l *eventLog) run(ctx context.Context) {
	defer close(l.done)
	torn, said := false, false
	write := func(q queuedLine) {
		defer close(q.written)
		q.line.Lost = l.lost.Swap(0)
		b, _ := json.Marshal(q.line) // strings and numbers only
		b = append(b, '\n')
		if torn {
			b = append([]byte{'\n'}, b...)
		}
		n, err := l.file.Write(b)
		torn = torn && n == 0 || err != nil && n > 0
		l.stuck.Store(false)
		if err == nil {
			said = false
			return
		}
		l.lost.Add(1 + q.line.Lost)
		if !said {
			said = true
			l.log.Warn("event log not written; the node goes on", "err", err)
		}
	}
	for {
		select {
		case q := <-l.lines:
			write(q)
		case <-ctx.Done():
			for len(l.lines) > 0 {
				write(<-l.lines)
			}
			return
		}
	}
}

// put logs one event and returns when it is in the file, or when the disk has shown that it does not take it.
func (l *eventLog) put(line eventLine) {
	if l == nil {
		return
	}
	line.T, line.Mono = time.Now().UnixNano(), int64(now())
	line.Node, line.City, line.Boot, line.Shard = l.self.node, l.self.city, l.self.boot, l.self.shard()
	if line.Term != nil && (line.Event == "high" || line.Event == "lead") {
		line.Shard = line.Term.Shard
	}
	q := queuedLine{line: line, written: make(chan struct{})}
	select {
	case l.lines <- q:
	default:
		l.lost.Add(1)
		return
	}
	if l.stuck.Load() {
		return
	}
	patience := time.NewTimer(eventLogWait)
	defer patience.Stop()
	select {
	case <-q.written:
	case <-l.done: // a line after the end is nobody's
	case <-patience.C:
		l.stuck.Store(true)
	}
}

// output logs what the machine decided on an input. It runs on the loop after the hard state is durable and before
// anything leaves.
func (l *eventLog) output(m *cluster.Machine, in cluster.Input, out *cluster.Output) {
	if l == nil {
		return
	}
	for _, e := range out.Events {
		if over, ok := e.(cluster.HandOver); ok {
			l.put(eventLine{Event: "handover", Term: termEvent(m.Status().Term), ID: p2p.IDText(over.To), Reason: over.Reason})
			continue
		}
		l.event(e)
	}
	for _, e := range out.Out {
		switch msg := e.Message; {
		case msg.ResAck != nil:
			l.put(eventLine{Event: "ack", Term: termEvent(msg.ResAck.Term), ID: p2p.IDText(e.To), Level: msg.ResAck.Level, Keys: keyTexts(msg.ResAck.Keys)})
		case msg.Stale != nil:
			l.stale(m, in, e.To)
		}
	}
}

func (l *eventLog) event(e cluster.Event) {
	switch e := e.(type) {
	case cluster.LeadChanged:
		line := eventLine{Event: "high", Term: termEvent(e.Term), Head: p2p.IDText(e.New.Head), Self: e.Self, Reason: e.Reason}
		l.put(line)
		if e.Self {
			line.Event = "lead"
			l.put(line)
		}
	case cluster.SteppedDown:
		l.put(eventLine{Event: "stepdown", Term: termEvent(e.Term), Reason: e.Reason})
	case cluster.MemberJoined:
		l.put(eventLine{Event: "join", ID: p2p.IDText(e.Row.ID)})
	case cluster.MemberEvicted:
		l.put(eventLine{Event: "evict", ID: p2p.IDText(e.ID), SilenceMs: e.Silence.Milliseconds()})
	case cluster.Acked:
		l.put(eventLine{Event: "acked", Level: e.Level, Keys: keyTexts(e.Keys)})
	case cluster.Unsure:
		name := "sure"
		if e.On {
			name = "unsure"
		}
		l.put(eventLine{Event: name, PauseMs: e.Pause.Milliseconds()})
	case cluster.Alarm:
		l.put(eventLine{Event: "alarm", Text: e.Text})
	}
}

// stale logs that a message of a lower term was answered with the higher one.
func (l *eventLog) stale(m *cluster.Machine, in cluster.Input, to cluster.ID) {
	r, ok := in.(cluster.Received)
	if !ok || r.From != to {
		return
	}
	l.put(eventLine{Event: "refuse", Term: l.termOf(r.Message), High: termEvent(m.Status().Term), ID: p2p.IDText(to), Text: r.Message.Kind()})
}

// termOf is the term that a message claims.
func (l *eventLog) termOf(m *cluster.Message) *eventTerm {
	switch {
	case m.Beacon != nil:
		return termEvent(m.Beacon.Term)
	case m.Heartbeat != nil:
		return termEvent(m.Heartbeat.Term)
	case m.Probe != nil:
		return termEvent(m.Probe.Term)
	case m.ProbeRes != nil:
		return termEvent(m.ProbeRes.Term)
	case m.Resign != nil:
		return termEvent(m.Resign.Term)
	case m.Replicate != nil:
		return termEvent(m.Replicate.Term)
	case m.ReplAck != nil:
		return termEvent(m.ReplAck.Term)
	case m.ResAck != nil:
		return termEvent(m.ResAck.Term)
	case m.Offer != nil:
		return termEvent(m.Offer.Term)
	case m.Want != nil:
		return termEvent(m.Want.Term)
	case m.Trim != nil:
		return termEvent(m.Trim.Term)
	case m.Lead != nil:
		return l.leadTerm(*m.Lead)
	case m.Stale != nil:
		return l.leadTerm(*m.Stale)
	case m.WhoIs != nil:
		return l.leadTerm(m.WhoIs.High)
	}
	return nil
}

// leadTerm is the term of a Lead; nil where it is none.
func (l *eventLog) leadTerm(raw cluster.Signed) *eventTerm {
	lead, cert, err := l.self.trust.Lead(raw)
	if err != nil {
		return nil
	}
	return termEvent(cluster.TermOf(lead, cert))
}

// ticket logs a ticket: "ticket" where this node issued it, "accept" or "refuse" where it was shown. high is this
// node's own highest term.
func (l *eventLog) ticket(event string, raw cluster.Signed, high cluster.Term, reason string) {
	if l == nil {
		return
	}
	line := eventLine{Event: event, High: termEvent(high), Reason: reason}
	if t, lead, err := l.self.trust.Ticket(raw); err == nil {
		line.Term, line.Head, line.Session = l.leadTerm(t.Lead), p2p.IDText(lead.Head), hex.EncodeToString(t.Session[:])
		line.ID = p2p.IDText(t.Initiator)
		if event == "ticket" {
			line.ID = p2p.IDText(t.Target)
		}
	}
	l.put(line)
}

// keyTexts are result keys as results carry them.
func keyTexts(keys []cluster.ResultKey) []string {
	out := make([]string, len(keys))
	for i, k := range keys {
		out[i] = fmt.Sprintf("%s.%d.%d", p2p.IDText(k.Node), k.Boot, k.Seq)
	}
	return out
}
