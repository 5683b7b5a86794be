package registry

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
)

func testID(t testing.TB) cluster.ID { return cluster.IDOf(publicOf(newKey(t))) }

func TestParseOverrides(t *testing.T) {
	id := testID(t)
	o, err := parseOverrides(strings.NewReader("\ufeff# ours\r\n"+p2p.IDText(id)+"\t武汉 # moved\n10.0.0.0/8 changsha\n10.1.0.0/16  São Paulo\n2001:db8::1 wuhan\n"), locate.Locator{})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		id   cluster.ID
		addr string
		city string
	}{
		{id, "10.1.2.3", "wuhan"}, {"", "10.2.0.1", "changsha"}, {"", "10.1.0.1", "sao-paulo"}, {"", "2001:db8::1", "wuhan"}, {"", "8.8.8.8", ""},
	} {
		if city, why, ok := o.find(tt.id, netip.MustParseAddr(tt.addr)); city != tt.city || ok != (tt.city != "") || ok && why == "" {
			t.Errorf("%s: %q, %q", tt.addr, city, why)
		}
	}
	for text, want := range map[string]string{
		"10.0.0.0/8 wuhn":                       "line 1: bad override of a place: no city is known as \"wuhn\": did you mean wuhan",
		"\n\n10.0.0.0/8":                        "line 3: bad override of a place: \"10.0.0.0/8\" has no city",
		"somebody wuhan":                        "neither the id of a node",
		"10.0.0.0/8 lab-a":                      "a place of your own has to stand in the --geo-map",
		"10.0.0.0/8 \xff":                       "has no city",
		"10.0.0.1/8 wuhan":                      "is 10.0.0.0/8 meant",
		"10.0.0.0/8 wuhan\n10.0.0.0/8 changsha": "line 2",
		p2p.IDText(id) + " wuhan\n" + p2p.IDText(id) + " changsha": "given to wuhan above",
		"10.0.0.0/8 cn-unknown": "nodes that nothing places",
		strings.Repeat("#\n", 3) + "10.0.0.0/8 " + strings.Repeat("x", 5000): "line 4",
	} {
		if _, err := parseOverrides(strings.NewReader(text), locate.Locator{}); !errors.Is(err, ErrOverride) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
	m, err := locate.ParseMap(strings.NewReader("- lab-a"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parseOverrides(strings.NewReader("10.0.0.0/8 lab-a"), locate.Locator{Map: m}); err != nil {
		t.Errorf("a place that the map names: %v", err)
	}
}

func FuzzParseOverrides(f *testing.F) {
	f.Add("10.0.0.0/8 wuhan\n12D3KooWGRUQQmvTNaJqkzDkGrEZ8zHrVPYmUEh1ZJbdHxBHVxGz changsha")
	f.Add("\ufeff# x\n::ffff:1.2.3.4 x\t")
	f.Fuzz(func(t *testing.T, text string) {
		o, err := parseOverrides(strings.NewReader(text), locate.Locator{})
		if err != nil {
			if !errors.Is(err, ErrOverride) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		for id, city := range o.nodes {
			if city == "" || p2p.IDText(id) == "" {
				t.Fatalf("%q: %q is in %q", text, id, city)
			}
		}
	})
}

func TestSetOverride(t *testing.T) {
	dir, id := t.TempDir(), p2p.IDText(testID(t))
	for _, step := range []struct{ what, city, want string }{
		{id, "武汉", "wuhan"}, {"10.0.0.0/8", "changsha", "changsha"}, {id, "changsha", "changsha"}, {"10.0.0.0/8", "", ""},
	} {
		if o, err := SetOverride(dir, step.what, step.city, false); err != nil || o.City != step.want {
			t.Fatalf("%+v: %+v, %v", step, o, err)
		}
	}
	list, err := ReadOverrides(dir)
	if err != nil || len(list) != 1 || list[0] != (Override{id, "changsha"}) {
		t.Errorf("left are %v, %v", list, err)
	}
	for _, bad := range []struct{ what, city string }{{"nobody", "wuhan"}, {id, "wuhn"}, {"10.0.0.0/8", ""}, {"10.9.9.9/8", "wuhan"}} {
		if _, err := SetOverride(dir, bad.what, bad.city, false); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	// What people wrote beside it stays.
	path := filepath.Join(dir, overridesFile)
	if err := os.WriteFile(path, []byte("# racks\n10.3.0.0/16 wuhan # rack 7\n10.4.0.0/16 lab-b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ what, city string }{{"10.5.0.0/16", "wuhan"}, {"10.5.0.0/16", "changsha"}, {"10.4.0.0/16", ""}} {
		if _, err := SetOverride(dir, step.what, step.city, false); err != nil {
			t.Fatalf("%+v: %v", step, err)
		}
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "# racks\n10.3.0.0/16 wuhan # rack 7\n10.5.0.0/16 changsha\n" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := SetOverride(dir, "10.3.0.0/16", "", false); err != nil {
		t.Error(err)
	}
	if _, err := SetOverride(dir, id, "lab-a", true); err != nil {
		t.Errorf("a place of one's own: %v", err)
	}
	info, err := os.Stat(filepath.Join(dir, overridesFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}

// What a node declares, what its address says and what decided are kept and shown.
func TestEvidenceIsShown(t *testing.T) {
	r := start(t, testConfig(t))
	r.join("127.61.183.9").register(cluster.Request{City: "长沙"})
	r.join("127.0.0.5").register(cluster.Request{City: "changsha"})
	r.join("127.0.0.6").register(cluster.Request{City: "wuhn"})
	list, err := r.Nodes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]Where)
	for _, n := range list {
		got[n.IP] = n.Where
	}
	if w := got["127.61.183.9"]; w.Source != "map" || w.Observed != "wuhan" || w.Declared != "changsha" || !w.Conflict || !strings.Contains(w.Note, "observed beats declared") {
		t.Errorf("in conflict: %+v", w)
	}
	if w := got["127.0.0.5"]; w.Source != "declared" || w.Observed != "" || w.Conflict || w.Note != "" {
		t.Errorf("declared: %+v", w)
	}
	if w := got["127.0.0.6"]; w.Source != "none" || !strings.Contains(w.Note, "did you mean wuhan") {
		t.Errorf("misspelt: %+v", w)
	}
	for _, n := range list {
		if n.IP == "127.61.183.9" && n.Country != "CN" {
			t.Errorf("its country is %q", n.Country)
		}
		if n.IP == "127.0.0.6" && !strings.Contains(n.Place, "did you mean wuhan") {
			t.Errorf("its place is %q", n.Place)
		}
	}
}

// A changed map counts after Reload, a broken one does not, and nodes are recalled.
func TestReloadRecalls(t *testing.T) {
	cfg := testConfig(t)
	cfg.GeoMapText = ""
	cfg.GeoMap = filepath.Join(t.TempDir(), "map")
	write := func(text string) {
		t.Helper()
		if err := errors.Join(os.WriteFile(cfg.GeoMap+".new", []byte(text), 0o600), os.Rename(cfg.GeoMap+".new", cfg.GeoMap)); err != nil {
			t.Fatal(err)
		}
	}
	write("127.0.0.0/8 changsha\n")
	r := start(t, cfg)
	c := r.join("127.0.0.9")
	recalled := make(chan cluster.ID, 1)
	c.host.Handle(p2p.ProtoRecall, p2p.HandleOptions{MaxFrame: p2p.RecallFrame}, func(_ context.Context, from p2p.Remote, s *p2p.Stream) error {
		var msg p2p.RecallMsg
		if err := s.ReadMsg(&msg); err != nil {
			return err
		}
		recalled <- from.ID
		return s.WriteMsg(&msg)
	})
	c.register(cluster.Request{})
	write("127.0.0.0/8 wuhn\n")
	r.Reload()
	write("127.0.0.0/8 wuhan\n")
	r.Reload() // the first may have been read already, or not: both are right
	var from cluster.ID
	for from == "" {
		select {
		case from = <-recalled:
		case <-time.After(100 * time.Millisecond):
			r.Reload()
		case <-t.Context().Done():
			t.Fatal("not recalled")
		}
	}
	if from != r.Info().ID {
		t.Errorf("recalled by %s", from.Short())
	}
	c.register(cluster.Request{})
	if c.city() != "wuhan" {
		t.Errorf("placed in %s", c.city())
	}
}

func TestDualStackByIPv4(t *testing.T) {
	p, err := openPlaces(Config{Data: t.TempDir(), GeoMapText: "203.0.113.0/24 wuhan\n2001:db8::/32 changsha\n"})
	if err != nil {
		t.Fatal(err)
	}
	id, now := testID(t), time.Now().UnixMilli()
	v4, v6 := netip.MustParseAddr("203.0.113.7"), netip.MustParseAddr("2001:db8::7")
	a, raw := p.place(now, id, v6, "", nil)
	if a.City != "changsha" {
		t.Errorf("IPv6 alone: %s", a.City)
	}
	if a, raw = p.place(now, id, v4, "", raw); a.City != "wuhan" {
		t.Errorf("IPv4: %s", a.City)
	}
	if a, raw = p.place(now+1000, id, v6, "", raw); a.City != "wuhan" {
		t.Errorf("IPv6 after IPv4: %s", a.City)
	}
	if a, _ = p.place(now+ipv4Kept.Milliseconds()+1, id, v6, "", raw); a.City != "changsha" {
		t.Errorf("IPv6 long after IPv4: %s", a.City)
	}
	if a, _ = p.place(now, id, netip.MustParseAddr("::ffff:203.0.113.7"), "", nil); a.City != "wuhan" {
		t.Errorf("mapped IPv4: %s", a.City)
	}
	if a, _ = p.place(now, id, v4, strings.Repeat("x", 1<<16), []byte("garbage")); a.City != "wuhan" {
		t.Errorf("with garbage: %s", a.City)
	}
}

// Results that a node handed to the head of its former city are taken in from there after it was moved.
func TestResultsOfMovedNode(t *testing.T) {
	cfg := testConfig(t)
	r := start(t, cfg)
	head, member := r.join("127.61.187.2"), r.join("127.61.187.3")
	_, lead := head.becomeHead()
	member.register(cluster.Request{})
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	batch := head.batch(lead, member.result(1, at))
	if _, err := SetOverride(cfg.Data, p2p.IDText(member.id()), "wuhan", false); err != nil {
		t.Fatal(err)
	}
	for member.city() != "wuhan" { // the registry looks every two seconds
		member.register(cluster.Request{})
	}
	ack, err := head.deliver(batch)
	if err != nil || ack.Error != nil || ack.Added != 1 {
		t.Errorf("delivered: %+v, %v", ack, err)
	}
	stranger := r.join("127.61.183.8")
	stranger.register(cluster.Request{})
	ack, err = head.deliver(head.batch(lead, stranger.result(1, at)))
	if err != nil || ack.Error == nil || ack.Error.Code != codeInvalid {
		t.Errorf("of a node that was never here: %+v, %v", ack, err)
	}
	list, err := r.Nodes(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(n Node) bool { return n.ID == p2p.IDText(member.id()) })
	if i < 0 || list[i].City != "wuhan" || list[i].Where.Source != "operator" || list[i].Where.Observed != "changsha" {
		t.Errorf("the moved node: %+v", list)
	}
}
