package store

import (
	"fmt"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/peerprobe/peerprobe/probe"
)

// A batch carries results from a head to the registry: figures and digests, without samples and
// original signatures, which stay at both ends.
//
//	byte 0     version, 1
//	byte 1...  one zstd frame of CBOR {1 number of rows, 2 [column...]}
//
// A column is an array [path, kind, data]: all values of one field, one after the other in the order of
// rows (columns.go). Numbers of one field resemble one another, and that is what makes a batch small.
// Columns that a decoder does not know are ignored; fields whose column is missing are zero. Equal
// results give equal bytes.
//
// Version log: 1 first version.
const batchVersion = 1

const (
	// MaxBatchRows results travel in one batch.
	MaxBatchRows = 4096
	// MaxBatchBytes of an encoded batch: the frame for results is 1 MiB, with room for its envelope.
	MaxBatchBytes = 1<<20 - 4<<10
	// maxBatchPlain bounds what a batch may unpack to: MaxBatchRows results of 2 KiB each, twice.
	maxBatchPlain = 16 << 20
	// maxBatchColumns: a result has about 90 fields.
	maxBatchColumns = 1024
)

type batchWire struct {
	Rows    uint         `cbor:"1,keyasint"`
	Columns []columnWire `cbor:"2,keyasint"`
}

type columnWire struct {
	_    struct{} `cbor:",toarray"`
	Path string
	Kind uint8
	Data []byte
}

var batchDec = func() cbor.DecMode {
	m, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		MaxNestedLevels:  4,
		MaxArrayElements: maxBatchColumns,
		MaxMapPairs:      16,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode()
	if err != nil {
		panic(err) // constant options
	}
	return m
}()

// The coders are shared: EncodeAll and DecodeAll are safe for concurrent use. They are made at first
// use, because most commands never need them.
var (
	batchZip = sync.OnceValue(func() *zstd.Encoder {
		e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
		if err != nil {
			panic(err) // constant options
		}
		return e
	})
	batchUnzip = sync.OnceValue(func() *zstd.Decoder {
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBatchPlain))
		if err != nil {
			panic(err) // constant options
		}
		return d
	})
)

// EncodeBatch packs results. It refuses more than MaxBatchRows with ErrTooLarge, and also what packs to
// more than MaxBatchBytes: send half of them.
func EncodeBatch(rs []probe.Result) ([]byte, error) {
	if len(rs) > MaxBatchRows {
		return nil, fmt.Errorf("store: encode batch: %w: %d results, at most %d", ErrTooLarge, len(rs), MaxBatchRows)
	}
	w := batchWire{Rows: uint(len(rs))}
	for _, c := range resultColumns {
		data, err := c.encode(rs)
		if err != nil {
			return nil, fmt.Errorf("store: encode batch: %w", err)
		}
		if len(data) > 0 {
			w.Columns = append(w.Columns, columnWire{Path: c.path, Kind: uint8(c.kind), Data: data})
		}
	}
	plain, err := recordEnc.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("store: encode batch: %w", err)
	}
	if len(plain) > maxBatchPlain {
		return nil, fmt.Errorf("store: encode batch: %w: %d bytes before packing, at most %d", ErrTooLarge, len(plain), maxBatchPlain)
	}
	b := batchZip().EncodeAll(plain, []byte{batchVersion})
	if len(b) > MaxBatchBytes {
		return nil, fmt.Errorf("store: encode batch: %w: %d bytes, at most %d", ErrTooLarge, len(b), MaxBatchBytes)
	}
	return b, nil
}

// DecodeBatch unpacks a batch from anybody. Memory is bounded, whatever the bytes say.
func DecodeBatch(b []byte) ([]probe.Result, error) {
	if len(b) > MaxBatchBytes {
		return nil, fmt.Errorf("store: decode batch: %w: %d bytes, at most %d", ErrTooLarge, len(b), MaxBatchBytes)
	}
	if len(b) == 0 {
		return nil, fmt.Errorf("store: decode batch: %w: no bytes", ErrInvalid)
	}
	if b[0] != batchVersion {
		return nil, fmt.Errorf("store: decode batch: %w: version %d, this program knows %d", ErrInvalid, b[0], batchVersion)
	}
	plain, err := batchUnzip().DecodeAll(b[1:], nil)
	if err != nil {
		return nil, fmt.Errorf("store: decode batch: %w: %w", ErrInvalid, err)
	}
	var w batchWire
	if err := batchDec.Unmarshal(plain, &w); err != nil {
		return nil, fmt.Errorf("store: decode batch: %w: %w", ErrInvalid, err)
	}
	if w.Rows > MaxBatchRows {
		return nil, fmt.Errorf("store: decode batch: %w: %d results, at most %d", ErrTooLarge, w.Rows, MaxBatchRows)
	}
	have := make(map[string]columnWire, len(w.Columns))
	for _, c := range w.Columns {
		if _, twice := have[c.Path]; twice {
			return nil, fmt.Errorf("store: decode batch: %w: column %q comes twice", ErrInvalid, c.Path)
		}
		have[c.Path] = c
	}
	rs := make([]probe.Result, w.Rows)
	for _, c := range resultColumns { // a pointer's column comes before those of what it points to
		if in, ok := have[c.path]; ok {
			if err := c.decode(rs, in); err != nil {
				return nil, fmt.Errorf("store: decode batch: column %s (%s): %w", c.path, c.name, err)
			}
		}
	}
	for i := range rs {
		if err := checkKey(rs[i].Key); err != nil {
			return nil, fmt.Errorf("store: decode batch: %w", err)
		}
	}
	return rs, nil
}
