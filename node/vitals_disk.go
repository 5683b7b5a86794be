package node

import (
	"errors"
	"os"
	"path/filepath"
)

const (
	probeFile = "disk.probe" // in the data directory; removed at the end
	probeSize = 4 << 10      // bytes: one page
)

// dataDisk is the disk of a data directory.
type dataDisk struct{ dir string }

// sync overwrites one page of a file of its own.
func (d dataDisk) sync() (err error) {
	f, err := os.OpenFile(filepath.Join(d.dir, probeFile), os.O_WRONLY|os.O_CREATE, keyMode)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if _, err := f.Write(make([]byte, probeSize)); err != nil {
		return err
	}
	return f.Sync()
}

func (d dataDisk) free() (uint64, bool) { return freeBytes(d.dir) }

func (d dataDisk) close() { os.Remove(filepath.Join(d.dir, probeFile)) }
