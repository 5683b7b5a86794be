package locate

import "net/netip"

// Class is the kind of an address: what may be concluded from it.
type Class string

const (
	ClassPublic        Class = "public"
	ClassPrivate       Class = "private"       // RFC 1918, RFC 4193
	ClassLoopback      Class = "loopback"      // RFC 1122, RFC 4291
	ClassLinkLocal     Class = "link-local"    // RFC 3927, RFC 4291
	ClassCGNAT         Class = "cgnat"         // RFC 6598, 100.64.0.0/10
	ClassDocumentation Class = "documentation" // RFC 5737, RFC 3849, RFC 9637
	ClassOther         Class = "special"       // unspecified, multicast, benchmarking, reserved, invalid
)

// specials are the ranges of the IANA special-purpose registries that netip
// has no predicate for. First match wins.
var specials = []struct {
	prefix netip.Prefix
	class  Class
}{
	{netip.MustParsePrefix("100.64.0.0/10"), ClassCGNAT},
	{netip.MustParsePrefix("192.0.2.0/24"), ClassDocumentation},
	{netip.MustParsePrefix("198.51.100.0/24"), ClassDocumentation},
	{netip.MustParsePrefix("203.0.113.0/24"), ClassDocumentation},
	{netip.MustParsePrefix("2001:db8::/32"), ClassDocumentation},
	{netip.MustParsePrefix("3fff::/20"), ClassDocumentation},
	{netip.MustParsePrefix("0.0.0.0/8"), ClassOther},
	{netip.MustParsePrefix("192.0.0.0/24"), ClassOther},   // RFC 6890, protocol assignments
	{netip.MustParsePrefix("198.18.0.0/15"), ClassOther},  // RFC 2544, benchmarking
	{netip.MustParsePrefix("240.0.0.0/4"), ClassOther},    // RFC 1112, reserved, and broadcast
	{netip.MustParsePrefix("2001:2::/48"), ClassOther},    // RFC 5180, benchmarking
	{netip.MustParsePrefix("100::/64"), ClassOther},       // RFC 6666, discard only
	{netip.MustParsePrefix("64:ff9b:1::/48"), ClassOther}, // RFC 8215, local NAT64
}

// specialOctet are the first octets of IPv4 addresses that may be special: nine of ten addresses are done with that.
var specialOctet = func() (octets [256]bool) {
	for _, o := range []int{10, 127, 169, 172, 192} { // those that netip knows
		octets[o] = true
	}
	for o := 224; o < 256; o++ {
		octets[o] = true
	}
	for _, s := range specials {
		if s.prefix.Addr().Is4() {
			octets[s.prefix.Addr().As4()[0]] = true
		}
	}
	return octets
}()

// Classify tells what kind of address addr is. Only a public address is ever
// looked up in tables of the world; the operator's own map comes before that.
func Classify(addr netip.Addr) Class {
	addr = addr.Unmap()
	if addr.Is4() && !specialOctet[addr.As4()[0]] {
		return ClassPublic
	}
	addr = addr.WithZone("")
	if inside, ok := translated(addr); ok {
		if Classify(inside) == ClassPublic {
			return ClassPublic
		}
		return ClassOther // RFC 6052 and RFC 3056 forbid it: whoever sends it is nobody's neighbour
	}
	switch {
	case !addr.IsValid() || addr.IsUnspecified() || addr.IsMulticast():
		return ClassOther
	case addr.IsLoopback():
		return ClassLoopback
	case addr.IsPrivate():
		return ClassPrivate
	case addr.IsLinkLocalUnicast():
		return ClassLinkLocal
	}
	for _, s := range specials {
		if s.prefix.Contains(addr) {
			return s.class
		}
	}
	return ClassPublic
}

// Prefixes of IPv6 in which IPv4 addresses stand.
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96") // RFC 6052
	sixToFour = netip.MustParsePrefix("2002::/16")    // RFC 3056
)

// translated is the IPv4 address of a host behind a translator or a 6to4 router, which says where it is.
func translated(addr netip.Addr) (netip.Addr, bool) {
	if !addr.Is6() {
		return addr, false
	}
	b := addr.As16()
	switch {
	case nat64.Contains(addr):
		return netip.AddrFrom4([4]byte(b[12:16])), true
	case sixToFour.Contains(addr):
		return netip.AddrFrom4([4]byte(b[2:6])), true
	}
	return addr, false
}

// Plain is the address by which a host is placed: without a zone, and the IPv4 address where that stands in an IPv6
// one.
func Plain(addr netip.Addr) netip.Addr {
	addr = addr.Unmap().WithZone("")
	if inside, ok := translated(addr); ok && Classify(inside) == ClassPublic {
		return inside
	}
	return addr
}
