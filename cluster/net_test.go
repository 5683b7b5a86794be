package cluster

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// network is a synchronous city: machines, a registry and the links between them, in virtual time. After
// every step it checks the invariants S1-S4 and S6.
type network struct {
	t        *testing.T
	now      Instant
	rng      *rand.Rand
	registry *Table
	away     bool // the registry does not answer
	trust    *Trust
	hosts    map[ID]*host
	queue    []packet
	sent     int
	count    map[string]int // messages delivered, by kind

	faults
	seen
	results
}

// faults of the links.
type faults struct {
	cut    func(from, to ID) bool
	drop   float64 // of messages
	double float64
	delay  time.Duration
	jitter time.Duration // reorders
	skew   int64         // of all wall clocks, in milliseconds
}

// seen is what the invariants compare with.
type seen struct {
	acted  map[Term]string     // S1: who led a term, in which boot
	epochs map[string][32]byte // S6
}

// host is one node: the machine is nil while the process is dead.
type host struct {
	name    string
	key     ed25519.PrivateKey
	id      ID
	city    City
	m       *Machine
	hard    HardState
	row     Row
	high    Term // S2
	frozen  bool
	events  []Event
	checked []byte     // S3: signature of the High that was verified
	saying  []Envelope // what the last step sent, and how it was encoded then: the machine keeps its hands off it
	said    [][]byte
	disk    disk
}

type packet struct {
	at   Instant
	n    int
	to   ID
	from ID
	raw  []byte
	in   Input // instead of raw
	move *Transfer
}

const startMs = 1_700_000_000_000

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func testID(name string) ID { return IDOf(testKey(name).Public().(ed25519.PublicKey)) }

func networkKey() ed25519.PrivateKey { return testKey("the network") }

func networkPublic() ed25519.PublicKey { return networkKey().Public().(ed25519.PublicKey) }

