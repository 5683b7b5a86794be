package cmd

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/spf13/cobra"
)

func statusCommand(e *env) *cobra.Command {
	var look lookFlags
	c := &cobra.Command{
		Use:   "status",
		Short: "Say how the node that runs here is: role, term, who is in line, registry",
		Long: "Say how the node that runs here is: whom it follows in which term, since when and why,\n" +
			"who takes over after whom and who of them lives, whether this node is fit to lead,\n" +
			"and what waits for the registry.",
		Example: "  peerprobe status\n  peerprobe status --data ./w1 -J",
		GroupID: "use",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, f, err := look.connect(e, c)
			if err != nil {
				return err
			}
			st, err := a.Status(c.Context())
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			switch f {
			case formatJSON:
				return writeJSON(e.out, st)
			case formatTable:
				return writePairs(e.out, 0, statusPairs(st))
			}
			return statusListing.writeRows(e.out, f, []node.Status{st})
		},
	}
	look.add(c)
	return c
}

// statusPairs is the status for people: who it is, who leads, how fit it is, and what it did.
func statusPairs(s node.Status) []pair {
	city := dash(s.City)
	if s.Place != "" {
		city = s.Place // it names the city first
	}
	if s.Shards > 1 {
		city += fmt.Sprintf(", shard %d of %d", s.Shard, s.Shards)
	}
	p := []pair{{"node", s.Node}, {"network", s.Network}, {"city", city}}
	p = append(p, electionPairs(s)...)
	p = append(p, fitnessPairs(s)...)
	p = append(p,
		pair{"members", strconv.Itoa(s.Members)},
		pair{"other heads", strconv.Itoa(s.Heads)},
		pair{"registry", registryLine(s.Registry)},
		pair{"addresses", strings.Join(s.Addrs, " ")},
		pair{"sessions", fmt.Sprintf("%d of %d at once, %d served, %d started", s.Sessions.Serving, s.Sessions.MaxAtOnce, s.Sessions.Served, s.Sessions.Started)},
		pair{"spool", spoolText(s.Spool)},
	)
	if text := heldText(s.Held); text != "" {
		p = append(p, pair{"held", text})
	}
	p = append(p,
		pair{"cache", fmt.Sprintf("%d hits, %d misses", s.Cache.Hits, s.Cache.Misses)},
	)
	if len(s.Refused) > 0 {
		p = append(p, pair{"refused", refusedLine(s.Refused)})
	}
	return append(p,
		pair{"data", s.Data},
		pair{"local API", s.Control},
		pair{"process", fmt.Sprintf("%d, version %s, since %s", s.PID, s.Version, clock(s.Started))},
	)
}

// electionPairs say who leads, who is in line, and what this node's part in it is.
func electionPairs(s node.Status) []pair {
	isHead := s.Head != "" && s.Head == s.Node
	head := whoText(s, s.Head)
	if !isHead && s.HeadAddr != "" {
		head += " at " + s.HeadAddr
	}
	p := []pair{{"role", roleText(s)}}
	if s.WhyNot != "" {
		p = append(p, pair{"not in line", s.WhyNot})
	}
	p = append(p, pair{"term", termText(s)}, pair{"head", head}, pair{"backup", whoText(s, s.Backup)})
	name := "succession"
	for _, text := range lineTexts(s.Succession) {
		p = append(p, pair{name, text})
		name = ""
	}
	switch {
	case isHead:
		p = append(p, pair{"watched by", watchersText(s.Succession)})
	case s.Watches != "":
		p = append(p, pair{"watches", fmt.Sprintf("%s, and would take over after %v of its silence", shortID(s.Watches), msText(s.ClaimsAfterMs))})
	}
	if text := changeText(s); text != "" {
		p = append(p, pair{"last change", text})
	}
	return p
}

// whoText names a node to the one that was asked.
func whoText(s node.Status, id string) string {
	if id != "" && id == s.Node {
		return "this node"
	}
	return dash(shortID(id))
}

func roleText(s node.Status) string {
	text := s.Role
	switch {
	case s.InLine > 0:
		text += fmt.Sprintf(", %s in line", ordinal(s.InLine))
	case s.CutOffMs > 0:
		text += fmt.Sprintf(", no head heard for %v", msText(s.CutOffMs))
	}
	if s.Unsure {
		text += ", in doubt after a pause whether it still leads"
	}
	return text
}

// termText is the term, and why it began.
func termText(s node.Status) string {
	if s.LastChange == "" {
		return dash(s.Term)
	}
	return dash(s.Term) + ": " + s.LastChange
}

