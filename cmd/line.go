package cmd

import (
	"fmt"
	"strings"

	"github.com/peerprobe/peerprobe/node"
)

// ordinal is 1st, 2nd, 3rd, 4th.
func ordinal(n int) string {
	switch {
	case n%100/10 == 1:
	case n%10 == 1:
		return fmt.Sprintf("%dst", n)
	case n%10 == 2:
		return fmt.Sprintf("%dnd", n)
	case n%10 == 3:
		return fmt.Sprintf("%drd", n)
	}
	return fmt.Sprintf("%dth", n)
}

// placeText is a name's place in the succession.
func placeText(c node.CandidateInfo) string {
	switch {
	case c.Place < 0:
		return "-"
	case c.Place == 0:
		return "leads"
	}
	return ordinal(c.Place)
}

// stateText is what is known of a name's life; that it leads is said by its place.
func stateText(c node.CandidateInfo) string {
	text := c.State
	if c.State == "head" {
		text = "alive"
	}
	if c.Unwell != "" {
		text += ": " + c.Unwell
	}
	return text
}

// silentText is for how long it was not heard.
func silentText(c node.CandidateInfo) string {
	if c.SilentMs == nil {
		return "-"
	}
	return silence(*c.SilentMs)
}

// lineTexts are the names of a succession, a line each.
func lineTexts(line []node.CandidateInfo) (out []string) {
	for _, c := range line {
		text := fmt.Sprintf("%-5s  %s  %s", placeText(c), shortID(c.Node), stateText(c))
		if c.Self {
			text += ", this node"
		} else if c.SilentMs != nil && c.State == "silent" {
			text += " for " + silence(*c.SilentMs)
		} else if c.SilentMs != nil {
			text += ", heard " + silence(*c.SilentMs) + " ago"
		}
		out = append(out, text)
	}
	return out
}

// watchersText says who watches a head, in the order in which they would take over.
func watchersText(line []node.CandidateInfo) string {
	var ids []string
	for _, c := range line {
		if c.State == "backup" || c.State == "alive" || c.State == "unwell" { // the head itself is neither
			ids = append(ids, shortID(c.Node))
		}
	}
	if len(ids) == 0 {
		return "nobody: no other candidate lives, so nobody would take over"
	}
	return strings.Join(ids, ", then ")
}
