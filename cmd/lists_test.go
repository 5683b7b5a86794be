package cmd

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
)

func filledRunner(t *testing.T) *runner {
	r := newRunner(t)
	r.node.status = sampleStatus()
	r.node.nodes = []node.NodeInfo{
		{ID: idA, City: "changsha", IP: "61.187.55.100", Addrs: []string{"/ip4/61.187.55.100/tcp/7001"}, Role: "head"},
		{ID: idB, City: "武汉", IP: "61.183.207.49", Role: "endpoint", Tags: []string{"ssd", "ipv6"}, SilentMs: 1234.5,
			Country: "CN", ASN: 4134, Network: "Chinanet", Place: "武汉 (world table, declared changsha)", Doubt: "disproved: too near to nodes of changsha"},
	}
	r.node.clusters = []node.ClusterInfo{
		{City: "changsha", Head: idB, HeadIP: "61.187.55.100", Term: "1a2b/0", Members: 5, Succession: []string{idB, idA, idC, idD}, Reason: "first", Own: true,
			Shards: 1, Backup: idA, Line: sampleSuccession()},
		{City: "武汉", Head: idB, HeadIP: "61.183.207.100", Term: "3c/2", Members: -1, Succession: []string{idB, idC}, Reason: "take-over", Error: "dial timed out", Shards: 1},
	}
	failed := probe.Result{Key: probe.Key{Node: idA, Boot: 1, Seq: 8}, Tool: "latency", Status: probe.StatusFailed, Initiator: probe.End{City: "changsha"},
		Error: &probe.Error{Stage: probe.StagePath, Code: probe.CodeUnreachable, Message: "nothing came back, \"at all\""}}
	r.node.page = node.ResultPage{Results: []probe.Result{sampleResult(), failed}, Next: "cursor-2"}
	return r
}

// Names in JSON and columns in CSV are a stable interface: a changed golden is a changed promise.
func TestListsPrint(t *testing.T) {
	for _, tc := range []struct{ name, args string }{
		{"status.txt", "status"}, {"status.json", "status -J"}, {"status.csv", "status -o csv"}, {"status.ndjson", "status -o ndjson"},
		{"nodes.txt", "nodes"}, {"nodes-long.txt", "nodes -l"}, {"nodes.json", "nodes -J"}, {"nodes.csv", "nodes -o csv"}, {"nodes.ndjson", "nodes -o ndjson"},
		{"clusters.txt", "clusters"}, {"clusters-long.txt", "clusters -l"}, {"clusters.json", "clusters -J"}, {"clusters.csv", "clusters -o csv"},
		{"results.txt", "results"}, {"results.json", "results -J"}, {"results.csv", "results -o csv"}, {"results.ndjson", "results -o ndjson"},
		{"tools.txt", "tools"}, {"tools.json", "tools -J"}, {"tools.csv", "tools -o csv"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := filledRunner(t)
			if code := r.run(t, strings.Fields(tc.args)...); code != exitOK {
				t.Fatalf("exit code %d: %s", code, &r.err)
			}
			golden(t, tc.name, r.out.Bytes())
		})
	}
}

// What people read of a node in each role, and of a city with several heads.
func TestRolesPrint(t *testing.T) {
	f := func(v float64) *float64 { return &v }
	head := sampleStatus()
	head.Node, head.Role, head.Backup, head.InLine, head.Watches, head.ClaimsAfterMs, head.Attested = idB, "head", idA, 0, "", 0, nil
	head.Succession, head.Shard, head.Shards, head.Unsure = sampleSuccession(), 1, 3, true
	head.Succession[0].Self, head.Succession[0].SilentMs = true, nil
	head.Health, head.Vitals.Unfit, head.Vitals.SyncMs = "slow disk", "slow disk", f(812)
	head.Held, head.Registry.Quiet = node.HeldStatus{Held: 7, Copied: 6, Kept: 20, Bytes: 345_600, Refused: 2}, true
	lone := head
	lone.Spool, lone.Held = node.SpoolStatus{}, node.HeldStatus{}
	lone.Succession, lone.Unsure, lone.Health, lone.Change, lone.LastChange = lone.Succession[:1], false, "draining", nil, "first head, appointed"
	endpoint := sampleStatus()
	endpoint.Role, endpoint.InLine, endpoint.Watches, endpoint.ClaimsAfterMs, endpoint.Attested = "endpoint", 0, "", 0, nil
	endpoint.WhyNot = "the list is full of nodes that come first by priority"
	endpoint.Succession = []node.CandidateInfo{{Node: idB, State: "head", SilentMs: f(4200)}, {Node: idC, Place: 1, State: "backup"}, {Node: idD, Place: 2, State: "unknown"}}
	orphan := endpoint
	orphan.Role, orphan.Backup, orphan.CutOffMs, orphan.WhyNot = "orphan", "", 42_000, "it hears no head: only those who live are listed"
	orphan.Succession = []node.CandidateInfo{{Node: idB, State: "silent", SilentMs: f(42_000)}, {Node: idC, Place: 1, State: "unknown"}}
	new := node.Status{Node: idA, Role: "orphan", City: "wuhan"}
	for name, st := range map[string]node.Status{"head": head, "lone-head": lone, "endpoint": endpoint, "orphan": orphan, "new": new} {
		r := newRunner(t)
		r.node.status = st
		if code := r.run(t, "status"); code != exitOK {
			t.Fatalf("exit code %d: %s", code, &r.err)
		}
		golden(t, "status-"+name+".txt", r.out.Bytes())
	}
	r := filledRunner(t)
	for i := range uint(2) {
		c := r.node.clusters[0]
		c.City, c.Shard, c.Shards, c.Own, c.Line, c.Backup = "wuhan", i, 2, false, c.Line[:1+i], ""
		r.node.clusters = append(r.node.clusters, c)
	}
	r.run(t, "clusters")
	golden(t, "clusters-shards.txt", r.out.Bytes())
}

