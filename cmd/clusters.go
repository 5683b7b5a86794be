package cmd

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/spf13/cobra"
)

func clustersCommand(e *env) *cobra.Command {
	var data string
	var out formatFlags
	c := &cobra.Command{
		Use:     "clusters",
		Short:   "List the clusters with their heads and terms",
		Example: "  peerprobe clusters\n  peerprobe clusters -J",
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
			list, err := a.Clusters(c.Context())
			if err != nil {
				return fmt.Errorf("clusters: %w", err)
			}
			if f == formatJSON {
				return writeJSON(e.out, notNil(list))
			}
			if err := clustersListing.writeRows(e.out, f, list); err != nil {
				return err
			}
			for _, cl := range list {
				if cl.Error != "" {
					fmt.Fprintf(e.err, "note: %s: its head did not answer: %s\n", printable(cl.City), printable(cl.Error))
				}
			}
			return nil
		},
	}
	dataFlag(c, &data)
	out.add(c)
	return c
}

// members of a cluster whose head did not answer are not known.
func members(n int) string {
	if n < 0 {
		return ""
	}
	return strconv.Itoa(n)
}

var clustersListing = listing[node.ClusterInfo]{
	cols: []column{{name: "city"}, {name: "head"}, {name: "ip"}, {name: "members", right: true}, {name: "term"}, {name: "why"}, {name: "own"}},
	row: func(c node.ClusterInfo) []string {
		own := ""
		if c.Own {
			own = "yes"
		}
		return []string{c.City, dash(shortID(c.Head)), dash(c.HeadIP), dash(members(c.Members)), dash(c.Term), dash(c.Reason), own}
	},
	csv: []string{"city", "head", "headIp", "term", "members", "succession", "reason", "own", "error"},
	rec: func(c node.ClusterInfo) []string {
		return []string{c.City, c.Head, c.HeadIP, c.Term, members(c.Members), strings.Join(c.Succession, " "), c.Reason, strconv.FormatBool(c.Own), c.Error}
	},
}
