package sim

import (
	"cmp"

	"github.com/peerprobe/peerprobe/cluster"
)

func compareKeys(a, b cluster.ResultKey) int {
	return cmp.Or(cmp.Compare(a.Node, b.Node), cmp.Compare(a.Boot, b.Boot), cmp.Compare(a.Seq, b.Seq))
}
