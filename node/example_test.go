package node_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/peerprobe/peerprobe/node"
)

// Join a network, measure the path to a city, read the result.
func Example() {
	ctx := context.Background()
	mesh := newMesh() // a registry and one node in Wuhan, so that the example runs anywhere
	defer mesh.close()

	dir, err := os.MkdirTemp("", "peerprobe-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	n, err := node.Join(ctx, node.Config{RS: mesh.addr, City: "changsha", Data: dir})
	if err != nil {
		log.Fatal(err)
	}
	defer n.Close()
	m, err := n.Measure(ctx, node.Request{To: "wuhan"})
	if err != nil {
		log.Fatal(err)
	}
	r := m.Results[0]
	fmt.Println(r.Initiator.City, "->", r.Target.City, r.Status, r.Latency.Received, "of", r.Latency.Sent)
	// Output: changsha -> wuhan finished 10 of 10
}
