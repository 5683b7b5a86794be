package cluster

import (
	"cmp"
	"errors"
)

// A view is a signed object together with what it says, verified once.

type certView struct {
	raw  Signed
	cert *Certificate // nil: none
	hash [32]byte

	shard uint // of the node whose highest certificate this is; only Machine.cert has it
}

func newCertView(t *Trust, raw Signed) (certView, error) {
	c, err := t.Certificate(raw)
	if err != nil {
		return certView{}, err
	}
	return certView{raw: raw, cert: c, hash: raw.Hash()}, nil
}

// compare orders certificates by (epoch, hash); none is the lowest.
func (v certView) compare(w certView) int {
	if v.cert == nil || w.cert == nil {
		return cmp.Compare(number(v.cert != nil), number(w.cert != nil))
	}
	return compareEpochs(v.cert.Epoch, v.hash, w.cert.Epoch, w.hash)
}

type leadView struct {
	raw  Signed
	lead *Lead // nil: none
	cert certView
	term Term
}

func newLeadView(t *Trust, raw Signed) (leadView, error) {
	l, c, err := t.Lead(raw)
	if err != nil {
		return leadView{}, err
	}
	hash := l.Certificate.Hash()
	return leadView{raw, l, certView{raw: l.Certificate, cert: c, hash: hash}, Term{Epoch: c.Epoch, CertHash: hash, Shard: l.Shard, K: l.K}}, nil
}

// head is the leading node, or "".
func (v leadView) head() ID {
	if v.lead == nil {
		return ""
	}
	return v.lead.Head
}

// refOf names a Lead in a digest.
func refOf(v leadView) HeadRef {
	return HeadRef{City: v.lead.City, Shard: v.lead.Shard, Epoch: v.term.Epoch, K: v.term.K, Seq: v.lead.Seq}
}

// compare orders two references of one city and shard.
func (r HeadRef) compare(s HeadRef) int {
	return cmp.Or(cmp.Compare(r.Epoch, s.Epoch), cmp.Compare(r.K, s.K), cmp.Compare(r.Seq, s.Seq))
}

type barredView struct {
	raw    Signed
	serial uint64
	ids    map[ID]bool
}

func newBarredView(raw Signed, b *Barred) barredView {
	v := barredView{raw: raw, serial: b.Serial, ids: make(map[ID]bool, len(b.IDs))}
	for _, id := range b.IDs {
		v.ids[id] = true
	}
	return v
}

// offer takes a list with a higher serial; nil: the present one stays.
func (v *barredView) offer(t *Trust, raw Signed) (*Barred, error) {
	if raw.Empty() {
		return nil, errors.New("no list of barred nodes")
	}
	b, err := t.Barred(raw)
	if err != nil || b.Serial <= v.serial {
		return nil, err
	}
	*v = newBarredView(raw, b)
	return b, nil
}
