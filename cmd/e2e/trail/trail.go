// Package trail reads the event logs that nodes write (`peerprobe join --event-log`), merges those of all processes of
// a machine by their common clock, and judges afterwards whether the mesh kept its promises: one node a term, a highest
// term that never falls, nothing of a lower term accepted, no acknowledged result lost, one certificate an epoch.
//
// It is not part of the program: tests and the programs that measure faults use it. It judges only what was logged;
// what a log cannot show (a message on the wire) it cannot judge.
//
// It promises to find every violation that the lines in hand prove, and none that they do not.
package trail

import (
	"cmp"
	"fmt"
)

// Term names one node's time as head.
type Term struct {
	Epoch uint64
	Hash  string // the first 8 bytes of the certificate's hash, in hex
	Shard uint
	K     uint64
}

// Compare orders terms as the protocol does: by epoch, then certificate, then take-overs.
func (t Term) Compare(o Term) int {
	return cmp.Or(cmp.Compare(t.Epoch, o.Epoch), cmp.Compare(t.Hash, o.Hash), cmp.Compare(t.K, o.K))
}

func (t Term) String() string { return fmt.Sprintf("%d.%.4s/%d/%d", t.Epoch>>16, t.Hash, t.Shard, t.K) }

// Event is one line of one log. Fields that an event does not have are empty.
type Event struct {
	File string `json:"-"` // whose log: one file is one data directory
	Line int    `json:"-"` // from 1

	Mono      int64 // ns of CLOCK_BOOTTIME
	Node      string
	City      string
	Shard     uint
	Boot      uint64
	Event     string
	Term      *Term
	High      *Term // the node's own highest, where another term was judged
	Head      string
	Self      bool
	Reason    string
	ID        string
	SilenceMs int64
	PauseMs   int64
	Level     uint
	Keys      []string
	Session   string
	Text      string
	Lost      uint64 // lines before this one that could not be written
}

func (e Event) where() string { return fmt.Sprintf("%s:%d", e.File, e.Line) }

// Read merges logs in the order of their common clock; lines of one file keep their order. A line that is no JSON was
// cut short by a kill or a full disk, and is passed over; a file that is not there is that of a process that did not
// come that far.
func Read(files ...string) ([]Event, error) {
	var t Tail
	for _, name := range files {
		t.Add(name)
	}
	return t.Events()
}
