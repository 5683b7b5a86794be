package registry

import (
	"crypto/ed25519"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
	"github.com/peerprobe/peerprobe/probe"
)

// field is a number of nodes, each said to be in a city and standing in one.
type field struct {
	ids            []cluster.ID
	said, standing []string
	light          *light
	nodes          map[cluster.ID]member
}

var fieldCities = map[string]locate.Coordinates{"changsha": {Lat: 28.2, Lon: 112.97}, "wuhan": {Lat: 30.58, Lon: 114.27},
	"beijing": {Lat: 39.9, Lon: 116.4}, "guangzhou": {Lat: 23.12, Lon: 113.25}}

func newField(said, standing []string) *field {
	f := &field{said: said, standing: standing, light: newLight(), nodes: make(map[cluster.ID]member)}
	f.light.at = func(c cluster.City) (locate.Coordinates, bool) { at, ok := fieldCities[string(c)]; return at, ok }
	for i, city := range said {
		seed := make([]byte, 32)
		seed[0], seed[1] = byte(i), byte(i>>8)
		id := cluster.IDOf(publicOf(ed25519.NewKeyFromSeed(seed)))
		f.ids = append(f.ids, id)
		f.nodes[id] = member{city: cluster.City(city), class: cluster.ClassOwn, observed: fmt.Sprintf("10.0.%d.1", i)}
	}
	return f
}

// measure has all measure all, at the speed of light and a tenth more.
func (f *field) measure(at time.Time) {
	for i := range f.ids {
		for j := range f.ids {
			if i != j {
				ms := 1.1*locate.LightMs(locate.Km(fieldCities[f.standing[i]], fieldCities[f.standing[j]])) + 0.05
				f.light.saw([]probe.Result{tripOf(f.ids[i], f.ids[j], ms, at)})
			}
		}
	}
}

func (f *field) judge() map[cluster.ID]mark {
	f.light.weigh(f.nodes)
	return f.light.marks
}

func tripOf(a, b cluster.ID, ms float64, at time.Time) probe.Result {
	return probe.Result{Started: at, Initiator: probe.End{Node: p2p.IDText(a)}, Target: probe.End{Node: p2p.IDText(b)},
		Path: probe.Path{Remote: "192.0.2.1:5000"}, Latency: &probe.Latency{RTT: probe.Summary{Min: &ms}}}
}

func TestLightBlamesTheOne(t *testing.T) {
	f := newField([]string{"changsha", "changsha", "changsha", "wuhan", "wuhan"}, []string{"changsha", "changsha", "changsha", "wuhan", "changsha"})
	f.measure(time.Now())
	changed := f.light.weigh(f.nodes)
	liar := f.ids[4]
	d := f.light.of(liar, "wuhan")
	if d == nil || d.State != DoubtBlamed || d.Peers != 3 {
		t.Fatalf("the liar: %+v", d)
	}
	if len(changed) != 1 {
		t.Errorf("%d nodes have to be told", len(changed))
	}
	for _, id := range f.ids[:4] {
		if d := f.light.of(id, f.nodes[id].city); d != nil {
			t.Errorf("an honest node of %s: %+v", f.nodes[id].city, d)
		}
	}
	if s := f.light.doubt(liar, "wuhan"); s != "disproved: too near to nodes of changsha" {
		t.Errorf("its admission says %q", s)
	}
	if s := f.light.doubt(liar, "changsha"); s != "" {
		t.Errorf("where it is moved to, its admission says %q", s)
	}
	if again := f.light.weigh(f.nodes); len(again) != 0 {
		t.Errorf("nothing is new, and %d have to be told", len(again))
	}
}

