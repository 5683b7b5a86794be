package cmd

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/spf13/cobra"
)

func clustersCommand(e *env) *cobra.Command {
	var look lookFlags
	var long bool
	c := &cobra.Command{
		Use:   "clusters",
		Short: "List the clusters with their heads, terms and who is in line",
		Long: "List the clusters that the head of this node knows, its own first: who leads each, in\n" +
			"which term and why, and how many of those in line live. A city with several heads has\n" +
			"a line for each. With -l, a line for each name of each succession.",
		Example: "  peerprobe clusters\n  peerprobe clusters -l         # who takes over after whom\n  peerprobe clusters -J",
		GroupID: "use",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, f, err := look.connect(e, c)
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
			if f == formatTable && long {
				err = writeTable(e.out, lineColumns, lineRows(list))
			} else {
				err = clustersListing(list).writeRows(e.out, f, list)
			}
			if err != nil {
				return err
			}
			for _, cl := range list {
				if cl.Error != "" {
					fmt.Fprintf(e.err, "note: %s: its head did not answer: %s\n", printable(cityOf(cl)), printable(cl.Error))
				}
			}
			return nil
		},
	}
	look.add(c)
	c.Flags().BoolVarP(&long, "long", "l", false, "a line for each name of each succession, with whole peer ids")
	return c
}

// cityOf names a cluster: the city, and the shard where it has several.
func cityOf(c node.ClusterInfo) string {
	if c.Shards <= 1 {
		return c.City
	}
	return fmt.Sprintf("%s, shard %d of %d", c.City, c.Shard, c.Shards)
}

// members of a cluster whose head did not answer are not known.
func members(n int) string {
	if n < 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// inLine says how many of those who may take over live, as their head hears them.
func inLine(c node.ClusterInfo) string {
	alive, all := 0, 0
	for _, n := range c.Line {
		if n.Place == 0 {
			continue
		}
		all++
		if slices.Contains(livingStates, n.State) {
			alive++
		}
	}
	switch {
	case len(c.Line) == 0:
		return "-"
	case all == 0:
		return "nobody"
	}
	return fmt.Sprintf("%d of %d live", alive, all)
}

// livingStates are those in which a candidate lives.
var livingStates = []string{"head", "backup", "alive", "unwell"}

// clustersListing has a column for shards where a city has several.
func clustersListing(list []node.ClusterInfo) listing[node.ClusterInfo] {
	sharded := slices.ContainsFunc(list, func(c node.ClusterInfo) bool { return c.Shards > 1 })
	cols := []column{{name: "city"}, {name: "head"}, {name: "ip"}, {name: "members", right: true}, {name: "term"}, {name: "backup"}, {name: "in line"}, {name: "why it leads"}, {name: "own"}}
	if sharded {
		cols = slices.Insert(cols, 1, column{name: "shard", right: true})
	}
	return listing[node.ClusterInfo]{
		cols: cols,
		row: func(c node.ClusterInfo) []string {
			own := ""
			if c.Own {
				own = "yes"
			}
			row := []string{c.City, dash(shortID(c.Head)), dash(c.HeadIP), dash(members(c.Members)), dash(c.Term), dash(shortID(c.Backup)), inLine(c), dash(c.Reason), own}
			if sharded {
				row = slices.Insert(row, 1, fmt.Sprint(c.Shard))
			}
			return row
		},
		csv: []string{"city", "head", "headIp", "term", "members", "succession", "reason", "own", "error", "shard", "shards", "backup", "line"},
		rec: func(c node.ClusterInfo) []string {
			line := make([]string, len(c.Line))
			for i, n := range c.Line {
				line[i] = n.Node + ":" + n.State
			}
			return []string{c.City, c.Head, c.HeadIP, c.Term, members(c.Members), strings.Join(c.Succession, " "), c.Reason, strconv.FormatBool(c.Own), c.Error,
				fmt.Sprint(c.Shard), fmt.Sprint(c.Shards), c.Backup, strings.Join(line, " ")}
		},
	}
}

var lineColumns = []column{{name: "city"}, {name: "shard", right: true}, {name: "term"}, {name: "place"}, {name: "node"}, {name: "state"}, {name: "silent", right: true}}

// lineRows are all names of all successions, in the order of take-over.
func lineRows(list []node.ClusterInfo) (rows [][]string) {
	for _, c := range list {
		line := c.Line
		if len(line) == 0 { // its head did not answer: only the certificate is known
			for _, id := range c.Succession {
				line = append(line, node.CandidateInfo{Node: id, Place: -1, State: "unknown"})
			}
		}
		for _, n := range line {
			rows = append(rows, []string{c.City, fmt.Sprint(c.Shard), dash(c.Term), placeText(n), n.Node, stateText(n), silentText(n)})
		}
	}
	return rows
}
