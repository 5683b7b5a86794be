package storetest

import (
	"cmp"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

func testTable(t *testing.T, r Registry) {
	empty, err := r.State()
	must(t, err)
	equal(t, "empty", empty, cluster.TableState{})
	city := func(name cluster.City, n int) cluster.CityState {
		return cluster.CityState{City: name, Cert: Signed(n), Lead: Signed(n + 1), Leads: []cluster.Signed{Signed(n + 2), Signed(n + 3)}, Heard: int64(n),
			History: []cluster.HeadChange{{Term: cluster.Term{Epoch: uint64(n)}, Head: ID(n), At: 5, Reason: "first"}}}
	}
	must(t, r.Apply(cluster.Changes{Nodes: []cluster.NodeState{NodeState(1), NodeState(2)}, Cities: []cluster.CityState{city("wuhan", 1)}}))
	must(t, r.Apply(cluster.Changes{}))
	seen := NodeState(2)
	seen.LastSeen += 1000
	must(t, r.Apply(cluster.Changes{Nodes: []cluster.NodeState{seen}, Cities: []cluster.CityState{city("wuhan", 2), city("changsha", 3)}, Barred: Signed(9)}))
	must(t, r.Apply(cluster.Changes{Nodes: []cluster.NodeState{NodeState(3)}})) // an empty list of barred changes nothing
	want := cluster.TableState{
		Nodes:  []cluster.NodeState{NodeState(1), seen, NodeState(3)},
		Cities: []cluster.CityState{city("changsha", 3), city("wuhan", 2)},
		Barred: Signed(9),
	}
	slices.SortFunc(want.Nodes, func(a, b cluster.NodeState) int { return cmp.Compare(a.ID, b.ID) })
	got, err := r.State()
	must(t, err)
	equal(t, "state", got, want)
	for _, bad := range []cluster.Changes{{Nodes: []cluster.NodeState{NodeState(4), {}}}, {Nodes: []cluster.NodeState{NodeState(4)}, Cities: []cluster.CityState{{}}}} {
		if err := r.Apply(bad); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("without a name: %v", err)
		}
	}
	again, err := r.State()
	must(t, err)
	equal(t, "state after refused changes", again, want)
}

