package trail

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Facts are what the logs do not say themselves.
type Facts struct {
	// Registry counts the results that the registry has, by key. Nil: it was not asked, so nothing is said about them.
	Registry map[string]int
	// Pauses are the times for which processes were stopped, long enough for a guard to notice.
	Pauses []Pause
}

// Pause is from SIGSTOP to SIGCONT, by the clock of the logs.
type Pause struct {
	File     string
	From, To int64
}

// Violation is one promise that was not kept.
type Violation struct {
	Rule  string // S1 to S6; unsure, what a head in doubt must not do; log, a log that contradicts itself
	Where string // file:line
	Text  string
}

func (v Violation) String() string { return v.Rule + " at " + v.Where + ": " + v.Text }

// Effects that a head has in its term. A lower one must not be accepted by who knows a higher.
var effects = []string{"lead", "ack", "ticket", "handover"}

// doubtful are those that a head in doubt whether it still leads must not have.
var doubtful = []string{"ack", "ticket", "evict"}

// After a pause the guard looks before anything else is done. What is logged at once was under way when the process was
// stopped; what comes much later has nothing to do with the pause.
const (
	underWay  = 100 * time.Millisecond
	pauseOver = 10 * time.Second
)

// actor is one run of one node.
type actor struct {
	node string
	boot uint64
}

// cityTerm is a term of one city.
type cityTerm struct {
	city string
	term Term
}

// fileState is where one log has come to.
type fileState struct {
	high   *Term
	unsure bool
	boot   uint64
}

type checker struct {
	facts   Facts
	actors  map[cityTerm]actor // who acted as head of a term
	heads   map[cityTerm]string
	certs   map[string]string // city and epoch -> hash
	files   map[string]*fileState
	durable map[string]string // result -> where it was acknowledged at level 2 or 3
	found   []Violation
}

// Check judges events that Read merged.
func Check(events []Event, facts Facts) []Violation {
	c := &checker{
		facts: facts, actors: map[cityTerm]actor{}, heads: map[cityTerm]string{}, certs: map[string]string{},
		files: map[string]*fileState{}, durable: map[string]string{},
	}
	for _, e := range events {
		f := c.files[e.File]
		if f == nil {
			f = &fileState{}
			c.files[e.File] = f
		}
		c.term(e)
		c.high(e, f)
		c.effect(e, f)
		c.results(e)
	}
	for _, p := range facts.Pauses {
		c.pause(events, p)
	}
	c.archive()
	return c.found
}

func (c *checker) report(rule, where, format string, args ...any) {
	c.found = append(c.found, Violation{rule, where, fmt.Sprintf(format, args...)})
}

// term: everybody names the same head of a term (S1), and certificates of one epoch are one (S6).
func (c *checker) term(e Event) {
	for _, t := range []*Term{e.Term, e.High} {
		if t != nil {
			c.certificate(e.where(), e.City, t.Epoch, t.Hash)
		}
	}
	if e.Term == nil || e.Head == "" {
		return
	}
	at := cityTerm{e.City, *e.Term}
	if head, known := c.heads[at]; known && head != e.Head {
		c.report("S1", e.where(), "%s of %s has the head %s here and %s elsewhere", at.term, e.City, e.Head, head)
	}
	c.heads[at] = e.Head
	if e.Self && e.Head != e.Node {
		c.report("log", e.where(), "%s calls %s, the head of %s, itself", e.Node, e.Head, e.Term)
	}
}

func (c *checker) certificate(where, city string, epoch uint64, hash string) {
	at := fmt.Sprintf("%s %d", city, epoch)
	if known, ok := c.certs[at]; ok && known != hash {
		c.report("S6", where, "two certificates of %s with epoch %d: %s and %s", city, epoch, known, hash)
	}
	c.certs[at] = hash
}

