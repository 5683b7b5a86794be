package store

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/peerprobe/peerprobe/probe"
)

// maxNameBytes bounds node names in keys: a peer id in text is 52 bytes, and at most 64 for other key types.
const maxNameBytes = 128

// A result's key in tables: node text, 0x00, boot, seq; the numbers uint64 big endian, so that the
// results of one node and boot are neighbours, in order.
func appendKey(b []byte, k probe.Key) []byte {
	b = append(b, k.Node...)
	b = append(b, 0)
	b = binary.BigEndian.AppendUint64(b, k.Boot)
	return binary.BigEndian.AppendUint64(b, k.Seq)
}

func parseKey(b []byte) (probe.Key, error) {
	n := len(b) - 17
	if n < 1 || n > maxNameBytes || b[n] != 0 || strings.IndexByte(string(b[:n]), 0) >= 0 {
		return probe.Key{}, fmt.Errorf("%w: result key %x", ErrCorrupt, b)
	}
	return probe.Key{
		Node: string(b[:n]),
		Boot: binary.BigEndian.Uint64(b[n+1:]),
		Seq:  binary.BigEndian.Uint64(b[n+9:]),
	}, nil
}

// checkKey refuses keys that the tables cannot hold.
func checkKey(k probe.Key) error {
	if k.Node == "" || len(k.Node) > maxNameBytes || strings.IndexByte(k.Node, 0) >= 0 {
		return fmt.Errorf("%w result key: node %q: 1 to %d bytes without NUL are needed", ErrInvalid, k.Node, maxNameBytes)
	}
	return nil
}

// appendTime makes times sort as bytes: unix nanoseconds with the sign bit flipped, big endian.
func appendTime(b []byte, ns int64) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(ns)^1<<63)
}

func parseTime(b []byte) int64 { return int64(binary.BigEndian.Uint64(b) ^ 1<<63) }
