package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// Errors of Machine, to branch on.
var (
	ErrForeign    = errors.New("input is foreign to this machine")
	ErrNotLeading = errors.New("this node does not lead")
	ErrUnsure     = errors.New("this head was paused and asks whether it still leads: try again in a second")
	ErrHardState  = errors.New("hard state cannot be used")
)

// maxBook bounds the addresses learned beside the member table.
const maxBook = 4096

// Machine is the election machine of one node: see the package comment. It is not safe for concurrent use.
type Machine struct {
	env    env
	self   Row
	clock  clock
	high   leadView   // the highest valid Lead ever seen
	cert   certView   // the highest verified certificate
	barred barredView // the highest list of barred nodes
	watch  watch      // whether the head lives (R2, R3)
	beat   beat       // heartbeats, questions, tickets of this node
	head   *headship  // nil: does not lead
	table  memberTable
	others headTable
	book   map[ID][][]byte
	limit  limiter
	ledger ledger // results on their way (R9)
	note   note
}

// env is what a machine was given.
type env struct {
	cfg   Config
	trust *Trust
	sign  Signer
	rng   *rand.Rand

	transient bool // this node was admitted for one measurement only
}

type clock struct {
	now, began Instant
	resumed    Instant // the end of the last pause; the beginning, if there was none
	armed      Instant // when the next step is due, as of the last one
	timed      bool    // it is due at all
	started    bool
}

// note is what a step leaves behind: its output, and figures for Status.
type note struct {
	out        Output
	dirty      bool // the hard state changed
	lastChange string
	changed    Instant // when High last rose; 0: not since the boot
	refused    uint64
	stopping   bool
}

// New makes a machine that has not started: its first Step or Tick sets the time. self carries a verified
// admission for cfg.City and the boot number of this run (see NextBoot). A High of another city is
// forgotten: the node has moved.
func New(cfg Config, self Row, hard HardState, sign Signer, rng *rand.Rand) (*Machine, error) {
	if cfg.MaxMembers == 0 {
		cfg.MaxMembers = DefaultMaxMembers
	}
	if cfg.MaxHeld == 0 {
		cfg.MaxHeld = DefaultMaxHeld
	}
	trust := cfg.Trust
	if trust == nil {
		trust = NewTrust(cfg.Network)
	}
	if trust.Network() != NetworkName(cfg.Network) {
		return nil, fmt.Errorf("%w: trust in network %s, this is %s", ErrForeign, trust.Network(), NetworkName(cfg.Network))
	}
	a, err := trust.Admission(self.Admission)
	if err != nil {
		return nil, fmt.Errorf("own admission: %w", err)
	}
	if a.ID != self.ID || a.City != cfg.City {
		return nil, fmt.Errorf("%w: own admission is for %s in %s, this is %s in %s; register again", ErrForeign, a.ID.Short(), a.City, self.ID.Short(), cfg.City)
	}
	m := &Machine{
		env: env{cfg, trust, sign, rng, a.Transient}, self: self, table: newMemberTable(), others: newHeadTable(),
		book: make(map[ID][][]byte), limit: limiter{seen: make(map[ID]allowance)}, ledger: newLedger(),
	}
	if err := self.check(); err != nil {
		return nil, fmt.Errorf("own row: %w", err)
	}
	m.self.Boot = max(self.Boot, hard.Boot)
	m.note.dirty = m.self.Boot != hard.Boot
	m.watch.probers = make(map[ID]uint64)
	if !hard.Cert.Empty() {
		v, err := newCertView(trust, hard.Cert)
		if err != nil {
			return nil, fmt.Errorf("%w: stored certificate: %w", ErrHardState, err)
		}
		if v.cert.City == cfg.City {
			m.cert = v
		}
	}
	if !hard.High.Empty() {
		v, err := newLeadView(trust, hard.High)
		if err != nil {
			return nil, fmt.Errorf("%w: stored Lead: %w", ErrHardState, err)
		}
		if m.mine(v) {
			m.high = v
			if v.cert.compare(m.cert) > 0 {
				m.cert = v.cert
			}
		}
	}
	if !hard.Barred.Empty() {
		if _, err := m.barred.offer(trust, hard.Barred); err != nil {
			return nil, fmt.Errorf("%w: stored list of barred nodes: %w", ErrHardState, err)
		}
	}
	if m.cert.cert != nil {
		m.cert.shard = m.cert.cert.shardIn(self.ID)
	}
	m.watch.seq = m.highSeq()
	return m, nil
}

