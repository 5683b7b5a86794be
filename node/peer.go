package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/keyfile"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/store"
	"golang.org/x/sync/semaphore"
)

// Keys of the meta table.
const (
	metaNetwork   = "network"   // the network's public key, pinned at first contact
	metaJoin      = "join"      // the signed join document, as last seen
	metaAdmission = "admission" // own admission
	metaFirstSeen = "firstSeen" // unix ms, as the registry said
)

// identity is who this node is, in which network.
type identity struct {
	key     ed25519.PrivateKey
	network ed25519.PublicKey
	trust   *cluster.Trust
	own     *atomic.Pointer[cluster.Signed] // own admission

	transient bool
}

func (i identity) admission() cluster.Signed {
	if s := i.own.Load(); s != nil {
		return *s
	}
	return cluster.Signed{}
}

// sign makes a signed object of v under this node's key.
func (i identity) sign(domain string, v any) cluster.Signed {
	return cluster.Sign(domain, v, cluster.SignerOf(i.key))
}

// peer is what runs: the files, the host, the loop and the roles around it.
type peer struct {
	cfg        Config
	id         identity
	host       *p2p.Host
	files      files
	core       *core
	reg        *registryLink
	peers      *peers
	roles      roles
	started    time.Time
	registered atomic.Bool     // the registry has answered in this run
	answer     *cluster.Answer // of the first registration; nil when the registry was away
	events     chan cluster.Event
	moved      chan cluster.City // the registry placed this node in another city; holds one
	loss       counters          // of what was dropped or refused, by reason
}

type files struct {
	db     *store.DB
	hard   *store.HardFile
	events *eventLog // nil: none
}

// roles are what a node does beside taking part in the election.
type roles struct {
	dht     *dhtRole
	find    *finder
	view    *viewer
	vitals  *vitals
	attest  *attester
	measure *measurer
	respond *responder
	deliver *delivery

	change atomic.Pointer[HeadChange] // the last one; nil: none in this life
}

// open takes the data directory and the host's sockets. The tables come first: their lock keeps a second
// process from making a key of its own here.
func (n *Node) open() (p *peer, err error) {
	p = &peer{cfg: n.cfg, started: time.Now(), moved: make(chan cluster.City, 1)}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
			p = nil
		}
	}()
	if err := makeDir(n.cfg.Data); err != nil {
		return p, err
	}
	opt := store.DefaultOptions()
	if n.cfg.held > 0 {
		opt.HeldResults = n.cfg.held
	}
	if p.files.db, err = store.OpenWith(filepath.Join(n.cfg.Data, mainFile), opt); err != nil {
		return p, err
	}
	key, err := keyfile.Load(filepath.Join(n.cfg.Data, keyFile), "node key", restoreKey)
	if err != nil {
		return p, err
	}
	p.id = identity{key: key, own: new(atomic.Pointer[cluster.Signed]), transient: p.cfg.Transient}
	if p.files.hard, err = store.OpenHard(filepath.Join(n.cfg.Data, hardFile)); err != nil {
		return p, err
	}
	if p.files.events, err = openEventLog(n.cfg.EventLog, n.cfg.Log); err != nil {
		return p, err
	}
	return p, p.listen(p2p.Config{Key: key, Listen: n.cfg.Listen, QUIC: n.cfg.QUIC,
		Members: n.cfg.Members, Bind: n.cfg.Bind, Log: n.cfg.Log})
}

// close gives back what open took. Each step is bounded by the layer below.
func (p *peer) close() error {
	var errs []error
	if p.host != nil {
		errs = append(errs, p.host.Close())
	}
	if p.files.hard != nil {
		errs = append(errs, p.files.hard.Close())
	}
	p.files.events.close()
	if p.roles.vitals != nil {
		dataDisk{p.cfg.Data}.close()
	}
	if p.files.db != nil {
		errs = append(errs, p.files.db.Close())
	}
	return errors.Join(errs...)
}

