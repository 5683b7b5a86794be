package store

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"io"
	"os"
)

// What bbolt's file starts with: a page header of 16 bytes and a meta record of 64, once at offset 0
// and once at the page size, in the byte order of the machine (little on all that we build for).
const (
	boltPageHeader = 16
	boltMetaBytes  = 64
	boltMagic      = 0xED0CDAED
	boltMinPage    = 1 << 10
	boltMaxPage    = 1 << 16
)

type boltMeta struct {
	pageSize  uint32
	highWater uint64 // pages in use; everything that is referred to lies below
	txid      uint64
}

// precheck reads the two meta pages with plain reads before the file is mapped: bbolt trusts the
// file's length, and a truncated file would end the process with SIGBUS instead of an error.
func precheck(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return openError(path, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return openError(path, err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("store: open %s: not a regular file (%s)", path, info.Mode().Type())
	}
	if info.Size() == 0 {
		return corruptError(path, "the file is empty")
	}
	best, ok := newestMeta(f)
	if !ok {
		return corruptError(path, "neither of its two headers is valid")
	}
	if need := best.highWater * uint64(best.pageSize); need > uint64(info.Size()) {
		return corruptError(path, fmt.Sprintf("the file is truncated: %d bytes of at least %d", info.Size(), need))
	}
	return nil
}

// newestMeta returns the valid meta record with the highest transaction, as bbolt chooses it.
func newestMeta(f io.ReaderAt) (boltMeta, bool) {
	best, ok := readMeta(f, 0)
	for size := int64(boltMinPage); size <= boltMaxPage; size <<= 1 {
		if m, valid := readMeta(f, size); valid && int64(m.pageSize) == size && (!ok || m.txid > best.txid) {
			best, ok = m, true
		}
	}
	return best, ok
}

func readMeta(f io.ReaderAt, at int64) (boltMeta, bool) {
	var b [boltMetaBytes]byte
	if _, err := f.ReadAt(b[:], at+boltPageHeader); err != nil {
		return boltMeta{}, false
	}
	sum := fnv.New64a()
	sum.Write(b[:56])
	m := boltMeta{
		pageSize:  binary.LittleEndian.Uint32(b[8:]),
		highWater: binary.LittleEndian.Uint64(b[40:]),
		txid:      binary.LittleEndian.Uint64(b[48:]),
	}
	valid := binary.LittleEndian.Uint32(b[:]) == boltMagic &&
		binary.LittleEndian.Uint64(b[56:]) == sum.Sum64() &&
		m.pageSize >= boltMinPage && m.pageSize <= boltMaxPage && m.highWater < 1<<48
	return m, valid
}
