package p2p

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/peerprobe/peerprobe/cluster"
)

// MaxRecord bounds a head record, in bytes: the largest signed claim to lead,
// and the 16 bytes at most that frame payload and signature.
const MaxRecord = cluster.MaxLead + 16

// HeadKey is the DHT key of the head of a city's shard.
func HeadKey(n cluster.Network, city cluster.City, shard uint) string {
	return fmt.Sprintf("/peerprobe/head/%s/%s/%d", n, city, shard)
}

// HeadValidator judges head records: the key must be the one that the claim and
// its certificate name, and both signatures and the owner rule must hold. It
// reads no clock: a record is good until a higher term is known.
type HeadValidator struct{ Trust *cluster.Trust }

// Validate says why value must not be stored or believed under key.
func (v HeadValidator) Validate(key string, value []byte) error {
	_, err := v.decode(key, value)
	return err
}

func (v HeadValidator) decode(key string, value []byte) (cluster.Signed, error) {
	if len(value) > MaxRecord {
		return cluster.Signed{}, fmt.Errorf("head record of %d bytes, limit %d", len(value), MaxRecord)
	}
	var s cluster.Signed
	if err := cluster.Unmarshal(value, &s); err != nil {
		return cluster.Signed{}, fmt.Errorf("head record: %w", err)
	}
	if !bytes.Equal(cluster.Marshal(s), value) {
		return cluster.Signed{}, errors.New("head record is not in deterministic encoding: one claim has one record")
	}
	lead, _, err := v.Trust.Lead(s)
	if err != nil {
		return cluster.Signed{}, fmt.Errorf("head record: %w", err)
	}
	if want := HeadKey(lead.Network, lead.City, lead.Shard); key != want {
		return cluster.Signed{}, fmt.Errorf("head record for %s under %.100q", want, key)
	}
	return s, nil
}

// Select returns the index of the highest claim, the lowest index among equals:
// otherwise putting a record again would not refresh its age.
func (v HeadValidator) Select(key string, values [][]byte) (int, error) {
	best := -1
	var high cluster.Signed
	for i, value := range values {
		s, err := v.decode(key, value)
		if err != nil {
			continue
		}
		if best < 0 || v.Trust.CompareLeads(s, high) > 0 {
			best, high = i, s
		}
	}
	if best < 0 {
		return 0, fmt.Errorf("none of %d head records for %.100q is valid", len(values), key)
	}
	return best, nil
}
