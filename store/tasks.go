package store

import (
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/probe"
)

// Table "tasks": requests to measure, as the node that was asked owns them.
//
//	task id -> CBOR {1 id, 2 request (bytes as given), 3 status, 4 created, 5 updated (unix ns), 6 result keys}
//
// Table "tasks.time": the same by time of creation.
//
//	created (see appendTime), task id -> nothing
const (
	tableTasks     = "tasks"
	tableTasksTime = "tasks.time"
)

const (
	// MaxTasks are kept, the newest; results outlive their tasks.
	MaxTasks = 10_000
	// maxTaskRequest bounds a request: it came in a frame of a control message (64 KiB).
	maxTaskRequest = 64 << 10
)

// Task is a request to measure and what became of it.
type Task struct {
	ID               string
	Request          []byte
	Status           string
	Created, Updated time.Time
	Keys             []probe.Key // of its results
}

type taskWire struct {
	ID      string      `cbor:"1,keyasint"`
	Request []byte      `cbor:"2,keyasint"`
	Status  string      `cbor:"3,keyasint"`
	Created int64       `cbor:"4,keyasint"`
	Updated int64       `cbor:"5,keyasint"`
	Keys    []probe.Key `cbor:"6,keyasint,omitempty"`
}

func decodeTask(raw []byte) (Task, error) {
	var w taskWire
	if err := decodeRecord(raw, &w); err != nil {
		return Task{}, err
	}
	return Task{w.ID, w.Request, w.Status, fromUnixNs(w.Created), fromUnixNs(w.Updated), w.Keys}, nil
}

// PutTask stores or replaces a task; beyond MaxTasks the oldest goes.
func (db *DB) PutTask(t Task) error {
	switch {
	case t.ID == "" || len(t.ID) > maxNameBytes:
		return fmt.Errorf("store: put task: %w id %q: 1 to %d bytes are needed", ErrInvalid, t.ID, maxNameBytes)
	case len(t.Request) > maxTaskRequest:
		return fmt.Errorf("store: put task %s: %w: a request of %d bytes, at most %d", t.ID, ErrTooLarge, len(t.Request), maxTaskRequest)
	case len(t.Keys) > maxRecordItems:
		return fmt.Errorf("store: put task %s: %w: %d results, at most %d", t.ID, ErrTooLarge, len(t.Keys), maxRecordItems)
	}
	raw, err := encodeRecord(taskWire{t.ID, t.Request, validText(t.Status), unixNs(t.Created), unixNs(t.Updated), t.Keys})
	if err != nil {
		return fmt.Errorf("store: put task %s: %w", t.ID, err)
	}
	id, at := []byte(t.ID), append(appendTime(nil, unixNs(t.Created)), t.ID...)
	return db.file.update("put task "+t.ID, func(tx *bbolt.Tx) error { return putTask(tx, id, at, raw, MaxTasks) })
}

func putTask(tx *bbolt.Tx, id, at, raw []byte, limit uint64) error {
	tasks, index := tx.Bucket([]byte(tableTasks)), tx.Bucket([]byte(tableTasksTime))
	count := index.Sequence() // the number of tasks, kept as the index's sequence
	if old := tasks.Get(id); old != nil {
		was, err := decodeTask(old)
		if err != nil {
			return err
		}
		if err := index.Delete(append(appendTime(nil, unixNs(was.Created)), id...)); err != nil {
			return err
		}
	} else {
		count++
	}
	if err := tasks.Put(id, raw); err != nil {
		return err
	}
	if err := index.Put(at, nil); err != nil {
		return err
	}
	for ; count > limit; count-- {
		oldest, _ := index.Cursor().First()
		oldest = append([]byte{}, oldest...)
		if err := index.Delete(oldest); err != nil {
			return err
		}
		if err := tasks.Delete(oldest[8:]); err != nil {
			return err
		}
	}
	return index.SetSequence(count)
}

// Task returns one task, or ErrNotFound.
func (db *DB) Task(id string) (t Task, err error) {
	err = db.file.view("read task "+id, func(tx *bbolt.Tx) (err error) {
		raw := tx.Bucket([]byte(tableTasks)).Get([]byte(id))
		if raw == nil {
			return ErrNotFound
		}
		t, err = decodeTask(raw)
		return err
	})
	return t, err
}

// Tasks returns the newest tasks, newest first; limit 0 means DefaultLimit.
func (db *DB) Tasks(limit int) (tasks []Task, err error) {
	if limit <= 0 {
		limit = DefaultLimit
	}
	err = db.file.view("list tasks", func(tx *bbolt.Tx) error {
		b, c := tx.Bucket([]byte(tableTasks)), tx.Bucket([]byte(tableTasksTime)).Cursor()
		for k, _ := c.Last(); k != nil && len(tasks) < limit; k, _ = c.Prev() {
			t, err := decodeTask(b.Get(k[8:]))
			if err != nil {
				return corruptError(db.file.path, err.Error())
			}
			tasks = append(tasks, t)
		}
		return nil
	})
	return tasks, err
}

// checkTasks: both tables name the same tasks, and the count is right.
func checkTasks(tx *bbolt.Tx) error {
	tasks, index := tx.Bucket([]byte(tableTasks)), tx.Bucket([]byte(tableTasksTime))
	n := uint64(0)
	err := index.ForEach(func(k, _ []byte) error {
		n++
		if len(k) < 9 || tasks.Get(k[8:]) == nil {
			return fmt.Errorf("tasks.time: an entry without a task: %x", k)
		}
		t, err := decodeTask(tasks.Get(k[8:]))
		if err == nil && unixNs(t.Created) != parseTime(k) {
			err = fmt.Errorf("tasks.time: task %s is at the wrong time", t.ID)
		}
		return err
	})
	if err == nil && (n != index.Sequence() || int(n) != tasks.Stats().KeyN) {
		err = fmt.Errorf("tasks: %d entries by time, %d tasks, counted %d", n, tasks.Stats().KeyN, index.Sequence())
	}
	return err
}