func TestEmptyListsAreLists(t *testing.T) {
	r := newRunner(t)
	for _, args := range []string{"nodes -J", "clusters -J"} {
		if r.run(t, strings.Fields(args)...); r.out.String() != "[]\n" {
			t.Errorf("%s printed %q", args, &r.out)
		}
	}
	if r.run(t, "results", "-J"); r.out.String() != "{\n  \"results\": []\n}\n" {
		t.Errorf("results printed %q", &r.out)
	}
}

func TestListNotes(t *testing.T) {
	r := filledRunner(t)
	r.run(t, "results", "--from", "changsha", "--to", "wuhan", "--limit", "5", "--after", "cursor-1")
	if want := (node.ResultQuery{From: "changsha", To: "wuhan", Limit: 5, After: "cursor-1"}); r.node.query != want {
		t.Errorf("asked for %+v", r.node.query)
	}
	if r.err.String() != "more: --after cursor-2\n" {
		t.Errorf("said %q", &r.err)
	}
	r.run(t, "clusters")
	if r.err.String() != "note: 武汉: its head did not answer: dial timed out\n" {
		t.Errorf("said %q", &r.err)
	}
	for _, args := range []string{"results --limit 0", "results --limit 1001", "nodes -o yaml", "nodes extra"} {
		if code := r.run(t, strings.Fields(args)...); code != exitUsage || strings.Count(r.err.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, said %q", args, code, &r.err)
		}
	}
	r.node.listErr = fmt.Errorf("%w: store: query: cursor \"zzz\": give Next of the page before", node.ErrBadRequest)
	if code := r.run(t, "results", "--after", "zzz"); code != exitUsage || !strings.Contains(r.err.String(), `--after "zzz" is not a cursor`) {
		t.Errorf("results --after: exit code %d, said %q", code, &r.err)
	}
	r.node.listErr = errors.New("the node is stopping")
	for _, args := range []string{"status", "nodes", "clusters", "results"} {
		if code := r.run(t, args); code != exitUsage || !strings.Contains(r.err.String(), args+": the node is stopping") {
			t.Errorf("%s: exit code %d, said %q", args, code, &r.err)
		}
	}
}

// What another host wrote must not move the cursor of whoever reads it.
func TestForeignTextCannotSteerTheTerminal(t *testing.T) {
	r := filledRunner(t)
	evil := "x\x1b[2Jy\u202ez\r\n\tend"
	r.node.nodes[0].Tags = []string{evil}
	r.node.status.Change.Reason, r.node.status.Succession[2].Unwell, r.node.status.WhyNot = evil, evil, evil
	r.node.clusters[0].Line[2].Unwell, r.node.clusters[0].Reason = evil, evil
	r.node.clusters[1].Error = evil
	m := sampleMeasurement()
	m.Notes = []string{evil}
	m.Steps[0].Text = evil
	m.Results[0].Target.City = evil
	m.Results[0].Status = probe.StatusPartial
	m.Results[0].Error = &probe.Error{Stage: "run", Code: "internal", Message: evil}
	r.node.measurement = m
	for _, args := range []string{"nodes", "status", "clusters", "clusters -l", "measure --to wuhan --explain -v"} {
		r.run(t, strings.Fields(args)...)
		if all := r.out.String() + r.err.String(); strings.ContainsAny(all, "\x1b\r\u202e") || !strings.Contains(all, "x?[2Jy?z") {
			t.Errorf("%s printed %q", args, all)
		}
	}
}
