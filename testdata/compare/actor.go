//go:build linux

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// actorEnv makes this program a member of one of the systems, or a namespace's first process.
const actorEnv = "PEERPROBE_COMPARE_ACTOR"

// part is what a member is told, as its only argument.
type part struct {
	Index int
	Peers []string // addresses of all members, by index
	Dir   string   // of this member, kept over its deaths
}

// said is a line of what a member says.
type said struct {
	At    int64  `json:"at"` // monotonic ns: one clock for all processes
	Event string `json:"event"`
	Who   int    `json:"who"`
}

// What members say.
const (
	sayLead  = "lead"  // who leads
	sayGone  = "gone"  // who is dead
	sayBack  = "back"  // who is alive
	sayReady = "ready" // it runs
)

// voice writes lines; several goroutines may.
type voice struct {
	mu  sync.Mutex
	out io.Writer
}

func (v *voice) say(event string, who int) {
	at := monotonic()
	v.mu.Lock()
	defer v.mu.Unlock()
	b, err := json.Marshal(said{At: at, Event: event, Who: who})
	if err != nil {
		panic(err) // plain fields
	}
	_, _ = v.out.Write(append(b, '\n')) // whoever listened has gone, and kills this process
}

func act(role string) int {
	var err error
	switch told := []byte(os.Args[1]); role {
	case roleLab:
		err = runLab(told)
	case roleSpace:
		err = enterSpace(told)
	default:
		var p part
		if err = json.Unmarshal(told, &p); err == nil {
			err = systems[role](p, &voice{out: os.Stdout})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, role+":", err)
		return 1
	}
	return 0
}

// untilLeft waits for the end of stdin: the parent's end, however it comes.
func untilLeft() { _, _ = io.Copy(io.Discard, os.Stdin) }

// monotonic is a clock that all processes of this machine share, in nanoseconds.
func monotonic() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err) // Linux has it
	}
	return t.Nano()
}
