package probe

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"hash"
	"time"
)

// Extensions of RFC 8972: after the 112 bytes come TLVs {flags 1, type 1,
// length 2, value}. A packet between nodes has these, in this order:
//
//	112 cookie (private use 252)   16  zero in the first packets: the question
//	                                   for a cookie; then what the target gave
//	132 follow-up telemetry (7)    16  in answers: sequence number 4, timestamp
//	                                   8, mode 1, zero 3 of the answer before
//	152 HMAC (8)                   16  over the sequence number and all TLVs
//	                                   before it (sec. 4.8)
//	172 extra padding (1)           n  up to the granted size; not covered
//
// The reflector sends the TLVs that it got back, with their flags set; so an
// answer has the length of its question.

const (
	tlvHeader   = 4
	tlvPadding  = 1
	tlvFollowUp = 7
	tlvHMAC     = 8
	tlvCookie   = 252 // private use: 252-254

	tlvUnrecognised = 0x80 // U: set by the sender, cleared by a reflector that knows the type
	tlvMalformed    = 0x40 // M: set by the reflector

	cookieSize   = 16
	followUpSize = 16
	followUpSW   = 2 // mode: software, local (sec. 4.7)
)

// MinSize is the smallest packet between nodes: 112 bytes, cookie, follow-up
// and HMAC.
const MinSize = authSize + tlvHeader + cookieSize + tlvHeader + followUpSize + tlvHeader + macSize

// packetSize gives the nearest size that a packet can have: not below MinSize,
// and with room for the header of the padding.
func packetSize(n, most int) int {
	if n <= MinSize {
		return MinSize
	}
	if n >= MinSize+tlvHeader {
		return n
	}
	if MinSize+tlvHeader <= most {
		return MinSize + tlvHeader
	}
	return MinSize
}

// tlvSet holds where in a packet the known TLVs' values are; 0: absent.
type tlvSet struct {
	cookie, followUp, hmac int
}

// parseTLVs walks the TLVs of an authenticated packet. False: malformed, or
// without HMAC, or something other than padding after it.
func parseTLVs(b []byte) (tlvSet, bool) {
	var s tlvSet
	for at := authSize; at < len(b); {
		if len(b)-at < tlvHeader {
			return s, false
		}
		typ, n := b[at+1], int(binary.BigEndian.Uint16(b[at+2:]))
		at += tlvHeader
		if n > len(b)-at {
			return s, false
		}
		var slot *int
		want := 0
		switch typ {
		case tlvCookie:
			slot, want = &s.cookie, cookieSize
		case tlvFollowUp:
			slot, want = &s.followUp, followUpSize
		case tlvHMAC:
			slot, want = &s.hmac, macSize
		}
		if s.hmac != 0 && typ != tlvPadding {
			return s, false
		}
		if slot != nil {
			if n != want || *slot != 0 {
				return s, false
			}
			*slot = at
		}
		at += n
	}
	return s, s.hmac != 0
}

// appendTLVs adds cookie, empty follow-up, empty HMAC, and padding up to size.
func appendTLVs(b []byte, cookie *[cookieSize]byte, size int) []byte {
	b = append(b, tlvUnrecognised, tlvCookie, 0, cookieSize)
	b = append(b, cookie[:]...)
	b = append(b, tlvUnrecognised, tlvFollowUp, 0, followUpSize)
	b = grow(b, followUpSize)
	b = append(b, tlvUnrecognised, tlvHMAC, 0, macSize)
	b = grow(b, macSize)
	if n := size - len(b) - tlvHeader; n >= 0 {
		b = append(b, tlvUnrecognised, tlvPadding, byte(n>>8), byte(n))
		b = grow(b, n)
	}
	return b
}

// answerFlags clears or sets the flags of every TLV as a reflector has to.
// b was accepted by parseTLVs.
func answerFlags(b []byte) {
	for at := authSize; at < len(b); {
		switch b[at+1] {
		case tlvPadding, tlvFollowUp, tlvHMAC, tlvCookie:
			b[at] = 0
		default:
			b[at] = tlvUnrecognised
		}
		at += tlvHeader + int(binary.BigEndian.Uint16(b[at+2:]))
	}
}

// putFollowUp writes when the answer numbered wireSeq left.
func putFollowUp(v []byte, wireSeq uint32, at time.Time) {
	clear(v[:followUpSize])
	if at.IsZero() {
		return
	}
	binary.BigEndian.PutUint32(v, wireSeq)
	binary.BigEndian.PutUint64(v[4:], toNTP(at))
	v[12] = followUpSW
}

// getFollowUp reads it; false: there was no answer before.
func getFollowUp(v []byte) (wireSeq uint32, at time.Time, ok bool) {
	stamp := binary.BigEndian.Uint64(v[4:])
	if stamp == 0 {
		return 0, time.Time{}, false
	}
	return binary.BigEndian.Uint32(v), fromNTP(stamp), true
}

// sealer makes and checks the HMACs of a session, without allocating. It
// belongs to one goroutine.
type sealer struct {
	h   hash.Hash
	sum [sha256.Size]byte
}

func newSealer(key [32]byte) *sealer { return &sealer{h: hmac.New(sha256.New, key[:])} }

func (s *sealer) mac(parts ...[]byte) []byte {
	s.h.Reset()
	for _, p := range parts {
		s.h.Write(p)
	}
	return s.h.Sum(s.sum[:0])[:macSize]
}

// seal fills in both HMACs of a packet whose TLVs are where set says.
func (s *sealer) seal(b []byte, set tlvSet) {
	copy(b[macOffset:authSize], s.mac(b[:macOffset]))
	copy(b[set.hmac:set.hmac+macSize], s.mac(b[:4], b[authSize:set.hmac-tlvHeader]))
}

// check says whether both HMACs are right.
func (s *sealer) check(b []byte, set tlvSet) bool {
	base := subtle.ConstantTimeCompare(s.mac(b[:macOffset]), b[macOffset:authSize])
	tlvs := subtle.ConstantTimeCompare(s.mac(b[:4], b[authSize:set.hmac-tlvHeader]), b[set.hmac:set.hmac+macSize])
	return base&tlvs == 1
}

// ssid is the session's short number (RFC 8972 sec. 3); never 0.
func ssid(id [16]byte) uint16 {
	return max(1, binary.BigEndian.Uint16(id[:]))
}
