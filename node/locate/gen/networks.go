package main

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"os"
	"slices"
	"strconv"

	"github.com/peerprobe/peerprobe/node/locate"
)

// asRange is a row of the table of networks: both ends are in it.
type asRange struct {
	from, to netip.Addr
	number   uint64
}

// readASN reads one file of ranges, and adds the networks' names: the first of each.
func readASN(path string, names map[uint64]string) ([]asRange, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []asRange
	for r := csv.NewReader(bufio.NewReader(f)); ; {
		row, err := r.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || len(row) != 4 {
			return nil, fmt.Errorf("%s: %q: %w", path, row, err)
		}
		x := asRange{}
		var e1, e2, e3 error
		x.from, e1 = netip.ParseAddr(row[0])
		x.to, e2 = netip.ParseAddr(row[1])
		x.number, e3 = strconv.ParseUint(row[2], 10, 32)
		if err := errors.Join(e1, e2, e3); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		if _, ok := names[x.number]; !ok {
			names[x.number] = row[3]
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b asRange) int { return cmp.Or(a.from.Compare(b.from), b.to.Compare(a.to)) })
	return out, nil
}

// units are the ranges of addresses by number; gaps are network 0. Of IPv6 only the high half counts.
func units(rows []asRange, last uint64) *runs {
	var out runs
	next := uint64(0)
	for _, x := range rows {
		from, to := unit(x.from), unit(x.to)
		from = max(from, next) // where two overlap, the first holds
		if next > to && next != 0 {
			continue
		}
		if from > next || next == 0 && from > 0 {
			out.add(next, 0)
		}
		out.add(from, x.number)
		if to == last {
			return &out
		}
		next = to + 1
	}
	out.add(next, 0)
	return &out
}

func unit(a netip.Addr) uint64 {
	if a.Is4() {
		b := a.As4()
		return uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8])
}

func encodeNetworks(v4, v6 *runs, names map[uint64]string) ([]byte, error) {
	var w buffer
	w.b = append(w.b, locate.NetworksMagic...)
	v4.number(nil)
	v6.number(v4)
	w.uint(uint64(len(v6.order)))
	for _, n := range v6.order {
		w.uint(n)
	}
	for _, n := range v6.order {
		w.text(names[n])
	}
	v4.write(&w, math.MaxUint32)
	v6.write(&w, math.MaxUint64)
	return pack(w.b)
}