// high: the highest term of a node never falls, over restarts either (S2).
func (c *checker) high(e Event, f *fileState) {
	if e.Event == "boot" {
		if e.Boot <= f.boot {
			c.report("S2", e.where(), "boot %d of %s after boot %d", e.Boot, e.Node, f.boot)
		}
		f.boot, f.unsure = e.Boot, false
		if e.Term == nil && f.high != nil {
			c.report("S2", e.where(), "%s boots without a term after %s", e.Node, f.high)
		}
	}
	if e.Term == nil || e.Event != "boot" && e.Event != "high" {
		return
	}
	if f.high != nil && e.Term.Compare(*f.high) < 0 {
		c.report("S2", e.where(), "the highest term of %s falls from %s to %s", e.Node, f.high, e.Term)
	}
	f.high = e.Term
}

// effect: one node acts in a term, in its own highest, without doubt; nothing lower is accepted (S1, S2, S4).
func (c *checker) effect(e Event, f *fileState) {
	switch {
	case e.Event == "unsure":
		f.unsure = true
	case e.Event == "sure" || e.Event == "stepdown":
		f.unsure = false
	case f.unsure && slices.Contains(doubtful, e.Event):
		c.report("unsure", e.where(), "%s by %s while it is in doubt whether it leads", e.Event, e.Node)
	}
	if e.Event == "accept" && e.Term != nil && e.High != nil && e.Term.Compare(*e.High) < 0 {
		c.report("S4", e.where(), "%s accepts a ticket of %s and knows %s", e.Node, e.Term, e.High)
	}
	if e.Term == nil || !slices.Contains(effects, e.Event) {
		return
	}
	if e.Event == "handover" && f.high != nil && e.Term.Compare(*f.high) < 0 {
		return // a node that restarts gives up the term that it led before, whatever it learns at the same time
	}
	if f.high == nil || *f.high != *e.Term {
		c.report("S2", e.where(), "%s in %s by %s, which follows %v", e.Event, e.Term, e.Node, f.high)
	}
	if e.Event == "handover" {
		return // also after a restart, which is another run
	}
	at, who := cityTerm{e.City, *e.Term}, actor{e.Node, e.Boot}
	if head, known := c.heads[at]; known && head != e.Node {
		c.report("S1", e.where(), "%s in %s of %s by %s, whose head is %s", e.Event, e.Term, e.City, e.Node, head)
	}
	if first, known := c.actors[at]; known && first != who {
		c.report("S1", e.where(), "%s in %s of %s by %s, boot %d, after %s, boot %d", e.Event, e.Term, e.City, who.node, who.boot, first.node, first.boot)
		return
	}
	c.actors[at] = who
}

// pause: what a process does first after a pause is to doubt, before any effect.
func (c *checker) pause(events []Event, p Pause) {
	for _, e := range events {
		if e.File != p.File || e.Mono <= p.To || e.Mono > p.To+int64(pauseOver) {
			continue
		}
		switch {
		case e.Event == "unsure" || e.Event == "sure" || e.Event == "high" || e.Event == "stepdown":
			return // sure: it was in doubt when it was stopped, and the pause made that last longer
		case slices.Contains(doubtful, e.Event) && e.Mono > p.To+int64(underWay):
			c.report("unsure", e.where(), "%s by %s %v after a pause of %v, without a doubt between",
				e.Event, e.Node, time.Duration(e.Mono-p.To), time.Duration(p.To-p.From))
			return
		}
	}
}

func (c *checker) results(e Event) {
	if (e.Event != "acked" && e.Event != "ack") || e.Level < 2 {
		return
	}
	for _, key := range e.Keys {
		if c.durable[key] == "" {
			c.durable[key] = e.where()
		}
	}
}

// archive: what was acknowledged is in the registry, and nothing is there twice (S5).
func (c *checker) archive() {
	if c.facts.Registry == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(c.durable)) {
		if c.facts.Registry[key] == 0 {
			c.report("S5", c.durable[key], "result %s was acknowledged, and the registry does not have it", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(c.facts.Registry)) {
		if n := c.facts.Registry[key]; n > 1 {
			c.report("S5", "the registry", "it has result %s %d times", key, n)
		}
	}
}
