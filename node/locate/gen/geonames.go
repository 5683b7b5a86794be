package main

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
)

// town is one row of GeoNames' cities500: every populated place of 500 people and up, and seats of divisions.
type town struct {
	id             uint32
	name, ascii    string
	aliases        []string
	lat, lon       float64
	code           string // PPL, PPLA (seat of a first-order division), PPLC (capital), PPLX (section of a place) ...
	country        string
	admin1, admin2 string
	people         int
}

// columns of cities500.txt, as GeoNames documents them.
const (
	colID, colName, colASCII, colAliases, colLat, colLon = 0, 1, 2, 3, 4, 5
	colCode, colCountry, colAdmin1, colAdmin2, colPeople = 7, 8, 10, 11, 14
	columns                                              = 19
)

func readTowns(path string) ([]town, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []town
	sc := bufio.NewScanner(f)
	sc.Buffer(make([]byte, 0, 64<<10), 1<<20)
	for line := 1; sc.Scan(); line++ {
		c := strings.Split(sc.Text(), "\t")
		if len(c) != columns {
			return nil, fmt.Errorf("%s:%d: %d columns, want %d", path, line, len(c), columns)
		}
		t := town{name: c[colName], ascii: c[colASCII], code: c[colCode], country: c[colCountry], admin1: c[colAdmin1], admin2: c[colAdmin2]}
		if c[colAliases] != "" {
			t.aliases = strings.Split(c[colAliases], ",")
		}
		id, e1 := strconv.ParseUint(c[colID], 10, 32)
		var e2, e3, e4 error
		t.lat, e2 = strconv.ParseFloat(c[colLat], 64)
		t.lon, e3 = strconv.ParseFloat(c[colLon], 64)
		t.people, e4 = strconv.Atoi(c[colPeople])
		for _, err := range []error{e1, e2, e3, e4} {
			if err != nil {
				return nil, fmt.Errorf("%s:%d: %w", path, line, err)
			}
		}
		t.id = uint32(id)
		all = append(all, t)
	}
	return all, sc.Err()
}

// grid finds places near a point: cells of one degree.
type grid struct{ cells map[[2]int][]int }

func newGrid(n int, at func(i int) (lat, lon float64)) *grid {
	g := &grid{cells: make(map[[2]int][]int)}
	for i := range n {
		lat, lon := at(i)
		c := cell(lat, lon)
		g.cells[c] = append(g.cells[c], i)
	}
	return g
}

func cell(lat, lon float64) [2]int { return [2]int{int(math.Floor(lat)), int(math.Floor(lon))} }

// near calls visit with every place whose cell may hold points within km.
func (g *grid) near(lat, lon, km float64, visit func(i int)) {
	dLat := int(km/111) + 1
	wide := 360
	if c := math.Cos(math.Min(math.Abs(lat)+1, 89.9) * math.Pi / 180); c > 0.01 {
		wide = int(km/(111*c)) + 1
	}
	at := cell(lat, lon)
	for a := at[0] - dLat; a <= at[0]+dLat; a++ {
		for o := at[1] - wide; o <= at[1]+wide; o++ {
			west := (o+180)%360 - 180
			if west < -180 {
				west += 360
			}
			for _, i := range g.cells[[2]int{a, west}] {
				visit(i)
			}
		}
	}
}
