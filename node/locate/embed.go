package locate

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// maxUnpacked bounds a table in memory before it is taken apart.
const maxUnpacked = 64 << 20

// unpack takes a table out of its zstd frame.
func unpack(b []byte) ([]byte, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer z.Close()
	return z.DecodeAll(b, nil)
}

// cities is the embedded table of cities, taken apart when it is first asked for; nil in a program that was
// built without it.
var cities = sync.OnceValue(func() *gazetteer { return embedded("cities", citiesFile, readGazetteer) })

// must reads an embedded table. One that cannot be read is a program that was built wrong; tests read them all.
func must[T any](name string, packed []byte, read func([]byte) (*T, error)) *T {
	b, err := unpack(packed)
	if err == nil {
		var table *T
		if table, err = read(b); err == nil {
			return table
		}
	}
	panic(fmt.Sprintf("locate: the embedded table %s: %v", name, err))
}
