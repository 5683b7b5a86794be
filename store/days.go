package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.etcd.io/bbolt"

	"github.com/peerprobe/peerprobe/probe"
)

const (
	dayPrefix = "results-"
	daySuffix = ".db"
	// maxOpenDays files of results are open at once, beside those in use.
	maxOpenDays = 16
	// maxClockAhead: a start further in the future than this is a clock gone wrong.
	maxClockAhead = 48 * time.Hour
)

// Results of clocks gone wrong are filed under one day at either end of time, instead of under each day
// that somebody makes up; the results themselves say what their clock said.
var (
	firstDay = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	lastDay  = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
)

// filed is the time under which the registry files a result. It depends on the present only where the
// result's clock was ahead of it.
func filed(started, now time.Time) time.Time {
	switch {
	case started.Before(firstDay):
		return firstDay
	case started.After(now.Add(maxClockAhead)):
		return lastDay
	}
	return started.UTC()
}

func dayName(t time.Time) string { return dayPrefix + t.Format(time.DateOnly) + daySuffix }

func dayStart(name string) (time.Time, bool) {
	s, ok := strings.CutPrefix(name, dayPrefix)
	if !ok {
		return time.Time{}, false
	}
	if s, ok = strings.CutSuffix(s, daySuffix); !ok {
		return time.Time{}, false
	}
	t, err := time.Parse(time.DateOnly, s)
	return t, err == nil
}

// filedIn is the time under which a result lies in the file of that name.
func filedIn(name string) func(*probe.Result) int64 {
	return func(r *probe.Result) int64 {
		if name == dayName(lastDay) {
			return unixNs(lastDay)
		}
		return unixNs(filed(r.Started, lastDay))
	}
}

// days are the files of results, one for each day (UTC) on which results started. They are opened on
// demand and closed again, least recently used first.
type days struct {
	dir   string
	mu    sync.Mutex // guards what is below; never held while a file is opened, read or written
	known map[string]bool
	open  map[string]*day
	tick  uint64
	shut  bool
	users sync.WaitGroup // calls of with and remove
}

// day is one file on its way from opening to closed.
type day struct {
	ready  chan struct{} // closed when file and err are set
	file   *file
	err    error
	users  int           // guarded by days.mu, as are the others below
	used   uint64        // tick of the last use
	closed chan struct{} // not nil: it is being closed, wait for this and look again
}

// openDays lists the directory; it opens nothing.
func openDays(dir string) (*days, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, openError(dir, err)
	}
	d := &days{dir: dir, known: map[string]bool{}, open: map[string]*day{}}
	for _, e := range entries {
		if _, ok := dayStart(e.Name()); ok {
			d.known[e.Name()] = true
		}
	}
	return d, nil
}

// names are all files, newest day first.
func (d *days) names() []string {
	d.mu.Lock()
	names := slices.Sorted(maps.Keys(d.known))
	d.mu.Unlock()
	slices.Reverse(names)
	return names
}

// between are the files that can hold what a query asks for, newest first.
func (d *days) between(p *plan) []string {
	to := p.to
	if p.after != nil {
		to = min(to, parseTime(p.after)+1)
	}
	return slices.DeleteFunc(d.names(), func(name string) bool {
		start, _ := dayStart(name)
		return start.UnixNano() >= to || start.AddDate(0, 0, 1).UnixNano() <= p.from
	})
}

// with runs fn on the day's file, which is opened where it is closed. Without create, a day that is not
// there is passed over.
func (d *days) with(name string, create bool, fn func(*file) error) error {
	one, err := d.take(name, create)
	if one == nil {
		return err
	}
	defer d.users.Done()
	defer d.release(name, one)
	if <-one.ready; one.err != nil {
		return one.err
	}
	return fn(one.file)
}

func (d *days) take(name string, create bool) (*day, error) {
	for {
		d.mu.Lock()
		switch one := d.open[name]; {
		case d.shut:
			d.mu.Unlock()
			return nil, opError(filepath.Join(d.dir, name), "open", ErrClosed)
		case !create && !d.known[name]:
			d.mu.Unlock()
			return nil, nil
		case one == nil:
			d.tick++
			one = &day{ready: make(chan struct{}), users: 1, used: d.tick}
			d.open[name], d.known[name] = one, true
			d.users.Add(1)
			d.mu.Unlock()
			one.file, one.err = openFile(filepath.Join(d.dir, name), layoutDay, 0)
			close(one.ready)
			return one, nil
		case one.closed != nil:
			d.mu.Unlock()
			<-one.closed
		default:
			d.tick++
			one.users++
			one.used = d.tick
			d.users.Add(1)
			d.mu.Unlock()
			return one, nil
		}
	}
}

