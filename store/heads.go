package store

import (
	"encoding/binary"
	"fmt"
	"strings"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
)

// Table "heads": the other heads that are known, one a city and shard.
//
//	city, 0x00, shard uint32 big endian -> CBOR {1 city, 2 shard, 3 lead (cluster.Signed, as received)}
const tableHeads = "heads"

// maxShard bounds shards in keys.
const maxShard = 1<<32 - 1

// HeadRecord is the Lead of one city and shard.
type HeadRecord struct {
	City  cluster.City   `cbor:"1,keyasint"`
	Shard uint           `cbor:"2,keyasint"`
	Lead  cluster.Signed `cbor:"3,keyasint"`
}

func headKey(city cluster.City, shard uint) ([]byte, error) {
	if city == "" || len(city) > maxNameBytes || strings.IndexByte(string(city), 0) >= 0 {
		return nil, fmt.Errorf("%w city %q: 1 to %d bytes without NUL are needed", ErrInvalid, city, maxNameBytes)
	}
	if uint64(shard) > maxShard {
		return nil, fmt.Errorf("%w shard %d: at most %d", ErrInvalid, shard, uint64(maxShard))
	}
	return binary.BigEndian.AppendUint32(append([]byte(city), 0), uint32(shard)), nil
}

// PutHead replaces the Lead of a city and shard. That only a higher term replaces a lower one is the
// caller's duty: terms mean nothing here.
func (db *DB) PutHead(city cluster.City, shard uint, lead cluster.Signed) error {
	key, err := headKey(city, shard)
	if err != nil {
		return fmt.Errorf("store: put head: %w", err)
	}
	raw, err := encodeRecord(HeadRecord{city, shard, lead})
	if err != nil {
		return fmt.Errorf("store: put head: %w", err)
	}
	return db.put(tableHeads, []pair{{key, raw}})
}

// Head returns the Lead of a city and shard, or ErrNotFound.
func (db *DB) Head(city cluster.City, shard uint) (HeadRecord, error) {
	var h HeadRecord
	key, err := headKey(city, shard)
	if err != nil {
		return h, fmt.Errorf("store: head: %w", err)
	}
	raw, err := db.load(tableHeads, key)
	if err != nil {
		return h, err
	}
	if raw == nil {
		return h, fmt.Errorf("store: head of %s/%d: %w", city, shard, ErrNotFound)
	}
	if err := decodeRecord(raw, &h); err != nil {
		return h, corruptError(db.file.path, err.Error())
	}
	return h, nil
}

// Heads returns all, in the order of city and shard.
func (db *DB) Heads() ([]HeadRecord, error) { return list[HeadRecord](db.file, tableHeads) }

// checkHeads: every record is of the city and shard that it lies under.
func checkHeads(tx *bbolt.Tx) error {
	return tx.Bucket([]byte(tableHeads)).ForEach(func(k, v []byte) error {
		var h HeadRecord
		if err := decodeRecord(v, &h); err != nil {
			return err
		}
		if key, err := headKey(h.City, h.Shard); err != nil || string(key) != string(k) {
			return fmt.Errorf("heads: record of %s/%d lies under %x", h.City, h.Shard, k)
		}
		return nil
	})
}
