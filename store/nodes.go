package store

import (
	"fmt"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/cluster"
)

// Table "nodes": what is known about nodes, in the registry of all, in a node of those it met.
//
//	node id (raw bytes) -> CBOR cluster.NodeState
//
// Table "rows": the members of the own cluster as the head replicates them.
//
//	node id (raw bytes) -> CBOR cluster.Row
const (
	tableNodes = "nodes"
	tableRows  = "rows"
)

func checkID(id cluster.ID) error {
	if id == "" || len(id) > maxNameBytes {
		return fmt.Errorf("%w node id of %d bytes: 1 to %d are needed", ErrInvalid, len(id), maxNameBytes)
	}
	return nil
}

func nodePairs(nodes []cluster.NodeState) ([]pair, error) {
	pairs := make([]pair, 0, len(nodes))
	for _, n := range nodes {
		if err := checkID(n.ID); err != nil {
			return nil, fmt.Errorf("store: put node: %w", err)
		}
		raw, err := encodeRecord(n)
		if err != nil {
			return nil, fmt.Errorf("store: put node: %w", err)
		}
		pairs = append(pairs, pair{[]byte(n.ID), raw})
	}
	return pairs, nil
}

// PutNodes stores the nodes, all in one commit.
func (db *DB) PutNodes(nodes ...cluster.NodeState) error {
	pairs, err := nodePairs(nodes)
	if err != nil {
		return err
	}
	return db.put(tableNodes, pairs)
}

// Node returns one node, or ErrNotFound.
func (db *DB) Node(id cluster.ID) (cluster.NodeState, error) {
	var n cluster.NodeState
	raw, err := db.load(tableNodes, []byte(id))
	if err != nil {
		return n, err
	}
	if raw == nil {
		return n, fmt.Errorf("store: node: %w", ErrNotFound)
	}
	if err := decodeRecord(raw, &n); err != nil {
		return n, corruptError(db.file.path, err.Error())
	}
	return n, nil
}

// Nodes returns all nodes in the order of their ids.
func (db *DB) Nodes() ([]cluster.NodeState, error) {
	return list[cluster.NodeState](db.file, tableNodes)
}

// PutRows stores member rows, all in one commit.
func (db *DB) PutRows(rows ...cluster.Row) error {
	pairs := make([]pair, 0, len(rows))
	for _, r := range rows {
		if err := checkID(r.ID); err != nil {
			return fmt.Errorf("store: put row: %w", err)
		}
		raw, err := encodeRecord(r)
		if err != nil {
			return fmt.Errorf("store: put row: %w", err)
		}
		pairs = append(pairs, pair{[]byte(r.ID), raw})
	}
	return db.put(tableRows, pairs)
}

// DropRows deletes the rows of members that are gone. Unknown ids are ignored.
func (db *DB) DropRows(ids ...cluster.ID) error {
	keys := make([][]byte, 0, len(ids))
	for _, id := range ids {
		if id != "" {
			keys = append(keys, []byte(id))
		}
	}
	return db.remove(tableRows, keys)
}

// Rows returns all member rows in the order of their ids.
func (db *DB) Rows() ([]cluster.Row, error) { return list[cluster.Row](db.file, tableRows) }

// list decodes a whole table, in key order.
func list[T any](f *file, table string) (all []T, err error) {
	err = f.view("list "+table, func(tx *bbolt.Tx) error {
		return tx.Bucket([]byte(table)).ForEach(func(_, v []byte) error {
			var one T
			if err := decodeRecord(v, &one); err != nil {
				return corruptError(f.path, table+": "+err.Error())
			}
			all = append(all, one)
			return nil
		})
	})
	return all, err
}

// checkNodes: every record is of the id that it lies under.
func checkNodes(tx *bbolt.Tx) error {
	err := tx.Bucket([]byte(tableNodes)).ForEach(func(k, v []byte) error {
		var n cluster.NodeState
		if err := decodeRecord(v, &n); err != nil {
			return err
		}
		if string(n.ID) != string(k) {
			return fmt.Errorf("nodes: record of %x lies under %x", n.ID, k)
		}
		return nil
	})
	if rows := tx.Bucket([]byte(tableRows)); err == nil && rows != nil {
		err = rows.ForEach(func(k, v []byte) error {
			var r cluster.Row
			if err := decodeRecord(v, &r); err != nil {
				return err
			}
			if string(r.ID) != string(k) {
				return fmt.Errorf("rows: record of %x lies under %x", r.ID, k)
			}
			return nil
		})
	}
	return err
}
