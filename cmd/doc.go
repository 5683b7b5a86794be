// Package cmd is the command line of peerprobe: one file a command, which turns flags into a
// configuration of package node or of its registry, prints what came back, and chooses the exit code.
//
// It is not a place for protocol: everything that a command does can be done from Go with package node.
//
// It promises: data goes to stdout, headers, progress and notes go to stderr; no colour and no redraw
// where stdout or stderr is not a terminal or CI is set; names in JSON and columns in CSV are a stable
// interface; every error says what was tried, what came back and what to do; exit codes are 0 (done, and
// within the gates), 1 (usage, configuration, no such place) and 2 (nothing measured, or a gate broke).
package cmd
