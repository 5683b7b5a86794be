package store

import (
	"encoding/binary"
	"fmt"

	"go.etcd.io/bbolt"
)

// SchemaVersion is the version of the tables that this program writes, in every file. A file of a lower
// version is migrated when it is opened; a higher one is refused with ErrNewerSchema.
//
// Version log: 1 first version; 2 node.db: what is held for others (held.go); registry.db: its own name.
const SchemaVersion = 2

// Every file has the table "meta". Keys that begin with a dot are the store's own:
//
//	.kind     "hard", "node", "registry" or "results"
//	.schema   uint64, big endian: the schema version
//	.spool    24 bytes: depth, bytes, dropped, each uint64 big endian (node.db only)
//	.held     32 bytes: waiting, their bytes, kept, their bytes, each uint64 big endian (node.db only)
//	.store    16 bytes: the name of this registry's tables, drawn when they were made (registry.db only)
//
// All others are settings of the caller ([DB.SetMeta]), value as given.
const (
	tableMeta = "meta"

	metaKind   = ".kind"
	metaSchema = ".schema"
	metaSpool  = ".spool"
)

// layout is what a kind of file consists of.
type layout struct {
	kind   string
	tables []string
	// migrations[i] leads from schema i+1 to i+2, inside one transaction with all others that are due.
	migrations []migration
	// fill writes what a new file has beside empty tables, and a migrated one may lack; nil: nothing.
	fill func(tx *bbolt.Tx) error
}

type migration func(tx *bbolt.Tx) error

// The tables of each kind of file. Keys and values are documented where the table's methods are.
var (
	layoutHard = layout{kind: "hard", tables: []string{tableMeta, tableHard}, migrations: toSchema2}
	layoutNode = layout{kind: "node", tables: []string{
		tableMeta, tableNodes, tableRows, tableHeads, tableResults, tableResultsTime,
		tableSpool, tableSpoolKeys, tableTasks, tableTasksTime, tableAudit,
		tableHeld, tableHeldState, tableHeldWait, tableHeldKept,
	}, migrations: toSchema2}
	layoutRegistry = layout{kind: "registry", tables: []string{
		tableMeta, tableNodes, tableCities, tableTokens, tableTokenPeers, tableSeen, tableAudit,
	}, migrations: toSchema2, fill: nameStore}
	layoutDay = layout{kind: "results", tables: []string{tableMeta, tableResults, tableResultsTime}, migrations: toSchema2}
)

// toSchema2 adds tables and a setting: create and fill do that.
var toSchema2 = []migration{func(*bbolt.Tx) error { return nil }}

func (l layout) version() uint64 { return uint64(len(l.migrations)) + 1 }

// create makes the tables of a new file.
func (l layout) create(tx *bbolt.Tx) error {
	for _, name := range l.tables {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return fmt.Errorf("create table %s: %w", name, err)
		}
	}
	if l.fill != nil {
		if err := l.fill(tx); err != nil {
			return err
		}
	}
	m := tx.Bucket([]byte(tableMeta))
	if err := m.Put([]byte(metaKind), []byte(l.kind)); err != nil {
		return err
	}
	return m.Put([]byte(metaSchema), binary.BigEndian.AppendUint64(nil, l.version()))
}

// inspect reads kind and schema and says what is wrong with them.
func (l layout) inspect(path string, tx *bbolt.Tx) (schema uint64, err error) {
	m := tx.Bucket([]byte(tableMeta))
	if m == nil {
		return 0, corruptError(path, "it has no table \"meta\"")
	}
	kind, raw := string(m.Get([]byte(metaKind))), m.Get([]byte(metaSchema))
	if kind != l.kind {
		return 0, corruptError(path, fmt.Sprintf("it is a %q file where a %q file belongs", kind, l.kind))
	}
	if len(raw) != 8 {
		return 0, corruptError(path, "its schema version is unreadable")
	}
	schema = binary.BigEndian.Uint64(raw)
	if schema > l.version() {
		return schema, newerError(path, schema, l.version())
	}
	if schema == 0 {
		return 0, corruptError(path, "its schema version is 0")
	}
	if schema == l.version() {
		for _, name := range l.tables {
			if tx.Bucket([]byte(name)) == nil {
				return schema, corruptError(path, fmt.Sprintf("the table %q is missing", name))
			}
		}
	}
	return schema, nil
}

// migrate runs what leads from schema to the layout's version, and writes the new version.
func (l layout) migrate(tx *bbolt.Tx, schema uint64) error {
	for v := schema; v < l.version(); v++ {
		if err := l.migrations[v-1](tx); err != nil {
			return fmt.Errorf("migrate from schema %d to %d: %w", v, v+1, err)
		}
	}
	return l.create(tx)
}