func TestLightNeedsThree(t *testing.T) {
	f := newField([]string{"changsha", "changsha", "wuhan"}, []string{"changsha", "changsha", "changsha"})
	f.measure(time.Now())
	f.light.weigh(f.nodes)
	for _, id := range f.ids {
		if d := f.light.of(id, f.nodes[id].city); d == nil || d.State != DoubtOne {
			t.Errorf("with two against one: %+v", d)
		}
	}
	// Three against three: who is right is open.
	f = newField([]string{"changsha", "changsha", "changsha", "wuhan", "wuhan", "wuhan"}, []string{"changsha", "changsha", "changsha", "changsha", "changsha", "changsha"})
	f.measure(time.Now())
	f.light.weigh(f.nodes)
	for _, id := range f.ids {
		if d := f.light.of(id, f.nodes[id].city); d == nil || d.State != DoubtOne {
			t.Errorf("with three against three: %+v", d)
		}
	}
	// Guests of one network are one witness.
	f = newField([]string{"changsha", "changsha", "changsha", "wuhan"}, []string{"changsha", "changsha", "changsha", "changsha"})
	for i, id := range f.ids[:3] {
		m := f.nodes[id]
		m.class, m.observed = cluster.ClassGuest, fmt.Sprintf("198.51.100.%d", i)
		f.nodes[id] = m
	}
	f.measure(time.Now())
	f.light.weigh(f.nodes)
	if d := f.light.of(f.ids[3], "wuhan"); d == nil || d.State != DoubtOne {
		t.Errorf("three guests of one network: %+v", d)
	}
}

func TestLightForgetsAndIgnores(t *testing.T) {
	f := newField([]string{"changsha", "wuhan"}, []string{"changsha", "changsha"})
	f.measure(time.Now().Add(-2 * lightWindow))
	if marks := f.judge(); len(marks) != 0 {
		t.Errorf("old round trips count: %v", marks)
	}
	loop := tripOf(f.ids[0], f.ids[1], 0.1, time.Now())
	loop.Path.Remote = "127.61.187.2:5000"
	nan, negative := tripOf(f.ids[0], f.ids[1], -1, time.Now()), tripOf(f.ids[0], f.ids[0], 0.1, time.Now())
	none := tripOf(f.ids[0], f.ids[1], 0.1, time.Now())
	none.Latency = nil
	f.light.saw([]probe.Result{loop, nan, negative, none, {Latency: &probe.Latency{}}})
	if marks := f.judge(); len(marks) != 0 {
		t.Errorf("one host with itself, or nothing measured: %v", marks)
	}
	f.light.saw([]probe.Result{tripOf(f.ids[0], f.ids[1], 1.95, time.Now())}) // 2.93 less the slack
	if marks := f.judge(); len(marks) != 0 {
		t.Errorf("within the slack: %v", marks)
	}
	f.light.saw([]probe.Result{tripOf(f.ids[0], f.ids[1], 1.9, time.Now())})
	if marks := f.judge(); len(marks) != 2 {
		t.Errorf("faster than light: %v", marks)
	}
}

// A result of the year 2200 is forgotten after a day, too.
func TestLightForgetsTheFuture(t *testing.T) {
	f := newField([]string{"changsha", "wuhan"}, []string{"changsha", "changsha"})
	f.measure(time.Now().AddDate(174, 0, 0))
	if marks := f.judge(); len(marks) != 2 {
		t.Fatalf("%+v", marks)
	}
	trips := make(map[pair]trip)
	for _, key := range f.light.trips.Keys() {
		trips[key], _ = f.light.trips.Peek(key)
	}
	if marks := f.light.judge(trips, f.nodes, time.Now().Add(lightWindow+time.Minute)); len(marks) != 0 {
		t.Errorf("a day later: %+v", marks)
	}
}