// join makes contact with the registry, pins the network, registers, and builds the machine. A node that
// has been a member before goes on without the registry.
func (p *peer) join(ctx context.Context) error {
	doc, err := p.contact(ctx)
	if err != nil {
		return err
	}
	p.id.network = doc.Key
	p.id.trust = cluster.NewTrust(doc.Key)
	p.host.SetTrust(p.id.trust)
	p.reg = &registryLink{host: p.host, peers: doc.Registries, log: p.cfg.Log, asked: make(chan struct{}, 1), rng: newRand(),
		calls: make(chan cluster.Call, callQueue), status: RegistryStatus{Address: p.cfg.RS, ID: p2p.IDText(doc.Registries[0].ID)}}
	hard, err := p.files.hard.Load()
	if err != nil {
		return err
	}
	if err := p.register(ctx, hard); err != nil {
		return err
	}
	p.host.SetAdmission(p.id.admission())
	return p.assemble(hard)
}

// contact fetches the join document, or takes the one that was seen last when the registry is away.
func (p *peer) contact(ctx context.Context) (p2p.JoinDoc, error) {
	pinned, err := p.files.db.Meta(metaNetwork)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return p2p.JoinDoc{}, err
	}
	doc, signed, err := p2p.FetchJoin(ctx, p.host, p.cfg.RS)
	if err != nil {
		saved, known := p.savedJoin(pinned)
		if !known {
			if errors.Is(err, p2p.ErrIdentity) {
				err = fmt.Errorf("%w; copy the address again from what `peerprobe rs` prints, or pass its host:port", err)
			}
			return doc, err // it names the registry
		}
		p.cfg.Log.Warn("registry away: going on as the member that this node was", "err", err)
		return saved, nil
	}
	if err := p.checkNetwork(doc, pinned); err != nil {
		return doc, err
	}
	return doc, errors.Join(
		p.files.db.SetMeta(metaNetwork, doc.Key),
		p.files.db.SetMeta(metaJoin, cluster.Marshal(signed)))
}

// checkNetwork refuses another network than the one that is pinned, or that the token names.
func (p *peer) checkNetwork(doc p2p.JoinDoc, pinned []byte) error {
	if p.cfg.Token != "" {
		if network, _, err := splitToken(p.cfg.Token); err != nil {
			return err
		} else if network != doc.Network {
			return fmt.Errorf("the token is for network %s, but registry %s serves network %s: ask the right registry, or get a token of this one",
				network, p.cfg.RS, doc.Network)
		}
	}
	switch {
	case len(pinned) > 0:
		if was := cluster.NetworkName(pinned); was != doc.Network {
			return fmt.Errorf("registry %s serves network %s, but this data directory (%s) belongs to network %s: "+
				"ask the right registry, or pass another --data", p.cfg.RS, doc.Network, p.cfg.Data, was)
		}
	case p.cfg.Token == "" && doc.TokenNeeded:
		return fmt.Errorf("registry %s admits only with a token: pass --token-file, or set PEERPROBE_TOKEN", p.cfg.RS)
	case p.cfg.Token == "":
		p.cfg.Log.Warn("first contact without a token: this network is trusted from now on", "network", doc.Network, "registry", p.cfg.RS)
	}
	return nil
}

// savedJoin is the join document of an earlier run.
func (p *peer) savedJoin(pinned []byte) (doc p2p.JoinDoc, ok bool) {
	raw, err := p.files.db.Meta(metaJoin)
	if err != nil || len(pinned) == 0 {
		return doc, false
	}
	if _, err := p.files.db.Meta(metaAdmission); err != nil {
		return doc, false
	}
	var signed cluster.Signed
	if cluster.Unmarshal(raw, &signed) != nil || signed.Verify(cluster.DomainJoin, pinned) != nil {
		return doc, false
	}
	err = cluster.Unmarshal(signed.Payload, &doc)
	return doc, err == nil && len(doc.Registries) > 0
}

// registerRequest is what this node asks of the registry.
func (p *peer) registerRequest(hard cluster.HardState) *cluster.Request {
	return &cluster.Request{
		Version: cluster.Version, Kind: cluster.CallRegister,
		Self: cluster.Peer{ID: p.host.ID(), Addrs: p.host.Addrs()},
		City: cluster.City(p.cfg.City), Tags: p.cfg.Tags, Transient: p.cfg.Transient, Token: p.cfg.Token,
		Admission: p.id.admission(), Cert: hard.Cert, Lead: hard.High,
	}
}

