package store

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"

	"go.etcd.io/bbolt"
)

// metaStore names a registry's tables: whoever remembers another name knows that what the old ones had may be lost.
const metaStore = ".store"

const storeNameBytes = 16

// nameStore draws the name, once.
func nameStore(tx *bbolt.Tx) error {
	m := tx.Bucket([]byte(tableMeta))
	if m.Get([]byte(metaStore)) != nil {
		return nil
	}
	name := make([]byte, storeNameBytes)
	if _, err := rand.Read(name); err != nil {
		return err
	}
	return m.Put([]byte(metaStore), name)
}

// Name is the name of these tables, drawn when they were made: 32 hexadecimal digits. A directory that was lost, or made
// anew, has another one; a copy has the same.
func (r *Registry) Name() (name string, err error) {
	err = r.file.view("read the name of the tables", func(tx *bbolt.Tx) error {
		raw := tx.Bucket([]byte(tableMeta)).Get([]byte(metaStore))
		if len(raw) != storeNameBytes {
			return corruptError(r.file.path, fmt.Sprintf("their name has %d bytes", len(raw)))
		}
		name = hex.EncodeToString(raw)
		return nil
	})
	return name, err
}
