package node

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
)

// What a node shows of its succession: in the order of take-over, and no more than it knows.
func TestLineShowsWhoIsNext(t *testing.T) {
	infos := []cluster.CandidateInfo{
		{ID: "a", Line: 3},
		{ID: "b", Head: true, Alive: true, Heard: true, Silence: 300 * time.Millisecond},
		{ID: "c", Line: 1, Alive: true, Self: true, Heard: true},
		{ID: "d", Line: 2, Alive: true, Unwell: "slow disk"},
	}
	show := func(line []wireCandidate) string {
		var out []string
		for _, c := range line {
			text := fmt.Sprintf("%d %s %s", c.Line, string(c.ID), c.State)
			if c.SilentMs != nil {
				text += fmt.Sprintf(" %d", *c.SilentMs)
			}
			out = append(out, text)
		}
		return strings.Join(out, ", ")
	}
	if got, want := show(lineOf(infos, cluster.RoleBackup, "c")), "0 b head 300, 1 c backup, 2 d unwell, 3 a silent"; got != want {
		t.Errorf("a candidate shows %q, want %q", got, want)
	}
	endpoint := []cluster.CandidateInfo{{ID: "a", Line: 2}, {ID: "b", Head: true, Alive: true, Heard: true}, {ID: "c", Line: 1}}
	if got, want := show(lineOf(endpoint, cluster.RoleEndpoint, "c")), "0 b head 0, 1 c backup, 2 a unknown"; got != want {
		t.Errorf("an endpoint shows %q, want %q", got, want)
	}
	dead := []cluster.CandidateInfo{{ID: "b", Head: true, Heard: true, Silence: time.Minute}, {ID: "c", Line: 1}}
	if got, want := show(lineOf(dead, cluster.RoleOrphan, "")), "0 b silent 60000, 1 c unknown"; got != want {
		t.Errorf("an orphan shows %q, want %q", got, want)
	}
}

// What another head says of its line is cut to what may be true: names of the certificate, and known states.
func TestLineOfAnotherHeadIsBounded(t *testing.T) {
	silence := int64(-5)
	line := []wireCandidate{
		{ID: "a", State: stateHead}, {ID: "stranger", State: stateBackup},
		{ID: "b", Line: 1 << 40, State: "<script>", SilentMs: &silence, Unwell: strings.Repeat("x", 10_000)},
	}
	line = append(line, slices.Repeat([]wireCandidate{{ID: "a", State: stateAlive}}, 50)...)
	got := candidates(line, []cluster.ID{"a", "b"}, "b")
	if len(got) != cluster.MaxSuccession || got[0].State != stateHead || got[1].State != stateUnknown || !got[1].Self ||
		got[1].Place != cluster.MaxSuccession || len(got[1].Unwell) != maxUnwell {
		t.Errorf("%+v", got)
	}
	if got := candidates(nil, nil, "a"); got == nil || len(got) != 0 {
		t.Errorf("nothing is %v, want an empty list", got)
	}
}

// A page with the longest line still fits its frame.
func TestLineFitsTheFrame(t *testing.T) {
	var line []wireCandidate
	for i := range cluster.MaxSuccession {
		line = append(line, wireCandidate{ID: cluster.ID(strings.Repeat(string(rune('a'+i)), 38)), Line: uint(i), State: stateUnknown,
			SilentMs: new(int64(1 << 40)), Unwell: strings.Repeat("x", maxUnwell)})
	}
	if n := len(cluster.Marshal(&viewAnswer{Line: line})); n > maxTaskFrame-viewBytes-cluster.MaxLead {
		t.Errorf("a line of %d bytes, and %d are left beside a page and a Lead", n, maxTaskFrame-viewBytes-cluster.MaxLead)
	}
}
