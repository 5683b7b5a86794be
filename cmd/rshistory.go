package cmd

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/peerprobe/peerprobe/node/locate"
	"github.com/peerprobe/peerprobe/node/registry"
	"github.com/spf13/cobra"
)

const (
	historyTimeout = 10 * time.Second // a registry on this host answers in milliseconds
	historyBytes   = 64 << 20         // of an answer: some thousand cities with a full history
)

// headRow is one change of head, as `rs history` prints it.
type headRow struct {
	At     time.Time `json:"at"` // when the registry learned of it
	City   string    `json:"city"`
	Shard  int       `json:"shard"`
	Term   string    `json:"term"`
	Head   string    `json:"head"`
	Reason string    `json:"reason"`
	Late   bool      `json:"late"` // a higher term was known already
}

func rsHistoryCommand(e *env) *cobra.Command {
	var web, city string
	var out formatFlags
	c := &cobra.Command{
		Use:   "history",
		Short: "List the changes of head that a registry has heard of",
		Long: "List who came to lead which city, when and why, as the registry on this host has heard\n" +
			"of it: the last 128 changes of each city, oldest first. A change of which it heard when\n" +
			"it was over already is marked late.",
		Example: "  peerprobe rs history\n  peerprobe rs history --city wuhan -J",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			f, err := out.value(c)
			if err != nil {
				return err
			}
			if city != "" {
				if city, err = locate.City(city); err != nil {
					return fmt.Errorf("--city: %w", err)
				}
			}
			rows, err := headChanges(c.Context(), web, city)
			if err != nil {
				return err
			}
			if f == formatJSON {
				return writeJSON(e.out, rows)
			}
			return historyListing.writeRows(e.out, f, rows)
		},
	}
	c.Flags().StringVar(&web, "web", registry.DefaultConfig().Web, "HTTP address of the registry's nodes, clusters and results")
	c.Flags().StringVar(&city, "city", "", "of this city only")
	out.add(c)
	return c
}

// headChanges asks a registry, and orders the changes of all cities by time.
func headChanges(ctx context.Context, web, city string) ([]headRow, error) {
	ctx, cancel := context.WithTimeout(ctx, historyTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+web+"/api/v1/clusters", nil)
	if err != nil {
		return nil, fmt.Errorf("--web %q: %w; expected host:port, like 127.0.0.1:7402", web, err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("no registry answers at %s: %w; say with --web where it is", web, err)
	}
	defer resp.Body.Close()
	var answer struct {
		Clusters []registry.Cluster `json:"clusters"`
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the registry at %s answers %s", web, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, historyBytes)).Decode(&answer); err != nil {
		return nil, fmt.Errorf("what answers at %s is no registry: %w", web, err)
	}
	rows := []headRow{}
	for _, c := range answer.Clusters {
		for _, h := range c.Changes {
			if city == "" || city == c.City {
				rows = append(rows, headRow{At: h.At, City: c.City, Shard: h.Shard, Term: h.Term, Head: h.Head, Reason: h.Reason, Late: h.Late})
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b headRow) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.City, b.City)) })
	return rows, nil
}

var historyListing = listing[headRow]{
	cols: []column{{name: "time"}, {name: "city"}, {name: "shard", right: true}, {name: "term"}, {name: "head"}, {name: "why it leads"}},
	row: func(r headRow) []string {
		why := r.Reason
		if r.Late {
			why += " (late)"
		}
		return []string{clock(r.At), r.City, strconv.Itoa(r.Shard), r.Term, shortID(r.Head), dash(why)}
	},
	csv: []string{"at", "city", "shard", "term", "head", "reason", "late"},
	rec: func(r headRow) []string {
		return []string{r.At.UTC().Format(time.RFC3339Nano), r.City, strconv.Itoa(r.Shard), r.Term, r.Head, r.Reason, strconv.FormatBool(r.Late)}
	},
}
