package probe

import (
	"encoding/binary"
	"errors"
	"time"
)

// Simple Two-way Active Measurement Protocol, RFC 8762, over UDP.
//
//	plain mode, sender (44)            plain mode, reflector (44)
//	 0 sequence number       4          0 sequence number        4
//	 4 timestamp             8          4 timestamp              8
//	12 error estimate        2         12 error estimate         2
//	14 SSID (RFC 8972)       2         14 SSID                   2
//	16 zero                 28         16 receive timestamp      8
//	                                   24 sender's sequence      4
//	                                   28 sender's timestamp     8
//	                                   36 sender's estimate      2
//	                                   38 zero                   2
//	                                   40 sender's TTL           1
//	                                   41 zero                   3
//
//	authenticated, sender (112)        authenticated, reflector (112)
//	 0 sequence number       4          0 sequence number        4
//	 4 zero                 12          4 zero                  12
//	16 timestamp             8         16 timestamp              8
//	24 error estimate        2         24 error estimate         2
//	26 SSID                  2         26 SSID                   2
//	28 zero                 68         28 zero                   4
//	                                   32 receive timestamp      8
//	                                   40 zero                   8
//	                                   48 sender's sequence      4
//	                                   52 zero                  12
//	                                   64 sender's timestamp     8
//	                                   72 sender's estimate      2
//	                                   74 zero                   6
//	                                   80 sender's TTL           1
//	                                   81 zero                  15
//	96 HMAC                 16         96 HMAC                  16
//
// The HMAC is HMAC-SHA-256 over the first 96 bytes, cut to 128 bits
// (sec. 4.4). Extensions follow as TLVs: stamptlv.go. Timestamps are NTP's
// 64 bits. Between nodes the zero bytes of a sender's packet must be zero, so
// that an answer, which has the same length and key, cannot be replayed as a
// question.

const (
	plainSize = 44
	authSize  = 112
	macOffset = 96
	macSize   = 16
)

// ErrPacket says that bytes are not a STAMP packet of the wanted mode.
var ErrPacket = errors.New("not a STAMP packet")

// StampMode is RFC 8762's mode of a session.
type StampMode uint8

// The two modes.
const (
	StampPlain StampMode = iota // 44 bytes, not authenticated
	StampAuth                   // 112 bytes, HMAC
)

func (m StampMode) size() int {
	if m == StampAuth {
		return authSize
	}
	return plainSize
}

// SenderPacket is what a Session-Sender sends, without HMAC and TLVs.
type SenderPacket struct {
	Seq      uint32
	Time     uint64 // NTP
	Estimate uint16 // see errorEstimate
	SSID     uint16
}

// ReflectorPacket is what a Session-Reflector answers, without HMAC and TLVs.
type ReflectorPacket struct {
	Seq            uint32 // of the answers, from 0
	Time           uint64 // NTP, when it left
	Estimate       uint16
	SSID           uint16
	ReceiveTime    uint64 // NTP, when the question came
	SenderSeq      uint32
	SenderTime     uint64
	SenderEstimate uint16
	SenderTTL      uint8 // of the question as it came; 0: not known
}

// Append adds the packet to b; in authenticated mode the HMAC is left zero.
func (p *SenderPacket) Append(b []byte, m StampMode) []byte {
	n := len(b)
	b = grow(b, m.size())
	w := b[n:]
	be := binary.BigEndian
	be.PutUint32(w, p.Seq)
	if m == StampAuth {
		w = w[12:]
	}
	be.PutUint64(w[4:], p.Time)
	be.PutUint16(w[12:], p.Estimate)
	be.PutUint16(w[14:], p.SSID)
	return b
}

// Parse reads the packet at the start of b; TLVs may follow.
func (p *SenderPacket) Parse(b []byte, m StampMode) error {
	if len(b) < m.size() {
		return ErrPacket
	}
	be := binary.BigEndian
	p.Seq = be.Uint32(b)
	if m == StampAuth {
		b = b[12:]
	}
	p.Time = be.Uint64(b[4:])
	p.Estimate = be.Uint16(b[12:])
	p.SSID = be.Uint16(b[14:])
	return nil
}

