package store

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// Records are CBOR, core deterministic encoding (RFC 8949 section 4.2), with integer keys; unknown
// fields are ignored.
const (
	// maxRecordBytes bounds one record: a result with all its samples (1 MiB) and its signed originals.
	maxRecordBytes = 2 << 20
	// maxRecordItems bounds arrays inside a record: keys of a task, addresses, history.
	maxRecordItems = 1 << 16
	maxRecordDepth = 12
)

var recordEnc = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	return m
}()

var recordDec = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  maxRecordDepth,
		MaxArrayElements: maxRecordItems,
		MaxMapPairs:      64,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8DecodeInvalid, // what was stored comes back as it was
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return m
}()

// encodeRecord refuses what decodeRecord would refuse to read again.
func encodeRecord(v any) ([]byte, error) {
	b, err := recordEnc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("%w record: %w", ErrInvalid, err)
	}
	if len(b) > maxRecordBytes {
		return nil, fmt.Errorf("%w: a record of %d bytes, at most %d", ErrTooLarge, len(b), maxRecordBytes)
	}
	return b, nil
}

func decodeRecord(b []byte, v any) error {
	if len(b) > maxRecordBytes {
		return fmt.Errorf("%w: record: %d bytes, at most %d", ErrCorrupt, len(b), maxRecordBytes)
	}
	if err := recordDec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: record: %w", ErrCorrupt, err)
	}
	return nil
}

// unixNs maps a time to unix nanoseconds, 0 for the zero time, clamped to what an int64 holds
// (the years 1678 to 2262).
func unixNs(t time.Time) int64 {
	switch {
	case t.IsZero():
		return 0
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

func fromUnixNs(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// validText replaces what is not UTF-8: CBOR text must be, and names come from others.
func validText(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
