package store

import (
	"bytes"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"
)

// maxMetaKey bounds a setting's name.
const maxMetaKey = 256

func checkMetaKey(key string) error {
	if key == "" || len(key) > maxMetaKey || strings.HasPrefix(key, ".") {
		return fmt.Errorf("store: setting %q: %w name: 1 to %d bytes, not beginning with a dot", key, ErrInvalid, maxMetaKey)
	}
	return nil
}

// SetMeta stores a small setting.
func (t *tables) SetMeta(key string, value []byte) error {
	if err := checkMetaKey(key); err != nil {
		return err
	}
	if len(value) > maxRecordBytes {
		return fmt.Errorf("store: setting %q: %w: %d bytes, at most %d", key, ErrTooLarge, len(value), maxRecordBytes)
	}
	value = bytes.Clone(value)
	return t.file.update("set "+key, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(tableMeta)).Put([]byte(key), value)
	})
}

// Meta returns a setting, or ErrNotFound.
func (t *tables) Meta(key string) (value []byte, err error) {
	if err := checkMetaKey(key); err != nil {
		return nil, err
	}
	err = t.file.view("read "+key, func(tx *bbolt.Tx) error {
		v := tx.Bucket([]byte(tableMeta)).Get([]byte(key))
		if v == nil {
			return fmt.Errorf("setting %q: %w", key, ErrNotFound)
		}
		value = append([]byte{}, v...)
		return nil
	})
	return value, err
}
