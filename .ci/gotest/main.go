// Command gotest reads `go test -json` on standard input and prints what a person wants to know: one line a
// package, the whole output of a test that failed, and the counts. A skipped test is a failure here: what was
// not run was not shown to work.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

// event is one line of test2json (go doc test2json), without what is not used.
type event struct {
	Action      string
	Package     string
	ImportPath  string // of build events
	Test        string
	Output      string
	Elapsed     float64
	FailedBuild string
}

// maxLine bounds one line of the stream; a test's own output line may be long.
const maxLine = 16 << 20

type summary struct {
	output                  map[string][]string // of tests and packages that have not passed yet
	passed, failed, skipped int
	badPackages             int
}

func main() {
	s := summary{output: map[string][]string{}}
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(make([]byte, 0, 64<<10), maxLine)
	for in.Scan() {
		var e event
		if err := json.Unmarshal(in.Bytes(), &e); err != nil {
			fmt.Println(in.Text()) // not an event: go itself said something
			continue
		}
		s.add(e)
	}
	if err := in.Err(); err != nil {
		fmt.Println("gotest: the stream of test events broke:", err)
		os.Exit(1)
	}
	fmt.Printf("%d passed, %d failed, %d skipped\n", s.passed, s.failed, s.skipped)
	if s.failed+s.skipped+s.badPackages > 0 || s.passed == 0 {
		os.Exit(1)
	}
}

func (s *summary) add(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "build-output":
		fmt.Print(e.Output)
	case "output":
		s.output[key] = append(s.output[key], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			s.endPackage(e, s.output[key])
		} else {
			s.endTest(e, s.output[key])
		}
		delete(s.output, key)
	}
}

func (s *summary) endTest(e event, out []string) {
	switch e.Action {
	case "pass":
		s.passed++
	case "skip":
		s.skipped++
		fmt.Print(strings.Join(out, ""))
	case "fail":
		s.failed++
		fmt.Print(strings.Join(out, ""))
	}
}

// endPackage prints go test's own closing line of the package, which is the last that it wrote.
func (s *summary) endPackage(e event, out []string) {
	if e.Action == "fail" {
		s.badPackages++
		fmt.Print(strings.Join(out, ""))
		return
	}
	if len(out) > 0 {
		fmt.Print(out[len(out)-1])
	}
}