// Where the honest are many enough in every city, exactly the liars are blamed: nobody honest ever is, and a liar is
// when he stands in the city of three honest nodes or more.
func TestLightNeverBlamesTheHonest(t *testing.T) {
	names := []string{"changsha", "wuhan", "beijing", "guangzhou"}
	rapid.Check(t, func(rt *rapid.T) {
		honest := rapid.IntRange(4, 8).Draw(rt, "honest in each city")
		var said, standing []string
		for _, c := range names {
			for range honest {
				said, standing = append(said, c), append(standing, c)
			}
		}
		liars := rapid.IntRange(0, min(3, honest-1)).Draw(rt, "liars")
		for range liars {
			s := rapid.IntRange(0, 3).Draw(rt, "said")
			said = append(said, names[s])
			standing = append(standing, names[(s+rapid.IntRange(1, 3).Draw(rt, "away"))%4])
		}
		f := newField(said, standing)
		f.measure(time.Now())
		f.light.weigh(f.nodes)
		for i, id := range f.ids {
			d := f.light.of(id, f.nodes[id].city)
			blamed := d != nil && d.State == DoubtBlamed
			if lies := said[i] != standing[i]; blamed != lies {
				rt.Fatalf("said %s, standing in %s: %+v", said[i], standing[i], d)
			}
		}
	})
}

// Two that speak against each other with equal weight, three voices each: without the other's, two are too few.
func TestLightTies(t *testing.T) {
	says := make(map[cluster.ID][]against)
	oppose := func(a, b cluster.ID) {
		says[a], says[b] = append(says[a], against{peer: b}), append(says[b], against{peer: a})
	}
	oppose("a", "b")
	for _, p := range []cluster.ID{"p1", "p2"} {
		oppose("a", p)
	}
	for _, p := range []cluster.ID{"p3", "p4"} {
		oppose("b", p)
	}
	self := func(id cluster.ID) string { return string(id) }
	for id, blamed := range blame(says, self) {
		if blamed {
			t.Errorf("%s is blamed by two", id)
		}
	}
	oppose("a", "p5")
	oppose("b", "p6")
	if b := blame(says, self); !b["a"] || !b["b"] || b["p1"] || b["p6"] {
		t.Errorf("with three others against each: %v", b)
	}
}

// Marks come out of delivered results, and are in the list of nodes and in the next admission.
func TestLightFromResultsToAdmission(t *testing.T) {
	cfg := testConfig(t)
	cfg.GeoMapText = "127.61.187.0/24 changsha\n127.61.183.0/24 wuhan\n"
	r := start(t, cfg)
	head := r.join("127.61.187.2")
	_, lead := head.becomeHead()
	far := r.join("127.61.183.2")
	far.register(cluster.Request{})
	peers := []*client{head, r.join("127.61.187.3"), r.join("127.61.187.4")}
	var results []probe.Result
	for i, c := range peers {
		if i > 0 {
			c.register(cluster.Request{})
		}
		ms := 0.3
		res := c.result(1, time.Now())
		res.Target.Node, res.Path.Remote, res.Latency.RTT.Min = p2p.IDText(far.id()), "192.0.2.1:5000", &ms
		results = append(results, res)
	}
	ack, err := head.deliver(head.batch(lead, results...))
	if err != nil || ack.Error != nil || ack.Added != 3 {
		t.Fatalf("delivered: %+v, %v", ack, err)
	}
	told := r.srv.places.light.weigh(r.srv.roster.all())
	if _, ok := told[far.id()]; !ok || len(told) != 1 {
		t.Errorf("%d nodes are to be told", len(told))
	}
	list, err := r.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range list {
		switch d := n.Where.Doubt; {
		case n.ID == p2p.IDText(far.id()) && (d == nil || d.State != DoubtBlamed || d.Peers != 3):
			t.Errorf("the node that is elsewhere: %+v", d)
		case n.ID != p2p.IDText(far.id()) && d != nil:
			t.Errorf("another: %+v", d)
		}
	}
	far.register(cluster.Request{})
	if a, err := far.net.Admission(far.adm); err != nil || a.About == nil || a.About.Doubt != "disproved: too near to nodes of changsha" {
		t.Errorf("its admission: %+v, %v", a, err)
	}
}
