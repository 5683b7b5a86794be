package locate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"slices"
)

// mmdbOf writes a small MMDB file, format 2.0, records of 24 bits: enough to test a reader with.
func mmdbOf(kind string, version int, rows map[string]any) []byte {
	type node [2]int // below 0: ^offset in the data; 0: nothing (the root is nobody's child)
	nodes := []node{{}}
	var data bytes.Buffer
	prefixes := make([]string, 0, len(rows))
	for p := range rows {
		prefixes = append(prefixes, p)
	}
	slices.Sort(prefixes)
	for _, text := range prefixes {
		p := netip.MustParsePrefix(text)
		raw := p.Addr().AsSlice()
		bits := p.Bits()
		if version == 6 && p.Addr().Is4() {
			raw, bits = append(make([]byte, 12), raw...), bits+96
		}
		off := data.Len()
		mmdbValue(&data, rows[text])
		at := 0
		for i := range bits {
			b := raw[i/8] >> (7 - i%8) & 1
			if i == bits-1 {
				nodes[at][b] = ^off
				break
			}
			if nodes[at][b] <= 0 {
				nodes = append(nodes, node{})
				nodes[at][b] = len(nodes) - 1
			}
			at = nodes[at][b]
		}
	}
	var out bytes.Buffer
	for _, n := range nodes {
		for _, v := range n {
			record := uint32(v)
			switch {
			case v == 0:
				record = uint32(len(nodes)) // not found
			case v < 0:
				record = uint32(len(nodes) + 16 + ^v)
			}
			out.Write([]byte{byte(record >> 16), byte(record >> 8), byte(record)})
		}
	}
	out.Write(make([]byte, 16))
	out.Write(data.Bytes())
	out.WriteString("\xab\xcd\xefMaxMind.com")
	mmdbValue(&out, map[string]any{"node_count": uint32(len(nodes)), "record_size": uint16(24), "ip_version": uint16(version),
		"database_type": kind, "binary_format_major_version": uint16(2), "binary_format_minor_version": uint16(0), "build_epoch": uint64(1)})
	return out.Bytes()
}

func mmdbValue(w *bytes.Buffer, v any) {
	control := func(kind, size int) {
		first := byte(0)
		var more []byte
		if size >= 29 {
			more, size = []byte{byte(size - 29)}, 29
		}
		if kind <= 7 {
			first = byte(kind << 5)
		}
		w.WriteByte(first | byte(size))
		if kind > 7 {
			w.WriteByte(byte(kind - 7))
		}
		w.Write(more)
	}
	switch v := v.(type) {
	case string:
		control(2, len(v))
		w.WriteString(v)
	case float64:
		control(3, 8)
		w.Write(binary.BigEndian.AppendUint64(nil, math.Float64bits(v)))
	case uint16:
		control(5, 2)
		w.Write(binary.BigEndian.AppendUint16(nil, v))
	case uint32:
		control(6, 4)
		w.Write(binary.BigEndian.AppendUint32(nil, v))
	case uint64:
		control(9, 8)
		w.Write(binary.BigEndian.AppendUint64(nil, v))
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		control(7, len(keys))
		for _, k := range keys {
			mmdbValue(w, k)
			mmdbValue(w, v[k])
		}
	default:
		panic(fmt.Sprintf("no writer for %T", v))
	}
}

type record = map[string]any

// nested is a record as MaxMind and DB-IP Lite have it.
func nested(city, country string, at *Coordinates) record {
	r := record{"country": record{"iso_code": country, "names": record{"en": "Somewhere"}}}
	if city != "" {
		r["city"] = record{"geoname_id": uint32(1), "names": record{"en": city, "zh-CN": "某地"}}
	}
	if at != nil {
		r["location"] = record{"latitude": at.Lat, "longitude": at.Lon}
	}
	return r
}
