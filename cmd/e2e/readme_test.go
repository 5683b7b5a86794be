//go:build linux

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerprobe/peerprobe/cmd/e2e/lab"
)

// quickStart is the heading in the README under which a new user finds the commands to type.
const quickStart = "## On hosts of your own"

// readmeAddr is the host that the commands are typed on.
const readmeAddr = "192.0.2.10"

// TestReadme types what the README says, word for word, on one host: what is shown to a new user works.
func TestReadme(t *testing.T) {
	bin := needLab(t)
	dir := bin.Scratch(t)
	l := lab.New(t)
	ns := l.Host(t, readmeAddr)
	measured := false
	for _, line := range readmeCommands(t) {
		line, _, _ = strings.Cut(line, " #")
		words := strings.Fields(line)
		switch {
		case line == "make build": // the program is there, built with the race detector
		case len(words) < 2 || words[0] != "./peerprobe":
			t.Errorf("the README shows %q: only peerprobe's own commands are expected here", line)
		case words[1] == "rs" || words[1] == "join":
			p := l.Start(t, bin, readmeAddr, dir, words[1:]...)
			t.Logf("%s\n%s", line, p.Line)
		default:
			cmd := exec.Command("ip", append([]string{"netns", "exec", ns, bin.Path}, words[1:]...)...)
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "CI=true")
			out, err := cmd.CombinedOutput()
			t.Logf("%s\n%s", line, out)
			if err != nil {
				t.Errorf("%s: %v", line, err)
			}
			measured = measured || words[1] == "measure" && strings.Contains(string(out), "0 lost")
		}
	}
	if !measured {
		t.Error("nothing was measured by following the README")
	}
}

// readmeCommands are the lines of the first shell block below the heading.
func readmeCommands(t *testing.T) []string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, below, ok := strings.Cut(string(b), quickStart)
	_, block, ok2 := strings.Cut(below, "```sh\n")
	block, _, ok3 := strings.Cut(block, "```")
	if !ok || !ok2 || !ok3 {
		t.Fatalf("the README has no shell block below %q", quickStart)
	}
	var lines []string
	for line := range strings.Lines(block) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	return lines
}
