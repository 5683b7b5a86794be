package cluster

import "time"

// Levels of durability (R9).
const (
	levelHead     = 1
	levelBackup   = 2
	levelRegistry = 3
)

// Retention is how long head and backup keep results that are in the registry: it may lose its disk.
const Retention = 24 * time.Hour

// DefaultMaxHeld bounds the results that a node holds for others: about 200 bytes each.
const DefaultMaxHeld = 1 << 18

// LedgerStatus counts results by where they are.
type LedgerStatus struct {
	Spooled  int    // own results that are not in the registry
	Level1   int    // of them: on the head
	Level2   int    // of them: on head and backup
	Held     int    // as head: results that are not in the registry yet, own ones included
	Copied   int    // of them: on the backup too
	Copies   int    // not as head: copies of the head's, or what is left of an own headship
	Released uint64 // since the boot: results that this node held and that are in the registry
	Dropped  uint64 // since the boot: own results that were withdrawn before level 2
	Refused  uint64 // since the boot: results not acknowledged because this node holds as many as it may
}

func (m *Machine) submitted(keys []ResultKey)  {}
func (m *Machine) stored(in Stored)            {}
func (m *Machine) released(keys []ResultKey)   {}
func (m *Machine) withdrawn(keys []ResultKey)  {}
func (m *Machine) onResAck(from ID, a *ResAck) {}
func (m *Machine) onOffer(from ID, o *Offer)   {}
func (m *Machine) onWant(from ID, w *Want)     {}
func (m *Machine) onTrim(from ID, t *Trim)     {}
