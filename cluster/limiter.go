package cluster

import "time"

// Unasked answers to one peer: Stale, WhoIs and Lead in return for a message that was behind or ahead.
const (
	answersPerPeer = 2
	answersWindow  = time.Second
	maxAllowances  = 4096
)

// allowance counts what one peer got in the present window.
type allowance struct {
	since Instant
	n     int
}

// limiter keeps two machines that disagree from answering one another without end.
type limiter struct{ seen map[ID]allowance }

func (l *limiter) allow(now Instant, id ID) bool {
	a := l.seen[id]
	if a.n == 0 || now.Sub(a.since) >= answersWindow {
		if len(l.seen) >= maxAllowances {
			clear(l.seen) // bounded memory matters more than the exact count
		}
		a = allowance{since: now}
	}
	a.n++
	l.seen[id] = a
	return a.n <= answersPerPeer
}