func newTable(t testing.TB, state TableState) *Table {
	rnd := rand.New(rand.NewPCG(7, 7))
	table, err := NewTable(networkPublic(), SignerOf(networkKey()), state, DefaultTableConfig(), func() uint16 { return uint16(rnd.Uint32()) })
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func newNetwork(t *testing.T, seed uint64) *network {
	t.Logf("seed %d", seed)
	return &network{t: t, rng: rand.New(rand.NewPCG(seed, 1)), registry: newTable(t, TableState{}), trust: NewTrust(networkPublic()),
		hosts: make(map[ID]*host), count: make(map[string]int),
		faults: faults{cut: func(_, _ ID) bool { return false }, delay: time.Millisecond},
		seen:   seen{acted: make(map[Term]string), epochs: make(map[string][32]byte)}, results: newResults()}
}

func (n *network) ms() int64 { return startMs + n.skew + int64(n.now)/1e6 }

// join registers a new node and starts it.
func (n *network) join(name string, city City) *host {
	n.t.Helper()
	key := testKey(name)
	h := &host{name: name, key: key, id: testID(name), city: city}
	n.hosts[h.id] = h
	req := &Request{Version: Version, Kind: CallRegister, Self: Peer{h.id, [][]byte{[]byte("addr of " + name)}}, City: city}
	a, _, err := n.registry.Register(n.ms(), h.id, req, city, string(city), ClassOwn)
	if err != nil || a.Error != nil {
		n.t.Fatalf("register %s: %v %v", name, err, a)
	}
	h.row = Row{ID: h.id, Addrs: req.Self.Addrs, FirstSeen: a.FirstSeen, Admission: a.Admission, Priority: Priority{Reachable: true}}
	n.boot(h)
	n.step(h, Answered{Kind: CallRegister, Answer: a})
	return h
}

// boot starts the process of a host from its hard state.
func (n *network) boot(h *host) {
	n.t.Helper()
	h.hard.Boot = NextBoot(h.hard.Boot, n.ms())
	h.row.Boot = h.hard.Boot
	m, err := New(Config{Network: networkPublic(), City: h.city}, h.row, h.hard, SignerOf(h.key), rand.New(rand.NewPCG(n.rng.Uint64(), 2)))
	if err != nil {
		n.t.Fatalf("boot %s: %v", h.name, err)
	}
	h.m = m
	n.carry(h, m.Tick(n.now))
	n.reload(h)
}

// kill ends a process. With tcp its peers see their connections close, one by one.
func (n *network) kill(h *host, tcp bool) {
	h.m = nil
	if !tcp {
		return
	}
	at := n.now
	for _, id := range n.rng.Perm(len(n.hosts)) {
		other := slices.Sorted(maps.Keys(n.hosts))[id]
		at = at.Add(500 * time.Microsecond)
		n.push(packet{at: at, to: other, in: Disconnected{Peer: h.id}})
	}
}

func (n *network) push(p packet) {
	n.sent++
	p.n = n.sent
	n.queue = append(n.queue, p)
}

func (n *network) step(h *host, in Input) error {
	before := *h.m
	heard, version, results := before.watch.heard, before.table.version, before.ledgerStatus()
	out, err := h.m.Step(n.now, in)
	if r, ok := in.(Received); ok && lower(r.Message, before.high.term) && h.m.high.term == before.high.term &&
		(h.m.watch.heard != heard || h.m.table.version != version || h.m.ledgerStatus() != results) {
		n.t.Fatalf("S4: %s let a %s of a lower term take effect", h.name, r.Message.Kind())
	}
	n.carry(h, out)
	return err
}

// lower says that a message carries a term below the given one.
func lower(msg *Message, high Term) bool {
	t := termIn(msg)
	return t != nil && t.Compare(high) < 0
}

func termIn(msg *Message) *Term {
	switch {
	case msg.Beacon != nil:
		return &msg.Beacon.Term
	case msg.Heartbeat != nil:
		return &msg.Heartbeat.Term
	case msg.Replicate != nil:
		return &msg.Replicate.Term
	case msg.ReplAck != nil:
		return &msg.ReplAck.Term
	case msg.Resign != nil:
		return &msg.Resign.Term
	}
	return resultsTerm(msg)
}

// carry does the caller's duties, and checks.
func (n *network) carry(h *host, out Output) {
	n.t.Helper()
	if out.Hard != nil {
		h.hard = *out.Hard
	}
	for i, raw := range h.said {
		if !bytes.Equal(h.saying[i].Message.Encode(), raw) {
			n.t.Fatalf("%s changed a %s after it had handed it out", h.name, h.saying[i].Message.Kind())
		}
	}
	h.saying, h.said = out.Out, nil
	for _, e := range out.Out {
		p := packet{at: n.now.Add(n.delay), to: e.To, from: h.id, raw: e.Message.Encode()}
		if len(p.raw) > MaxMessage {
			n.t.Fatalf("%s of %d bytes", e.Message.Kind(), len(p.raw))
		}
		h.said = append(h.said, p.raw)
		if n.jitter > 0 {
			p.at = p.at.Add(time.Duration(n.rng.Int64N(int64(n.jitter))))
		}
		if n.rng.Float64() >= n.drop {
			n.push(p)
		}
		if n.rng.Float64() < n.double {
			p.at = p.at.Add(n.delay)
			n.push(p)
		}
	}
	for _, c := range out.Calls {
		n.push(packet{at: n.now.Add(2 * n.delay), to: h.id, in: Answered{Kind: c.Kind, Answer: nil, Err: nil}, raw: Marshal(c.Request)})
	}
	h.events = append(h.events, out.Events...)
	n.results.carry(n, h, out)
	n.check(h)
}

func (n *network) check(h *host) {
	n.t.Helper()
	st := h.m.Status()
	if st.Term.Compare(h.high) < 0 {
		n.t.Fatalf("S2: High of %s fell from %s to %s", h.name, h.high, st.Term)
	}
	h.high = st.Term
	if st.High != nil && !bytes.Equal(h.checked, st.HighRaw.Sig) {
		h.checked = st.HighRaw.Sig
		l, _, err := NewTrust(networkPublic()).Lead(st.HighRaw)
		if err != nil || l.Head != st.High.Head {
			n.t.Fatalf("S3: High of %s: %v", h.name, err)
		}
		if durable, err := newLeadView(n.trust, h.hard.High); err != nil || durable.term != st.Term {
			n.t.Fatalf("%s acts on a High that is not durable: %v", h.name, err)
		}
	}
	if st.Leading {
		me := fmt.Sprint(h.name, " boot ", st.Boot)
		if st.High.Head != h.id {
			n.t.Fatalf("S2: %s acts as head of the term of %s", h.name, st.High.Head)
		}
		if was := n.acted[st.Term]; was != "" && was != me {
			n.t.Fatalf("S1: %s and %s both acted as head of %s", was, me, st.Term)
		}
		n.acted[st.Term] = me
	}
	if st.Cert != nil {
		key, hash := fmt.Sprint(st.Cert.City, st.Cert.Epoch), h.m.cert.raw.Hash()
		if was, ok := n.epochs[key]; ok && was != hash {
			n.t.Fatalf("S6: two certificates of %s have one epoch", st.Cert.City)
		}
		n.epochs[key] = hash
	}
}

// next is when something happens next.
func (n *network) next() (Instant, int, *host) {
	at, pick := Instant(1<<62), -1
	for i, p := range n.queue {
		if p.at < at || p.at == at && pick >= 0 && p.n < n.queue[pick].n {
			at, pick = p.at, i
		}
	}
	var who *host
	for _, id := range slices.Sorted(maps.Keys(n.hosts)) {
		h := n.hosts[id]
		if h.m == nil || h.frozen {
			continue
		}
		if d, ok := h.m.Deadline(); ok && d < at {
			at, pick, who = d, -1, h
		}
	}
	return at, pick, who
}

// run lets the city live for d.
func (n *network) run(d time.Duration) {
	n.t.Helper()
	n.until(d, func() bool { return false })
}

// until runs until cond holds, at most for d, and says how long it took.
func (n *network) until(d time.Duration, cond func() bool) time.Duration {
	n.t.Helper()
	begin, still := n.now, 0
	for !cond() {
		at, i, h := n.next()
		if at > begin.Add(d) {
			n.now = begin.Add(d)
			return d
		}
		if still++; at > n.now {
			still = 0
		}
		if still > 100000 {
			n.t.Fatalf("time stands still at %d: host %v", n.now, h)
		}
		n.now = max(n.now, at)
		if h != nil {
			n.carry(h, h.m.Tick(n.now))
			continue
		}
		p := n.queue[i]
		n.queue = slices.Delete(n.queue, i, i+1)
		n.deliver(p)
	}
	return n.now.Sub(begin)
}

func (n *network) deliver(p packet) {
	n.t.Helper()
	h := n.hosts[p.to]
	if h == nil || h.m == nil {
		return
	}
	if h.frozen && p.in == nil && n.cut(p.from, p.to) {
		return
	}
	if h.frozen {
		p.at = n.now.Add(100 * time.Millisecond) // queued in its sockets
		n.push(p)
		return
	}
	if a, ok := p.in.(Answered); ok && p.raw != nil {
		p.in = n.ask(h, a.Kind, p.raw)
	}
	if p.in == nil {
		if n.cut(p.from, p.to) {
			return
		}
		if p.move != nil {
			n.arrive(h, p.from, p.move)
			return
		}
		msg, err := DecodeMessage(p.raw)
		if err != nil {
			n.t.Fatalf("message from %s: %v", p.from.Short(), err)
		}
		n.count[msg.Kind()]++
		p.in = Received{From: p.from, Message: msg}
	}
	if err := n.step(h, p.in); err != nil {
		n.t.Fatalf("%s: %T: %v", h.name, p.in, err)
	}
}

func (n *network) ask(h *host, kind RegistryCall, raw []byte) Input {
	if n.away {
		return Answered{Kind: kind, Err: errors.New("registry away")}
	}
	req, err := DecodeRequest(raw)
	if err != nil {
		n.t.Fatalf("request: %v", err)
	}
	call := map[RegistryCall]func(int64, ID, *Request) (*Answer, Changes, error){
		CallPropose: n.registry.Propose, CallTakeover: n.registry.Takeover, CallReport: n.registry.Report}[kind]
	a, _, err := call(n.ms(), h.id, req)
	if a != nil && a.Error != nil {
		n.count["refused "+string(kind)+" "+a.Error.Code]++
	}
	return Answered{Kind: kind, Answer: a, Err: err}
}

// city starts size nodes of one city, and waits until one leads all of them with a full list.
func (n *network) city(city City, size int) []*host {
	n.t.Helper()
	var all []*host
	for i := range size {
		all = append(all, n.join(fmt.Sprintf("%s-%d", city, i), city))
		n.run(50 * time.Millisecond)
	}
	want := min(size, MaxSuccession)
	took := n.until(15*time.Second, func() bool {
		h := n.leader(all...)
		return h != nil && len(h.m.list()) == want && h.m.Status().Members == size && (size == 1 || h.m.backup() != "") && n.agree(h, all...)
	})
	if took >= 15*time.Second {
		n.t.Fatalf("%s has no settled head: %s", city, n.describe())
	}
	return all
}

// leader is the only living head among hosts; nil: none or several.
func (n *network) leader(hosts ...*host) *host {
	var found *host
	for _, h := range hosts {
		if h.m != nil && !h.frozen && h.m.leading() {
			if found != nil {
				return nil
			}
			found = h
		}
	}
	return found
}

// agree says that all living hosts follow the head.
func (n *network) agree(head *host, hosts ...*host) bool {
	for _, h := range hosts {
		if h.m != nil && !h.frozen && h.m.high.term != head.m.high.term {
			return false
		}
	}
	return true
}

// settled waits for one head that all follow and that knows exactly the living.
func (n *network) settled(limit time.Duration, hosts ...*host) (*host, time.Duration) {
	n.t.Helper()
	living := 0
	for _, h := range hosts {
		living += number(h.m != nil && !h.frozen)
	}
	took := n.until(limit, func() bool {
		h := n.leader(hosts...)
		return h != nil && n.agree(h, hosts...) && h.m.Status().Members == living
	})
	if took >= limit {
		n.t.Fatalf("no settled head after %v: %s", limit, n.describe())
	}
	return n.leader(hosts...), took
}

func (n *network) describe() string {
	var b bytes.Buffer
	for _, id := range slices.Sorted(maps.Keys(n.hosts)) {
		h := n.hosts[id]
		if h.m == nil {
			fmt.Fprintf(&b, "\n  %s dead", h.name)
			continue
		}
		st := h.m.Status()
		fmt.Fprintf(&b, "\n  %s %s term %s list %d members %d backup %s", h.name, st.Role, st.Term, len(h.m.list()), st.Members, st.Backup.Short())
	}
	return b.String()
}

// inOrder are the candidates in list order.
func (n *network) inOrder(h *host) []*host {
	var out []*host
	for _, id := range h.m.list() {
		out = append(out, n.hosts[id])
	}
	return out
}
