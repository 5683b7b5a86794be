package main

import (
	"math/bits"
	"slices"

	"github.com/peerprobe/peerprobe/node/locate"
)

// run is a range of units with one value.
type run struct{ from, value uint64 }

// runs gathers ranges in order; neighbours with one value become one.
type runs struct {
	list  []run
	order []uint64          // values as they appear
	index map[uint64]uint64 // place of each in order
}

func (r *runs) add(from, value uint64) {
	if n := len(r.list); n > 0 && r.list[n-1].value == value {
		return
	}
	if r.index == nil {
		r.index = make(map[uint64]uint64)
	}
	r.list = append(r.list, run{from, value})
}

// number numbers the values as they appear, behind those that other ranges had.
func (r *runs) number(before *runs) {
	if before != nil {
		r.order, r.index = before.order, before.index
	}
	for _, x := range r.list {
		if _, ok := r.index[x.value]; !ok {
			r.index[x.value] = uint64(len(r.order))
			r.order = append(r.order, x.value)
		}
	}
}

// write encodes the ranges as node/locate/ranges.go documents; last is the last unit.
func (r *runs) write(w *buffer, last uint64) {
	w.uint(uint64(len(r.list)))
	lengths := make([]uint64, len(r.list))
	for i, x := range r.list {
		end := last
		if i+1 < len(r.list) {
			end = r.list[i+1].from - 1
		}
		lengths[i] = end - x.from + 1
		w.b = append(w.b, byte(bits.TrailingZeros64(lengths[i])))
	}
	var odd buffer
	for _, l := range lengths {
		odd.uint(l >> bits.TrailingZeros64(l))
	}
	w.bytes(odd.b)
	var others buffer
	var recent []uint64
	fresh := uint64(0)
	for _, x := range r.list {
		v := r.index[x.value]
		at := slices.Index(recent, v)
		switch {
		case at > 0:
			w.b = append(w.b, byte(at-1))
			recent = slices.Delete(recent, at, at+1)
		case v == fresh:
			w.b = append(w.b, locate.CodeNew)
			fresh++
		default:
			w.b = append(w.b, locate.CodeOther)
			others.uint(v)
		}
		recent = slices.Insert(recent, 0, v)
		recent = recent[:min(len(recent), locate.RecentValues+1)]
	}
	w.b = append(w.b, others.b...)
}
