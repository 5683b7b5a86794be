package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/probe"
	"github.com/peerprobe/peerprobe/store"
)

func testMeta(t *testing.T, s Common) {
	if _, err := s.Meta("network"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("unknown setting: %v", err)
	}
	value := []byte("one")
	must(t, s.SetMeta("network", value))
	value[0] = 'X' // the store has its own copy
	got, err := s.Meta("network")
	if err != nil || string(got) != "one" {
		t.Errorf("got %q, %v", got, err)
	}
	must(t, s.SetMeta("network", nil))
	if got, err := s.Meta("network"); err != nil || len(got) != 0 {
		t.Errorf("empty setting: %q, %v", got, err)
	}
	for _, key := range []string{"", ".schema", strings.Repeat("x", 1000)} {
		if err := s.SetMeta(key, []byte("x")); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("setting %.10q: %v", key, err)
		}
		if _, err := s.Meta(key); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("reading %.10q: %v", key, err)
		}
	}
	if err := s.SetMeta("big", make([]byte, 3<<20)); !errors.Is(err, store.ErrTooLarge) {
		t.Errorf("3 MiB: %v", err)
	}
}

func testAudit(t *testing.T, s Common) {
	for n := range 5 {
		must(t, s.Audit(store.AuditEntry{At: Start.Add(time.Duration(n) * time.Second), Actor: "cli", Action: "measure", Object: fmt.Sprint(n), Answer: "ok", From: "unix"}))
	}
	before := time.Now()
	must(t, s.Audit(store.AuditEntry{Actor: "bad\xff", Action: strings.Repeat("x", 100_000)}))
	tail, err := s.AuditTail(3)
	must(t, err)
	if len(tail) != 3 || tail[1].Object != "4" || tail[2].Object != "3" || !tail[1].At.Equal(Start.Add(4*time.Second)) {
		t.Fatalf("tail %+v", tail)
	}
	if tail[0].At.Before(before) || tail[0].Actor != "bad\uFFFD" || len(tail[0].Action) > 1000 {
		t.Errorf("newest: at %v, actor %q, action of %d bytes", tail[0].At, tail[0].Actor, len(tail[0].Action))
	}
	if all, err := s.AuditTail(100); err != nil || len(all) != 6 {
		t.Errorf("all: %d, %v", len(all), err)
	}
	if none, err := s.AuditTail(0); err != nil || len(none) != 0 {
		t.Errorf("none: %d, %v", len(none), err)
	}
}

// testPaging compares every query, on pages of several sizes, with a filter over a sorted slice.
func testPaging(t *testing.T, s Common, add func([]probe.Result)) {
	all := Results(0, 2000) // 33 hours: three days of files
	for i := range all {
		all[i].Started = all[i].Started.Truncate(10 * time.Minute) // ties
		all[i].Sig = probe.Signatures{Digest: all[i].Sig.Digest}
	}
	shuffled := slices.Clone(all)
	for i := range shuffled {
		j := (i*7919 + 13) % len(shuffled)
		shuffled[i], shuffled[j] = shuffled[j], shuffled[i]
	}
	add(shuffled)
	slices.SortFunc(all, func(a, b probe.Result) int {
		if c := b.Started.Compare(a.Started); c != 0 {
			return c
		}
		return b.Key.Compare(a.Key)
	})
	at := func(d time.Duration) time.Time { return Start.Add(d) }
	for name, q := range map[string]store.Query{
		"all":       {},
		"small":     {Limit: 7},
		"largest":   {Limit: store.MaxLimit},
		"from":      {From: at(20 * time.Hour)},
		"to":        {To: at(20 * time.Hour), Limit: 33},
		"bounds":    {From: at(11*time.Hour + 50*time.Minute), To: at(12*time.Hour + 10*time.Minute), Limit: 3},
		"one day":   {From: Start.Truncate(24 * time.Hour), To: Start.Truncate(24*time.Hour).AddDate(0, 0, 1), Limit: 50},
		"nothing":   {From: at(-time.Hour), To: Start},
		"empty":     {From: at(5 * time.Hour), To: at(5 * time.Hour)},
		"cities":    {InitiatorCity: "changsha", TargetCity: "wuhan", Limit: 50},
		"initiator": {InitiatorCity: "wuhan"},
		"node":      {Node: NodeName(3), Limit: 20},
		"status":    {Status: probe.StatusFailed, Limit: 10},
		"tool":      {Tool: "latency", Limit: 500},
		"no tool":   {Tool: "trace"},
	} {
		var want []string
		for _, r := range all {
			if matches(q, r) {
				want = append(want, r.Key.String())
			}
		}
		var got []string
		pages, limit := 0, q.Limit
		for {
			page, err := s.Results(q)
			must(t, err)
			if limit > 0 && len(page.Results) > limit || len(page.Results) == 0 && page.Next != "" {
				t.Fatalf("%s: a page of %d", name, len(page.Results))
			}
			for i := range page.Results {
				got = append(got, page.Results[i].Key.String())
			}
			if q.After = page.Next; q.After == "" {
				break
			}
			if pages++; pages > len(all) {
				t.Fatalf("%s: the pages do not end", name)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %d results on %d pages, want %d", name, len(got), pages+1, len(want))
		}
	}
	page, err := s.Results(store.Query{Limit: 1})
	must(t, err)
	if len(page.Results) != 1 || !bytes.Equal(probe.EncodeResult(&page.Results[0]), probe.EncodeResult(&all[0])) {
		t.Errorf("newest result differs:\n%+v\n%+v", page.Results, all[0])
	}
	for name, q := range map[string]store.Query{
		"cursor": {After: "!"}, "short cursor": {After: "AAAA"}, "limit": {Limit: -1}, "huge limit": {Limit: 1 << 30},
		"order": {From: at(time.Hour), To: Start},
	} {
		if _, err := s.Results(q); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func matches(q store.Query, r probe.Result) bool {
	return (q.From.IsZero() || !r.Started.Before(q.From)) && (q.To.IsZero() || r.Started.Before(q.To)) &&
		(q.InitiatorCity == "" || q.InitiatorCity == r.Initiator.City) && (q.TargetCity == "" || q.TargetCity == r.Target.City) &&
		(q.Tool == "" || q.Tool == r.Tool) && (q.Status == "" || q.Status == r.Status) &&
		(q.Node == "" || q.Node == r.Initiator.Node || q.Node == r.Target.Node)
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}