// Append adds the packet to b; in authenticated mode the HMAC is left zero.
func (p *ReflectorPacket) Append(b []byte, m StampMode) []byte {
	n := len(b)
	b = grow(b, m.size())
	w := b[n:]
	be := binary.BigEndian
	be.PutUint32(w, p.Seq)
	if m == StampPlain {
		be.PutUint64(w[4:], p.Time)
		be.PutUint16(w[12:], p.Estimate)
		be.PutUint16(w[14:], p.SSID)
		be.PutUint64(w[16:], p.ReceiveTime)
		be.PutUint32(w[24:], p.SenderSeq)
		be.PutUint64(w[28:], p.SenderTime)
		be.PutUint16(w[36:], p.SenderEstimate)
		w[40] = p.SenderTTL
		return b
	}
	be.PutUint64(w[16:], p.Time)
	be.PutUint16(w[24:], p.Estimate)
	be.PutUint16(w[26:], p.SSID)
	be.PutUint64(w[32:], p.ReceiveTime)
	be.PutUint32(w[48:], p.SenderSeq)
	be.PutUint64(w[64:], p.SenderTime)
	be.PutUint16(w[72:], p.SenderEstimate)
	w[80] = p.SenderTTL
	return b
}

// Parse reads the packet at the start of b; TLVs may follow.
func (p *ReflectorPacket) Parse(b []byte, m StampMode) error {
	if len(b) < m.size() {
		return ErrPacket
	}
	be := binary.BigEndian
	p.Seq = be.Uint32(b)
	if m == StampPlain {
		p.Time = be.Uint64(b[4:])
		p.Estimate = be.Uint16(b[12:])
		p.SSID = be.Uint16(b[14:])
		p.ReceiveTime = be.Uint64(b[16:])
		p.SenderSeq = be.Uint32(b[24:])
		p.SenderTime = be.Uint64(b[28:])
		p.SenderEstimate = be.Uint16(b[36:])
		p.SenderTTL = b[40]
		return nil
	}
	p.Time = be.Uint64(b[16:])
	p.Estimate = be.Uint16(b[24:])
	p.SSID = be.Uint16(b[26:])
	p.ReceiveTime = be.Uint64(b[32:])
	p.SenderSeq = be.Uint32(b[48:])
	p.SenderTime = be.Uint64(b[64:])
	p.SenderEstimate = be.Uint16(b[72:])
	p.SenderTTL = b[80]
	return nil
}

// grow adds n zero bytes.
func grow(b []byte, n int) []byte {
	if cap(b)-len(b) < n {
		b = append(make([]byte, 0, len(b)+n), b...)
	}
	b = b[:len(b)+n]
	clear(b[len(b)-n:])
	return b
}

// ntpUnix is the seconds from NTP's epoch (1900) to Unix's (1970).
const ntpUnix = 2208988800

// toNTP gives NTP's 64 bits, rounded up, so that fromNTP gives the same
// nanosecond back.
func toNTP(t time.Time) uint64 {
	sec := uint64(t.Unix() + ntpUnix)
	frac := (uint64(t.Nanosecond())<<32 + uint64(time.Second) - 1) / uint64(time.Second)
	return sec<<32 | frac
}

// fromNTP reads NTP's 64 bits as a time between 1968 and 2104 (RFC 4330
// sec. 3: the era follows from the first bit).
func fromNTP(v uint64) time.Time {
	sec := int64(v >> 32)
	if sec < 1<<31 {
		sec += 1 << 32
	}
	return time.Unix(sec-ntpUnix, int64((v&0xffffffff)*uint64(time.Second)>>32)).UTC()
}

// errorEstimate makes RFC 4656's error estimate (sec. 4.1.2): S says
// synchronised to UTC; the error is multiplier * 2^(scale-32) seconds. The
// multiplier is never 0. A clock without a bound claims the greatest.
func errorEstimate(c ClockState) uint16 {
	const sync = 1 << 15
	if !c.Synchronised || c.ErrorMs == nil {
		return 63<<8 | 255
	}
	units := *c.ErrorMs / 1000 * (1 << 32)
	scale := uint16(0)
	for units > 254 && scale < 63 {
		units, scale = units/2, scale+1
	}
	mult := uint16(units) + 1 // never below the true bound, never 0
	return sync | scale<<8 | min(mult, 255)
}
