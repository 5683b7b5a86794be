package cmd

import (
	"errors"
	"fmt"

	"github.com/peerprobe/peerprobe/node/registry"
	"github.com/spf13/cobra"
)

// rsPlaceCommand edits the overrides of a registry: lines of a file in its data directory, which it follows.
func rsPlaceCommand(e *env) *cobra.Command {
	var data, remove string
	var own bool
	var out formatFlags
	c := &cobra.Command{
		Use:   "place [NODE|ADDRESS|NETWORK CITY]",
		Short: "Say where a node or a network is, whatever anything else says",
		Long: "Override where a node (by its peer id), an address or a network is. A registry that runs\n" +
			"follows within seconds and asks the nodes that belong elsewhere now to register again,\n" +
			"which moves them to their cluster with all that they hold. Without arguments, list the\n" +
			"overrides. They are lines of places.txt in the registry's data directory.",
		Example: "  peerprobe rs place 12D3KooWExample wuhan --data ./rs\n  peerprobe rs place 10.1.0.0/16 长沙 --data ./rs\n" +
			"  peerprobe rs place --remove 10.1.0.0/16 --data ./rs\n  peerprobe rs place --data ./rs",
		Args: func(c *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 {
				return errors.New("write a node, an address or a network, and a city: peerprobe rs place 10.1.0.0/16 wuhan")
			}
			return nil
		},
		RunE: func(c *cobra.Command, args []string) error {
			f, err := out.value(c)
			if err != nil {
				return err
			}
			switch {
			case remove != "" && len(args) > 0:
				return errors.New("--remove takes the node, address or network, and nothing else")
			case remove != "":
				_, err := registry.SetOverride(data, remove, "", false)
				return err
			case len(args) == 2:
				o, err := registry.SetOverride(data, args[0], args[1], own)
				if err == nil {
					_, err = fmt.Fprintf(e.out, "%s is in %s\n", printable(o.What), cityIn(e.out, o.City))
				}
				return err
			}
			list, err := registry.ReadOverrides(data)
			if err != nil {
				return err
			}
			if f == formatJSON {
				return writeJSON(e.out, notNil(list))
			}
			return overridesListing.writeRows(e.out, f, list)
		},
	}
	c.Flags().StringVar(&data, "data", registry.DefaultConfig().Data, "data directory of the registry")
	c.Flags().StringVar(&remove, "remove", "", "take the override of this node, address or network out")
	c.Flags().BoolVar(&own, "own", false, "the city is a place of the operator's own, which --geo-map names")
	out.add(c)
	_ = c.MarkFlagDirname("data")
	return c
}

var overridesListing = listing[registry.Override]{
	cols: []column{{name: "what"}, {name: "city"}},
	row:  func(o registry.Override) []string { return []string{o.What, o.City} },
	csv:  []string{"what", "city"},
	rec:  func(o registry.Override) []string { return []string{o.What, o.City} },
}
