package probe

import (
	"cmp"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrBadKey says that a text is not a result key.
var ErrBadKey = errors.New("not a result key")

// Key names one result for good: the node that started the session, the number
// of its boot, and the number of the session within that boot. Every hop of a
// result is idempotent on it.
type Key struct {
	Node string `cbor:"1,keyasint" json:"node"` // peer id in text form
	Boot uint64 `cbor:"2,keyasint" json:"boot"`
	Seq  uint64 `cbor:"3,keyasint" json:"seq"`
}

// String gives "<node>.<boot>.<seq>".
func (k Key) String() string {
	return k.Node + "." + strconv.FormatUint(k.Boot, 10) + "." + strconv.FormatUint(k.Seq, 10)
}

// Compare orders keys by node, then boot, then seq.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Node, o.Node), cmp.Compare(k.Boot, o.Boot), cmp.Compare(k.Seq, o.Seq))
}

// ParseKey reads what String wrote, and only that.
func ParseKey(s string) (Key, error) {
	fail := func() (Key, error) {
		return Key{}, fmt.Errorf("%w: %q (want <node>.<boot>.<seq>)", ErrBadKey, s)
	}
	parts := strings.Split(s, ".")
	if len(parts) != 3 || parts[0] == "" {
		return fail()
	}
	boot, err := strconv.ParseUint(parts[1], 10, 64)
	if err != nil {
		return fail()
	}
	seq, err := strconv.ParseUint(parts[2], 10, 64)
	if err != nil {
		return fail()
	}
	k := Key{Node: parts[0], Boot: boot, Seq: seq}
	if k.String() != s { // leading zeros, signs
		return fail()
	}
	return k, nil
}
