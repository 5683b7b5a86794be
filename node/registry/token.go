package registry

import (
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/cluster"
	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/store"
)

// TokenOptions say what a token allows. The zero value: any city, class own,
// DefaultTokenUses nodes, for ever.
type TokenOptions struct {
	Label   string        // for the operator
	City    string        // admits to this city only; "": any
	Class   string        // cluster.ClassOwn (default) or cluster.ClassGuest
	Uses    int           // different nodes; 0: DefaultTokenUses
	Expires time.Duration // no new node after this; 0: never
}

// DefaultTokenUses is enough for the sites of one operator, and few enough that
// a leaked token does not fill a network.
const DefaultTokenUses = 100

// secretBytes of a token: nobody guesses 128 bits.
const secretBytes = 16

// MakeToken makes a token and returns it. It is shown this once: only its hash
// is stored. The registry has to run.
func (r *Registry) MakeToken(opt TokenOptions) (string, error) {
	s, err := r.server()
	if err != nil {
		return "", err
	}
	return s.makeToken(opt)
}

func (s *server) makeToken(opt TokenOptions) (string, error) {
	t := store.Token{Label: opt.Label, Class: opt.Class, Uses: opt.Uses, Created: time.Now()}
	switch opt.Class {
	case "":
		t.Class = cluster.ClassOwn
	case cluster.ClassOwn, cluster.ClassGuest:
	default:
		return "", fmt.Errorf("class of a token is %q: it must be %s or %s", opt.Class, cluster.ClassOwn, cluster.ClassGuest)
	}
	if opt.City != "" {
		city, err := locate.City(opt.City)
		if err != nil {
			return "", fmt.Errorf("city of a token: %w", err)
		}
		t.City = cluster.City(city)
	}
	if t.Uses == 0 {
		t.Uses = DefaultTokenUses
	}
	if opt.Expires < 0 {
		return "", fmt.Errorf("a token that expires %s ago admits nobody", -opt.Expires)
	}
	if opt.Expires > 0 {
		t.Expires = t.Created.Add(opt.Expires)
	}
	raw := make([]byte, secretBytes)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	secret := strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(raw))
	t.Hash = store.TokenHash(secret)
	if err := s.store.PutToken(t); err != nil {
		return "", fmt.Errorf("making a token: %w", err)
	}
	s.audit.add(store.AuditEntry{At: t.Created, Actor: "operator", Action: auditToken, Object: fmt.Sprintf("%x", t.Hash[:4]),
		Answer: fmt.Sprintf("class %s, city %q, %d uses", t.Class, t.City, t.Uses)})
	return string(s.info.Network) + "." + secret, nil
}
