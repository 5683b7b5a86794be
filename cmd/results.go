package cmd

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/peerprobe/peerprobe/node"
	"github.com/peerprobe/peerprobe/probe"
	"github.com/spf13/cobra"
)

// resultsOptions are the flags of `peerprobe results`.
type resultsOptions struct {
	lookFlags
	q node.ResultQuery
}

// Bounds of --limit: a page that a terminal shows, and one that a socket carries in one answer.
const (
	defaultResults = 20
	maxResults     = 1000
)

func resultsCommand(e *env) *cobra.Command {
	var o resultsOptions
	c := &cobra.Command{
		Use:     "results",
		Short:   "List stored results, newest first",
		Example: "  peerprobe results --from changsha --to wuhan\n  peerprobe results --limit 100 -o csv\n  peerprobe results -J --after CURSOR           # the next page",
		GroupID: "use",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return e.results(c, o) },
	}
	o.add(c)
	c.Flags().StringVar(&o.q.From, "from", "", "only from this city")
	c.Flags().StringVar(&o.q.To, "to", "", "only to this city")
	c.Flags().IntVar(&o.q.Limit, "limit", defaultResults, fmt.Sprintf("results a page, at most %d", maxResults))
	c.Flags().StringVar(&o.q.After, "after", "", "cursor of the last page")
	return c
}

func (e *env) results(c *cobra.Command, o resultsOptions) error {
	if o.q.Limit < 1 || o.q.Limit > maxResults {
		return fmt.Errorf("--limit is %d: write 1 to %d", o.q.Limit, maxResults)
	}
	a, f, err := o.connect(e, c)
	if err != nil {
		return err
	}
	page, err := a.Results(c.Context(), o.q)
	if err != nil && o.q.After != "" && errors.Is(err, node.ErrBadRequest) && strings.Contains(err.Error(), "cursor") {
		return fmt.Errorf("--after %q is not a cursor: give what the page before said after 'more: --after', or its \"next\" with --json", o.q.After)
	}
	if err != nil {
		return fmt.Errorf("results: %w", err)
	}
	if f == formatJSON {
		page.Results = notNil(page.Results)
		return writeJSON(e.out, page)
	}
	if err := resultsListing.writeRows(e.out, f, page.Results); err != nil {
		return err
	}
	if page.Next != "" {
		fmt.Fprintf(e.err, "more: --after %s\n", page.Next)
	}
	return nil
}

// lossCell is the loss of one result for people.
func lossCell(l *probe.Latency) string {
	if l.LossPct == nil {
		return "-"
	}
	return trim(*l.LossPct) + "%"
}

var resultsListing = listing[probe.Result]{
	cols: []column{{name: "started"}, {name: "from"}, {name: "to"}, {name: "node"}, {name: "status"}, {name: "loss", right: true},
		{name: "min ms", right: true}, {name: "median ms", right: true}, {name: "p95 ms", right: true}, {name: "jitter ms", right: true}},
	row: func(r probe.Result) []string {
		l := r.Latency
		if l == nil {
			l = &probe.Latency{}
		}
		started := "-"
		if !r.Started.IsZero() {
			started = clock(r.Started)
		}
		return []string{started, r.Initiator.City, r.Target.City, shortID(r.Target.Node), r.Status, lossCell(l),
			ms(l.RTT.Min), ms(l.RTT.Median), ms(l.RTT.P95), ms(l.Jitter.RFC3550)}
	},
	csv: []string{"key", "tool", "status", "started", "ended", "fromCity", "fromNode", "fromIp", "toCity", "toNode", "toIp", "pathMode", "ipVersion",
		"sent", "received", "lost", "lossPct", "lossForward", "lossBackward", "duplicates", "reordered", "late", "maxBurst",
		"rttMinMs", "rttMeanMs", "rttMedianMs", "rttP90Ms", "rttP95Ms", "rttP99Ms", "rttMaxMs", "rttStddevMs",
		"jitterRfc3550Ms", "ipdvMeanAbsMs", "ipdvP95Ms", "pdvP95Ms", "pdvP99Ms",
		"forwardMedianMs", "backwardMedianMs", "owdValid", "ttl", "serverProcUs", "sendTimerErrUs", "timestamps", "errorStage", "errorCode", "errorMessage"},
	rec: resultRecord,
}

// resultRecord is a result as CSV: every column of resultsListing.csv, empty where nothing was measured.
func resultRecord(r probe.Result) []string {
	rec := []string{r.Key.String(), r.Tool, r.Status, stamp(r.Started), stamp(r.Ended), r.Initiator.City, r.Initiator.Node, r.Initiator.IP,
		r.Target.City, r.Target.Node, r.Target.IP, r.Path.Mode, strconv.Itoa(r.Path.IPVersion)}
	l := r.Latency
	if l == nil {
		l = &probe.Latency{}
		rec = append(rec, make([]string, 10)...)
	} else {
		i := strconv.Itoa
		rec = append(rec, i(l.Sent), i(l.Received), i(l.Lost), num(l.LossPct), whole(l.LossForward), whole(l.LossBackward),
			i(l.Duplicates), i(l.Reordered), i(l.Late), i(l.MaxBurst))
	}
	for _, f := range rttFigures {
		rec = append(rec, num(rttFigure(l.RTT, f)))
	}
	j := l.Jitter
	rec = append(rec, num(j.RFC3550), num(j.IPDVMeanAbs), num(j.IPDVP95), num(j.PDVP95), num(j.PDVP99),
		num(l.Forward.Median), num(l.Backward.Median), strconv.FormatBool(r.Clock.OWDValid), whole(l.TTL), num(l.ServerProcUs), num(l.SendTimerErrUs), l.Timestamps)
	if r.Error == nil {
		return append(rec, "", "", "")
	}
	return append(rec, r.Error.Stage, r.Error.Code, r.Error.Message)
}
