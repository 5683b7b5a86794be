//go:build linux

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

// The paper's hosts: those that it names first in each city, others of the same networks after them. The first
// of a city is the one that the registry appoints.
const (
	registryAddr  = "61.187.64.7"
	changshaHead  = "61.187.55.100"
	wuhanHead     = "61.183.207.100"
	initiatorAddr = "61.187.64.118"
	targetAddr    = "61.183.207.49"
)

var endpointAddrs = []string{
	initiatorAddr, "61.187.64.119", "61.187.55.101", "61.187.55.102",
	targetAddr, "61.183.207.50", "61.183.207.51", "61.183.207.52",
}

// places is the CIDR map that the registry places nodes by.
const places = "61.187.0.0/16 changsha\n61.183.0.0/16 wuhan\n"

// ttlThroughRouter is what is left of 64 after one router: the packets went from network to network.
const ttlThroughRouter = 63

// mesh is the running experiment.
type mesh struct {
	bin      *lab.Binary
	lab      *lab.Lab
	dir      string
	geoMap   string
	registry *lab.Process
	nodes    map[string]*lab.Process // by address
	ids      map[string]string       // address -> peer id, from Table 1
}

// TestPaperExperiment is section 4 of the paper from the first registration to the result, and what the paper
// promises beyond it: a city's head may die, and the registry may be away.
func TestPaperExperiment(t *testing.T) {
	m := buildMesh(t, needLab(t))
	m.checkTable(t)

	m.checkTarget(t, m.measure(t), wuhanHead)
	byDHT := m.measure(t, "--prefer-dht")
	m.checkTarget(t, byDHT, wuhanHead)
	if !slices.Contains(byDHT.way(), "dht") {
		t.Errorf("asked to, the head did not look Wuhan up in the DHT: %v", byDHT.way())
	}
	m.checkArchive(t, 2)

	before := m.cluster(t, "wuhan")
	m.nodes[wuhanHead].Kill(t)
	second := m.newHead(t, before)
	m.checkTarget(t, m.measure(t), second.HeadIP)

	m.registry.Kill(t)
	m.checkTarget(t, m.measure(t), second.HeadIP)

	m.nodes[second.HeadIP].Kill(t)
	third := m.newHead(t, second)
	m.checkTarget(t, m.measure(t), third.HeadIP)

	m.startRegistry(t)
	m.checkArchive(t, 5)
}

func buildMesh(t *testing.T, b *lab.Binary) *mesh {
	m := &mesh{bin: b, dir: b.Scratch(t), nodes: map[string]*lab.Process{}, ids: map[string]string{}}
	m.geoMap = filepath.Join(m.dir, "places")
	if err := os.WriteFile(m.geoMap, []byte(places), 0o600); err != nil {
		t.Fatal(err)
	}
	m.lab = lab.New(t)
	for _, addr := range append([]string{registryAddr, changshaHead, wuhanHead}, endpointAddrs...) {
		m.lab.Host(t, addr)
	}
	m.startRegistry(t)
	m.startNode(t, changshaHead)
	m.startNode(t, wuhanHead)
	for _, addr := range endpointAddrs {
		m.startNode(t, addr)
	}
	t.Cleanup(func() { // side by side, before each is waited for
		for _, p := range m.nodes {
			p.Terminate()
		}
	})
	return m
}

func (m *mesh) startRegistry(t *testing.T) {
	t.Helper()
	m.registry = m.lab.Start(t, m.bin, registryAddr, m.dir, "rs",
		"--data", filepath.Join(m.dir, "rs"), "--geo-map", m.geoMap, "--advertise", registryAddr, "--tokens", "-v")
}

// startNode runs the command that the registry printed, word for word, with a data directory of its own.
func (m *mesh) startNode(t *testing.T, addr string) {
	t.Helper()
	words := strings.Fields(m.registry.Line)
	if len(words) < 4 || words[0] != "peerprobe" || words[1] != "join" {
		t.Fatalf("the registry's first line is not a join command: %q", m.registry.Line)
	}
	p := m.lab.Start(t, m.bin, addr, m.dir, append(words[1:], "--data", filepath.Join(m.dir, addr), "-v")...)
	if city := cityOf(addr); !strings.HasPrefix(p.Line, "joined "+city+" as ") {
		t.Errorf("%s is of %s, but it printed %q", addr, city, p.Line)
	}
	m.nodes[addr] = p
}

