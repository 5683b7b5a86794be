package cmd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/node/locate"
)

const (
	// countTimeout bounds the question how many nodes a city has, which only makes an error more helpful.
	countTimeout = 2 * time.Second
	// citiesNamed bounds the cities that an error names.
	citiesNamed = 10
)

// counter tells how many nodes live in a city; 0 where that is not known.
type counter func(slug string) int

// countNodes asks the node for the clusters, when the first count is wanted.
func countNodes(ctx context.Context, a api) counter {
	var counts map[string]int
	return func(slug string) int {
		if counts == nil {
			counts = make(map[string]int)
			ctx, cancel := context.WithTimeout(ctx, countTimeout)
			defer cancel()
			list, err := a.Clusters(ctx)
			for _, c := range list {
				if err == nil && c.Members > 0 {
					counts[c.City] += c.Members
				}
			}
		}
		return counts[slug]
	}
}

// placeError says why nothing could be measured to a place: the city is known and nobody is there, with the nearest
// one where somebody is; or nobody knows the name, with what may have been meant.
func placeError(to string, alive []string, count counter, name func(slug string) string) error {
	slug := locate.Slug(to)
	p, known := locate.Resolve(to)
	if known {
		slug = p.Slug
	}
	if slices.Contains(alive, slug) {
		return nothing(fmt.Errorf("the cluster of %s is there, but its head could not be asked yet: it may have come up this moment, try again", name(slug)))
	}
	what := fmt.Sprintf("no node in %s is online", name(slug))
	if !known {
		what = fmt.Sprintf("no place is known as %.60q", to)
		near := locate.Like(to, alive, 3)
		if len(near) == 0 {
			near = locate.Suggest(to, 3)
		}
		if len(near) > 0 {
			for i := range near {
				near[i] = name(near[i])
			}
			what += fmt.Sprintf(": did you mean %s?", strings.Join(near, " or "))
		}
	} else if near := locate.Nearest(slug, alive); len(near) > 0 {
		return fmt.Errorf("%s; nearest: %s (%.0f km%s)", what, name(near[0].Slug), near[0].Km, nodesText(", ", count(near[0].Slug)))
	}
	if len(alive) == 0 {
		return errors.New(strings.TrimSuffix(what, "?") + "; no other city is online either: has a node joined there? ('peerprobe clusters')")
	}
	var list []string
	for _, c := range alive[:min(len(alive), citiesNamed)] {
		list = append(list, name(c))
	}
	if more := len(alive) - len(list); more > 0 {
		list = append(list, fmt.Sprintf("%d more ('peerprobe clusters')", more))
	}
	return fmt.Errorf("%s; online: %s", what, strings.Join(list, ", "))
}

func nodesText(before string, n int) string {
	switch n {
	case 0:
		return ""
	case 1:
		return before + "1 node"
	}
	return fmt.Sprintf("%s%d nodes", before, n)
}

// asPlaceError is err if it says that nobody is in a place.
func asPlaceError(err error) (*node.PlaceError, bool) { return errors.AsType[*node.PlaceError](err) }
