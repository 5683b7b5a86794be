package sim

import (
	"slices"
	"time"
)

// sever begins a cut.
func (w *world) sever(cuts ...*cut) {
	w.net.cuts = append(w.net.cuts, cuts...)
	w.net.impairAll(w)
}

// heal ends cuts.
func (w *world) heal(cuts ...*cut) {
	w.net.cuts = slices.DeleteFunc(w.net.cuts, func(c *cut) bool { return slices.Contains(cuts, c) })
	w.net.impairAll(w)
}

// group is a set of hosts by number; the registry is 0.
func (w *world) group(in func(h *host) bool, registry bool) []bool {
	g := make([]bool, len(w.hosts))
	g[0] = registry
	for _, h := range w.hosts[1:] {
		g[h.n] = in(h)
	}
	return g
}

func not(g []bool) []bool {
	out := make([]bool, len(g))
	for i, in := range g {
		out[i] = !in
	}
	return out
}

func (w *world) logGroup(what string, g []bool) {
	if w.cfg.trace == nil {
		return
	}
	names := ""
	if g[0] {
		names = " registry"
	}
	for _, h := range w.hosts[1:] {
		if g[h.n] {
			names += " " + h.name
		}
	}
	w.log("%s:%s", what, names)
}

// partition splits everybody into two halves.
func partition(w *world, f *fault) func(w *world) {
	side := make(map[*host]bool)
	switch head := w.head(); {
	case w.chance(0.3): // one alone
		side[w.target()] = true
	case w.chance(0.5) && head != nil: // the head with a few
		side[head] = true
		fallthrough
	default:
		for _, h := range w.hosts[1:] {
			side[h] = side[h] || w.chance(0.4)
		}
	}
	a := w.group(func(h *host) bool { return side[h] }, w.chance(0.4))
	w.logGroup("one side", a)
	cuts := []*cut{{a, not(a)}, {not(a), a}}
	if w.chance(0.15) { // and the registry away from both
		rs, all := w.group(func(*host) bool { return false }, true), w.group(func(*host) bool { return true }, false)
		cuts = append(cuts, &cut{rs, all}, &cut{all, rs})
	}
	w.sever(cuts...)
	w.over(f, w.logUniform(500*time.Millisecond, 45*time.Second))
	return func(w *world) { w.heal(cuts...) }
}

// oneWay lets nothing pass in one direction: from or to one host, or between two.
func oneWay(w *world, f *fault) func(w *world) {
	h, other := w.target(), w.any(w.running())
	if h == nil || other == nil {
		return nil
	}
	one := w.group(func(g *host) bool { return g == h }, false)
	rest := not(one)
	if w.chance(0.5) {
		rest = w.group(func(g *host) bool { return g == other && g != h }, w.chance(0.2))
	}
	c := &cut{one, rest}
	if w.chance(0.5) {
		c.from, c.to = c.to, c.from
	}
	w.logGroup("nothing passes from", c.from)
	w.logGroup("to", c.to)
	w.sever(c)
	w.over(f, w.logUniform(500*time.Millisecond, 45*time.Second))
	return func(w *world) { w.heal(c) }
}

// blink cuts a head from one other host for a moment, while everybody else hears both.
func blink(w *world, f *fault) func(w *world) {
	h, cs := w.head(), w.candidates()
	if h == nil || len(cs) < 2 {
		return nil
	}
	other := w.any(cs)
	for i, c := range cs {
		if c == h && w.chance(0.7) {
			other = cs[(i+1)%len(cs)] // next in line
		}
	}
	if other == h {
		return nil
	}
	w.log("nothing passes between %s and %s", h.name, other.name)
	a, b := w.group(func(g *host) bool { return g == h }, false), w.group(func(g *host) bool { return g == other }, false)
	cuts := []*cut{{a, b}, {b, a}}
	w.sever(cuts...)
	w.over(f, w.logUniform(time.Second, 2800*time.Millisecond)) // TCP stalls for as long again
	return func(w *world) { w.heal(cuts...) }
}

// reset breaks connections of a head while everybody lives: one, or all.
func reset(w *world, _ *fault) func(w *world) {
	h := w.target()
	if h == nil {
		return nil
	}
	others := slices.DeleteFunc(w.candidates(), func(o *host) bool { return o == h })
	if o := w.any(others); o != nil && w.chance(0.6) {
		w.reset(h, o)
		return nil
	}
	w.disturb() // no witness is left
	for _, o := range others {
		w.reset(h, o)
	}
	return nil
}
