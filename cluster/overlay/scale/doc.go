// Package scale works out what a mesh of two layers costs when it is large: endpoints in cities, one head a city and
// shard, heads in a DHT. It answers where the first limit is met, and which part of it is whose: endpoint, head,
// registry.
//
// It is a model, not a measurement, with two kinds of input kept apart: Config is what the operator assumes, Cost is
// what the program was measured to need, with the command that measured it and the date. Hops come from networks of
// package overlay of the size asked for, head tenures from a simulated city; the rest is arithmetic that can be
// followed line by line.
//
// It promises: no clock, no goroutine, no I/O; the same seed gives the same figures; limits are those that the
// program enforces, by name.
//
// The structure is that of HMPN (a hybrid P2P network model with edge nodes on a Chord ring); what is compared is
// what its authors claim for it: that a ring of edge nodes only is faster and steadier than one of everybody.
package scale
