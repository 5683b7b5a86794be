package registry

import (
	"log/slog"
	"sync/atomic"

	"github.com/peerprobe/peerprobe/store"
)

// auditQueue is how many lines may wait for the disk: a city that registers at
// once. What does not fit is counted and said.
const auditQueue = 4096

// Actions of audit lines.
const (
	auditAdmit  = "admit"
	auditRefuse = "refuse"
	auditHead   = "head"
	auditReborn = "reborn"
	auditToken  = "token.make"
	auditStart  = "start"
	auditPlaces = "places" // the operator changed where nodes are
)

// auditor writes the audit beside the requests, so that a line costs them
// nothing.
type auditor struct {
	store   *store.Registry
	log     *slog.Logger
	lines   chan store.AuditEntry
	dropped atomic.Uint64
}

func newAuditor(s *store.Registry, log *slog.Logger) *auditor {
	return &auditor{store: s, log: log, lines: make(chan store.AuditEntry, auditQueue)}
}

func (a *auditor) add(e store.AuditEntry) {
	select {
	case a.lines <- e:
	default:
		a.dropped.Add(1)
	}
}

// run writes until stop is closed, and then what is left.
func (a *auditor) run(stop <-chan struct{}) error {
	for {
		select {
		case e := <-a.lines:
			a.write(e)
		case <-stop:
			for {
				select {
				case e := <-a.lines:
					a.write(e)
				default:
					if n := a.dropped.Load(); n > 0 {
						a.log.Warn("audit lines were lost: the disk was too slow", "lines", n)
					}
					return nil
				}
			}
		}
	}
}

func (a *auditor) write(e store.AuditEntry) {
	if err := a.store.Audit(e); err != nil {
		a.log.Error("audit line not written", "action", e.Action, "object", e.Object, "err", err)
	}
}
