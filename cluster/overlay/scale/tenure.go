package scale

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Rule is who leads a city next.
type Rule string

// The rules. Uptime is this program's (stability first, never pre-empt); the others are HMPN's priority list, by
// bandwidth and computing power, without and with replacing a working head when a better node comes.
const (
	ByUptime   Rule = "uptime"
	ByCapacity Rule = "capacity"
	Preempt    Rule = "preempt"
)

// AllRules are the rules.
func AllRules() []Rule { return []Rule{ByUptime, ByCapacity, Preempt} }

// ParseRule reads a name.
func ParseRule(s string) (Rule, error) {
	for _, r := range AllRules() {
		if string(r) == s {
			return r, nil
		}
	}
	return "", fmt.Errorf("%w: %q is no rule: there is %v", ErrConfig, s, AllRules())
}

// Tenure is how long heads lead.
type Tenure struct {
	Mean, Median time.Duration
	Changes      int     // of head, in the time simulated
	Days         float64 // simulated
	Stale        float64 // share of dead entries in a table of heads that is checked every refresh
}

// The simulated time: a mesh that is a week old is watched for a month, or until there were enough changes for a
// mean. With heavy tails there is no steady state: the older the mesh, the older its oldest node.
const (
	tenureChanges = 400
	tenureCities  = 3
	warmDays      = 7
	tenureDays    = 30
	day           = 24 * 3600.0
	maxSimulated  = 1000 // members of the simulated city: more do not change who is the oldest by much
)

// nodeUp is a member: when it came, when it goes, how able it is.
type nodeUp struct {
	from, to float64
	capacity float64
}

// departures orders members by when they go.
type departures []*nodeUp

func (d departures) Len() int           { return len(d) }
func (d departures) Less(i, j int) bool { return d[i].to < d[j].to }
func (d departures) Swap(i, j int)      { d[i], d[j] = d[j], d[i] }
func (d *departures) Push(x any)        { *d = append(*d, x.(*nodeUp)) }
func (d *departures) Pop() any {
	last := (*d)[len(*d)-1]
	*d = (*d)[:len(*d)-1]
	return last
}

// HeadTenure simulates cities of so many members, in which a newcomer takes the place of each that goes, and
// measures how long heads lead. step is called now and then and may end it with an error.
func HeadTenure(members int, s Sessions, mean, refresh time.Duration, rule Rule, rng *rand.Rand, step func() error) (Tenure, error) {
	var terms []float64
	days, changes := 0.0, 0
	for range tenureCities {
		c := newCity(min(max(members, 1), maxSimulated), s, mean.Seconds(), rule, rng)
		more, err := c.watch(tenureChanges-len(terms), step)
		if err != nil {
			return Tenure{}, err
		}
		terms = append(terms, more...)
		changes += len(more) - 1
		days += c.now/day - warmDays
		if len(terms) >= tenureChanges {
			break
		}
	}
	t := tenureOf(terms, refresh)
	t.Changes, t.Days = changes, days
	return t, nil
}

// city is one cluster over time, in seconds.
type city struct {
	up       departures
	head     *nodeUp
	since    float64 // when the head took over
	now      float64
	rule     Rule
	sessions Sessions
	mean     float64
	rng      *rand.Rand
}

func newCity(members int, s Sessions, mean float64, rule Rule, rng *rand.Rand) *city {
	c := &city{rule: rule, sessions: s, mean: mean, rng: rng}
	for range members {
		c.up = append(c.up, c.fresh())
	}
	heap.Init(&c.up)
	c.head = next(c.up, rule)
	return c
}

func (c *city) fresh() *nodeUp {
	return &nodeUp{c.now, c.now + c.sessions.draw(c.mean, c.rng), c.rng.Float64()}
}

// watch returns the terms that ended after the warm-up, at most so many, and the one under way as far as it came: a
// lower bound.
func (c *city) watch(most int, step func() error) (terms []float64, err error) {
	for events := 0; len(terms) < most && c.now < (warmDays+tenureDays)*day; events++ {
		if events%4096 == 0 {
			if err := step(); err != nil {
				return nil, err
			}
		}
		if term := c.event(); term > 0 && c.now > warmDays*day {
			terms = append(terms, term)
		}
	}
	return append(terms, c.now-c.since), nil
}

// event lets the next member go and another come; it returns the length of the term that this ended, or 0.
func (c *city) event() (term float64) {
	gone := c.up[0]
	c.now = gone.to
	fresh := c.fresh()
	c.up[0] = fresh
	heap.Fix(&c.up, 0)
	successor := c.head
	switch {
	case gone == c.head:
		successor = next(c.up, c.rule)
	case c.rule == Preempt && fresh.capacity > c.head.capacity:
		successor = fresh
	}
	if successor == c.head {
		return 0
	}
	term = c.now - c.since
	c.head, c.since = successor, c.now
	return term
}

// next is who leads when the head is gone.
func next(up departures, rule Rule) *nodeUp {
	return slices.MaxFunc(up, func(a, b *nodeUp) int {
		if rule == ByUptime {
			return compare(b.from, a.from)
		}
		return compare(a.capacity, b.capacity)
	})
}

func compare(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func tenureOf(terms []float64, refresh time.Duration) Tenure {
	sum, dead := 0.0, 0.0
	for _, x := range terms {
		sum += x
		// Of a term of length x, seen at a random time within it and looked at again after u: gone in min(x, u) of x.
		// The mean of that over u up to the refresh:
		r := refresh.Seconds()
		if x >= r {
			dead += r / 2
		} else {
			dead += x - x*x/(2*r)
		}
	}
	slices.Sort(terms)
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	t := Tenure{Mean: seconds(sum / float64(len(terms))), Median: seconds(terms[len(terms)/2])}
	if sum > 0 {
		t.Stale = dead / sum
	}
	return t
}
