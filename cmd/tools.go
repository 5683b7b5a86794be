package cmd

import (
	"github.com/peerprobe/peerprobe/probe"
	"github.com/spf13/cobra"
)

// toolInfo is what `peerprobe tools` says about a tool.
type toolInfo struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Summary string `json:"summary"`
}

func toolsCommand(e *env) *cobra.Command {
	var out formatFlags
	c := &cobra.Command{
		Use:     "tools",
		Short:   "List the ways to measure",
		Example: "  peerprobe tools",
		GroupID: "more",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := out.value(c)
			if err != nil {
				return err
			}
			list := []toolInfo{}
			for _, t := range probe.Tools() {
				list = append(list, toolInfo{t.Name, t.Version, t.Summary})
			}
			if f == formatJSON {
				return writeJSON(e.out, list)
			}
			return toolsListing.writeRows(e.out, f, list)
		},
	}
	out.add(c)
	return c
}

var toolsListing = listing[toolInfo]{
	cols: []column{{name: "tool"}, {name: "version"}, {name: "measures"}},
	row:  func(t toolInfo) []string { return []string{t.Name, t.Version, t.Summary} },
	csv:  []string{"name", "version", "summary"},
	rec:  func(t toolInfo) []string { return []string{t.Name, t.Version, t.Summary} },
}