func cityOf(addr string) string {
	if netip.MustParsePrefix("61.183.0.0/16").Contains(netip.MustParseAddr(addr)) {
		return "wuhan"
	}
	return "changsha"
}

type nodeRow struct{ ID, City, IP, Role string }

// checkTable asserts the paper's Table 1, as the initiator sees it: ten nodes in two cities, the heads where
// the paper has them.
func (m *mesh) checkTable(t *testing.T) {
	t.Helper()
	eventually(t, "Table 1", func() error {
		var rows []nodeRow
		if err := m.ask(&rows, "nodes"); err != nil {
			return err
		}
		if len(rows) != len(m.nodes) {
			return fmt.Errorf("%d nodes are listed, %d run: %v", len(rows), len(m.nodes), rows)
		}
		for _, r := range rows {
			if m.nodes[r.IP] == nil || r.City != cityOf(r.IP) {
				return fmt.Errorf("%s is listed in %q", r.IP, r.City)
			}
			if head := r.IP == changshaHead || r.IP == wuhanHead; head != (r.Role == "head") {
				return fmt.Errorf("%s is listed as %q", r.IP, r.Role)
			}
			m.ids[r.IP] = r.ID
		}
		return nil
	})
	if len(m.ids) != len(m.nodes) {
		t.Errorf("%d different addresses among %d nodes", len(m.ids), len(m.nodes))
	}
}

// ask runs a command of the program beside the initiator.
func (m *mesh) ask(into any, args ...string) error {
	return m.bin.Ask(filepath.Join(m.dir, initiatorAddr), into, args...)
}

type clusterRow struct {
	City, Head, HeadIP, Term, Reason string
	Members                          int
}

func (m *mesh) cluster(t *testing.T, city string) clusterRow {
	t.Helper()
	var found clusterRow
	eventually(t, "the cluster of "+city, func() error {
		var rows []clusterRow
		if err := m.ask(&rows, "clusters"); err != nil {
			return err
		}
		at := slices.IndexFunc(rows, func(r clusterRow) bool { return r.City == city })
		if at < 0 || rows[at].Members < 0 {
			return fmt.Errorf("it is not listed with its members: %+v", rows)
		}
		found = rows[at]
		return nil
	})
	return found
}

// newHead waits until the initiator, in the other city, knows another head of the city in a higher term: nobody was
// appointed, the next in the succession took over. Within an epoch the second number of the term grows; a new epoch
// needs the registry's signature, so there is none while that is down.
func (m *mesh) newHead(t *testing.T, before clusterRow) clusterRow {
	t.Helper()
	var now clusterRow
	took := eventually(t, "a new head of "+before.City, func() error {
		if now = m.cluster(t, before.City); now.Head == before.Head {
			return fmt.Errorf("still %s in term %s", now.HeadIP, now.Term)
		}
		return nil
	})
	epoch, k := term(t, before.Term)
	newEpoch, newK := term(t, now.Term)
	if newEpoch == epoch && newK <= k || newEpoch != epoch && m.registry.Ended() {
		t.Errorf("the term went from %s to %s: that is not a higher one", before.Term, now.Term)
	}
	if m.nodes[now.HeadIP] == nil || cityOf(now.HeadIP) != before.City {
		t.Errorf("the new head of %s is %s", before.City, now.HeadIP)
	}
	t.Logf("%s leads %s in term %s, known in the other city after %v", now.HeadIP, now.City, now.Term, took)
	return now
}

// term splits "epoch/k".
func term(t *testing.T, s string) (epoch string, k int) {
	t.Helper()
	epoch, ks, ok := strings.Cut(s, "/")
	k, err := strconv.Atoi(ks)
	if !ok || err != nil {
		t.Fatalf("%q is not a term", s)
	}
	return epoch, k
}
