package probe

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParamsValidate(t *testing.T) {
	if err := DefaultParams().Validate(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		want   string
		change func(*Params)
	}{
		{"count is 0", func(p *Params) { p.Count = 0 }},
		{"count is -3", func(p *Params) { p.Count = -3 }},
		{"count is 10000000", func(p *Params) { p.Count = 10_000_000 }},
		{"interval is -1s", func(p *Params) { p.Interval = -time.Second }},
		{"interval is 0s", func(p *Params) { p.Interval = 0 }},
		{"interval is 2h", func(p *Params) { p.Interval = 2 * time.Hour }},
		{"size is 64", func(p *Params) { p.Size = 64 }},
		{"size is 70000", func(p *Params) { p.Size = 70_000 }},
		{"timeout is 0s", func(p *Params) { p.Timeout = 0 }},
		{"timeout is 2h", func(p *Params) { p.Timeout = 2 * time.Hour }},
	} {
		p := DefaultParams()
		tt.change(&p)
		if err := p.Validate(); !errors.Is(err, ErrParams) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q expected, got %v", tt.want, err)
		}
	}
}

func TestLimitsValidate(t *testing.T) {
	if err := DefaultLimits().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Limits){
		func(l *Limits) { l.MaxCount = 0 }, func(l *Limits) { l.MinInterval = 0 },
		func(l *Limits) { l.MaxSize = MinSize - 1 }, func(l *Limits) { l.MaxDuration = 0 },
		func(l *Limits) { l.MaxTimeout = -1 },
	} {
		l := DefaultLimits()
		change(&l)
		if err := l.Validate(); !errors.Is(err, ErrParams) {
			t.Errorf("change %d: %v", i, err)
		}
	}
}

func TestGrant(t *testing.T) {
	l := Limits{MaxCount: 100, MinInterval: 10 * msec, MaxSize: 500, MaxDuration: 2 * time.Second, MaxTimeout: time.Second}
	for _, tt := range []struct {
		name      string
		ask, want Params
		said      int
	}{
		{"as asked", Params{10, 20 * msec, 200, time.Second, true}, Params{10, 20 * msec, 200, time.Second, true}, 0},
		{"too many", Params{1000, 10 * msec, 200, time.Second, false}, Params{100, 10 * msec, 200, time.Second, false}, 1},
		{"too fast and too many", Params{1000, msec, 200, time.Second, false}, Params{100, 10 * msec, 200, time.Second, false}, 2},
		{"too long", Params{100, 100 * msec, 200, time.Second, false}, Params{20, 100 * msec, 200, time.Second, false}, 1},
		{"too slow", Params{5, time.Minute, 200, time.Second, false}, Params{1, 2 * time.Second, 200, time.Second, false}, 2},
		{"too big, too patient", Params{5, 20 * msec, 9000, time.Minute, false}, Params{5, 20 * msec, 500, time.Second, false}, 2},
		{"no room for the cookie", Params{5, 20 * msec, 112, time.Second, false}, Params{5, 20 * msec, MinSize, time.Second, false}, 1},
	} {
		got, said := tt.ask.Grant(l)
		if got != tt.want || len(said) != tt.said {
			t.Errorf("%s: granted %+v\n want %+v, said %q", tt.name, got, tt.want, said)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if again, said := got.Grant(l); again != got || len(said) != 0 {
			t.Errorf("%s: granted again it changes: %q", tt.name, said)
		}
	}
}

func TestTooManySamples(t *testing.T) {
	l := Limits{MaxCount: maxCount, MinInterval: time.Microsecond, MaxSize: 500, MaxDuration: time.Hour, MaxTimeout: time.Second}
	p := Params{Count: maxSamples, Interval: msec, Size: MinSize, Timeout: time.Second, KeepSamples: true}
	if got, _ := p.Grant(l); !got.KeepSamples {
		t.Error("samples refused that fit")
	}
	p.Count++
	if got, said := p.Grant(l); got.KeepSamples || len(said) != 1 {
		t.Errorf("granted %+v, said %q", got, said)
	}
}

func TestParamsJSON(t *testing.T) {
	p := Params{Count: 3, Interval: 1500 * time.Microsecond, Size: 172, Timeout: 2 * time.Second, KeepSamples: true}
	b, err := json.Marshal(p)
	if err != nil || string(b) != `{"count":3,"intervalMs":1.5,"size":172,"timeoutMs":2000,"keepSamples":true}` {
		t.Fatalf("%s, %v", b, err)
	}
	var q Params
	if err := json.Unmarshal(b, &q); err != nil || q != p {
		t.Fatalf("%+v, %v", q, err)
	}
	if err := json.Unmarshal([]byte(`{"intervalMs":1e300}`), &q); !errors.Is(err, ErrParams) {
		t.Errorf("1e300 ms: %v", err)
	}
}

func TestKey(t *testing.T) {
	k := Key{"12D3KooWtest", 3, 18446744073709551615}
	if got, err := ParseKey(k.String()); err != nil || got != k {
		t.Fatalf("%v, %v", got, err)
	}
	for _, s := range []string{"", ".", "a.1", "a.1.2.3", ".1.2", "a.-1.2", "a.01.2", "a.+1.2", "a.1.18446744073709551616", "a.1.x"} {
		if k, err := ParseKey(s); !errors.Is(err, ErrBadKey) {
			t.Errorf("%q parsed as %v, %v", s, k, err)
		}
	}
	keys := []Key{{"b", 0, 0}, {"a", 2, 0}, {"a", 1, 9}, {"a", 1, 2}}
	slices.SortFunc(keys, Key.Compare)
	if !slices.Equal(keys, []Key{{"a", 1, 2}, {"a", 1, 9}, {"a", 2, 0}, {"b", 0, 0}}) {
		t.Errorf("order %v", keys)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add("node.1.2")
	f.Fuzz(func(t *testing.T, s string) {
		if k, err := ParseKey(s); err == nil && k.String() != s {
			t.Fatalf("%q came back as %q", s, k)
		}
	})
}

func TestTools(t *testing.T) {
	list := Tools()
	if len(list) != len(tools) || !slices.IsSortedFunc(list, func(a, b Tool) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d tools of %d", len(list), len(tools))
	}
	for _, tool := range list {
		got, ok := ToolByName(tool.Name)
		if !ok || got.Name != tool.Name || tool.Version == "" || tool.Summary == "" || tool.Run == nil || tool.Respond == nil {
			t.Errorf("tool %q is not complete", tool.Name)
		}
	}
	if _, ok := ToolByName("teleport"); ok {
		t.Error("a tool that does not exist was found")
	}
}