func (m *Machine) highSeq() uint64 {
	if m.high.lead == nil {
		return 0
	}
	return m.high.lead.Seq
}

// Step takes one input. On an error the input was malformed or foreign, and the state is unchanged.
func (m *Machine) Step(now Instant, in Input) (Output, error) {
	m.advance(now)
	if err := m.handle(in); err != nil {
		m.note.refused++
		return m.flush(), err
	}
	m.run()
	return m.flush(), nil
}

// Tick does what is due. Called early it does nothing.
func (m *Machine) Tick(now Instant) Output {
	m.advance(now)
	m.run()
	return m.flush()
}

// start is the first step.
func (m *Machine) start(now Instant) {
	m.clock = clock{now: now, began: now, resumed: now, started: true}
	m.watch.heard, m.watch.certAt = now, now
	m.beat.next, m.beat.nextAsk = now, now
	m.beat.rows = rowsToNewHead
	if skips(ruleNewTerm) && m.restarted() {
		m.takeOffice()
		m.head.enter(m)
	}
}

func (m *Machine) flush() Output {
	m.arm()
	out := m.note.out
	m.note.out = Output{}
	if m.note.dirty {
		m.note.dirty = false
		out.Hard = &HardState{High: m.high.raw, Cert: m.cert.raw, Boot: m.self.Boot, Barred: m.barred.raw}
	}
	return out
}

// run does everything that is due.
func (m *Machine) run() {
	m.runWatch()
	if m.head != nil {
		m.runHead()
	} else {
		m.runBeat()
	}
	m.runLedger()
}

// Deadline is when Tick has something to do. Before the first step it is the beginning of time.
func (m *Machine) Deadline() (Instant, bool) {
	if !m.clock.started {
		return 0, true
	}
	return m.clock.armed, m.clock.timed
}

// due is when something is to be done next.
func (m *Machine) due() (Instant, bool) {
	at, ok := m.ledgerDeadline()
	take := func(t Instant, due bool) {
		if due && (!ok || t < at) {
			at, ok = t, true
		}
	}
	if m.head != nil {
		take(m.headDeadline(), true)
		return at, ok
	}
	take(m.beatDeadline())
	take(m.watchDeadline())
	return at, ok
}

func (m *Machine) handle(in Input) error {
	switch in := in.(type) {
	case Received:
		return m.received(in.From, in.Message)
	case Connected:
		if in.Peer == m.high.head() {
			m.reconnected()
		}
	case Disconnected:
		if in.Peer == m.high.head() && m.head == nil {
			m.hint()
		}
	case Answered:
		m.answered(in)
	case Learned:
		m.learnPeers(in.Peers)
		if !in.Lead.Empty() {
			return m.adopt(in.Lead, "")
		}
	case SelfChanged:
		return m.selfChanged(in.Row)
	case Attested:
		return m.attested(in)
	case Health:
		m.setHealth(in.Reason)
	case Stopping:
		m.stop()
	case Submitted:
		m.submitted(in.Keys)
	case Stored:
		m.stored(in)
	case Released:
		m.released(in.Keys)
	case Withdrawn:
		m.withdrawn(in.Keys)
	default:
		return fmt.Errorf("%w: %T", ErrForeign, in)
	}
	return nil
}

