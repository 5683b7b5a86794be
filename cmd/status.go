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
	var data string
	var out formatFlags
	c := &cobra.Command{
		Use:     "status",
		Short:   "Say how the node that runs here is: role, term, head, registry",
		Example: "  peerprobe status\n  peerprobe status --data ./w1 -J",
		GroupID: "use",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := out.value(c)
			if err != nil {
				return err
			}
			a, err := e.connect(data)
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
	dataFlag(c, &data)
	out.add(c)
	return c
}

// statusPairs is the status for people.
func statusPairs(s node.Status) []pair {
	head := dash(shortID(s.Head))
	if s.Head != "" && s.Head == s.Node {
		head = "this node"
	}
	city := dash(s.City)
	if s.Place != "" {
		city = s.Place // it names the city first
	}
	p := []pair{
		{"node", s.Node},
		{"network", s.Network},
		{"city", city},
		{"role", s.Role},
		{"term", dash(s.Term)},
		{"head", head},
		{"backup", dash(shortID(s.Backup))},
		{"members", strconv.Itoa(s.Members)},
		{"other heads", strconv.Itoa(s.Heads)},
	}
	if s.LastChange != "" {
		p = append(p, pair{"last change", s.LastChange})
	}
	p = append(p,
		pair{"registry", registryLine(s.Registry)},
		pair{"addresses", strings.Join(s.Addrs, " ")},
		pair{"sessions", fmt.Sprintf("%d of %d at once, %d served, %d started", s.Sessions.Serving, s.Sessions.MaxAtOnce, s.Sessions.Served, s.Sessions.Started)},
		pair{"spool", fmt.Sprintf("%d waiting, %d dropped", s.Spool.Depth, s.Spool.Dropped)},
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

func registryLine(r node.RegistryStatus) string {
	state := "down"
	if r.Up {
		state = "up"
	}
	line := fmt.Sprintf("%s at %s, last answer %s", state, dash(r.Address), clock(r.Last))
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
	csv: []string{"node", "network", "city", "role", "term", "head", "backup", "members", "heads", "registryUp", "registryAddress", "serving", "served", "started", "spool", "dropped", "startedAt", "version"},
	rec: func(s node.Status) []string {
		u := func(v uint64) string { return strconv.FormatUint(v, 10) }
		return []string{s.Node, s.Network, s.City, s.Role, s.Term, s.Head, s.Backup, strconv.Itoa(s.Members), strconv.Itoa(s.Heads),
			strconv.FormatBool(s.Registry.Up), s.Registry.Address, strconv.Itoa(s.Sessions.Serving), u(s.Sessions.Served), u(s.Sessions.Started),
			strconv.Itoa(s.Spool.Depth), u(s.Spool.Dropped), stamp(s.Started), s.Version}
	},
}

// silence prints how long a member was not heard.
func silence(msec float64) string {
	return (time.Duration(msec * float64(time.Millisecond))).Round(100 * time.Millisecond).String()
}
