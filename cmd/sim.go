package cmd

import "github.com/spf13/cobra"

const simLong = `Plan the layer of heads before it is large: what a geometry costs at sizes that no
machine runs, and where a mesh of so many endpoints and cities meets its first limit. And
live through the elections of heads, in virtual time.

Nothing here touches the network, and the same --seed gives the same figures.`

// simCommand has its own subcommands: they share a purpose and no flag.
func simCommand(e *env) *cobra.Command {
	c := &cobra.Command{
		Use:     "sim",
		Short:   "Plan at scale and live through elections, by simulation",
		Long:    simLong,
		Example: "  peerprobe sim overlay --geometry dbcan,can2,koorde --nodes 256..4096 --runs 5\n  peerprobe sim scale --endpoints 1e6 --cities 1000\n  peerprobe sim election --nodes 10",
		GroupID: "more",
		Args:    unknownCommand,
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	for _, sub := range []*cobra.Command{simOverlayCommand(e), simScaleCommand(e), simElectionCommand(e)} {
		sub.Flags().SortFlags = false
		c.AddCommand(sub)
	}
	return c
}
