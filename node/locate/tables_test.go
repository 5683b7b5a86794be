//go:build !nogeo

package locate

import (
	"bufio"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

var updateGolden = flag.Bool("update", false, "write the goldens anew; read the difference before committing it")

// TestAddressesGolden: what the embedded tables say of addresses that people know, of borders and of the special.
func TestAddressesGolden(t *testing.T) {
	path := "testdata/addresses.golden"
	if chinaFile == nil {
		path = "testdata/addresses-nocn.golden"
	}
	f, err := os.Open("testdata/addresses.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var b strings.Builder
	for sc := bufio.NewScanner(f); sc.Scan(); {
		text, _, _ := strings.Cut(sc.Text(), "#")
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		a := Locator{}.Locate(netip.MustParseAddr(text), "")
		fmt.Fprintf(&b, "%-40s %-20s %-6s %-14s %-2s %s\n", text, a.City, a.Source, a.Class, a.Country, a.Network)
	}
	if *updateGolden {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	got, old := strings.Split(b.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(got), len(old)) {
		if i >= len(got) || i >= len(old) || got[i] != old[i] {
			t.Fatalf("line %d of %s: got\n%s", i+1, path, b.String())
		}
	}
}

// The paper's own five addresses come out right with no file given.
func TestPaperWithoutFiles(t *testing.T) {
	if chinaFile == nil {
		t.Log("without the table of China two of five are right, which is why it is there")
	}
	right := 0
	for addr, want := range map[string]string{"61.187.64.7": "changsha", "61.187.55.100": "changsha", "61.187.64.118": "changsha",
		"61.183.207.100": "wuhan", "61.183.207.49": "wuhan"} {
		if a := (Locator{}).Locate(netip.MustParseAddr(addr), ""); a.City == want {
			right++
		} else if chinaFile != nil {
			t.Errorf("%s is in %s by %s, want %s", addr, a.City, a.Source, want)
		}
	}
	if chinaFile == nil && right < 2 {
		t.Errorf("%d of 5 are right", right)
	}
}

// A look-up allocates nothing.
func TestLookupAllocatesNothing(t *testing.T) {
	addrs := randomAddresses(512)
	CityOf(addrs[0])
	NetworkOf(addrs[0])
	i := 0
	if n := testing.AllocsPerRun(1000, func() { CityOf(addrs[i%len(addrs)]); NetworkOf(addrs[i%len(addrs)]); i++ }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func randomAddresses(n int) []netip.Addr {
	rng := rand.New(rand.NewPCG(1, 2))
	out := make([]netip.Addr, 0, n)
	for len(out) < n {
		v := rng.Uint32()
		a := netip.AddrFrom4([4]byte{byte(v >> 24), byte(v >> 16), byte(v >> 8), byte(v)})
		if Classify(a) == ClassPublic {
			out = append(out, a)
		}
	}
	return out
}

func packedTables() map[string][]byte {
	all := map[string][]byte{"cities": citiesFile, "world": worldFile, "networks": networksFile}
	if chinaFile != nil {
		all["china"] = chinaFile
	}
	return all
}

var readers = map[string]func([]byte) error{
	"cities":   func(b []byte) error { _, err := readGazetteer(b); return err },
	"world":    func(b []byte) error { _, err := readWorld(b); return err },
	"china":    func(b []byte) error { _, err := readChina(b); return err },
	"networks": func(b []byte) error { _, err := readNetworks(b); return err },
}

// The tables are those that data/SOURCES.txt describes, and what places cities in them are rows of the table of cities.
func TestTablesAreTheOnesDescribed(t *testing.T) {
	text, err := os.ReadFile("data/SOURCES.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name, packed := range packedTables() {
		if sum := fmt.Sprintf("%s.zst\n  sha256   %x\n  size     %d bytes", name, sha256.Sum256(packed), len(packed)); !strings.Contains(string(text), sum) {
			t.Errorf("%s is not the one of data/SOURCES.txt", name)
		}
		b, err := unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		if err := readers[name](b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	rows := uint16(len(cities().rows))
	for _, v := range world().at.value {
		if v < nowhere && v >= rows || v >= countryBit && int(v&^countryBit) >= len(world().countries) {
			t.Fatalf("the world has the place %d", v)
		}
	}
	if chinaFile != nil {
		for _, v := range china().value {
			if v != nowhere && (v >= rows || cities().place(int(v)).Country != "CN") {
				t.Fatalf("china has the place %d", v)
			}
		}
	}
}

// A damaged table is an error, never a panic.
func TestDamagedTables(t *testing.T) {
	for name, packed := range packedTables() {
		good, err := unpack(packed)
		if err != nil {
			t.Fatal(err)
		}
		read := readers[name]
		for _, n := range []int{0, 3, 4, 5, 100, len(good) / 2, len(good) - 1} {
			if err := read(good[:n]); !errors.Is(err, errTable) {
				t.Errorf("%s cut to %d: %v", name, n, err)
			}
		}
		if err := read(append(slices.Clone(good), 0)); !errors.Is(err, errTable) {
			t.Errorf("%s with a byte more: %v", name, err)
		}
		if name == "world" || name == "networks" {
			continue // large: fuzzed below in the small
		}
		rng := rand.New(rand.NewPCG(7, 7))
		for range 200 {
			bad := slices.Clone(good)
			bad[rng.IntN(len(bad))] ^= byte(1 + rng.IntN(255))
			_ = read(bad) // may go unnoticed in a name; must not panic
		}
	}
	if _, err := unpack([]byte("no zstd")); err == nil {
		t.Error("unpacked what is no zstd frame")
	}
}

// smallRanges is a table of three ranges by hand.
func smallWorld() []byte {
	b := append([]byte(WorldMagic), 1, 2, 'C', 'N', 3, 0, 1, 2) // countries: CN; places: nowhere, row 0, CN
	b = append(b, 3)                                            // ranges
	b = append(b, 23, 22, 22)                                   // 2^23, 2^22 and 2^22 networks
	b = append(b, 3, 1, 1, 1)
	return append(b, CodeNew, CodeNew, CodeNew)
}

func TestSmallWorld(t *testing.T) {
	w, err := readWorld(smallWorld())
	if err != nil {
		t.Fatal(err)
	}
	for addr, want := range map[uint32]uint16{0: nowhere, 1<<31 - 1: nowhere, 1 << 31: 0, 3<<30 - 1: 0, 3 << 30: countryBit, 1<<32 - 1: countryBit} {
		if got := w.at.find(addr); got != want {
			t.Errorf("%08x: %d, want %d", addr, got, want)
		}
	}
}

// What is written is what is found: read4 against the plain definition.
func TestRangesAgainstDefinition(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 3))
		var starts []uint64
		for range rng.IntN(300) {
			starts = append(starts, uint64(rng.Uint32())>>rng.IntN(25)<<rng.IntN(16)&(1<<32-1))
		}
		starts = append(starts, 0)
		slices.Sort(starts)
		starts = slices.Compact(starts)
		values := make([]uint32, len(starts))
		for i := range values {
			values[i] = uint32(rng.IntN(600))
			for i > 0 && values[i] == values[i-1] {
				values[i] = uint32(rng.IntN(600))
			}
		}
		r := &reader{b: encodeRanges(starts, values)}
		table := read4[uint16](r, 0, 600, func(v uint32) uint32 { return v })
		if err := r.end(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for range 2000 {
			addr := uint64(rng.Uint32())
			if rng.IntN(2) == 0 {
				addr = min(max(starts[rng.IntN(len(starts))]+uint64(rng.IntN(3)), 1)-1, 1<<32-1)
			}
			i, _ := slices.BinarySearch(starts, addr+1)
			if got := table.find(uint32(addr)); got != values[i-1] {
				t.Fatalf("seed %d: %08x is %d, want %d", seed, addr, got, values[i-1])
			}
		}
	}
}

// encodeRanges writes ranges with no value remembered: all by number.
func encodeRanges(starts []uint64, values []uint32) []byte {
	b := appendUvarint(nil, uint64(len(starts)))
	var lengths, others []byte
	for i, from := range starts {
		to := uint64(1 << 32)
		if i+1 < len(starts) {
			to = starts[i+1]
		}
		b = append(b, 0)
		lengths = appendUvarint(lengths, to-from)
		others = appendUvarint(others, uint64(values[i]))
	}
	b = append(appendUvarint(b, uint64(len(lengths))), lengths...)
	for range starts {
		b = append(b, CodeOther)
	}
	return append(b, others...)
}

func appendUvarint(b []byte, v uint64) []byte {
	for ; v >= 0x80; v >>= 7 {
		b = append(b, byte(v)|0x80)
	}
	return append(b, byte(v))
}

func FuzzTables(f *testing.F) {
	f.Add(smallWorld())
	f.Add(append([]byte(ChinaMagic), encodeRanges([]uint64{0, 5}, []uint32{0, 1})...))
	f.Add([]byte(NetworksMagic + "\x01\x00\x00"))
	f.Add([]byte(GazetteerMagic + "\x01\x02CN\x01\x01\x00\x01\x02\x02\x00\x00\x01a\x01A\x00\x01\x00\x01a\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, magic := range []string{GazetteerMagic, WorldMagic, ChinaMagic, NetworksMagic} {
			if len(b) >= len(magic) {
				b = append([]byte(magic), b[len(magic):]...)
			}
			if g, err := readGazetteer(b); err == nil {
				for i := range g.rows {
					g.place(i)
				}
				g.find("a")
			}
			if w, err := readWorld(b); err == nil {
				w.at.find(1 << 31)
			}
			if c, err := readChina(b); err == nil {
				c.find(1<<32 - 1)
			}
			if n, err := readNetworks(b); err == nil {
				n.network(n.v4.find(1 << 31))
				n.network(n.v6.find(1 << 63))
			}
		}
	})
}

// loadAll takes all tables apart once more, for measuring.
func loadAll(b testing.TB) (tables []any) {
	for name, packed := range packedTables() {
		raw, err := unpack(packed)
		if err != nil {
			b.Fatal(err)
		}
		var table any
		switch name {
		case "cities":
			table, err = readGazetteer(raw)
		case "world":
			table, err = readWorld(raw)
		case "china":
			table, err = readChina(raw)
		}
		if err != nil {
			b.Fatal(err)
		}
		tables = append(tables, table)
	}
	return tables
}

// The tables that place addresses stay below 16 MB in memory.
func TestTablesStaySmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	tables := loadAll(t)
	runtime.GC()
	runtime.ReadMemStats(&after)
	runtime.KeepAlive(tables)
	if mb := float64(after.HeapAlloc-before.HeapAlloc) / (1 << 20); mb > 16 {
		t.Errorf("%.1f MB", mb)
	} else {
		t.Logf("%.1f MB", mb)
	}
}

// BenchmarkStart is what the first look-up of a process costs: all tables that place addresses.
func BenchmarkStart(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		loadAll(b)
	}
}

func BenchmarkCityOf(b *testing.B) {
	addrs := randomAddresses(1 << 16)
	CityOf(addrs[0])
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		CityOf(addrs[i&(len(addrs)-1)])
		i++
	}
}

func BenchmarkNetworkOf(b *testing.B) {
	addrs := randomAddresses(1 << 16)
	NetworkOf(addrs[0])
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		NetworkOf(addrs[i&(len(addrs)-1)])
		i++
	}
}