func (m *Machine) received(from ID, msg *Message) error {
	switch {
	case msg == nil || from == "" || from == m.self.ID:
		return fmt.Errorf("%w: message from %q", ErrForeign, from.Short())
	case m.barred.ids[from]:
		return fmt.Errorf("%w: %s is barred", ErrForeign, from.Short())
	}
	if m.leading() && m.candidate(from) {
		m.head.candidateAt = m.clock.now // whatever it says, it can be reached again (R10)
	}
	switch {
	case msg.Beacon != nil:
		m.onBeacon(from, msg.Beacon)
	case msg.Lead != nil:
		return m.adopt(*msg.Lead, from)
	case msg.Stale != nil:
		return m.adopt(*msg.Stale, from)
	case msg.Heartbeat != nil:
		return m.onHeartbeat(from, msg.Heartbeat)
	case msg.WhoIs != nil:
		return m.onWhoIs(from, msg.WhoIs)
	case msg.Probe != nil:
		m.onProbe(from, msg.Probe)
	case msg.ProbeRes != nil:
		return m.onProbeRes(from, msg.ProbeRes)
	case msg.Resign != nil:
		m.onResign(from, msg.Resign)
	case msg.Replicate != nil:
		m.onReplicate(from, msg.Replicate)
	case msg.ReplAck != nil:
		m.onReplAck(from, msg.ReplAck)
	case msg.Heads != nil:
		m.onHeads(from, msg.Heads)
	case msg.Cert != nil:
		return m.onCert(msg.Cert)
	case msg.ResAck != nil:
		m.onResAck(from, msg.ResAck)
	case msg.Offer != nil:
		m.onOffer(from, msg.Offer)
	case msg.Want != nil:
		m.onWant(from, msg.Want)
	case msg.Trim != nil:
		m.onTrim(from, msg.Trim)
	default:
		return fmt.Errorf("%w: empty message from %s", ErrForeign, from.Short())
	}
	return nil
}

// timers are those of the highest certificate.
func (m *Machine) timers() Timers {
	if m.cert.cert == nil {
		return DefaultTimers()
	}
	return m.cert.cert.Timers
}

// list is the succession of this node's shard in the highest certificate; nil: none.
func (m *Machine) list() []ID {
	if m.cert.cert == nil {
		return nil
	}
	return m.cert.cert.Successions[m.cert.shard]
}

func (m *Machine) candidate(id ID) bool { return slices.Contains(m.list(), id) }

func (m *Machine) leading() bool { return m.head != nil }

// send queues a message to a peer; addresses are added where they are known.
func (m *Machine) send(to ID, msg *Message) { m.sendAt(to, m.addrsOf(to), msg) }

func (m *Machine) sendAt(to ID, addrs [][]byte, msg *Message) {
	if to != "" && to != m.self.ID && !m.barred.ids[to] {
		m.note.out.Out = append(m.note.out.Out, Envelope{To: to, Addrs: addrs, Message: msg})
	}
}

// highRaw is High for a message: a copy, because the caller encodes it while the machine goes on.
func (m *Machine) highRaw() *Signed {
	raw := m.high.raw
	return &raw
}

func (m *Machine) event(e Event) { m.note.out.Events = append(m.note.out.Events, e) }

func (m *Machine) alarm(format string, args ...any) { m.event(Alarm{fmt.Sprintf(format, args...)}) }

// addrsOf is where a peer listens: by its member row, by a Lead, or by what was learned.
func (m *Machine) addrsOf(id ID) [][]byte {
	if e := m.table.rows[id]; e != nil && len(e.row.Addrs) > 0 {
		return e.row.Addrs
	}
	if m.high.lead != nil {
		for _, p := range m.high.lead.Addrs {
			if p.ID == id {
				return p.Addrs
			}
		}
	}
	if addrs, ok := m.book[id]; ok {
		return addrs
	}
	for _, h := range m.siblings() {
		if i := slices.IndexFunc(h.lead.Addrs, func(p Peer) bool { return p.ID == id }); i >= 0 {
			return h.lead.Addrs[i].Addrs
		}
	}
	return nil
}

func (m *Machine) learnPeers(peers []Peer) {
	for _, p := range peers {
		if _, known := m.book[p.ID]; (known || len(m.book) < maxBook) && len(p.Addrs) > 0 && checkAddrs(p.Addrs) == nil {
			m.book[p.ID] = p.Addrs
		}
	}
}

func (m *Machine) selfChanged(row Row) error {
	a, err := m.env.trust.Admission(row.Admission)
	if err != nil {
		return fmt.Errorf("own admission: %w", err)
	}
	if row.ID != m.self.ID || a.ID != row.ID || a.City != m.env.cfg.City {
		return fmt.Errorf("%w: row of %s in %s, this is %s in %s; a moved node starts anew", ErrForeign, row.ID.Short(), a.City, m.self.ID.Short(), m.env.cfg.City)
	}
	if err := row.check(); err != nil {
		return fmt.Errorf("own row: %w", err)
	}
	row.Boot = m.self.Boot
	m.self, m.env.transient = row, a.Transient
	m.beat.rows = max(m.beat.rows, 1)
	if m.leading() {
		m.putSelf()
	}
	return nil
}
