package store

import (
	"errors"
	"fmt"
	"io/fs"

	berrors "go.etcd.io/bbolt/errors"
)

// Sentinels. What is returned wraps them with the path, what was tried and what to do.
var (
	// ErrLocked: another process has the file open.
	ErrLocked = errors.New("in use by another process")
	// ErrNewerSchema: a later version of the program wrote the file.
	ErrNewerSchema = errors.New("written by a newer version")
	// ErrCorrupt: the file is truncated, damaged, or not one of ours. It is left as it is.
	ErrCorrupt = errors.New("damaged or not a peerprobe file")
	// ErrNotFound: no such record.
	ErrNotFound = errors.New("not found")
	// ErrClosed: the file was closed before the call, or while it waited.
	ErrClosed = errors.New("store is closed")
	// ErrTooLarge: a record or a batch is above its bound.
	ErrTooLarge = errors.New("too large")
	// ErrInvalid: a record or a query that cannot be stored or answered as it is.
	ErrInvalid = errors.New("invalid")
)

// newerError has both versions in its sentence.
func newerError(path string, have, want uint64) error {
	return fmt.Errorf("store: open %s: %w: the file has schema %d and this program knows schema %d; "+
		"run the newer program, or another data directory", path, ErrNewerSchema, have, want)
}

func corruptError(path, what string) error {
	return fmt.Errorf("store: %s: %w: %s; nothing was changed: move the file away, or restore it from a copy",
		path, ErrCorrupt, what)
}

// openError names what stands in the way of opening a file.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, ErrCorrupt), errors.Is(err, ErrNewerSchema), errors.Is(err, ErrLocked):
		return err
	case errors.Is(err, berrors.ErrTimeout):
		return fmt.Errorf("store: open %s: %w: another peerprobe uses this data directory; "+
			"stop it, or choose another directory", path, ErrLocked)
	case errors.Is(err, berrors.ErrInvalid), errors.Is(err, berrors.ErrChecksum), errors.Is(err, berrors.ErrVersionMismatch):
		return corruptError(path, err.Error())
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("store: open %s: %w: this user may not read and write it; "+
			"run as the owner of the data directory", path, err)
	}
	return fmt.Errorf("store: open %s: %w", path, err)
}

// opError wraps what a transaction returned.
func opError(path, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, berrors.ErrDatabaseNotOpen), errors.Is(err, berrors.ErrTxClosed), errors.Is(err, ErrClosed):
		return fmt.Errorf("store: %s: %s: %w", path, what, ErrClosed)
	case errors.Is(err, berrors.ErrMaxSizeReached):
		return fmt.Errorf("store: %s: %s: %w: nothing of it was stored; free space on the disk", path, what, err)
	case errors.Is(err, berrors.ErrBucketNotFound):
		return corruptError(path, "a table is missing")
	}
	return fmt.Errorf("store: %s: %s: %w", path, what, err)
}
