package registry

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/keyfile"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/p2p"
)

// overridesFile, in the data directory, says where nodes and networks are,
// whatever anything else says. A line is the id of a node, an address or a
// network, and the name of a city; "#" starts a comment. The registry reads it
// again within seconds of a change, and keeps what it has if a line is wrong.
const overridesFile = "places.txt"

const (
	// maxOverrides bounds the lines: it is for exceptions, a map of networks is --geo-map.
	maxOverrides = 100_000
	// maxOverridesBytes bounds the file.
	maxOverridesBytes = 16 << 20
)

// ErrOverride is the cause of every refusal of an override.
var ErrOverride = errors.New("bad override of a place")

// overrides are what the operator says of single nodes and networks.
type overrides struct {
	nodes    map[cluster.ID]string
	networks *locate.Map
	mtime    time.Time // of the file as read; zero: there was none
	size     int64
}

func loadOverrides(path string, l locate.Locator) (*overrides, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return &overrides{}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverride, err)
	}
	defer f.Close()
	o, err := parseOverrides(f, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverride, err)
	}
	o.mtime, o.size = info.ModTime(), info.Size()
	return o, nil
}

// stale tells whether the file is another one than was read.
func (o *overrides) stale(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return !o.mtime.IsZero() && errors.Is(err, fs.ErrNotExist)
	}
	return !info.ModTime().Equal(o.mtime) || info.Size() != o.size
}

// refused remembers a file that cannot be used, so that it is complained of once.
func (o *overrides) refused(path string) {
	if info, err := os.Stat(path); err == nil {
		o.mtime, o.size = info.ModTime(), info.Size()
	}
}

// find gives the override of a node by its id, or of the smallest network that
// has one of its addresses.
func (o *overrides) find(id cluster.ID, addrs ...netip.Addr) (city, why string, ok bool) {
	if city, ok := o.nodes[id]; ok {
		return city, "the operator says so of this node", true
	}
	for _, a := range addrs {
		if row, ok := o.networks.Lookup(a); ok {
			return row.City, fmt.Sprintf("the operator says so of %s", row.Prefix), true
		}
	}
	return "", "", false
}

// parseOverrides reads a file. Errors wrap ErrOverride and name the line.
func parseOverrides(r io.Reader, l locate.Locator) (*overrides, error) {
	o := &overrides{nodes: make(map[cluster.ID]string)}
	var networks strings.Builder
	limited := &io.LimitedReader{R: r, N: maxOverridesBytes + 1}
	sc := bufio.NewScanner(limited)
	n := 0
	for sc.Scan() {
		n++
		line, _, _ := strings.Cut(strings.TrimPrefix(sc.Text(), "\ufeff"), "#")
		networks.WriteByte('\n') // networks keep their numbers of lines
		what, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if tab, rest, ok := strings.Cut(strings.TrimSpace(line), "\t"); ok && len(tab) < len(what) {
			what, name = tab, rest
		}
		if what == "" {
			continue
		}
		if n > maxOverrides {
			return nil, fmt.Errorf("%w: more than %d lines", ErrOverride, maxOverrides)
		}
		id, city, err := parseOverride(what, name, l)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if id == "" {
			fmt.Fprintf(&networks, "%s %s", what, city)
			continue
		}
		if old, twice := o.nodes[id]; twice && old != city {
			return nil, fmt.Errorf("line %d: %w: %s was given to %s above, and to %s here", n, ErrOverride, what, old, city)
		}
		o.nodes[id] = city
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("%w: line %d: %w", ErrOverride, n+1, err)
	}
	if limited.N <= 0 {
		return nil, fmt.Errorf("%w: the file is larger than %d MiB", ErrOverride, maxOverridesBytes>>20)
	}
	var err error
	if o.networks, err = locate.ParseMap(strings.NewReader(strings.TrimPrefix(networks.String(), "\n"))); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverride, err)
	}
	return o, nil
}

