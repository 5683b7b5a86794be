// Package locate decides in which city a node is, and says how it knows. It also knows what a person means who
// types the name of a city.
//
// It is for the registry, which places every node that registers, and for everything that turns what a person
// typed into the name of a city. It is not for nodes that measure: they never locate anybody, and load nothing.
//
// It promises: no look-up leaves the process (no network, no DNS); the same input gives the same answer; every
// answer carries its evidence, that is what the address says, what the node says of itself, and which of the two
// decided. IPv4-mapped IPv6 addresses are treated as the IPv4 addresses that they are. Chinese names are never
// transliterated, because 长沙 would become "zhangsha": they are resolved by aliases. Embedded tables are taken
// apart when something first asks for them; -tags nocn builds without the one of China, -tags nogeo without any.
package locate

import (
	"fmt"
	"net/netip"
	"strings"
)

//go:generate go run -tags nogeo ./gen
//go:generate go run -tags nocn ./gen -report data/agreement.txt
//go:generate go run ./gen -report data/agreement.txt

// Unknown is the city of a node that nothing places. A country, where one is
// known, stands in front of it: "cn-unknown".
const Unknown = "unknown"

// Source says which evidence decided the city.
type Source string

const (
	SourceOperator Source = "operator" // an override, of the node or of a network
	SourceMap      Source = "map"      // the operator's CIDR map
	SourceGeoIP    Source = "geoip"    // the operator's MMDB file
	SourceChina    Source = "china"    // the embedded table of mainland China
	SourceWorld    Source = "world"    // the embedded table of the world
	SourceDeclared Source = "declared" // the node said so, and the policy believes it
	SourceNone     Source = "none"     // nothing: the city is Unknown
	sourceSpecial  Source = "special"  // only in steps: the kind of the address
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
	By       Source       // what says Observed; SourceNone if nothing
	Declared string       // city that the node declared, as a slug; "" if none or not a city
	Prefix   netip.Prefix // row of the map or the file behind Observed; zero if none
	At       *Coordinates // of the row of the map, or of the city; nil if not known
	Class    Class        // kind of address
	Country  string       // ISO 3166-1 alpha-2, of the city or of the address; "" if not known
	Network  Network      // that announces the address
	Note     string       // why it is unknown, or why a declared city was not taken; "" if all agree
	Misspelt string       // what was declared and is no city, with what may have been meant; "" if it is one
	Steps    []Step       // how the answer came about
}

// Step is one link of the chain.
type Step struct {
	Source Source
	City   string // that it gave; "" if none
	Text   string // one line
}

// Conflict tells answers where what a node declared is not what the registry sees.
func (a Answer) Conflict() bool {
	return a.Declared != "" && (a.Declared != a.City || a.Observed != "" && a.Observed != a.City)
}

// Place is one line for people and tables: "changsha (map 61.187.0.0/16)".
func (a Answer) Place() string {
	said, sees := "", ""
	if a.Declared != "" && a.Declared != a.City {
		said = ", declared " + a.Declared
	}
	if a.Observed != "" && a.Observed != a.City {
		sees = ", address says " + a.Observed
	}
	switch {
	case a.Source == SourceMap, a.Source == SourceGeoIP:
		return fmt.Sprintf("%s (%s %s%s)", a.City, a.Source, a.Prefix, said)
	case a.Source == SourceChina, a.Source == SourceWorld:
		return fmt.Sprintf("%s (%s table%s)", a.City, a.Source, said)
	case a.Source == SourceOperator:
		return fmt.Sprintf("%s (operator%s%s)", a.City, sees, said)
	case a.Source == SourceDeclared:
		if sees == "" {
			sees = fmt.Sprintf(", address is %s", a.Class)
		}
		return fmt.Sprintf("%s (declared%s)", a.City, sees)
	case a.Misspelt != "":
		return fmt.Sprintf("%s (address is %s, %s)", a.City, a.Class, a.Misspelt)
	default:
		return fmt.Sprintf("%s (address is %s)", a.City, a.Class)
	}
}

