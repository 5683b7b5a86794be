// Package locate decides in which city a node is, and says how it knows.
//
// It is for the registry, which places every node that registers, and for
// everything that turns what a person typed into the name of a city. It is
// not for nodes that measure: they never locate anybody and load nothing.
//
// It promises: no look-up leaves the process (no network, no DNS); the same
// input gives the same answer; every answer carries its evidence, that is
// what the address says, what the node says of itself, and which of the two
// decided. IPv4-mapped IPv6 addresses are treated as the IPv4 addresses that
// they are. Chinese names are never transliterated, because 长沙 would become
// "zhangsha": they are resolved by aliases.
package locate

import (
	"fmt"
	"net/netip"
	"strings"
)

// Unknown is the city of a node that nothing places. A country, where one is
// known, stands in front of it: "cn-unknown".
const Unknown = "unknown"

// Source says which evidence decided the city.
type Source string

const (
	SourceMap      Source = "map"      // the operator's CIDR map
	SourceDeclared Source = "declared" // the node said so, and the policy believes it
	SourceNone     Source = "none"     // nothing: the city is Unknown
)

// Trust is the policy for the city that a node declares itself.
type Trust string

const (
	// TrustNever ignores what nodes declare.
	TrustNever Trust = "never"
	// TrustFallback believes a node only where the registry has no city for
	// its address, which is the rule for private, loopback and CGNAT
	// addresses unless a map names them. Observed beats declared.
	TrustFallback Trust = "fallback"
	// TrustAlways believes every node that declares a city.
	TrustAlways Trust = "always"
)

// ParseTrust reads the value of --trust-declared; empty is TrustFallback.
func ParseTrust(text string) (Trust, error) {
	switch t := Trust(text); t {
	case "":
		return TrustFallback, nil
	case TrustNever, TrustFallback, TrustAlways:
		return t, nil
	}
	return "", fmt.Errorf("locate: trust-declared is %q: it must be never, fallback or always", text)
}

// Answer is a placement with its evidence.
type Answer struct {
	City     string       // slug that decides the cluster; never empty
	Source   Source       // what decided
	Observed string       // city of the address by the registry's own tables; "" if they have none
	Declared string       // city that the node declared, as a slug; "" if none or not a name
	Prefix   netip.Prefix // row of the map behind Observed; zero if none
	At       *Coordinates // coordinates of that row; nil if it has none
	Class    Class        // kind of address
	Note     string       // why it is unknown, or why a declared city was not taken; "" if all agree
}

// Place is one line for people and tables: "changsha (map 61.187.0.0/16)".
func (a Answer) Place() string {
	var b strings.Builder
	b.WriteString(a.City)
	switch a.Source {
	case SourceMap:
		fmt.Fprintf(&b, " (map %s", a.Prefix)
		if a.Declared != "" && a.Declared != a.City {
			fmt.Fprintf(&b, ", declared %s", a.Declared)
		}
		b.WriteString(")")
	case SourceDeclared:
		b.WriteString(" (declared, address ")
		if a.Observed != "" && a.Observed != a.City {
			fmt.Fprintf(&b, "says %s)", a.Observed)
		} else {
			fmt.Fprintf(&b, "is %s)", a.Class)
		}
	default:
		fmt.Fprintf(&b, " (address is %s)", a.Class)
	}
	return b.String()
}

// Locator is the chain of evidence: map, then what the node declared. The zero
// value has no map and falls back to declared cities. It is safe for
// concurrent use as long as nobody changes its fields.
type Locator struct {
	Map   *Map  // nil: no map
	Trust Trust // "" is TrustFallback
}

// Locate places a node by the address from which the registry sees it and the
// city that it declares (free text, may be empty). It always answers; a city
// that cannot be found out is Unknown, with the reason in Note.
func (l Locator) Locate(addr netip.Addr, declared string) Answer {
	addr = addr.Unmap().WithZone("")
	a := Answer{City: Unknown, Source: SourceNone, Class: Classify(addr)}
	if row, ok := l.Map.Lookup(addr); ok {
		a.Observed, a.Prefix, a.At = row.City, row.Prefix, row.At
	}
	if declared != "" {
		city, err := City(declared)
		switch {
		case err != nil:
			a.Note = "the declared city was not taken: " + err.Error()
		case IsUnknown(city):
			a.Note = fmt.Sprintf("the declared city %q is reserved for nodes that nothing places", city)
		default:
			a.Declared = city
		}
	}
	believed := a.Declared != "" && (l.Trust == TrustAlways ||
		(a.Observed == "" && l.Trust != TrustNever))
	switch {
	case believed:
		a.City, a.Source = a.Declared, SourceDeclared
	case a.Observed != "":
		a.City, a.Source = a.Observed, SourceMap
		if a.Declared != "" && a.Declared != a.Observed {
			a.Note = fmt.Sprintf("declared %s, but the address %s is in %s (%s): observed beats declared",
				a.Declared, addr, a.Observed, a.Prefix)
		}
	case a.Note == "":
		a.Note = l.unknownNote(addr, a)
	}
	return a
}

// unknownNote says why nothing placed addr, and what to do.
func (l Locator) unknownNote(addr netip.Addr, a Answer) string {
	if a.Declared != "" {
		return fmt.Sprintf("no table has a city for the %s address %s, and the registry does not trust declared cities (%s): "+
			"add the network to its --geo-map, or start it with --trust-declared fallback", a.Class, addr, a.Declared)
	}
	if l.Trust == TrustNever {
		return fmt.Sprintf("no table has a city for the %s address %s: add the network to the registry's --geo-map", a.Class, addr)
	}
	return fmt.Sprintf("no table has a city for the %s address %s: join with --city, or add the network to the registry's --geo-map", a.Class, addr)
}

// IsUnknown tells whether a city slug stands for nodes that nothing places:
// "unknown" or "<country>-unknown".
func IsUnknown(city string) bool {
	return city == Unknown || strings.HasSuffix(city, "-"+Unknown)
}
