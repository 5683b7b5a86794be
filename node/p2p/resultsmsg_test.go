package p2p

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cluster"
)

var update = flag.Bool("update", false, "rewrite the goldens: only for a new version of the wire format")

// resultsSamples are one of each frame, with every field set.
func resultsSamples() (names []string, frames []any) {
	signed := cluster.Signed{Payload: []byte("payload"), Sig: []byte("signature")}
	id := cluster.IDOf(bytes.Repeat([]byte{7}, 32))
	names = []string{"msg", "ack", "first-msg", "first-ack"}
	return names, []any{
		&ResultsMsg{Version: ResultsVersion, Batch: []byte{1, 2}, Lead: signed, Sig: signed, Transcripts: []cluster.Signed{signed},
			Kind: cluster.TransferCopy, Term: cluster.Term{Epoch: 5, CertHash: [32]byte{1}, Shard: 2, K: 3},
			Stores: []StoreName{{Registry: id, Name: "0123456789abcdef"}}},
		&ResultsAck{Version: ResultsVersion, Error: &cluster.WireError{Code: CodeStale, Message: "text"}, Added: 1, Known: 2, Lead: signed, Store: "0123456789abcdef"},
		&ResultsMsg{Version: ResultsVersion, Batch: []byte{1, 2}}, // as the first release wrote them
		&ResultsAck{Version: ResultsVersion, Added: 1},
	}
}

// TestResultsGolden fixes the encodings of version 1, byte by byte.
func TestResultsGolden(t *testing.T) {
	path := filepath.Join("testdata", "results-v1.txt")
	names, frames := resultsSamples()
	var b strings.Builder
	for i, f := range frames {
		b.WriteString(names[i] + " " + hex.EncodeToString(cluster.Marshal(f)) + "\n")
	}
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("the encoding changed: that is a new version of the protocol\n%s", b.String())
	}
}

// FuzzResultsMsg: whatever decodes comes back as it was.
func FuzzResultsMsg(f *testing.F) {
	_, frames := resultsSamples()
	for _, v := range frames {
		f.Add(cluster.Marshal(v))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var msg, again ResultsMsg
		if cluster.Unmarshal(data, &msg) == nil {
			raw := cluster.Marshal(&msg)
			if err := cluster.Unmarshal(raw, &again); err != nil || !bytes.Equal(cluster.Marshal(&again), raw) {
				t.Errorf("%x does not come back: %v", data, err)
			}
		}
		var ack, back ResultsAck
		if cluster.Unmarshal(data, &ack) == nil {
			raw := cluster.Marshal(&ack)
			if err := cluster.Unmarshal(raw, &back); err != nil || !bytes.Equal(cluster.Marshal(&back), raw) {
				t.Errorf("%x does not come back: %v", data, err)
			}
		}
	})
}
