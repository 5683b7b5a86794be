package dhtsim

import (
	"crypto/ed25519"
	"fmt"

	"github.com/peerprobe/peerprobe/cluster"
)

// The messages of the protocols as a large mesh would send them, encoded by the real codec.

// row is a member as its head knows it: two addresses, a full admission.
func (m *mesh) row(i int) cluster.Row {
	id := cluster.IDOf(seedKey(fmt.Sprintf("member %d", i)).Public().(ed25519.PublicKey))
	return cluster.Row{
		ID: id, Addrs: addrs(i), Priority: cluster.Priority{Reachable: true, Stability: 9, Capacity: 3},
		FirstSeen: 1_700_000_000_000, Boot: 1_700_000_000_000, Admission: m.admission(id, "changsha"),
	}
}

// addrs are an IPv4 and an IPv6 address with a TCP port, as binary multiaddrs.
func addrs(i int) [][]byte {
	v4 := []byte{0x04, 61, 187, byte(i >> 8), byte(i), 0x06, 0x1c, 0xe9}
	v6 := append(append([]byte{0x29}, make([]byte, 14)...), byte(i>>8), byte(i), 0x06, 0x1c, 0xe9)
	v6[1], v6[2], v6[3], v6[4] = 0x20, 0x01, 0x0d, 0xb8
	return [][]byte{v4, v6}
}

// messages are encoded frames by the name of their cost.
func (m *mesh) messages() map[string][]byte {
	row := m.row(1)
	lead := m.lead("changsha", seedKey("head"), addrs(0))
	term := cluster.Term{Epoch: 111_411_200_000_000_000, CertHash: lead.Hash(), K: 2}
	heartbeat := cluster.Heartbeat{Term: term, Boot: row.Boot, Seq: 100_000, Priority: row.Priority, Load: 1, Spool: 100}
	withRow := heartbeat
	withRow.Row = &row
	ref := cluster.HeadRef{City: "changsha", Epoch: term.Epoch, K: 2, Seq: 100}
	report := cluster.Request{Version: cluster.Version, Kind: cluster.CallReport, Self: cluster.Peer{ID: row.ID, Addrs: row.Addrs}, City: "changsha",
		Admission: row.Admission, Cert: m.certificate("changsha", row.ID), Lead: lead}
	frame := func(x cluster.Message) []byte { return x.Encode() }
	return map[string][]byte{
		"heartbeat-frame":     frame(cluster.Message{Heartbeat: &heartbeat}),
		"heartbeat-row-frame": frame(cluster.Message{Heartbeat: &withRow}),
		"beacon-frame":        frame(cluster.Message{Beacon: &cluster.Beacon{Term: term, Boot: row.Boot, Seq: 100_000, Load: 1, Members: 1000, Backup: row.ID}}),
		"head-record":         cluster.Marshal(lead),
		"digest-entry":        cluster.Marshal(ref),
		"report-frame":        cluster.Marshal(report),
		"report-member":       cluster.Marshal(row.ID),
		"row":                 cluster.Marshal(row),
	}
}
