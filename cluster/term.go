package cluster

import (
	"bytes"
	"cmp"
	"fmt"
)

// Term says who leads when: take-over K of the succession of one shard in one epoch. Terms are totally
// ordered by (Epoch, CertHash, Shard, K); only terms of one city and shard are ever compared.
type Term struct {
	Epoch    uint64   `cbor:"1,keyasint"`
	CertHash [32]byte `cbor:"2,keyasint"` // of the certificate; two with one epoch are an alarm
	Shard    uint     `cbor:"3,keyasint"`
	K        uint64   `cbor:"4,keyasint"`
}

// Compare is -1, 0 or 1.
func (t Term) Compare(u Term) int {
	if c := compareEpochs(t.Epoch, t.CertHash, u.Epoch, u.CertHash); c != 0 {
		return c
	}
	return cmp.Or(cmp.Compare(t.Shard, u.Shard), cmp.Compare(t.K, u.K))
}

// IsZero says that there is no term: it is below every real one.
func (t Term) IsZero() bool { return t == Term{} }

// String is the term for people, epoch / take-over: "1a2b3c/2" (the epoch's last 24 bits).
func (t Term) String() string {
	if t.IsZero() {
		return "none"
	}
	return fmt.Sprintf("%06x/%d", t.Epoch&0xffffff, t.K)
}

func compareEpochs(e uint64, h [32]byte, f uint64, i [32]byte) int {
	return cmp.Or(cmp.Compare(e, f), bytes.Compare(h[:], i[:]))
}

// TermOf is the term that a Lead claims.
func TermOf(l *Lead, c *Certificate) Term {
	return Term{Epoch: c.Epoch, CertHash: l.Certificate.Hash(), Shard: l.Shard, K: l.K}
}