// Locator is the chain of evidence: the operator's map, special ranges, the operator's MMDB file, the embedded
// tables, and what the node declared. The zero value has no files and falls back to declared cities. It is safe
// for concurrent use as long as nobody changes its fields.
type Locator struct {
	Map   *Map   // nil: no map
	GeoIP *GeoIP // nil: no file
	Trust Trust  // "" is TrustFallback
}

// Locate places a node by the address from which the registry sees it and the city that it declares (free text,
// may be empty). It always answers; a city that cannot be found out is Unknown, with the reason in Note.
func (l Locator) Locate(addr netip.Addr, declared string) Answer {
	addr = addr.Unmap().WithZone("")
	a := Answer{City: Unknown, Source: SourceNone, By: SourceNone, Class: Classify(addr)}
	l.observe(&a, addr)
	l.declare(&a, declared)
	believed := a.Declared != "" && (l.Trust == TrustAlways || a.Observed == "" && l.Trust != TrustNever)
	switch {
	case believed:
		a.City, a.Source = a.Declared, SourceDeclared
		if a.Observed != "" && a.Observed != a.City {
			a.Note = fmt.Sprintf("declared %s, the address %s says %s: declared cities are trusted here", a.Declared, addr, a.Observed)
		}
	case a.Observed != "":
		a.City, a.Source = a.Observed, a.By
		if a.Declared != "" && a.Declared != a.Observed {
			a.Note = fmt.Sprintf("declared %s, but the address %s is in %s (%s): observed beats declared", a.Declared, addr, a.Observed, a.By)
		}
	default:
		if a.Country != "" {
			a.City = strings.ToLower(a.Country) + "-" + Unknown
		}
		if a.Note == "" {
			a.Note = l.unknownNote(addr, a)
		}
	}
	a.complete()
	return a
}

// complete fills in what the table of cities knows of the city. The map's own coordinates stay.
func (a *Answer) complete() {
	if a.Source != SourceMap {
		a.At = nil
	}
	p, ok := BySlug(a.City)
	if ok && a.At == nil {
		a.At = &p.At
	}
	if ok && a.Country == "" {
		a.Country = p.Country
	}
}

func (a *Answer) step(s Source, city, format string, args ...any) {
	a.Steps = append(a.Steps, Step{s, city, fmt.Sprintf(format, args...)})
}

// saw takes a city as what the address says, unless something before has said it.
func (a *Answer) saw(s Source, city string) {
	if a.Observed == "" {
		a.Observed, a.By = city, s
	}
}

// observe asks everything that tells where an address is, in order.
func (l Locator) observe(a *Answer, addr netip.Addr) {
	plain := Plain(addr)
	row, ok := l.Map.Lookup(addr)
	if !ok && plain != addr {
		row, ok = l.Map.Lookup(plain)
	}
	switch {
	case ok:
		a.saw(SourceMap, row.City)
		a.Prefix, a.At = row.Prefix, row.At
		a.step(SourceMap, row.City, "%s is %s", row.Prefix, row.City)
	case l.Map != nil:
		a.step(SourceMap, "", "no row has %s", addr)
	default:
		a.step(SourceMap, "", "no map was given (--geo-map)")
	}
	if a.Class != ClassPublic {
		a.step(sourceSpecial, "", "%s is %s: it is looked up in no table", addr, a.Class)
		return
	}
	if plain != addr {
		a.step(sourceSpecial, "", "%s stands for %s", addr, plain)
	}
	l.observeFile(a, plain)
	l.observeTables(a, plain)
	if a.Network = NetworkOf(plain); a.Network.Number != 0 {
		a.step("network", "", "%s", a.Network)
	}
}

