package cluster

import "time"

// The pause guard (R6): whoever slept longer than it asked for knows nothing of what went on meanwhile. Its own
// sleep must not look like the silence of others, and a head must not act before it has asked.

const (
	// pauseSuspects: a step that comes later than Suspect divided by this after the moment that it was due is a pause.
	pauseSuspects = 2
	// unsureProbes is for how many ProbeWaits a head is unsure after a pause: a question and its answer, twice.
	unsureProbes = 2
)

// advance is the start of every step.
func (m *Machine) advance(now Instant) {
	if !m.clock.started {
		m.start(now)
		return
	}
	now = max(now, m.clock.now)
	late := now.Sub(m.clock.armed)
	m.clock.now = now
	if m.clock.timed && late > m.timers().Suspect/pauseSuspects && !skips(rulePauseGuard) {
		m.paused(late)
	}
}

// look is advance for a question that is no step: it changes nothing but what a pause changes.
func (m *Machine) look(now Instant) {
	if m.clock.started {
		m.advance(now)
		m.arm()
	}
}

// arm notes when the next step is due.
func (m *Machine) arm() {
	at, ok := m.due()
	m.clock.armed, m.clock.timed = max(at, m.clock.now), ok
}

// paused makes up for a pause: all that waits for a silence waits for as much more of it, counted from now at the
// latest. It comes before the step's input, so that what lay in the sockets during the pause does not count twice.
// A probe is asked anew: its answers are as old as the pause.
func (m *Machine) paused(late time.Duration) {
	now, w := m.clock.now, &m.watch
	m.clock.resumed = now
	shift := func(all ...*Instant) {
		for _, at := range all {
			*at = min(at.Add(late), now)
		}
	}
	shift(&w.heard, &w.base, &w.certAt, &w.downAt, &w.doubledAt)
	w.probe = nil
	h := m.head
	if h == nil {
		return
	}
	for _, e := range m.table.rows {
		shift(&e.last, &e.told)
	}
	for _, c := range h.copies {
		shift(&c.sentAt, &c.since)
	}
	shift(&h.list.asked)
	h.over.until = min(h.over.until.Add(late), now.Add(m.overWait()))
	h.candidateAt = now // it asks the candidates, even if it had given them up: a beacon is overdue, as a Suspect is two
	if h.unsure == 0 {
		m.event(Unsure{On: true, Pause: late})
	}
	h.unsure = now.Add(unsureProbes * m.timers().ProbeWait)
}

// unsure says that this head may have been deposed without its knowledge. It goes on with its beacons: silence would
// depose it, and whoever knows a higher term answers them with it.
func (m *Machine) unsure() bool { return m.head != nil && m.head.unsure > m.clock.now }

// runUnsure ends the doubt.
func (m *Machine) runUnsure() {
	if h := m.head; h.unsure != 0 && !m.unsure() {
		h.unsure = 0
		m.event(Unsure{})
	}
}