// register asks for admission. An admission of an earlier run will do where no answer comes, or one that
// says "later".
func (p *peer) register(ctx context.Context, hard cluster.HardState) error {
	if err := p.remembered(); err != nil {
		return err
	}
	answer, err := p.reg.do(ctx, p.registerRequest(hard))
	member := p.id.own.Load() != nil
	if err != nil {
		if !member {
			return fmt.Errorf("registering with %s: %w", p.cfg.RS, err)
		}
		return nil
	}
	if no := answer.Error; no != nil {
		if member && (no.Code == cluster.CodeInternal || no.Code == cluster.CodeTooSoon) {
			p.cfg.Log.Warn("registry busy: going on as the member that this node was", "registry", p.cfg.RS, "why", no.Message)
			return nil
		}
		return fmt.Errorf("registry %s refused this node: %w", p.cfg.RS, no)
	}
	if _, err := p.checkAdmission(answer); err != nil {
		return err
	}
	p.answer = answer
	p.id.own.Store(&answer.Admission)
	return p.keepAdmission(answer)
}

// remembered takes the admission of an earlier run, if it is one of this node in this network: a key that
// was replaced makes another node.
func (p *peer) remembered() error {
	raw, err := p.files.db.Meta(metaAdmission)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var own cluster.Signed
	if err := cluster.Unmarshal(raw, &own); err != nil {
		return fmt.Errorf("stored admission in %s: %w; move the data directory away to join as a new node", p.cfg.Data, err)
	}
	if a, err := p.id.trust.Admission(own); err != nil || a.ID != p.host.ID() {
		p.cfg.Log.Warn("the stored admission is not this node's: registering as a new one", "data", p.cfg.Data, "err", err)
		return nil
	}
	p.id.own.Store(&own)
	return nil
}

// checkAdmission says whether the registry's answer admits this node.
func (p *peer) checkAdmission(answer *cluster.Answer) (*cluster.Admission, error) {
	admission, err := p.id.trust.Admission(answer.Admission)
	if err != nil {
		return nil, fmt.Errorf("registry %s sent no valid admission: %w; is it of this release?", p.cfg.RS, err)
	}
	if admission.ID != p.host.ID() {
		return nil, fmt.Errorf("registry %s sent the admission of %s, this node is %s: register again, and tell its operator",
			p.cfg.RS, p2p.IDText(admission.ID), p2p.IDText(p.host.ID()))
	}
	return admission, nil
}

// keepAdmission stores an admission for the next start.
func (p *peer) keepAdmission(answer *cluster.Answer) error {
	return errors.Join(
		p.files.db.SetMeta(metaAdmission, cluster.Marshal(answer.Admission)),
		p.files.db.SetMeta(metaFirstSeen, cluster.Marshal(answer.FirstSeen)))
}

// readmit takes the admission of a later registration. One for another city is kept for the next life, and
// ends this one.
func (p *peer) readmit(answer *cluster.Answer) error {
	admission, err := p.checkAdmission(answer)
	if err != nil {
		return err
	}
	if err := p.keepAdmission(answer); err != nil {
		return err
	}
	if city := p.core.status.Load().City; admission.City != city {
		select {
		case p.moved <- admission.City:
		default:
		}
		return &movedError{from: city, to: admission.City}
	}
	p.id.own.Store(&answer.Admission)
	p.host.SetAdmission(answer.Admission)
	p.registered.Store(true)
	return nil
}

// row is this node as its head should know it.
func (p *peer) row(boot uint64) (cluster.Row, *cluster.Admission, error) {
	admission, err := p.id.trust.Admission(p.id.admission())
	if err != nil {
		return cluster.Row{}, nil, fmt.Errorf("own admission: %w", err)
	}
	var firstSeen int64
	if raw, err := p.files.db.Meta(metaFirstSeen); err == nil {
		if err := cluster.Unmarshal(raw, &firstSeen); err != nil {
			return cluster.Row{}, nil, fmt.Errorf("stored first-seen time: %w", err)
		}
	}
	age := time.Duration(0) // as long as nobody said when this node was first seen
	if firstSeen > 0 {
		age = time.Since(time.UnixMilli(firstSeen))
	}
	return cluster.Row{
		ID: p.host.ID(), Addrs: p.host.Addrs(), FirstSeen: firstSeen, Boot: boot, Admission: p.id.admission(),
		Priority: cluster.Priority{Reachable: true, Stability: cluster.StabilityBucket(age), Capacity: p.roles.vitals.capacity()},
	}, admission, nil
}