// release lets go of a day, and closes the one that was idle longest where too many are open.
func (d *days) release(name string, one *day) {
	d.mu.Lock()
	if one.users--; one.err != nil {
		if d.open[name] == one {
			delete(d.open, name) // the next call tries again
		}
		d.mu.Unlock()
		return
	}
	victim := ""
	if len(d.open) > maxOpenDays {
		for n, o := range d.open {
			if o.users == 0 && o.closed == nil && (victim == "" || o.used < d.open[victim].used) {
				victim = n
			}
		}
	}
	var closing *day
	if victim != "" {
		closing = d.open[victim]
		closing.closed = make(chan struct{})
	}
	d.mu.Unlock()
	if closing != nil {
		closing.file.close() // nothing is queued: nobody uses it
		d.forget(victim, closing)
	}
}

func (d *days) forget(name string, one *day) {
	d.mu.Lock()
	delete(d.open, name)
	d.mu.Unlock()
	close(one.closed)
}

// remove unlinks a day, unless somebody reads it at this moment.
func (d *days) remove(name string) (removed bool, err error) {
	d.mu.Lock()
	one := d.open[name]
	if d.shut || !d.known[name] || one != nil && (one.users > 0 || one.closed != nil) {
		d.mu.Unlock()
		return false, nil
	}
	if one == nil {
		one = &day{}
		d.open[name] = one
	}
	one.closed = make(chan struct{})
	d.users.Add(1)
	d.mu.Unlock()
	defer d.users.Done()
	defer d.forget(name, one)
	if one.file != nil {
		one.file.close()
	}
	path := filepath.Join(d.dir, name)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("store: remove %s: %w", path, err)
	}
	d.mu.Lock()
	delete(d.known, name)
	d.mu.Unlock()
	return true, syncDir(d.dir)
}

// close waits for those who read and write, and closes all files.
func (d *days) close() error {
	d.mu.Lock()
	d.shut = true
	d.mu.Unlock()
	d.users.Wait()
	var first error
	for _, name := range slices.Sorted(maps.Keys(d.open)) { // nobody is left to change it
		if err := d.open[name].file.close(); first == nil {
			first = err
		}
	}
	clear(d.open)
	return first
}

// store writes results into the files of their days. A key that is there is left alone.
func (d *days) store(results []*probe.Result, now time.Time) error {
	byDay := map[string][]stored{}
	for _, r := range results {
		bare := *r
		bare.Samples, bare.Sig = nil, probe.Signatures{Digest: r.Sig.Digest}
		at := filed(r.Started, now)
		s, err := newStored(&ResultRecord{Result: bare}, unixNs(at))
		if err != nil {
			return fmt.Errorf("store: ingest: %w", err)
		}
		byDay[dayName(at)] = append(byDay[dayName(at)], s)
	}
	if err := d.passFuture(byDay); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(byDay)) {
		err := d.with(name, true, func(f *file) error {
			return f.update("store results", func(tx *bbolt.Tx) error {
				for _, s := range byDay[name] {
					if _, err := putResult(tx, s); err != nil {
						return err
					}
				}
				return nil
			})
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// passFuture takes out what was filed under the last day before a crash, when the present had not yet
// come near it.
func (d *days) passFuture(byDay map[string][]stored) error {
	future := dayName(lastDay)
	return d.with(future, false, func(f *file) error {
		return f.view("look for results from the future", func(tx *bbolt.Tx) error {
			for name := range byDay {
				if name != future {
					byDay[name] = slices.DeleteFunc(byDay[name], func(s stored) bool {
						return tx.Bucket([]byte(tableResults)).Get(s.key) != nil
					})
				}
			}
			return nil
		})
	})
}

// Retain unlinks the files of all days that ended before the given time and says how many. Results from
// the future go when their file was not written to since. A file that is being read stays until the
// next call.
func (r *Registry) Retain(before time.Time) (removed int, err error) {
	for _, name := range r.days.names() {
		start, _ := dayStart(name)
		end := start.AddDate(0, 0, 1)
		if start.Equal(lastDay) {
			info, err := os.Stat(filepath.Join(r.days.dir, name))
			if err != nil {
				continue
			}
			end = info.ModTime()
		}
		if end.After(before) {
			continue
		}
		ok, err := r.days.remove(name)
		if err != nil {
			return removed, err
		}
		if ok {
			removed++
		}
	}
	return removed, nil
}
