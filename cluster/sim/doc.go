// Package sim lives through cities in virtual time: the election's own Machine and Table, with disks, clocks, links, a
// registry, results and faults around them, and looks after every step whether an invariant broke.
//
// A schedule is drawn from a seed: how many nodes, which links, which faults and when. The same seed gives the same
// schedule, step by step, on every machine; Outcome.Hash says so. Two uses share the world: Schedule and Run look for a
// violation in many short and unkind lives, and Measure takes figures of long and ordinary ones.
//
// It is not a model of the election: the code under test is the code that runs. What is modelled is what surrounds it,
// as coarsely as the election can tell: links that retransmit in order, whose connections open and close, and links
// that lose, double and reorder; kernels that close the sockets of a dead process and processes that freeze; disks that
// fill up or are lost; clocks that step and drift; peers that lie.
//
// # Invariants
//
// After every step:
//
//	S1  at most one node ever acts as head of a term, and a node only in one boot
//	S2  High never falls, over restarts too, and nobody follows any but the owner of High
//	S3  High always verifies
//	S4  what carries a lower term than the receiver knows has no effect
//	S5  a result acknowledged at level 2 survives crashes and the loss of any one disk
//	S6  the registry never signs two certificates of one city with one epoch
//	S7  the machine does not spin, and hands out only what its codec gives back unchanged
//
// From the moment when no fault is active and few messages are lost:
//
//	L1  with a live candidate there is a head within the time that the timers promise
//	L2  one head of each shard, which knows exactly the living
//	L3  messages of a node and heartbeat interval stay below a constant
//	L4  nobody alive is deposed or evicted who reached a majority of the candidates all along
//	L5  99 of 100 results are acknowledged within five seconds
package sim
