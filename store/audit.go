package store

import (
	"encoding/binary"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
)

// Table "audit": what users did and who was admitted.
//
//	uint64 big endian, counting up -> CBOR {1 at unix ns, 2 actor, 3 action, 4 object, 5 answer, 6 from}
const tableAudit = "audit"

const (
	// MaxAudit entries are kept, the newest (some 20 MB).
	MaxAudit = 100_000
	// maxAuditText bounds each text of an entry; longer ones are cut, because an entry must never be
	// lost for what somebody wrote into it.
	maxAuditText = 512
)

// AuditEntry is one line of the audit.
type AuditEntry struct {
	At     time.Time // zero: now
	Actor  string    // who: a peer id, a user, "cli"
	Action string    // what: "measure", "register", "token.add"
	Object string    // on what
	Answer string    // "ok", or the refusal
	From   string    // from where: an address, "unix"
}

type auditWire struct {
	At     int64  `cbor:"1,keyasint"`
	Actor  string `cbor:"2,keyasint"`
	Action string `cbor:"3,keyasint"`
	Object string `cbor:"4,keyasint"`
	Answer string `cbor:"5,keyasint"`
	From   string `cbor:"6,keyasint"`
}

// Audit appends an entry.
func (t *tables) Audit(e AuditEntry) error {
	if e.At.IsZero() {
		e.At = time.Now()
	}
	raw, err := encodeRecord(auditWire{
		unixNs(e.At), cut(e.Actor), cut(e.Action), cut(e.Object), cut(e.Answer), cut(e.From),
	})
	if err != nil {
		return fmt.Errorf("store: audit: %w", err)
	}
	return t.file.update("audit", func(tx *bbolt.Tx) error {
		return appendAudit(tx.Bucket([]byte(tableAudit)), raw, MaxAudit)
	})
}

// appendAudit adds raw and drops the oldest beyond limit. Keys are consecutive, so the count is their
// difference.
func appendAudit(b *bbolt.Bucket, raw []byte, limit uint64) error {
	n, err := b.NextSequence()
	if err != nil {
		return err
	}
	if err := b.Put(binary.BigEndian.AppendUint64(nil, n), raw); err != nil {
		return err
	}
	for k, _ := b.Cursor().First(); k != nil && n-binary.BigEndian.Uint64(k) >= limit; k, _ = b.Cursor().First() {
		if err := b.Delete(k); err != nil {
			return err
		}
	}
	return nil
}

// AuditTail returns the last n entries, newest first.
func (t *tables) AuditTail(n int) (tail []AuditEntry, err error) {
	err = t.file.view("read the audit", func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(tableAudit)).Cursor()
		for k, v := c.Last(); k != nil && len(tail) < n; k, v = c.Prev() {
			e, err := decodeAudit(v)
			if err != nil {
				return corruptError(t.file.path, err.Error())
			}
			tail = append(tail, e)
		}
		return nil
	})
	return tail, err
}

func decodeAudit(v []byte) (AuditEntry, error) {
	var w auditWire
	if err := decodeRecord(v, &w); err != nil {
		return AuditEntry{}, err
	}
	return AuditEntry{fromUnixNs(w.At), w.Actor, w.Action, w.Object, w.Answer, w.From}, nil
}

// cut shortens a text to its bound, at a rune, and makes it valid UTF-8.
func cut(s string) string {
	if len(s) > maxAuditText {
		s = s[:maxAuditText]
	}
	return validText(s)
}

// checkAudit: entries are readable and their numbers consecutive.
func checkAudit(tx *bbolt.Tx) error {
	b, last := tx.Bucket([]byte(tableAudit)), uint64(0)
	return b.ForEach(func(k, v []byte) error {
		n := binary.BigEndian.Uint64(k)
		if last != 0 && n != last+1 {
			return fmt.Errorf("audit: entry %d follows %d", n, last)
		}
		last = n
		_, err := decodeAudit(v)
		return err
	})
}
