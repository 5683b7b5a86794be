package cmd

import (
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/spf13/cobra"
)

// locateOptions are the flags of `peerprobe locate`: those of a registry that decide about places.
type locateOptions struct {
	geoMap, geoIP, trust, city string
	out                        formatFlags
}

func locateCommand(e *env) *cobra.Command {
	var o locateOptions
	c := &cobra.Command{
		Use:   "locate ADDR|NAME",
		Short: "Say in which city an address is, or what a name means, and why",
		Long: "Explain step by step in which city a registry with these flags would place an address,\n" +
			"or which city a name means. Nothing is asked over the network: the answer is from the\n" +
			"files given and from the tables that are built in (data of GeoNames, DB-IP, ip2region,\n" +
			"RouteViews and NRO; see node/locate/LICENSES).",
		Example: "  peerprobe locate 61.187.64.7\n  peerprobe locate 武汉\n" +
			"  peerprobe locate 10.1.2.3 --geo-map sites.txt --city wuhan\n  peerprobe locate suzhou -J",
		GroupID: "more",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			f, err := o.out.value(c)
			if err != nil {
				return err
			}
			if addr, ok := addressOf(args[0]); ok {
				return e.locateAddress(o, f, addr)
			}
			return e.locateName(f, args[0])
		},
	}
	fl := c.Flags()
	fl.StringVar(&o.geoMap, "geo-map", "", "file with a prefix and a city a line, as for 'peerprobe rs'")
	fl.StringVar(&o.geoIP, "geoip", "", "MMDB file with cities, as for 'peerprobe rs'")
	fl.StringVar(&o.city, "city", "", "the city that the node would declare")
	fl.StringVar(&o.trust, "trust-declared", string(locate.TrustFallback), "as for 'peerprobe rs'")
	o.out.add(c)
	_ = c.MarkFlagFilename("geo-map")
	_ = c.MarkFlagFilename("geoip", "mmdb")
	_ = c.RegisterFlagCompletionFunc("trust-declared", cobra.FixedCompletions(trustWords, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// addressOf reads an address; with a port or in brackets, as logs have them, it is one too.
func addressOf(text string) (netip.Addr, bool) {
	if a, err := netip.ParseAddr(strings.Trim(text, "[]")); err == nil {
		return a, true
	}
	if ap, err := netip.ParseAddrPort(text); err == nil {
		return ap.Addr(), true
	}
	return netip.Addr{}, false
}

func (o locateOptions) locator() (l locate.Locator, err error) {
	if l.Trust, err = locate.ParseTrust(o.trust); err != nil {
		return l, fmt.Errorf("--trust-declared: %w", err)
	}
	if o.geoMap != "" {
		if l.Map, err = locate.LoadMap(o.geoMap); err != nil {
			return l, fmt.Errorf("--geo-map: %w", err)
		}
	}
	if o.geoIP != "" {
		if l.GeoIP, err = locate.OpenGeoIP(o.geoIP); err != nil {
			return l, fmt.Errorf("--geoip: %w", err)
		}
	}
	return l, nil
}

// locatedJSON is what `locate ADDR` prints for machines.
type locatedJSON struct {
	Address  string        `json:"address"`
	City     string        `json:"city"`
	Source   string        `json:"source"`
	Observed string        `json:"observed,omitempty"`
	Declared string        `json:"declared,omitempty"`
	Conflict bool          `json:"conflict"`
	Class    string        `json:"class"`
	Country  string        `json:"country,omitempty"`
	ASN      uint32        `json:"asn,omitempty"`
	Network  string        `json:"network,omitempty"`
	Lat      *float64      `json:"latitude"`
	Lon      *float64      `json:"longitude"`
	Note     string        `json:"note,omitempty"`
	Steps    []locatedStep `json:"steps"`
}

type locatedStep struct {
	Source string `json:"source"`
	City   string `json:"city,omitempty"`
	Text   string `json:"text"`
}

func (e *env) locateAddress(o locateOptions, f format, addr netip.Addr) error {
	l, err := o.locator()
	if err != nil {
		return err
	}
	a := l.Locate(addr, o.city)
	out := locatedJSON{Address: addr.String(), City: a.City, Source: string(a.Source), Observed: a.Observed, Declared: a.Declared,
		Conflict: a.Conflict(), Class: string(a.Class), Country: a.Country, ASN: a.Network.Number, Network: a.Network.Name, Note: a.Note}
	if a.At != nil {
		out.Lat, out.Lon = &a.At.Lat, &a.At.Lon
	}
	for _, s := range a.Steps {
		out.Steps = append(out.Steps, locatedStep{string(s.Source), s.City, s.Text})
	}
	switch f {
	case formatJSON:
		return writeJSON(e.out, out)
	case formatNDJSON, formatCSV:
		return locatedListing.writeRows(e.out, f, []locatedJSON{out})
	}
	fmt.Fprintf(e.out, "%s is in %s\n\n", addr, printable(placeIn(e.out, a.Place())))
	rows := make([][]string, len(a.Steps))
	for i, s := range a.Steps {
		rows[i] = []string{string(s.Source), dash(s.City), s.Text}
	}
	if err := writeTable(e.out, []column{{name: "asked"}, {name: "city"}, {name: "what came of it"}}, rows); err != nil {
		return err
	}
	if p, ok := locate.BySlug(a.City); ok {
		fmt.Fprintln(e.out)
		if err := writePlace(e.out, p, nil); err != nil {
			return err
		}
	}
	if a.Note != "" {
		fmt.Fprintf(e.err, "note: %s\n", printable(a.Note))
	}
	return nil
}

var locatedListing = listing[locatedJSON]{
	csv: []string{"address", "city", "source", "observed", "declared", "conflict", "class", "country", "asn", "network", "latitude", "longitude", "note"},
	rec: func(l locatedJSON) []string {
		return []string{l.Address, l.City, l.Source, l.Observed, l.Declared, strconv.FormatBool(l.Conflict), l.Class, l.Country,
			strconv.FormatUint(uint64(l.ASN), 10), l.Network, num(l.Lat), num(l.Lon), l.Note}
	},
}

// placeJSON is a city for machines.
type placeJSON struct {
	City    string  `json:"city"`
	Name    string  `json:"name"`
	Chinese string  `json:"chinese,omitempty"`
	Country string  `json:"country"`
	Region  string  `json:"region,omitempty"`
	Lat     float64 `json:"latitude"`
	Lon     float64 `json:"longitude"`
	People  int     `json:"population,omitempty"`
	ID      uint32  `json:"geonameId"`
	By      string  `json:"by,omitempty"` // the kind of name that led here
}

var nameKinds = map[int]string{locate.NameSlug: "key", locate.NamePrimary: "name", locate.NameIATA: "airport or city code",
	locate.NameAlias: "other name", locate.NameTown: "town of its prefecture"}

func newPlaceJSON(p locate.Place, by string) placeJSON {
	return placeJSON{p.Slug, p.Name, p.Chinese, p.Country, p.Region, p.At.Lat, p.At.Lon, p.People, p.ID, by}
}

func (e *env) locateName(f format, name string) error {
	m, ok := locate.Resolve(name)
	if !ok && len(locate.Tables()) == 0 {
		return fmt.Errorf("%.60q is no address, and this program was built without the table of cities (-tags nogeo)", name)
	}
	if !ok {
		if err := locate.CheckName(name); err != nil {
			return err
		}
		return fmt.Errorf("%.60q is no address, and no city is known by that name%s", name, locate.DidYouMean(name))
	}
	list := []placeJSON{newPlaceJSON(m.Place, nameKinds[m.Kind])}
	for _, p := range m.Others {
		list = append(list, newPlaceJSON(p, ""))
	}
	switch f {
	case formatJSON:
		return writeJSON(e.out, struct {
			placeJSON
			Others []placeJSON `json:"others"`
		}{list[0], list[1:]})
	case formatNDJSON, formatCSV:
		return placesListing.writeRows(e.out, f, list)
	}
	fmt.Fprintf(e.out, "%s is %s (%s)\n\n", printable(name), cityIn(e.out, m.Slug), nameKinds[m.Kind])
	return writePlace(e.out, m.Place, m.Others)
}

var placesListing = listing[placeJSON]{
	csv: []string{"city", "name", "chinese", "country", "region", "latitude", "longitude", "population", "geonameId"},
	rec: func(p placeJSON) []string {
		return []string{p.City, p.Name, p.Chinese, p.Country, p.Region, num(&p.Lat), num(&p.Lon), strconv.Itoa(p.People), strconv.FormatUint(uint64(p.ID), 10)}
	},
}

func writePlace(w io.Writer, p locate.Place, others []locate.Place) error {
	in := p.Country
	if p.Region != "" {
		in = p.Region + ", " + p.Country
	}
	rows := []pair{{"key", p.Slug}, {"name", strings.TrimSpace(p.Name + " " + p.Chinese)}, {"in", in},
		{"at", fmt.Sprintf("%.4f,%.4f", p.At.Lat, p.At.Lon)}, {"geonames", strconv.FormatUint(uint64(p.ID), 10)}}
	if p.People > 0 {
		rows = append(rows, pair{"people", strconv.Itoa(p.People)})
	}
	if len(others) > 0 {
		var also []string
		for _, o := range others {
			also = append(also, o.Slug)
		}
		rows = append(rows, pair{"also", strings.Join(also, ", ") + ": the most populous has the bare name"})
	}
	return writePairs(w, 0, rows)
}