// parseOverride reads one line; id is empty where it is of a network.
func parseOverride(what, name string, l locate.Locator) (id cluster.ID, city string, err error) {
	name = strings.TrimSpace(name)
	if !utf8.ValidString(name) || name == "" {
		return "", "", fmt.Errorf("%w: %.60q has no city: write \"%.60s wuhan\"", ErrOverride, what, what)
	}
	if city, err = locate.City(name); err != nil {
		return "", "", fmt.Errorf("%w: %w", ErrOverride, err)
	}
	if locate.IsUnknown(city) {
		return "", "", fmt.Errorf("%w: %q is for nodes that nothing places", ErrOverride, city)
	}
	if !l.Knows(city) {
		return "", "", fmt.Errorf("%w: no city is known as %.60q%s (a place of your own has to stand in the --geo-map)", ErrOverride, name, locate.DidYouMean(name))
	}
	if _, err := netip.ParsePrefix(what); err == nil {
		return "", city, nil
	}
	if _, err := netip.ParseAddr(what); err == nil {
		return "", city, nil
	}
	id, err = p2p.ParseID(what)
	if err != nil {
		return "", "", fmt.Errorf("%w: %.60q is neither the id of a node, nor an address, nor a network", ErrOverride, what)
	}
	return id, city, nil
}

// Override is one line of the overrides, as people write it.
type Override struct {
	What string `json:"what"` // id of a node, address or network
	City string `json:"city"` // slug
}

// ReadOverrides lists the overrides of a data directory, in the order of the
// file. Lines that are wrong are an error.
func ReadOverrides(data string) ([]Override, error) {
	b, err := os.ReadFile(filepath.Join(data, overridesFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOverride, err)
	}
	var out []Override
	for line := range strings.Lines(string(b)) {
		line, _, _ = strings.Cut(strings.TrimPrefix(line, "\ufeff"), "#")
		if f := strings.Fields(line); len(f) > 0 {
			out = append(out, Override{f[0], strings.Join(f[1:], " ")})
		}
	}
	return out, nil
}

// SetOverride writes an override into a data directory, in place of the one of
// the same node or network; an empty city takes it out. A registry that runs
// there follows within seconds; one that does not, at its next start. own are
// cities of the operator's own, which the registry's map has to name.
func SetOverride(data, what, name string, own bool) (Override, error) {
	l := locate.Locator{}
	o := Override{What: what}
	if name != "" {
		city, err := locate.City(name)
		if err != nil {
			return o, fmt.Errorf("%w: %w", ErrOverride, err)
		}
		if own {
			l.Map, err = locate.ParseMap(strings.NewReader("- " + city + " 0,0\n"))
		}
		if err == nil {
			_, o.City, err = parseOverride(what, city, l)
		}
		if err != nil {
			return o, err
		}
	}
	path := filepath.Join(data, overridesFile)
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return o, fmt.Errorf("%w: %w", ErrOverride, err)
	}
	text, found := replaceOverride(string(old), o)
	switch {
	case o.City == "" && !found:
		return o, fmt.Errorf("%w: there is none of %.60s", ErrOverride, what)
	case o.City != "":
		if err := checkNetworks(text); err != nil { // a registry would refuse the whole file
			return o, err
		}
	}
	if err := keyfile.Write(path, []byte(text)); err != nil {
		return o, fmt.Errorf("%w: %w", ErrOverride, err)
	}
	return o, nil
}

// replaceOverride is a file with one line more, or another one, or without it
// where it has no city. Other lines stay as people wrote them.
func replaceOverride(old string, o Override) (text string, found bool) {
	var b strings.Builder
	if old == "" {
		b.WriteString("# Where nodes and networks are, whatever anything else says: see docs/location.md.\n")
	}
	for line := range strings.Lines(old) {
		said, _, _ := strings.Cut(strings.TrimPrefix(line, "\ufeff"), "#")
		if f := strings.Fields(said); len(f) > 0 && f[0] == o.What {
			found = true
			continue
		}
		b.WriteString(strings.TrimRight(line, "\r\n") + "\n")
	}
	if o.City != "" {
		fmt.Fprintf(&b, "%s %s\n", o.What, o.City)
	}
	return b.String(), found
}

// checkNetworks says what is wrong with the networks of a file.
func checkNetworks(text string) error {
	var networks strings.Builder
	for line := range strings.Lines(text) {
		said, _, _ := strings.Cut(strings.TrimPrefix(line, "\ufeff"), "#")
		f := strings.Fields(said)
		if len(f) > 1 {
			if _, err := p2p.ParseID(f[0]); err != nil {
				networks.WriteString(strings.Join(f, " "))
			}
		}
		networks.WriteByte('\n') // they keep their numbers of lines
	}
	if _, err := locate.ParseMap(strings.NewReader(networks.String())); err != nil {
		return fmt.Errorf("%w: %w", ErrOverride, err)
	}
	return nil
}
