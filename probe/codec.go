package probe

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
)

// ErrDecode is wrapped by every decoder of this package.
var ErrDecode = errors.New("cannot decode")

const (
	// MaxResultBytes bounds one encoded result; frames of results are as long, and
	// maxSamples of at most 55 bytes stay below.
	MaxResultBytes = 1 << 20
	// MaxStatementBytes bounds a statement; it has fixed fields only.
	MaxStatementBytes = 4 << 10
	// MaxTranscriptBytes bounds a transcript with its statement.
	MaxTranscriptBytes = 8 << 10
)

// Core deterministic encoding (RFC 8949 sec. 4.2.1): bytes that can be signed.
var encMode = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // constant options
	}
	return m
}()

// The decoder is bounded: nothing nests deeper than Result does, and an array
// holds at most the packets of one run.
var decMode = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  8,
		MaxArrayElements: maxCount,
		MaxMapPairs:      64,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
		NaN:              cbor.NaNDecodeForbidden, // figures are numbers; JSON has no others
		Inf:              cbor.InfDecodeForbidden,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return m
}()

func encode(v any) []byte {
	b, err := encMode.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("probe: encode %T: %v", v, err)) // only of our own plain structs
	}
	return b
}

func decode(what string, b []byte, limit int, v any) error {
	if len(b) > limit {
		return fmt.Errorf("%w %s: %d bytes, at most %d are allowed", ErrDecode, what, len(b), limit)
	}
	if err := decMode.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w %s: %w", ErrDecode, what, err)
	}
	return nil
}

type resultFields Result

// wireResult is Result with its times as unix nanoseconds.
type wireResult struct {
	resultFields
	StartedNs int64 `cbor:"5,keyasint"`
	EndedNs   int64 `cbor:"6,keyasint"`
}

// MarshalCBOR makes Result encode the same inside of any other message.
func (r Result) MarshalCBOR() ([]byte, error) {
	return encMode.Marshal(wireResult{resultFields(r), unixNs(r.Started), unixNs(r.Ended)})
}

// UnmarshalCBOR reads what MarshalCBOR wrote.
func (r *Result) UnmarshalCBOR(b []byte) error {
	var w wireResult
	if err := decMode.Unmarshal(b, &w); err != nil {
		return err
	}
	*r = Result(w.resultFields)
	r.Started, r.Ended = fromUnixNs(w.StartedNs), fromUnixNs(w.EndedNs)
	return nil
}

func unixNs(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixNano()
}

func fromUnixNs(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}

// EncodeResult gives canonical CBOR.
func EncodeResult(r *Result) []byte { return encode(r) }

// DecodeResult reads EncodeResult's bytes, from anybody.
func DecodeResult(b []byte) (*Result, error) {
	var r Result
	if err := decode("result", b, MaxResultBytes, &r); err != nil {
		return nil, err
	}
	return &r, nil
}

// EncodeStatement gives the bytes that the target signs.
func EncodeStatement(s *Statement) []byte { return encode(s) }

// DecodeStatement reads EncodeStatement's bytes, from anybody.
func DecodeStatement(b []byte) (*Statement, error) {
	var s Statement
	if err := decode("statement", b, MaxStatementBytes, &s); err != nil {
		return nil, err
	}
	if s.Version != StatementVersion {
		return nil, fmt.Errorf("%w statement: version %d, this program knows %d", ErrDecode, s.Version, StatementVersion)
	}
	return &s, nil
}

// EncodeTranscript gives the bytes that the initiator signs.
func EncodeTranscript(t *Transcript) []byte { return encode(t) }

// DecodeTranscript reads EncodeTranscript's bytes, from anybody.
func DecodeTranscript(b []byte) (*Transcript, error) {
	var t Transcript
	if err := decode("transcript", b, MaxTranscriptBytes, &t); err != nil {
		return nil, err
	}
	if t.Version != StatementVersion {
		return nil, fmt.Errorf("%w transcript: version %d, this program knows %d", ErrDecode, t.Version, StatementVersion)
	}
	return &t, nil
}

// FiguresDigest is SHA-256, cut to 16 bytes, of the encoded result without its
// samples and signatures: what remains of a result in a batch can be checked
// against it.
func (r *Result) FiguresDigest() [16]byte {
	c := *r
	c.Samples, c.Sig = nil, Signatures{}
	sum := sha256.Sum256(encode(&c))
	return [16]byte(sum[:16])
}
