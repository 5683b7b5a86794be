package sim

import "github.com/peerprobe/peerprobe/cluster"

type results struct{}
type uplink struct{}
type ledger struct{}

func (l *ledger) registryLost(w *world) {}

func (l *ledger) lost(w *world, h *host)                   {}
func (l *ledger) acked(w *world, p *proc, e cluster.Acked) {}
func (w *world) move(p *proc, t cluster.Transfer)          {}
func (w *world) resumeResults(p *proc)                     {}
func (w *world) tableConfig(cfg *cluster.TableConfig)      {}
func (w *world) opened()                                   {}
