package sim

import "github.com/peerprobe/peerprobe/cluster"

func (w *world) tableConfig(cfg *cluster.TableConfig) {}
func (w *world) opened()                              {}
