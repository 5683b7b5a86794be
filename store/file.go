package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"go.etcd.io/bbolt"
)

const (
	// lockTimeout: long enough for a process that is just closing the file, short enough to fail fast.
	lockTimeout = 400 * time.Millisecond
	// fileMode and dirMode: keys, tokens' hashes and addresses of others are nobody else's business.
	fileMode fs.FileMode = 0o600
	dirMode  fs.FileMode = 0o700
	// mmapBytes is mapped at once where a file grows, so that its first growths need not wait for
	// readers; address space only, except on Windows where the file would get that long.
	mmapBytes = 16 << 20
	// allocBytes: a file grows in such steps (bbolt's own step is 16 MiB, too much for a node's disk).
	allocBytes = 1 << 20
	// newSuffix: a file is made under this name, and gets its own when it is complete and durable. So
	// an empty or half-made file under the real name is always damage and never a beginning.
	newSuffix = ".new"
)

// file is one bbolt file with its one writer.
type file struct {
	path   string
	layout layout
	bolt   *bolt
	writer *writer
}

// openFile creates the file if there is none, locks it, checks its header, kind and schema, migrates
// it where that is due, and starts its writer. maxBytes bounds the file (0: the disk does).
func openFile(path string, l layout, maxBytes int) (*file, error) {
	if err := os.MkdirAll(filepath.Dir(path), dirMode); err != nil {
		return nil, fmt.Errorf("store: make directory for %s: %w", path, err)
	}
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		if err := createFile(path, l); err != nil {
			return nil, openError(path, err)
		}
	}
	b, err := openBolt(path, l, maxBytes)
	if err != nil {
		return nil, openError(path, err)
	}
	f := &file{path: path, layout: l, bolt: b}
	if err := f.prepare(); err != nil {
		b.close()
		return nil, openError(path, err)
	}
	f.writer = newWriter(b)
	return f, nil
}

// prepare checks kind and schema, and migrates.
func (f *file) prepare() error {
	var schema uint64
	err := f.bolt.view(func(tx *bbolt.Tx) (err error) {
		schema, err = f.layout.inspect(f.path, tx)
		return err
	})
	if err != nil || schema == f.layout.version() {
		return err
	}
	return f.bolt.update(func(tx *bbolt.Tx) error { return f.layout.migrate(tx, schema) })
}

// createFile makes a complete file under a temporary name and renames it. Two processes that do so at
// once make the same file, one after the other.
func createFile(path string, l layout) error {
	fresh := path + newSuffix
	if info, err := os.Lstat(fresh); err == nil && info.Mode().IsRegular() && info.Size() > 0 && precheck(fresh) != nil {
		// Left by a crash while it was made; it never was in use.
		if err := os.Remove(fresh); err != nil {
			return err
		}
	}
	b, err := bbolt.Open(fresh, fileMode, boltOptions(0, 0))
	if err != nil {
		return err
	}
	if err = b.Update(l.create); err == nil {
		err = b.Sync()
	}
	if e := b.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return nil // another process was faster
	}
	if err := os.Rename(fresh, path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes a new name in the directory durable. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// boltOptions: the free list is kept in the file (bbolt rebuilds a missing one in a goroutine that
// cannot be recovered from when a page is damaged), and as a map in memory (constant-time allocation).
func boltOptions(mmap, maxBytes int) *bbolt.Options {
	if runtime.GOOS == "windows" {
		mmap = 0
	}
	return &bbolt.Options{
		Timeout:         lockTimeout,
		FreelistType:    bbolt.FreelistMapType,
		InitialMmapSize: mmap,
		MaxSize:         maxBytes,
	}
}

func openBolt(path string, l layout, maxBytes int) (*bolt, error) {
	if err := precheck(path); err != nil {
		return nil, err
	}
	mmap := mmapBytes
	if l.kind == layoutHard.kind || maxBytes > 0 {
		mmap = 0
	}
	b := &bolt{path: path}
	_, err := b.guard(func() (err error) {
		b.db, err = bbolt.Open(path, fileMode, boltOptions(mmap, maxBytes))
		return err
	})
	if err != nil {
		return nil, err
	}
	b.db.AllocSize = allocBytes
	return b, nil
}

// view runs a read transaction. Bytes from the table are valid inside fn only.
func (f *file) view(what string, fn func(tx *bbolt.Tx) error) error {
	return opError(f.path, what, f.bolt.view(fn))
}

// update runs fn in the writer's next commit and returns when that is durable.
func (f *file) update(what string, fn func(tx *bbolt.Tx) error) error {
	return f.change(what, &change{apply: fn})
}

func (f *file) change(what string, c *change) error {
	return opError(f.path, what, f.writer.do(c))
}

// close joins the writer, which commits what it was given before, and closes the file.
func (f *file) close() error {
	f.writer.close()
	return opError(f.path, "close", f.bolt.close())
}

// check walks every record, then lets bbolt check its pages. The walk comes first because it can
// recover from a damaged page, and bbolt's check runs in a goroutine that cannot.
func (f *file) check(ctx context.Context, own func(tx *bbolt.Tx) error) error {
	return f.view("check", func(tx *bbolt.Tx) error {
		if _, err := f.layout.inspect(f.path, tx); err != nil {
			return err
		}
		if err := walk(ctx, tx); err != nil {
			return err
		}
		var first error
		for err := range tx.Check() { // drained to its end: it is a goroutine inside this transaction
			if first == nil {
				first = corruptError(f.path, err.Error())
			}
		}
		if first != nil || own == nil {
			return first
		}
		return own(tx)
	})
}

// walkStep is how many records pass between two looks at the context.
const walkStep = 1024

func walk(ctx context.Context, tx *bbolt.Tx) error {
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		n, sum := 0, byte(0)
		return b.ForEach(func(k, v []byte) error {
			if n++; n%walkStep == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			for _, c := range v { // touches every page of the value
				sum ^= c
			}
			_ = sum
			return nil
		})
	})
}
