package store

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/probe"
)

const (
	// DefaultLimit of a page, and MaxLimit: a thousand results with samples are some megabytes.
	DefaultLimit = 100
	MaxLimit     = 1000
	// maxScan index entries are looked at for one page, so that a query that matches nothing does not
	// hold a read transaction for long. The page then has fewer results, and a cursor.
	maxScan = 200_000
)

// Query selects results; the zero value selects all.
type Query struct {
	From, To      time.Time // started at or after From and before To; zero: open
	InitiatorCity string
	TargetCity    string
	Tool          string
	Node          string // either end
	Status        string
	Limit         int    // 0: DefaultLimit; at most MaxLimit
	After         string // Page.Next of the page before
}

// Page is a part of the answer, newest first (by start, then by key).
type Page struct {
	Results []probe.Result
	Next    string // cursor for Query.After; empty: this was the last page
}

// plan is a query on its way through one or more files.
type plan struct {
	q        Query
	from, to int64  // to is exclusive
	after    []byte // time key; results before it in time
	scanned  int
	full     bool
	page     Page
}

func (q Query) plan() (*plan, error) {
	if q.Limit < 0 || q.Limit > MaxLimit {
		return nil, fmt.Errorf("store: query: %w limit %d: 0 to %d", ErrInvalid, q.Limit, MaxLimit)
	}
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	p := &plan{q: q, from: -1 << 63, to: 1<<63 - 1}
	if !q.From.IsZero() {
		p.from = unixNs(q.From)
	}
	if !q.To.IsZero() {
		p.to = unixNs(q.To)
	}
	if p.from > p.to {
		return nil, fmt.Errorf("store: query: %w: from %s is after to %s", ErrInvalid, q.From.Format(time.RFC3339), q.To.Format(time.RFC3339))
	}
	if q.After != "" {
		after, err := base64.RawURLEncoding.DecodeString(q.After)
		if err == nil && len(after) < 8 {
			err = ErrInvalid
		}
		if err == nil {
			_, err = parseKey(after[8:])
		}
		if err != nil {
			return nil, fmt.Errorf("store: query: %w cursor %q: give Next of the page before", ErrInvalid, q.After)
		}
		p.after = after
	}
	return p, nil
}

// scan walks one file's index from new to old and appends what matches, until the page is full.
func (p *plan) scan(tx *bbolt.Tx) error {
	index, results := tx.Bucket([]byte(tableResultsTime)), tx.Bucket([]byte(tableResults))
	c := index.Cursor()
	k, v := p.start(c)
	for ; k != nil && parseTime(k) >= p.from; k, v = c.Prev() {
		// Looked at only here, one entry beyond the page, so that a cursor means that there is more.
		if len(p.page.Results) == p.q.Limit || p.scanned == maxScan {
			p.full = true
			p.page.Next = base64.RawURLEncoding.EncodeToString(p.after)
			return nil
		}
		p.scanned++
		p.after = append(p.after[:0], k...)
		f, err := parseFacts(v)
		if err != nil {
			return err
		}
		if !p.q.matches(f) {
			continue
		}
		rec, err := decodeResult(results.Get(k[8:]))
		if err != nil {
			return err
		}
		p.page.Results = append(p.page.Results, rec.Result)
	}
	return nil
}

// start is the newest entry that is older than both the cursor and To.
func (p *plan) start(c *bbolt.Cursor) (k, v []byte) {
	bound := appendTime(nil, p.to)
	if p.after != nil && bytes.Compare(p.after, bound) < 0 {
		bound = p.after
	}
	if p.to == 1<<63-1 && p.after == nil {
		return c.Last()
	}
	if k, _ = c.Seek(bound); k == nil {
		return c.Last()
	}
	return c.Prev()
}

func (q Query) matches(f facts) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	return is(q.InitiatorCity, f[0]) && is(q.TargetCity, f[2]) && is(q.Tool, f[4]) && is(q.Status, f[5]) &&
		(q.Node == "" || q.Node == f[1] || q.Node == f[3])
}
