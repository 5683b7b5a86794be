package probe

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"time"
)

// stampDigest is SHA-256, cut to 16 bytes, over the target's answers in the
// order in which they left: sequence number of the question (4 bytes), when it
// came and when the answer left (8 bytes each, unix nanoseconds), big endian.
type stampDigest struct {
	h   hash.Hash
	buf [20]byte
}

func newStampDigest() *stampDigest { return &stampDigest{h: sha256.New()} }

func (d *stampDigest) add(seq uint32, t2, t3 time.Time) {
	binary.BigEndian.PutUint32(d.buf[:], seq)
	binary.BigEndian.PutUint64(d.buf[4:], uint64(t2.UnixNano()))
	binary.BigEndian.PutUint64(d.buf[12:], uint64(t3.UnixNano()))
	d.h.Write(d.buf[:])
}

func (d *stampDigest) sum() [16]byte { return [16]byte(d.h.Sum(nil)[:16]) }
