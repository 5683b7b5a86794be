package store

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/probe"
)

// kind says how the values of a column are written (values.go).
type kind uint8

// The numbers are part of the format.
const (
	kindPresent kind = 1 // pointer: 0 nil, 1 not; the pointed-to columns have values for the latter only
	kindInt     kind = 2 // zigzag varint of the difference from the value before
	kindUint    kind = 3 // the same, differences modulo 2^64
	kindFloat   kind = 4 // see encodeFloats
	kindBool    kind = 5 // 0, 1
	kindString  kind = 6 // uvarint index into the texts so far; the next free index: uvarint length, text
	kindBytes   kind = 7 // uvarint length + 1, bytes; 0: nil
	kindTime    kind = 8 // as kindInt, unix ns; 0: the zero time
	kindCBOR    kind = 9 // as kindBytes, the CBOR of a value of any other type
)

// column is one field of a result.
type column struct {
	path  string // CBOR keys from the result down: "17.12.1"; "?" behind it for presence of a pointer
	name  string // for people: "Latency.RTT.Min"
	kind  kind
	steps []int // field indices; pointers on the way are followed
	deref bool  // the field is a pointer to the value
}

// notCarried stay at both ends: what is long, and what only proves.
var notCarried = map[string]bool{
	"Samples": true, "Sig.Initiator": true, "Sig.Target": true, "Sig.TicketHash": true,
}

// resultColumns are all fields of a result, a pointer before what it points to. They follow the type:
// a field that is added to it travels from then on, under the CBOR key that names it for good.
var resultColumns = columnsOf(reflect.TypeFor[probe.Result](), column{})

func columnsOf(t reflect.Type, at column) (all []column) {
	for i := range t.NumField() {
		f := t.Field(i)
		c := column{path: join(at.path, pathName(f)), name: join(at.name, f.Name)}
		c.steps = append(append([]int{}, at.steps...), i)
		if !f.IsExported() || notCarried[c.name] {
			continue
		}
		ft := f.Type
		if ft.Kind() == reflect.Pointer {
			p := c
			p.path += "?"
			p.kind = kindPresent
			all = append(all, p)
			ft = ft.Elem()
			c.deref = true
		}
		if c.kind = kindOf(ft); c.kind == 0 {
			all = append(all, columnsOf(ft, c)...)
			continue
		}
		all = append(all, c)
	}
	return all
}

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + "." + b
}

// pathName is the field's CBOR key, or its Go name where it has none.
func pathName(f reflect.StructField) string {
	if key, _, _ := strings.Cut(f.Tag.Get("cbor"), ","); key != "" && key != "-" {
		return key
	}
	return f.Name
}

// kindOf is 0 for a struct that has columns of its own.
func kindOf(t reflect.Type) kind {
	switch k := t.Kind(); {
	case t == reflect.TypeFor[time.Time]():
		return kindTime
	case k == reflect.Bool:
		return kindBool
	case k >= reflect.Int && k <= reflect.Int64:
		return kindInt
	case k >= reflect.Uint && k <= reflect.Uint64:
		return kindUint
	case k == reflect.Float64:
		return kindFloat
	case k == reflect.String:
		return kindString
	case k == reflect.Slice && t.Elem().Kind() == reflect.Uint8:
		return kindBytes
	case k == reflect.Struct && allExported(t):
		return 0
	}
	return kindCBOR
}

func allExported(t reflect.Type) bool {
	for i := range t.NumField() {
		if !t.Field(i).IsExported() {
			return false
		}
	}
	return true
}

// at returns the field of one result; false where a pointer on the way is nil.
func (c *column) at(r *probe.Result) (reflect.Value, bool) {
	v := reflect.ValueOf(r).Elem()
	for _, i := range c.steps {
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return v, false
			}
			v = v.Elem()
		}
		v = v.Field(i)
	}
	if c.deref {
		if v.IsNil() {
			return v, false
		}
		v = v.Elem()
	}
	return v, true
}

// encode writes the column; nothing where all values are zero.
func (c *column) encode(rs []probe.Result) ([]byte, error) {
	e := encoder{texts: map[string]uint64{}}
	zero := true
	for i := range rs {
		v, ok := c.at(&rs[i])
		if !ok {
			continue
		}
		zero = zero && v.IsZero() && !(c.kind == kindFloat && math.Signbit(v.Float())) // -0 is zero to reflect
		if err := e.value(c.kind, v); err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
	}
	if zero {
		return nil, nil
	}
	return e.finish(c.kind), nil
}

// decode sets the column's field in all results.
func (c *column) decode(rs []probe.Result, in columnWire) error {
	if kind(in.Kind) != c.kind {
		return fmt.Errorf("%w: kind %d, want %d", ErrInvalid, in.Kind, c.kind)
	}
	d, err := newDecoder(c.kind, in.Data)
	if err != nil {
		return err
	}
	for i := range rs {
		v, ok := c.at(&rs[i])
		if !ok {
			continue
		}
		if err := d.value(c.kind, v); err != nil {
			return fmt.Errorf("row %d: %w", i, err)
		}
	}
	return d.finish()
}
