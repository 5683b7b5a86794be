package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A package with another checksum than the pinned one is refused; nothing is downloaded when it is in the cache.
func TestChecksums(t *testing.T) {
	var tgz bytes.Buffer
	z := gzip.NewWriter(&tgz)
	w := tar.NewWriter(z)
	for _, err := range []error{
		w.WriteHeader(&tar.Header{Name: "package/data/x.txt", Size: 5, Mode: 0o644}), write(w, "hello"), w.Close(), z.Close(),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	c := cache{t.TempDir()}
	in := input{Package: "@scope/thing", Version: "1.2.3", SHA256: fmt.Sprintf("%x", sha256.Sum256(tgz.Bytes()))}
	path := filepath.Join(c.dir, "scope-thing-1.2.3.tgz")
	if err := os.WriteFile(path, tgz.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	file, err := c.file(context.Background(), in, "data/x.txt")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := c.file(context.Background(), in, "data/y.txt"); err == nil {
		t.Error("a file that is not in the package")
	}
	if err := os.WriteFile(path, append(tgz.Bytes(), 0), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := c.file(context.Background(), in, "data/x.txt"); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("another package: %v", err)
	}
}

func write(w *tar.Writer, s string) error {
	_, err := w.Write([]byte(s))
	return err
}

// Gaps between ranges are network 0, and where two overlap the first holds.
func TestUnits(t *testing.T) {
	row := func(from, to string, n uint64) asRange {
		return asRange{netip.MustParseAddr(from), netip.MustParseAddr(to), n}
	}
	for _, tt := range []struct {
		rows []asRange
		last uint64
		want []run
	}{
		{nil, 1<<32 - 1, []run{{0, 0}}},
		{[]asRange{row("0.0.0.0", "255.255.255.255", 7)}, 1<<32 - 1, []run{{0, 7}}},
		{[]asRange{row("0.0.0.1", "0.0.0.2", 7), row("0.0.0.2", "0.0.0.4", 8), row("0.0.0.9", "0.0.0.9", 8)}, 1<<32 - 1,
			[]run{{0, 0}, {1, 7}, {3, 8}, {5, 0}, {9, 8}, {10, 0}}},
		{[]asRange{row("0.0.0.0", "0.0.0.9", 7), row("0.0.0.3", "0.0.0.4", 8)}, 1<<32 - 1, []run{{0, 7}, {10, 0}}},
		{[]asRange{row("0:0:0:1::", "0:0:0:1:ffff:ffff:ffff:ffff", 7), row("ffff::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 8)}, 1<<64 - 1,
			[]run{{0, 0}, {1, 7}, {2, 0}, {0xffff << 48, 8}}},
	} {
		if got := units(tt.rows, tt.last).list; !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.rows, got, tt.want)
		}
	}
}

func TestReadIP2Region(t *testing.T) {
	texts := []string{"中国|0|湖南省|长沙市|电信", "中国|0|台湾省|台北|0", "0|0|0|内网IP|内网IP", "中国|0|湖南省|0|电信", "中国|0|吉林省|延边|联通"}
	b := make([]byte, 8)
	var index []byte
	for i, text := range texts {
		off := uint32(len(b))
		b = append(append(b, 0, 0, 0, 0), text...)
		for _, v := range []uint32{uint32(i) << 8, uint32(i)<<8 | 255, off | uint32(len(text)+4)<<24} {
			index = binary.LittleEndian.AppendUint32(index, v)
		}
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(b)+len(index)-12))
	path := filepath.Join(t.TempDir(), "ip2region.db")
	if err := os.WriteFile(path, append(b, index...), 0o600); err != nil {
		t.Fatal(err)
	}
	spans, err := readIP2Region(path)
	want := []span4{{0, 255, "湖南", "长沙"}, {4 << 8, 4<<8 | 255, "吉林", "延边"}}
	if err != nil || !slices.Equal(spans, want) {
		t.Errorf("%v, %v", spans, err)
	}
}

func TestNamesThatCount(t *testing.T) {
	got := useful([]string{"Lungsod ng München", "MUC", "mu ni hei", "Мюнхен", "慕尼黑", "ミュンヘン", "munich"})
	if want := []string{"Lungsod ng München", "MUC", "慕尼黑"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := chineseName([]string{"東京都", "东京", "东京市", "トウキョウ"}); got != "东京" {
		t.Errorf("%q", got)
	}
	if said("长沙市") != "长沙" || said("市") != "市" || said("大兴安岭地区") != "大兴安岭" {
		t.Error("what is said of a division")
	}
}

// Of cities with one name the most populous takes it bare.
func TestSlugs(t *testing.T) {
	all := []city{
		{town: town{id: 1, name: "Suzhou", country: "CN", people: 1}, region: "Anhui"}, {town: town{id: 2, name: "Suzhou", country: "CN", people: 2}, region: "Jiangsu"},
		{town: town{id: 3, name: "London", country: "CA", people: 1}}, {town: town{id: 4, name: "London", country: "GB", people: 2}},
		{town: town{id: 5, name: "Twin", country: "MX", admin1: "06", people: 3}}, {town: town{id: 6, name: "Twin", country: "MX", admin1: "09", people: 2}},
		{town: town{id: 7, name: "Twin", country: "MX", admin1: "09", people: 1}}, {town: town{id: 8, name: "Łódź", country: "PL", people: 2}},
	}
	if err := giveSlugs(all); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, c := range all {
		got = append(got, c.slug)
	}
	if want := []string{"suzhou-anhui", "suzhou", "london-ca", "london", "twin", "twin-mx", "twin-mx-09", "lodz"}; !slices.Equal(got, want) {
		t.Errorf("%v", got)
	}
}
