package store

import (
	"context"
	"fmt"
	"sync"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
)

// Table "hard": one record.
//
//	"state" -> CBOR cluster.HardState {1 High, 2 Cert, 3 Boot}
const (
	tableHard = "hard"
	hardKey   = "state"
)

// HardFile keeps what the election must not forget: the highest Lead ever seen, the highest
// certificate, the boot number. A few writes a day; each is durable when Save returns.
type HardFile struct {
	path string
	bolt *bolt
	mu   sync.Mutex // guards closing only
	shut bool
}

// OpenHard opens or creates the file and locks it. The whole file is checked: it is small, and a node
// that leads on a damaged state does harm.
func OpenHard(path string) (*HardFile, error) {
	f, err := openFile(path, layoutHard, 0)
	if err != nil {
		return nil, err
	}
	f.writer.close() // one record: Save commits by itself
	h := &HardFile{path: path, bolt: f.bolt}
	err = f.check(context.Background(), nil)
	if err == nil {
		_, err = h.Load()
	}
	if err != nil {
		f.bolt.close()
		return nil, err
	}
	return h, nil
}

// Load returns the state, the zero state where none was ever saved.
func (h *HardFile) Load() (cluster.HardState, error) {
	var s cluster.HardState
	err := h.bolt.view(func(tx *bbolt.Tx) error {
		raw := tx.Bucket([]byte(tableHard)).Get([]byte(hardKey))
		if raw == nil {
			return nil
		}
		if err := decodeRecord(raw, &s); err != nil {
			return corruptError(h.path, err.Error())
		}
		return nil
	})
	return s, opError(h.path, "load the durable state", err)
}

// Save replaces the state; it is on disk when Save returns nil.
func (h *HardFile) Save(s cluster.HardState) error {
	raw, err := encodeRecord(s)
	if err != nil {
		return fmt.Errorf("store: %s: save the durable state: %w", h.path, err)
	}
	err = h.bolt.update(func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(tableHard)).Put([]byte(hardKey), raw)
	})
	return opError(h.path, "save the durable state", err)
}

// Close releases the file. Closing twice is harmless.
func (h *HardFile) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.shut {
		return nil
	}
	h.shut = true
	return opError(h.path, "close", h.bolt.close())
}
