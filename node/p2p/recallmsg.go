package p2p

// The recall protocol: a registry asks a node to register again, because it
// belongs to another city now, or because more is known of it. The frame is
// returned as it is when the node has understood. Whoever else asks is refused.
const (
	RecallVersion = 1
	// RecallFrame bounds the frame: it has a version and nothing else.
	RecallFrame = 64
)

// RecallMsg is the frame, and its answer.
type RecallMsg struct {
	Version uint `cbor:"1,keyasint"`
}
