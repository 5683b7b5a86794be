package main

import (
	"cmp"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// provinces: GeoNames' code of each province, its name as ip2region says it (without 省), and in Latin letters.
var provinces = []struct{ admin1, chinese, latin string }{
	{"01", "安徽", "Anhui"}, {"02", "浙江", "Zhejiang"}, {"03", "江西", "Jiangxi"}, {"04", "江苏", "Jiangsu"},
	{"05", "吉林", "Jilin"}, {"06", "青海", "Qinghai"}, {"07", "福建", "Fujian"}, {"08", "黑龙江", "Heilongjiang"},
	{"09", "河南", "Henan"}, {"10", "河北", "Hebei"}, {"11", "湖南", "Hunan"}, {"12", "湖北", "Hubei"},
	{"13", "新疆", "Xinjiang"}, {"14", "西藏", "Tibet"}, {"15", "甘肃", "Gansu"}, {"16", "广西", "Guangxi"},
	{"18", "贵州", "Guizhou"}, {"19", "辽宁", "Liaoning"}, {"20", "内蒙古", "Inner Mongolia"}, {"21", "宁夏", "Ningxia"},
	{"22", "北京", "Beijing"}, {"23", "上海", "Shanghai"}, {"24", "山西", "Shanxi"}, {"25", "山东", "Shandong"},
	{"26", "陕西", "Shaanxi"}, {"28", "天津", "Tianjin"}, {"29", "云南", "Yunnan"}, {"30", "广东", "Guangdong"},
	{"31", "海南", "Hainan"}, {"32", "四川", "Sichuan"}, {"33", "重庆", "Chongqing"},
}

// span4 is a range of IPv4 addresses of ip2region, both ends in it, with a prefecture of the mainland.
type span4 struct {
	from, to       uint32
	province, city string // as said: 湖南, 长沙
}

// readIP2Region reads the ranges of the mainland that have a prefecture. Format v1: a super block with the
// offsets of the first and last index entry, entries of 12 bytes (first address, last address, offset of the
// text in the low three bytes and its length in the high one), texts after a city id of 4 bytes:
// country|area|province|city|ISP, "0" for what is not known.
func readIP2Region(path string) ([]span4, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	word := func(at uint32) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	known := make(map[string]bool)
	for _, p := range provinces {
		known[p.chinese] = true
	}
	var out []span4
	for at := word(0); at <= word(4); at += 12 {
		ptr := word(at + 8)
		off, size := ptr&0xffffff, ptr>>24
		f := strings.Split(string(b[off+4:off+size]), "|")
		if len(f) != 5 {
			return nil, fmt.Errorf("%s: %q has %d fields, want 5", path, f, len(f))
		}
		province := strings.TrimSuffix(f[2], "省")
		if f[0] != "中国" || !known[province] || f[3] == "0" {
			continue // abroad, an island of its own code, or no city
		}
		out = append(out, span4{word(at), word(at + 4), province, said(f[3])})
	}
	return out, nil
}

// said takes off the word for the kind of division: 长沙市 is said 长沙.
func said(name string) string {
	for _, suffix := range []string{"市", "地区", "盟"} {
		if rest, ok := strings.CutSuffix(name, suffix); ok && rest != "" {
			return rest
		}
	}
	return name
}

//go:embed china.tsv
var chinaTSV string

// prefecture is a city of mainland China: in the table of cities each stands for all of its prefecture.
type prefecture struct {
	town
	province, chinese string
	names             []string // further ones
}

// withoutSeat is the first id for cities that GeoNames' file does not have; GeoNames' own are far below.
const withoutSeat = 4_000_000_000

// corrections reads china.tsv.
func corrections(byID map[uint32]town) ([]prefecture, error) {
	var out []prefecture
	for n, line := range strings.Split(strings.TrimSuffix(chinaTSV, "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		c := strings.Split(line, "\t")
		if len(c) < 6 {
			return nil, fmt.Errorf("china.tsv:%d: %d columns", n+1, len(c))
		}
		id, err := strconv.ParseUint(c[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("china.tsv:%d: %w", n+1, err)
		}
		seat, ok := byID[uint32(id)]
		if id == 0 && len(c) == 7 {
			code, err := strconv.Atoi(c[1])
			if err != nil {
				return nil, fmt.Errorf("china.tsv:%d: %w", n+1, err)
			}
			seat = town{id: withoutSeat + uint32(code), country: "CN"}
			if _, err := fmt.Sscanf(c[6], "%f,%f", &seat.lat, &seat.lon); err != nil {
				return nil, fmt.Errorf("china.tsv:%d: %w", n+1, err)
			}
		} else if !ok {
			return nil, fmt.Errorf("china.tsv:%d: GeoNames has no %d", n+1, id)
		}
		p := prefecture{town: seat, province: c[2], chinese: c[3]}
		if p.admin1 = admin1(c[2]); p.admin1 == "" {
			return nil, fmt.Errorf("china.tsv:%d: province %q", n+1, c[2])
		}
		if p.name != c[4] && p.name != "" {
			p.names = append(p.names, p.name)
		}
		p.name, p.ascii, p.admin2 = c[4], c[4], c[1]
		if c[5] != "" {
			p.names = append(p.names, strings.Split(c[5], ",")...)
		}
		out = append(out, p)
	}
	return out, nil
}

func admin1(province string) string {
	for _, p := range provinces {
		if p.chinese == province {
			return p.admin1
		}
	}
	return ""
}

func latin(admin1 string) string {
	for _, p := range provinces {
		if p.admin1 == admin1 {
			return p.latin
		}
	}
	return ""
}

// prefectures are the cities of mainland China: those that ip2region names, at their seats in GeoNames, and those
// of china.tsv. What has neither a seat nor a correction is an error.
func prefectures(towns []town, spans []span4) ([]prefecture, error) {
	byID := make(map[uint32]town)
	inProvince := make(map[string][]town)
	for _, t := range towns {
		if t.country == "CN" && t.code != "PPLX" {
			byID[t.id] = t
			inProvince[t.admin1] = append(inProvince[t.admin1], t)
		}
	}
	out, err := corrections(byID)
	if err != nil {
		return nil, err
	}
	have := make(map[[2]string]bool)
	for _, p := range out {
		have[[2]string{p.province, p.chinese}] = true
	}
	var lost []string
	for _, s := range spans {
		key := [2]string{s.province, s.city}
		if have[key] {
			continue
		}
		have[key] = true
		seat, ok := seatOf(inProvince[admin1(s.province)], s.city)
		if !ok {
			lost = append(lost, s.province+" "+s.city)
			continue
		}
		out = append(out, prefecture{town: seat, province: s.province, chinese: s.city})
	}
	if len(lost) > 0 {
		return nil, fmt.Errorf("no seat for %s: add it to china.tsv", strings.Join(lost, ", "))
	}
	slices.SortFunc(out, func(a, b prefecture) int { return cmp.Compare(a.id, b.id) })
	return out, nil
}

// seatOf is the town of a province that has the name of a prefecture: its seat rather than another one.
func seatOf(towns []town, name string) (best town, ok bool) {
	rank := map[string]int{"PPLC": 1, "PPLA": 2, "PPLA2": 3, "PPL": 4, "PPLA3": 4}
	for _, t := range towns {
		named := slices.ContainsFunc(t.aliases, func(a string) bool { return said(a) == name })
		if !named || rank[t.code] == 0 || t.people == 0 {
			continue
		}
		if !ok || cmp.Or(cmp.Compare(rank[t.code], rank[best.code]), cmp.Compare(best.people, t.people)) < 0 {
			best, ok = t, true
		}
	}
	return best, ok
}
