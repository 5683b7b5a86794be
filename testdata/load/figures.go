package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
)

// figures are those of one run. What was not measured is null.
type figures struct {
	Members int `json:"members"`
	Nodes   int `json:"realNodes"`

	HeadMB     float64 `json:"headRssMB"`        // resident, with all members
	EmptyMB    float64 `json:"headRssEmptyMB"`   // before the first member
	MemberKB   float64 `json:"headKBPerMember"`  // the difference, a member
	HeadCores  float64 `json:"headCores"`        // processor time a second, at one heartbeat a second and member
	MemberUs   float64 `json:"headUsPerBeat"`    // processor time a heartbeat
	BackupMB   float64 `json:"backupRssMB"`      // of the backup, at the same time
	Backup     float64 `json:"backupCores"`      // of the backup
	Register   float64 `json:"registerPerSec"`   // registrations a second, all through one registry
	RegisterMs float64 `json:"registerCPUMs"`    // processor time of the registry for one
	Join       float64 `json:"joinPerSec"`       // members that the head took a second
	JoinMs     float64 `json:"joinCPUMs"`        // processor time of the head for one
	ToHead     rate    `json:"memberToHead"`     // a member and second
	FromHead   rate    `json:"headToMember"`     // a member and second
	Takeover   spread  `json:"takeoverSeconds"`  // from kill() to a member's new High
	Heard      spread  `json:"serviceSeconds"`   // from kill() to a member's first heartbeat on a connection to the new head
	Followers  int     `json:"takeoverMembers"`  // members that followed
	Fewest     int     `json:"takeoverFewest"`   // members that the new head counted at the worst moment after it claimed
	After      float64 `json:"newHeadRssMB"`     // of the new head, when all follow
	Failed     int     `json:"registerFailures"` // registrations that had to be repeated
}

// rate is traffic of one direction, a member and second.
type rate struct {
	Messages float64 `json:"messages"` // of the member protocol
	Bytes    float64 `json:"bytes"`    // TCP payload: with Noise, yamux and its keep-alives
	Segments float64 `json:"segments"` // TCP segments, acknowledgements too
}

// spread of seconds.
type spread struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	Max float64 `json:"max"`
}

// spreadOf sorts its argument.
func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{math.NaN(), math.NaN(), math.NaN()}
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[min(len(v)-1, int(math.Ceil(q*float64(len(v))))-1)] }
	return spread{at(0.5), at(0.95), v[len(v)-1]}
}

func (s spread) String() string { return fmt.Sprintf("%.2f / %.2f / %.2f s", s.P50, s.P95, s.Max) }

// printTable prints a column a run.
func printTable(w io.Writer, all []figures) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	line := func(name string, cell func(figures) string) {
		fmt.Fprint(t, "| "+name)
		for _, f := range all {
			fmt.Fprint(t, "\t| "+cell(f))
		}
		fmt.Fprintln(t, "\t|")
	}
	num := func(format string, v func(figures) float64) func(figures) string {
		return func(f figures) string { return fmt.Sprintf(format, v(f)) }
	}
	line("members", func(f figures) string { return fmt.Sprint(f.Members) })
	line("---", func(figures) string { return "---" })
	line("head: resident memory", num("%.0f MB", func(f figures) float64 { return f.HeadMB }))
	line("head: memory a member", num("%.0f KB", func(f figures) float64 { return f.MemberKB }))
	line("head: processor, 1 heartbeat/s a member", num("%.3f cores", func(f figures) float64 { return f.HeadCores }))
	line("head: processor a heartbeat, all in", num("%.0f us", func(f figures) float64 { return f.MemberUs }))
	line("backup: resident memory", num("%.0f MB", func(f figures) float64 { return f.BackupMB }))
	line("backup: processor", num("%.3f cores", func(f figures) float64 { return f.Backup }))
	line("registrations", num("%.0f /s", func(f figures) float64 { return f.Register }))
	line("registry: processor a registration", num("%.2f ms", func(f figures) float64 { return f.RegisterMs }))
	line("joins", num("%.0f /s", func(f figures) float64 { return f.Join }))
	line("head: processor a join", num("%.2f ms", func(f figures) float64 { return f.JoinMs }))
	traffic := func(r rate) string { return fmt.Sprintf("%.2f msg, %.0f B", r.Messages, r.Bytes) }
	line("member to head, a member and second", func(f figures) string { return traffic(f.ToHead) })
	line("head to member, a member and second", func(f figures) string { return traffic(f.FromHead) })
	line("kill -9 until a member knows, p50/p95/max", func(f figures) string { return f.Takeover.String() })
	line("... until it beats at the new head", func(f figures) string { return f.Heard.String() })
	line("members that followed", func(f figures) string { return fmt.Sprint(f.Followers) })
	line("fewest that the new head counted", func(f figures) string { return fmt.Sprint(f.Fewest) })
	line("new head: resident memory after", num("%.0f MB", func(f figures) float64 { return f.After }))
	return t.Flush()
}
