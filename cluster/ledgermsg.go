package cluster

import "fmt"

// maxKeys bounds the keys in one message and in one Transfer: 62 bytes each.
const maxKeys = 512

// ResAck tells the owner of results at which level they are: 1 on the head, 2 on head and backup, 3 in the registry.
type ResAck struct {
	Term  Term        `cbor:"1,keyasint"`
	Level uint        `cbor:"2,keyasint"`
	Keys  []ResultKey `cbor:"3,keyasint"`
}

// Offer names results that the sender holds and that are not in the registry as far as it knows: its own, copies, or
// what it held as head. The head answers with Want, ResAck for those of the sender, and Trim.
type Offer struct {
	Term Term        `cbor:"1,keyasint"`
	Keys []ResultKey `cbor:"2,keyasint"`
	More bool        `cbor:"3,keyasint,omitempty"` // another Offer follows the answer
}

// Want names those of an Offer that the head lacks. The others need not be sent. Empty: none.
type Want struct {
	Term Term        `cbor:"1,keyasint"`
	Keys []ResultKey `cbor:"2,keyasint"`
}

// Trim names results that are in the registry: whoever holds copies need not keep them ready.
type Trim struct {
	Term Term        `cbor:"1,keyasint"`
	Keys []ResultKey `cbor:"2,keyasint"`
}

func (m *Message) checkResults() error {
	switch {
	case m.ReplAck != nil:
		return checkKeys(m.ReplAck.Results)
	case m.ResAck != nil:
		if m.ResAck.Level < levelHead || m.ResAck.Level > levelRegistry {
			return fmt.Errorf("acknowledgement of results at level %d", m.ResAck.Level)
		}
		return checkKeys(m.ResAck.Keys)
	case m.Offer != nil:
		return checkKeys(m.Offer.Keys)
	case m.Want != nil:
		return checkKeys(m.Want.Keys)
	case m.Trim != nil:
		return checkKeys(m.Trim.Keys)
	}
	return nil
}

func checkKeys(keys []ResultKey) error {
	if len(keys) > maxKeys {
		return fmt.Errorf("%d keys of results in one message, at most %d are allowed", len(keys), maxKeys)
	}
	for _, k := range keys {
		if k.Node == "" {
			return fmt.Errorf("key of a result without a node")
		}
	}
	return nil
}
