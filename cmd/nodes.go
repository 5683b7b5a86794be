package cmd

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/spf13/cobra"
)

func nodesCommand(e *env) *cobra.Command {
	var look lookFlags
	var long bool
	c := &cobra.Command{
		Use:     "nodes",
		Short:   "List the nodes of the mesh, as their heads know them",
		Example: "  peerprobe nodes\n  peerprobe nodes -o csv\n  peerprobe nodes -l            # whole peer ids",
		GroupID: "use",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			a, f, err := look.connect(e, c)
			if err != nil {
				return err
			}
			list, err := a.Nodes(c.Context())
			if err != nil {
				return fmt.Errorf("nodes: %w", err)
			}
			if f == formatJSON {
				return writeJSON(e.out, notNil(list))
			}
			return nodesListing(long).writeRows(e.out, f, list)
		},
	}
	look.add(c)
	c.Flags().BoolVarP(&long, "long", "l", false, "whole peer ids in the table")
	return c
}

// notNil makes an empty list print as [], never as null.
func notNil[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}

// networkText is who announces a node's address, and in which country it is.
func networkText(n node.NodeInfo) string {
	var parts []string
	if n.ASN != 0 {
		parts = append(parts, fmt.Sprintf("AS%d", n.ASN))
	}
	if n.Country != "" {
		parts = append(parts, n.Country)
	}
	return strings.Join(parts, " ")
}

func nodesListing(long bool) listing[node.NodeInfo] {
	id := shortID
	if long {
		id = func(s string) string { return s }
	}
	return listing[node.NodeInfo]{
		cols: []column{{name: "city"}, {name: "role"}, {name: "node"}, {name: "ip"}, {name: "silent", right: true}, {name: "tags"}, {name: "network"}, {name: "mark"}},
		row: func(n node.NodeInfo) []string {
			return []string{n.City, n.Role, id(n.ID), n.IP, silence(n.SilentMs), strings.Join(n.Tags, ","), networkText(n), n.Doubt}
		},
		csv: []string{"id", "city", "role", "ip", "addrs", "tags", "silentMs", "country", "asn", "network", "place", "doubt"},
		rec: func(n node.NodeInfo) []string {
			asn := ""
			if n.ASN != 0 {
				asn = strconv.FormatUint(uint64(n.ASN), 10)
			}
			return []string{n.ID, n.City, n.Role, n.IP, strings.Join(n.Addrs, " "), strings.Join(n.Tags, " "), num(&n.SilentMs),
				n.Country, asn, n.Network, n.Place, n.Doubt}
		},
	}
}