func testTokens(t *testing.T, r Registry) {
	hash := store.TokenHash("secret")
	now := Start.UnixMilli()
	if err := r.UseToken(hash, ID(1), now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown token: %v", err)
	}
	if _, err := r.Token(hash); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown token: %v", err)
	}
	tok := store.Token{Hash: hash, Label: "lab", Class: cluster.ClassGuest, City: "wuhan", Uses: 2, Created: Start, Expires: Start.Add(time.Hour)}
	must(t, r.PutToken(tok))
	got, err := r.Token(hash)
	must(t, err)
	equal(t, "token", got, tok)
	for _, step := range []struct {
		id   int
		at   time.Duration
		want error
	}{
		{1, 0, nil}, {1, 0, nil}, {2, 59 * time.Minute, nil},
		{3, 59 * time.Minute, store.ErrTokenUsed}, {3, 2 * time.Hour, store.ErrTokenExpired},
		{1, 2 * time.Hour, nil}, // bound before
	} {
		if err := r.UseToken(hash, ID(step.id), now+step.at.Milliseconds()); !errors.Is(err, step.want) || (err == nil) != (step.want == nil) {
			t.Errorf("node %d after %v: %v, want %v", step.id, step.at, err, step.want)
		}
	}
	tok.Revoked = true
	must(t, r.PutToken(tok)) // its uses are kept
	got, err = r.Token(hash)
	must(t, err)
	if got.Used != 2 || !got.Revoked {
		t.Errorf("after revoking: %+v", got)
	}
	if err := r.UseToken(hash, ID(1), now); !errors.Is(err, store.ErrTokenRevoked) {
		t.Errorf("revoked: %v", err)
	}
	exact := store.Token{Hash: store.TokenHash("other"), Uses: 1, Expires: Start}
	must(t, r.PutToken(exact))
	if err := r.UseToken(exact.Hash, ID(1), now); !errors.Is(err, store.ErrTokenExpired) {
		t.Errorf("at the moment of expiry: %v", err)
	}
	if all, err := r.Tokens(); err != nil || len(all) != 2 {
		t.Errorf("tokens: %d, %v", len(all), err)
	}
	for _, bad := range []store.Token{{Hash: hash}, {Uses: 1}, {Hash: hash, Uses: store.MaxTokenUses + 1}} {
		if err := r.PutToken(bad); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// testTokenRace: a hundred nodes with one token; it admits as many as it says.
func testTokenRace(t *testing.T, r Registry) {
	hash := store.TokenHash("shared")
	must(t, r.PutToken(store.Token{Hash: hash, Uses: 5}))
	var admitted atomic.Int32
	var wg sync.WaitGroup
	for n := range 100 {
		wg.Go(func() {
			switch err := r.UseToken(hash, ID(n), Start.UnixMilli()); {
			case err == nil:
				admitted.Add(1)
			case !errors.Is(err, store.ErrTokenUsed):
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if admitted.Load() != 5 {
		t.Errorf("%d admitted", admitted.Load())
	}
}

func testIngest(t *testing.T, r Registry) {
	ingest := func(rs []probe.Result, added, dup int) {
		t.Helper()
		a, d, err := r.Ingest(ID(1), rs)
		if err != nil || a != added || d != dup {
			t.Errorf("added %d, dup %d, %v; want %d, %d", a, d, err, added, dup)
		}
	}
	ingest(nil, 0, 0)
	ingest(Results(0, 100), 100, 0)
	ingest(Results(0, 100), 0, 100)
	ingest(Results(50, 150), 50, 50)
	ingest(append(Results(150, 160), Results(150, 160)...), 10, 10)
	far := Result(1)
	far.Key.Seq = 1<<64 - 1
	ingest([]probe.Result{far}, 1, 0)
	ingest([]probe.Result{far, Result(1)}, 0, 2)
	for key, want := range map[probe.Key]bool{Result(0).Key: true, far.Key: true, Result(160).Key: false} {
		if seen, err := r.Seen(key); err != nil || seen != want {
			t.Errorf("%s seen: %v, %v", key, seen, err)
		}
	}
	other := Result(0)
	other.Key.Boot++
	ingest([]probe.Result{other}, 1, 0)
	long := Result(200)
	long.Samples = make([]probe.Sample, 10)
	long.Sig.Initiator, long.Sig.Target, long.Sig.TicketHash = []byte{1}, []byte{2}, []byte{3}
	ingest([]probe.Result{long}, 1, 0)
	page, err := r.Results(store.Query{Limit: 1})
	must(t, err)
	equal(t, "samples and originals are not kept", page.Results, []probe.Result{Result(200)})
}

// testIngestRace: the same results from several heads at once count once.
func testIngestRace(t *testing.T, r Registry) {
	var added atomic.Int64
	var wg sync.WaitGroup
	for worker := range 6 {
		wg.Go(func() {
			for step := range 10 {
				a, _, err := r.Ingest(ID(worker), Results(step*20, step*20+60))
				if err != nil {
					t.Error(err)
				}
				added.Add(int64(a))
				if _, err := r.Results(store.Query{Limit: 3}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if added.Load() != 240 {
		t.Errorf("added %d, want 240", added.Load())
	}
	page, err := r.Results(store.Query{Limit: store.MaxLimit})
	must(t, err)
	if len(page.Results) != 240 || page.Next != "" {
		t.Errorf("%d results", len(page.Results))
	}
}

// testWrongClocks: results of clocks gone wrong are kept, found, and counted once.
func testWrongClocks(t *testing.T, r Registry) {
	var rs []probe.Result
	for n, started := range []time.Time{{}, time.Unix(0, 1).UTC(), time.Date(2019, 12, 31, 0, 0, 0, 0, time.UTC), Start,
		time.Now().Add(240 * time.Hour).UTC(), time.Date(2250, 1, 1, 0, 0, 0, 0, time.UTC)} {
		one := Result(n)
		one.Started = started
		rs = append(rs, one)
	}
	for _, want := range []int{6, 0} {
		if added, _, err := r.Ingest(ID(1), rs); err != nil || added != want {
			t.Errorf("added %d, %v; want %d", added, err, want)
		}
	}
	var got int
	q := store.Query{Limit: 1}
	for {
		page, err := r.Results(q)
		must(t, err)
		got += len(page.Results)
		if q.After = page.Next; q.After == "" || got > 6 {
			break
		}
	}
	if got != 6 {
		t.Errorf("found %d of 6", got)
	}
	page, err := r.Results(store.Query{From: Start.Add(-time.Hour), To: Start.Add(time.Hour)})
	must(t, err)
	if len(page.Results) != 1 || !page.Results[0].Started.Equal(Start) {
		t.Errorf("around start: %d results", len(page.Results))
	}
}

func testRetainDays(t *testing.T, r Registry) {
	results := Results(0, 4000) // five days
	_, _, err := r.Ingest(ID(1), results)
	must(t, err)
	removed, err := r.Retain(Start.Truncate(24*time.Hour).AddDate(0, 0, 2).Add(time.Hour))
	must(t, err)
	if removed != 2 {
		t.Errorf("removed %d days", removed)
	}
	page, err := r.Results(store.Query{To: Start.Truncate(24*time.Hour).AddDate(0, 0, 2), Limit: 1})
	must(t, err)
	if len(page.Results) != 0 {
		t.Errorf("results of a removed day: %+v", page.Results)
	}
	if page, err = r.Results(store.Query{}); err != nil || len(page.Results) != store.DefaultLimit {
		t.Errorf("the others: %d, %v", len(page.Results), err)
	}
	if added, dup, err := r.Ingest(ID(1), results[:200]); err != nil || added != 0 || dup != 200 {
		t.Errorf("a removed result came again: %d, %d, %v", added, dup, err)
	}
}

func testIngestRefused(t *testing.T, r Registry) {
	bad := Result(1)
	bad.Key.Node = ""
	text := Result(2)
	text.Target.City = "\xff"
	for name, rs := range map[string][]probe.Result{"key": {Result(0), bad}, "text": {Result(0), text}, "many": make([]probe.Result, store.MaxBatchRows+1)} {
		if added, _, err := r.Ingest(ID(1), rs); err == nil || added != 0 {
			t.Errorf("%s: added %d, %v", name, added, err)
		}
	}
	if _, _, err := r.Ingest("", Results(0, 1)); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("from nobody: %v", err)
	}
	if page, err := r.Results(store.Query{}); err != nil || len(page.Results) != 0 {
		t.Errorf("half of a refused batch was stored: %d, %v", len(page.Results), err)
	}
	if added, _, err := r.Ingest(ID(1), Results(0, 1)); err != nil || added != 1 {
		t.Errorf("then: %d, %v", added, err)
	}
}
