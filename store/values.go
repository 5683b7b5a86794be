package store

import (
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"time"
	"unicode/utf8"
)

// floatScale: delays are milliseconds that were whole nanoseconds once.
const floatScale = 1e6

// errColumn: the data of a column ends too early, goes on too long, or says the impossible.
var errColumn = fmt.Errorf("%w: it does not fit its rows", ErrInvalid)

// encoder writes the values of one column.
type encoder struct {
	data  []byte
	raw   []uint64 // floats that are no whole nanoseconds
	last  uint64
	texts map[string]uint64
}

func (e *encoder) value(k kind, v reflect.Value) error {
	switch k {
	case kindPresent:
		e.bool(!v.IsNil())
	case kindBool:
		e.bool(v.Bool())
	case kindInt:
		e.delta(uint64(v.Int()))
	case kindUint:
		e.delta(v.Uint())
	case kindTime:
		e.delta(uint64(unixNs(v.Interface().(time.Time))))
	case kindFloat:
		e.float(v.Float())
	case kindString:
		return e.text(v.String())
	case kindBytes:
		e.bytes(v.Bytes())
	case kindCBOR:
		raw, err := recordEnc.Marshal(v.Interface())
		if err != nil {
			return err
		}
		e.bytes(raw)
	}
	return nil
}

func (e *encoder) bool(b bool) {
	n := byte(0)
	if b {
		n = 1
	}
	e.data = append(e.data, n)
}

func (e *encoder) delta(v uint64) {
	e.data = binary.AppendVarint(e.data, int64(v-e.last))
	e.last = v
}

// float writes whole nanoseconds as twice the zigzag difference from the one before, as uvarint, and
// 1 for any other value, whose 8 bytes come at the end of the column.
func (e *encoder) float(f float64) {
	n := math.Round(f * floatScale)
	if math.Abs(n) < 1<<52 && n/floatScale == f && !(f == 0 && math.Signbit(f)) {
		d := int64(n) - int64(e.last)
		e.last = uint64(int64(n))
		e.data = binary.AppendUvarint(e.data, (uint64(d)<<1^uint64(d>>63))<<1)
		return
	}
	e.data = append(e.data, 1)
	e.raw = append(e.raw, math.Float64bits(f))
}

func (e *encoder) text(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%w: %q is not UTF-8", ErrInvalid, s)
	}
	if n, ok := e.texts[s]; ok {
		e.data = binary.AppendUvarint(e.data, n)
		return nil
	}
	n := uint64(len(e.texts))
	e.texts[s] = n
	e.data = binary.AppendUvarint(e.data, n)
	e.data = binary.AppendUvarint(e.data, uint64(len(s)))
	e.data = append(e.data, s...)
	return nil
}

func (e *encoder) bytes(b []byte) {
	if b == nil {
		e.data = append(e.data, 0)
		return
	}
	e.data = binary.AppendUvarint(e.data, uint64(len(b))+1)
	e.data = append(e.data, b...)
}

// finish returns the column. Floats: the tokens with a uvarint of their length before them, then the
// raw ones, all lowest bytes first, so that the exponents lie together.
func (e *encoder) finish(k kind) []byte {
	if k != kindFloat {
		return e.data
	}
	b := append(binary.AppendUvarint(nil, uint64(len(e.data))), e.data...)
	for shift := 0; shift < 64; shift += 8 {
		for _, r := range e.raw {
			b = append(b, byte(r>>shift))
		}
	}
	return b
}

// decoder reads what encoder wrote, from anybody.
type decoder struct {
	data  []byte
	raw   []byte
	rawAt int
	last  uint64
	texts []string
}

func newDecoder(k kind, data []byte) (*decoder, error) {
	d := &decoder{data: data}
	if k == kindFloat {
		n, err := d.uvarint()
		if err != nil || n > uint64(len(d.data)) {
			return nil, errColumn
		}
		d.data, d.raw = d.data[:n], d.data[n:]
		if len(d.raw)%8 != 0 {
			return nil, errColumn
		}
	}
	return d, nil
}

func (d *decoder) finish() error {
	if len(d.data) > 0 || d.rawAt*8 != len(d.raw) {
		return errColumn
	}
	return nil
}

func (d *decoder) value(k kind, v reflect.Value) error {
	switch k {
	case kindPresent:
		b, err := d.bool()
		if b {
			v.Set(reflect.New(v.Type().Elem()))
		}
		return err
	case kindBool:
		b, err := d.bool()
		v.SetBool(b)
		return err
	case kindInt, kindUint, kindTime:
		return d.number(k, v)
	case kindFloat:
		f, err := d.float()
		v.SetFloat(f)
		return err
	case kindString:
		s, err := d.text()
		v.SetString(s)
		return err
	case kindBytes:
		b, err := d.bytes()
		if b != nil {
			v.SetBytes(append([]byte{}, b...))
		}
		return err
	case kindCBOR:
		b, err := d.bytes()
		if err != nil {
			return err
		}
		if err := batchDec.Unmarshal(b, v.Addr().Interface()); err != nil {
			return fmt.Errorf("%w: %w", errColumn, err)
		}
		return nil
	}
	return errColumn
}

func (d *decoder) uvarint() (uint64, error) {
	n, used := binary.Uvarint(d.data)
	if used <= 0 {
		return 0, errColumn
	}
	d.data = d.data[used:]
	return n, nil
}

func (d *decoder) bool() (bool, error) {
	if len(d.data) == 0 || d.data[0] > 1 {
		return false, errColumn
	}
	b := d.data[0] == 1
	d.data = d.data[1:]
	return b, nil
}

func (d *decoder) number(k kind, v reflect.Value) error {
	diff, used := binary.Varint(d.data)
	if used <= 0 {
		return errColumn
	}
	d.data = d.data[used:]
	d.last += uint64(diff)
	switch {
	case k == kindTime:
		v.Set(reflect.ValueOf(fromUnixNs(int64(d.last))))
	case k == kindInt && !v.OverflowInt(int64(d.last)):
		v.SetInt(int64(d.last))
	case k == kindUint && !v.OverflowUint(d.last):
		v.SetUint(d.last)
	default:
		return errColumn
	}
	return nil
}

func (d *decoder) float() (float64, error) {
	n, err := d.uvarint()
	if err != nil {
		return 0, err
	}
	if n&1 == 0 {
		n >>= 1
		d.last += n>>1 ^ -(n & 1)
		return float64(int64(d.last)) / floatScale, nil
	}
	count := len(d.raw) / 8
	if n != 1 || d.rawAt == count {
		return 0, errColumn
	}
	var bits uint64
	for i := range 8 {
		bits |= uint64(d.raw[i*count+d.rawAt]) << (8 * i)
	}
	d.rawAt++
	return math.Float64frombits(bits), nil
}

func (d *decoder) text() (string, error) {
	n, err := d.uvarint()
	if err != nil {
		return "", err
	}
	if n < uint64(len(d.texts)) {
		return d.texts[n], nil
	}
	length, err := d.uvarint()
	if err != nil || n != uint64(len(d.texts)) || length > uint64(len(d.data)) || !utf8.Valid(d.data[:length]) {
		return "", errColumn
	}
	s := string(d.data[:length])
	d.data = d.data[length:]
	d.texts = append(d.texts, s)
	return s, nil
}

func (d *decoder) bytes() ([]byte, error) {
	n, err := d.uvarint()
	if err != nil || n > uint64(len(d.data))+1 {
		return nil, errColumn
	}
	if n == 0 {
		return nil, nil
	}
	b := d.data[: n-1 : n-1]
	d.data = d.data[n-1:]
	return b, nil
}