func (l Locator) observeFile(a *Answer, addr netip.Addr) {
	if l.GeoIP == nil {
		a.step(SourceGeoIP, "", "no MMDB file was given (--geoip)")
		return
	}
	s, prefix, err := l.GeoIP.lookup(addr)
	if err != nil {
		a.step(SourceGeoIP, "", "the file is damaged at %s: %v", addr, err)
		return
	}
	if a.Country == "" {
		a.Country = s.country
	}
	g := cities()
	row, ok := s.snap(g)
	switch {
	case ok:
		if a.Observed == "" {
			a.Prefix = prefix
		}
		a.saw(SourceGeoIP, g.slug(row))
		a.step(SourceGeoIP, g.slug(row), "%s is %q in %s: %s stands for it", prefix, s.city, s.country, g.slug(row))
	case s.city != "" && g == nil && CheckName(s.city) == nil:
		a.step(SourceGeoIP, "", "%s is %q in %s, and this program has no table of cities", prefix, s.city, s.country)
	case s.city != "":
		a.step(SourceGeoIP, "", "%s is %q in %s: no city is near that", prefix, s.city, s.country)
	case s.country != "":
		a.step(SourceGeoIP, "", "%s is in %s, no city is said", prefix, s.country)
	default:
		a.step(SourceGeoIP, "", "the file does not have %s", addr)
	}
}

func (l Locator) observeTables(a *Answer, addr netip.Addr) {
	if cities() == nil {
		a.step(SourceWorld, "", "this program was built without tables")
		return
	}
	row, country, from := placeOf(addr)
	if a.Country == "" {
		a.Country = country
	}
	source := SourceWorld
	if from == layerChina {
		source = SourceChina
	}
	switch {
	case row != nowhere:
		city := cities().slug(row)
		a.saw(source, city)
		a.step(source, city, "the embedded table has %s in %s", addr, city)
	case country != "":
		a.step(source, "", "the embedded table has %s in %s, without a city", addr, country)
	case addr.Is6():
		a.step(source, "", "the embedded tables have no IPv6: free data of it is poor; give an MMDB file with --geoip")
	default:
		a.step(source, "", "the embedded tables do not have %s", addr)
	}
}

// declare takes in what a node says of itself: a city of the table, or one that the map names. Anything else is a
// slip of the pen, which must not become a cluster.
func (l Locator) declare(a *Answer, declared string) {
	if declared == "" {
		a.step(SourceDeclared, "", "nothing was declared (--city)")
		return
	}
	city, err := City(declared)
	switch {
	case err != nil:
		a.Note = "the declared city was not taken: " + err.Error()
	case IsUnknown(city):
		a.Note = fmt.Sprintf("the declared city %q is reserved for nodes that nothing places", city)
	case !l.Knows(city):
		a.Misspelt = fmt.Sprintf("no city is known as %.60q%s", declared, DidYouMean(declared))
		a.Note = "the declared city was not taken: " + a.Misspelt + " (a place of your own has to stand in the registry's --geo-map)"
	default:
		a.Declared = city
	}
	if a.Note != "" {
		a.step(SourceDeclared, "", "%s", a.Note)
		return
	}
	a.step(SourceDeclared, city, "%.60q is %s", declared, city)
}

// At is where a city is: by the table, or by the first row of the map that says so.
func (l Locator) At(slug string) (Coordinates, bool) {
	if p, ok := BySlug(slug); ok {
		return p.At, true
	}
	if l.Map == nil {
		return Coordinates{}, false
	}
	p := l.Map.names[slug]
	return p.at, p.has
}

// Knows tells whether a slug is a city of the table or of the map. A program without the table knows any.
func (l Locator) Knows(slug string) bool {
	if cities() == nil || l.Map.Has(slug) {
		return true
	}
	_, ok := BySlug(slug)
	return ok
}

// Move places an answer by an operator's override.
func (a Answer) Move(city, why string) Answer {
	a.City, a.Source, a.Note = city, SourceOperator, ""
	a.step(SourceOperator, city, "%s", why)
	if p, ok := BySlug(city); ok {
		a.At, a.Country = &p.At, p.Country
	} else {
		a.At = nil
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

// CityOf is the city and the country of a public IPv4 address by the embedded tables alone; both empty where they
// have none. It allocates nothing.
func CityOf(addr netip.Addr) (slug, country string) {
	if !addr.Is4() {
		addr = Plain(addr)
	}
	if Classify(addr) != ClassPublic {
		return "", ""
	}
	row, country, _ := placeOf(addr)
	if row == nowhere {
		return "", country
	}
	return cities().slug(row), country
}

// IsUnknown tells whether a city slug stands for nodes that nothing places:
// "unknown" or "<country>-unknown".
func IsUnknown(city string) bool {
	return city == Unknown || strings.HasSuffix(city, "-"+Unknown)
}
