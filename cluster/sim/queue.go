package sim

import "github.com/peerprobe/peerprobe/cluster"

// event is something that happens at a time. Timers are told from packets by their generation.
type event struct {
	at cluster.Instant
	n  uint64 // the order of what happens at one time
	do action
}

// action is what happens.
type action interface{ happen(w *world) }

// call is an action of one's own.
type call func(w *world)

func (c call) happen(w *world) { c(w) }

// agenda is a binary heap of events, by time and then in the order in which they were put in.
type agenda struct {
	heap []event
	n    uint64
}

func (a *agenda) less(i, j int) bool {
	x, y := &a.heap[i], &a.heap[j]
	return x.at < y.at || x.at == y.at && x.n < y.n
}

func (a *agenda) push(at cluster.Instant, do action) {
	a.n++
	a.heap = append(a.heap, event{at, a.n, do})
	for i := len(a.heap) - 1; i > 0; {
		up := (i - 1) / 2
		if !a.less(i, up) {
			return
		}
		a.heap[i], a.heap[up] = a.heap[up], a.heap[i]
		i = up
	}
}

// next is when something happens next.
func (a *agenda) next() (cluster.Instant, bool) {
	if len(a.heap) == 0 {
		return 0, false
	}
	return a.heap[0].at, true
}

func (a *agenda) pop() event {
	top, last := a.heap[0], len(a.heap)-1
	a.heap[0] = a.heap[last]
	a.heap[last] = event{}
	a.heap = a.heap[:last]
	for i := 0; ; {
		down := 2*i + 1
		if down >= last {
			return top
		}
		if down+1 < last && a.less(down+1, down) {
			down++
		}
		if !a.less(down, i) {
			return top
		}
		a.heap[i], a.heap[down] = a.heap[down], a.heap[i]
		i = down
	}
}