// assemble builds the machine and the roles. The boot number is durable before anybody hears it.
func (p *peer) assemble(hard cluster.HardState) error {
	hard.Boot = cluster.NextBoot(hard.Boot, time.Now().UnixMilli())
	if err := p.files.hard.Save(hard); err != nil {
		return err
	}
	p.roles.vitals = newVitals(dataDisk{p.cfg.Data}, p.cfg.Log)
	p.roles.vitals.first()
	row, admission, err := p.row(hard.Boot)
	if err != nil {
		return err
	}
	machine, err := cluster.New(cluster.Config{Network: p.id.network, City: admission.City, Registry: p.reg.peers[0].ID,
		MaxMembers: max(p.cfg.Members, cluster.DefaultMaxMembers)}, row, hard, cluster.SignerOf(p.id.key), newRand())
	if err != nil {
		return err
	}
	p.core = newCore(machine, p.files.hard, p.cfg.Log)
	if p.cfg.clock != nil {
		p.core.clock = p.cfg.clock
	}
	p.peers = newPeers(p.host, p.cfg.Log)
	p.core.send, p.core.call, p.core.event = p.peers.send, p.reg.call, p.event
	p.core.events, p.core.vitals = p.files.events, p.roles.vitals
	p.roles.vitals.timers = p.core.timers
	p.roles.vitals.tell = func(ctx context.Context, h cluster.Health) { p.core.put(ctx, h) }
	p.events = make(chan cluster.Event, eventQueue)
	p.buildRoles()
	p.reg.in = p.answered
	p.reg.admit = p.readmit
	p.registered.Store(p.answer != nil)
	p.reg.again, p.reg.anew = p.registerAgain, p.registerAnew
	return nil
}

// answered hands what the registry said to the machine. Where it answers, it takes results, too.
func (p *peer) answered(in cluster.Input) {
	if a, ok := in.(cluster.Answered); ok && a.Err == nil {
		nudge(p.roles.deliver.up.now)
	}
	p.core.put(context.Background(), in) // the loop's end ends it
}

func (p *peer) buildRoles() {
	var seq atomic.Uint64
	r := &p.roles
	db, log := p.files.db, p.cfg.Log
	r.dht = newDHTRole(p.host, p.id.trust, p.reg.peers, log)
	r.find = newFinder(p.core, p.host, r.dht)
	r.view = &viewer{core: p.core, host: p.host, find: r.find, trust: p.id.trust}
	r.respond = &responder{core: p.core, host: p.host, db: db, limits: p.cfg.Limits, bind: p.cfg.Bind,
		sign: p.id.sign, trust: p.id.trust, log: log, events: p.files.events}
	r.attest = newAttester(p.core, p.host, p.id.trust, p.busy, log)
	if p.cfg.attestLook > 0 {
		r.attest.look = p.cfg.attestLook
	}
	r.deliver = newDelivery(p.core, p.host, db, p.reg.peers, log)
	r.deliver.sign, r.deliver.vitals = p.id.sign, r.vitals
	p.core.move = r.deliver.send.move
	r.dht.learn = func(lead cluster.Signed) { p.core.put(context.Background(), cluster.Learned{Lead: lead}) }
	r.measure = &measurer{core: p.core, host: p.host, db: db, find: r.find, id: p.id,
		turn: semaphore.NewWeighted(tasksAtOnce), queue: make(chan struct{}, tasksWaiting), life: newLife(),
		seq: func() uint64 { return seq.Add(1) }, spool: r.deliver.wake,
		sessionStarter: sessionStarter{trust: p.id.trust, bind: p.cfg.Bind, sign: p.id.sign}}
}

// busy says that something is measured here at the moment, which traffic would disturb.
func (p *peer) busy() bool {
	return p.roles.respond.serving.Load() > 0 || len(p.roles.measure.queue) > 0
}

// registerAnew is what this node asks when it registers again although nothing is wrong.
func (p *peer) registerAnew() *cluster.Request {
	st := p.core.status.Load()
	return p.registerRequest(cluster.HardState{High: st.HighRaw, Cert: st.CertRaw})
}

// registerAgain is a request to register while this node has no head, or has never been answered. It says
// for how long there has been no head: where nobody is left to lead, the registry names another node.
func (p *peer) registerAgain() *cluster.Request {
	st := p.core.status.Load()
	if st.Role != cluster.RoleOrphan && p.registered.Load() {
		return nil
	}
	req := p.registerRequest(cluster.HardState{High: st.HighRaw, Cert: st.CertRaw})
	req.CutOffMs = uint64(st.CutOff.Milliseconds())
	return req
}
