package lab

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/peerprobe/peerprobe/cmd/e2e/trail"
	"github.com/peerprobe/peerprobe/probe"
)

// Archive are the keys of all results that the registry has, and how often.
func (m *Mesh) Archive() (map[string]int, error) {
	found := map[string]int{}
	for after := ""; ; {
		var page struct {
			Results []struct{ Key probe.Key }
			Next    string
		}
		q := url.Values{"limit": {"1000"}}
		if after != "" {
			q.Set("after", after)
		}
		if err := m.Get(RegistryAddr, "http://127.0.0.1:7402/api/v1/results?"+q.Encode(), &page); err != nil {
			return nil, err
		}
		for _, r := range page.Results {
			found[r.Key.String()]++
		}
		if after = page.Next; after == "" {
			return found, nil
		}
	}
}

// Judge checks all that was logged so far. The registry has to be up.
func (m *Mesh) Judge(t T) {
	t.Helper()
	for _, v := range m.Violations(t) {
		t.Errorf("%s", v)
	}
	if t.Failed() {
		t.Logf("%s", m.Story(t, 0))
	}
}

// Violations are the promises that were not kept, as far as the logs and the registry prove it.
func (m *Mesh) Violations(t T) []trail.Violation {
	t.Helper()
	archive, err := m.Archive()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return trail.Check(m.Events(t), trail.Facts{Registry: archive, Pauses: m.pauses})
}

// Story is what the logs say of terms since a moment, to be read by people.
func (m *Mesh) Story(t T, since Moment) string {
	t.Helper()
	names := map[string]string{}
	for _, n := range m.Nodes {
		names[n.ID], names[n.Events] = n.Addr, n.Addr
	}
	quiet := []string{"join", "acked", "ack", "ticket", "accept"}
	var b strings.Builder
	for _, e := range m.Events(t) {
		if e.Mono < int64(since) || slices.Contains(quiet, e.Event) {
			continue
		}
		fmt.Fprintf(&b, "%12.3f %-10s %-9s", float64(e.Mono)/1e9, names[e.File], e.Event)
		if e.Term != nil {
			fmt.Fprintf(&b, " %s", e.Term)
		}
		if e.High != nil && e.Term != nil && *e.High != *e.Term {
			fmt.Fprintf(&b, " below %s", e.High)
		}
		for _, id := range []string{e.Head, e.ID} {
			if id != "" {
				fmt.Fprintf(&b, " %s", names[id])
			}
		}
		fmt.Fprintf(&b, " %s %s\n", e.Reason, e.Text)
	}
	return b.String()
}
