// Package p2p is peerprobe's use of libp2p: one authenticated host, framed
// streams between admitted peers, and the DHT in which heads find one another.
//
// It is for carrying bytes between nodes that belong to one network. It is not
// for deciding anything: who leads, who is a member and what is measured is
// decided elsewhere. No other package imports libp2p.
//
// # What it promises
//
//  1. A stream handler sees a stream only after its peer has shown a valid
//     admission of this network for the identity that the connection proved,
//     and is not barred. Everything else is reset, with a code that says why,
//     and counted. The register protocol is the one exception: whoever uses it
//     has no admission yet.
//  2. Nothing a peer sends makes this process hold more than one frame of the
//     protocol's limit per stream, 8 streams a peer and protocol, and what
//     Config.Members allows in connections.
//  3. A dial to a peer that does not answer fails within 2 seconds, always:
//     no back-off, no transport that is silently left out.
//  4. A DHT record is stored and returned only if it is a valid claim to lead
//     under the network key. A liar can withhold a record, not invent one.
//  5. Close returns when every goroutine that the host started has ended.
//
// New opens sockets and starts the host; Close stops it. Deadlines are per
// frame: a peer that trickles bytes does not hold a stream.
//
// # Frames
//
// All protocols here send frames: an unsigned varint length, then as many
// bytes. The first frame on a stream is a hello, from the opener:
//
//	1 version   uint, 1
//	2 network   text, name of the network (26 characters)
//	3 admission {1 payload, 2 signature}: signed by the network key
//
// It is not answered, except on /peerprobe/hello/1, where the answer is the
// hello of the other side. On /peerprobe/register/1 there is none.
package p2p