// changeText is the last change of head that this node saw.
func changeText(s node.Status) string {
	c := s.Change
	if c == nil {
		return ""
	}
	text := whoText(s, c.To)
	if c.From != "" && c.From != c.To {
		text = whoText(s, c.From) + " to " + text
	}
	return fmt.Sprintf("%s: %s in term %s: %s", clock(c.At), text, c.Term, dash(c.Reason))
}

// fitnessPairs say whether this node should lead, and what that is known from.
func fitnessPairs(s node.Status) []pair {
	text := "yes"
	if s.Health != "" {
		text = "no: " + s.Health
	}
	v := s.Vitals
	text += fmt.Sprintf("; capacity %d of 10", v.Capacity)
	if v.SyncMs != nil {
		text += fmt.Sprintf("; of the last minute 9 in 10 fsyncs within %.3g ms", *v.SyncMs)
		if v.LateMs != nil {
			text += fmt.Sprintf(", turns of its loop within %.3g ms", *v.LateMs)
		}
	}
	p := []pair{{"fit to lead", text}}
	if a := s.Attested; a != nil {
		reach := "not reachable"
		if a.Reachable {
			reach = "reachable"
		}
		p = append(p, pair{"attested", fmt.Sprintf("%s from outside, capacity %d of 10, in %s, at %s", reach, a.Capacity, dash(a.Prefix), clock(a.At))})
	}
	return p
}

// spoolText says where this node's results are that the registry has not confirmed.
func spoolText(s node.SpoolStatus) string {
	if s.Depth == 0 {
		return fmt.Sprintf("nothing waits, %d dropped", s.Dropped)
	}
	text := fmt.Sprintf("%d wait for the registry: %d here only, %d on the head too, %d on head and backup; %d dropped",
		s.Depth, max(s.Depth-s.Level1-s.Level2, 0), s.Level1, s.Level2, s.Dropped)
	if s.Aside > 0 {
		text += fmt.Sprintf(", %d refused and set aside", s.Aside)
	}
	return text
}

// heldText says what this node holds for its cluster; "" where it never held anything.
func heldText(h node.HeldStatus) string {
	var parts []string
	for _, c := range []struct {
		text string
		n    int
	}{{"%d for the registry", h.Held}, {"%d of them on the backup too", h.Copied}, {"%d as copies", h.Copies}, {"%d kept for a day in case the registry loses them", h.Kept}} {
		if c.n > 0 {
			parts = append(parts, fmt.Sprintf(c.text, c.n))
		}
	}
	if h.Bytes > 0 {
		parts = append(parts, sizeText(h.Bytes)+" in all")
	}
	if h.Refused > 0 {
		parts = append(parts, fmt.Sprintf("%d refused because there was no room", h.Refused))
	}
	return strings.Join(parts, ", ")
}

// sizeText is a number of bytes on disk.
func sizeText(n int64) string {
	if n < 1e6 {
		return fmt.Sprintf("%.3g kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.3g MB", float64(n)/1e6)
}

func registryLine(r node.RegistryStatus) string {
	state := "down"
	if r.Up {
		state = "up"
	}
	line := fmt.Sprintf("%s at %s, last answer %s", state, dash(r.Address), clock(r.Last))
	if r.Quiet {
		line += ", just started and quiet: it appoints no first head for half a minute"
	}
	if r.Error != "" {
		line += ": " + r.Error
	}
	return line
}

func refusedLine(m map[string]uint64) string {
	var parts []string
	for _, reason := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", reason, m[reason]))
	}
	return strings.Join(parts, ", ")
}

var statusListing = listing[node.Status]{
	csv: []string{"node", "network", "city", "role", "term", "head", "backup", "members", "heads", "registryUp", "registryAddress", "serving", "served", "started", "spool", "dropped", "startedAt", "version",
		"shard", "shards", "inLine", "unsure", "health", "whyNot"},
	rec: func(s node.Status) []string {
		u := func(v uint64) string { return strconv.FormatUint(v, 10) }
		return []string{s.Node, s.Network, s.City, s.Role, s.Term, s.Head, s.Backup, strconv.Itoa(s.Members), strconv.Itoa(s.Heads),
			strconv.FormatBool(s.Registry.Up), s.Registry.Address, strconv.Itoa(s.Sessions.Serving), u(s.Sessions.Served), u(s.Sessions.Started),
			strconv.Itoa(s.Spool.Depth), u(s.Spool.Dropped), stamp(s.Started), s.Version,
			fmt.Sprint(s.Shard), fmt.Sprint(s.Shards), strconv.Itoa(s.InLine), strconv.FormatBool(s.Unsure), s.Health, s.WhyNot}
	},
}

// silence prints how long a member was not heard.
func silence(msec float64) string { return msText(msec).Round(100 * time.Millisecond).String() }

// msText is milliseconds as a duration.
func msText(msec float64) time.Duration { return time.Duration(msec * float64(time.Millisecond)) }
