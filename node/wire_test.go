package node

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/probe"
)

var update = flag.Bool("update", false, "rewrite the goldens: only for a new version of the wire format")

const wireGolden = "testdata/wire.v1.golden"

// wireMessages is one filled message of each kind.
func wireMessages() []any {
	signed := cluster.Signed{Payload: []byte{1, 2}, Sig: []byte{3, 4}}
	peer := cluster.Peer{ID: "id", Addrs: [][]byte{{4, 127, 0, 0, 1, 6, 0, 80}}}
	return []any{
		&taskRequest{Version: WireVersion, Find: &findRequest{Task: "t1", City: "wuhan", Tool: "latency", PreferDHT: true}},
		&taskRequest{Version: WireVersion, Ask: &askRequest{Task: "t1", Lead: signed, Initiator: signed, City: "wuhan", Tool: "latency"}},
		&taskRequest{Version: WireVersion, View: &viewRequest{Clusters: true, Members: true, After: "id"}},
		&taskAnswer{Error: &wireError{Code: codeNoSuchPlace, Message: "no", Alive: []string{"changsha"}}, Lead: signed},
		&taskAnswer{Found: &findAnswer{Candidates: []candidate{{Peer: peer, Admission: signed, Ticket: signed}},
			Steps: []wireStep{{Stage: "dht", Text: "x", Took: 5, At: 7, Found: true}}}},
		&taskAnswer{View: &viewAnswer{Heads: []cluster.Signed{signed}, Members: []viewMember{{Peer: peer, SilentMs: 9, Admission: signed}},
			More: true, Total: 3, Backup: "id"}},
		&sessionOpen{Version: WireVersion, Ticket: signed, Tool: "latency", Params: probe.Params{Count: 3, Interval: time.Second, Size: 200, Timeout: time.Second}},
		&sessionGrant{Params: probe.Params{Count: 3}, Lowered: []string{"count"}, Key: []byte{1}, Port: 4000},
		&sessionGrant{Error: refuse(codeBusy, "busy"), Lead: signed},
		&sessionDone{Sent: 3, Stopped: "ctrl-c"},
		&sessionStatement{Statement: signed},
		&sessionReceipt{Result: []byte{1}, Transcript: signed},
	}
}

func TestWireGolden(t *testing.T) {
	var b strings.Builder
	for _, m := range wireMessages() {
		b.WriteString(reflect.TypeOf(m).Elem().Name() + " " + hex.EncodeToString(cluster.Marshal(m)) + "\n")
	}
	if *update {
		if err := os.WriteFile(wireGolden, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(wireGolden)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the wire format has changed: that needs a new version of the protocol\n%s", b.String())
	}
}

// Whatever a peer sends, decoding does not panic, and what is accepted says the same when it is sent on.
func FuzzWire(f *testing.F) {
	kinds := wireMessages()
	for i, m := range kinds {
		f.Add(i, cluster.Marshal(m))
	}
	f.Fuzz(func(t *testing.T, kind int, data []byte) {
		if kind < 0 || kind >= len(kinds) {
			return
		}
		m := reflect.New(reflect.TypeOf(kinds[kind]).Elem()).Interface()
		if cluster.Unmarshal(data, m) != nil {
			return
		}
		once := cluster.Marshal(m)
		again := reflect.New(reflect.TypeOf(kinds[kind]).Elem()).Interface()
		if err := cluster.Unmarshal(once, again); err != nil {
			t.Fatalf("own encoding is not accepted: %v", err)
		}
		if !bytes.Equal(once, cluster.Marshal(again)) {
			t.Fatal("a second round trip says something else")
		}
	})
}
