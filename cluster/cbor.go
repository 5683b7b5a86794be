package cluster

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// Limits of the decoder: what foreign bytes may ask for. The longest legitimate arrays are those of
// results; messages of this package stay far below (see checkMessage).
const (
	maxNesting  = 16
	maxElements = 1 << 16
	maxPairs    = 1 << 12
)

var (
	encoder = mustEncoder()
	decoder = mustDecoder()
)

func mustEncoder() cbor.EncMode {
	opts := cbor.CoreDetEncOptions() // RFC 8949, 4.2.1
	opts.NilContainers = cbor.NilContainerAsEmpty
	mode, err := opts.EncMode()
	if err != nil {
		panic("cluster: CBOR encoding options: " + err.Error())
	}
	return mode
}

func mustDecoder() cbor.DecMode {
	mode, err := cbor.DecOptions{
		DupMapKey:        cbor.DupMapKeyEnforcedAPF,
		IndefLength:      cbor.IndefLengthForbidden,
		TagsMd:           cbor.TagsForbidden,
		MaxNestedLevels:  maxNesting,
		MaxArrayElements: maxElements,
		MaxMapPairs:      maxPairs,
	}.DecMode()
	if err != nil {
		panic("cluster: CBOR decoding options: " + err.Error())
	}
	return mode
}

// Marshal encodes v in RFC 8949 core deterministic CBOR. It panics when v's type cannot be encoded:
// that is a programmer's error, never a matter of data.
func Marshal(v any) []byte {
	data, err := encoder.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("cluster: encode %T: %v", v, err))
	}
	return data
}

// Unmarshal decodes one CBOR item that fills data. Unknown fields are ignored; depth, arrays and maps
// are bounded; tags, indefinite lengths and duplicate keys are refused.
func Unmarshal(data []byte, v any) error {
	if err := decoder.Unmarshal(data, v); err != nil {
		return fmt.Errorf("decode %T from %d bytes: %w", v, len(data), err)
	}
	return nil
}
