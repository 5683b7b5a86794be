package cmd

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// The pages are checked against the program: every command line that they show has to be one, every flag that they
// name has to exist, every make target and every link has to lead somewhere.

// pages finds README and docs; fewer than these would mean that it looked in the wrong place.
func pages(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	paths = append(paths, "../README.md")
	for _, must := range []string{"architecture", "operating", "measuring"} {
		if !slices.Contains(paths, filepath.Join("..", "docs", must+".md")) {
			t.Fatalf("docs/%s.md is missing", must)
		}
	}
	texts := map[string]string{}
	for _, p := range paths {
		b, err := os.ReadFile(p)
		if err != nil {
			t.Fatal(err)
		}
		texts[p] = string(b)
	}
	return texts
}

var (
	inlineCode = regexp.MustCompile("`([^`\n]+)`")
	link       = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	image      = regexp.MustCompile(`<img[^>]* src="([^"]+)"`)
	longFlag   = regexp.MustCompile(`^--[a-z][a-z0-9-]*`)
)

// shown returns the commands that a page shows: lines of its shell blocks, and code in its text.
func shown(text string) (lines []string) {
	fence := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if kind, ok := strings.CutPrefix(line, "```"); ok {
			if fence == "" {
				fence = "```" + kind
			} else {
				fence = ""
			}
			continue
		}
		switch fence {
		case "":
			for _, m := range inlineCode.FindAllStringSubmatch(line, -1) {
				lines = append(lines, m[1])
			}
		case "```", "```sh":
			lines = append(lines, strings.TrimPrefix(line, "$ "))
		}
	}
	return lines
}

// words splits a command line, without its comment and without what follows a pipe or an ampersand.
func words(line string) []string {
	line, _, _ = strings.Cut(line, " #")
	line, _, _ = strings.Cut(line, " |")
	w := strings.Fields(line)
	if len(w) > 3 && w[0] == "go" && w[1] == "run" && w[2] == "." {
		w = append([]string{"peerprobe"}, w[3:]...)
	}
	if len(w) > 0 {
		w[0] = strings.TrimPrefix(w[0], "./")
	}
	if len(w) > 0 && w[len(w)-1] == "&" {
		w = w[:len(w)-1]
	}
	return w
}

func testRoot() *cobra.Command { return newRoot(newEnv(nil, &bytes.Buffer{}, &bytes.Buffer{})) }

func TestPagesShowRealCommands(t *testing.T) {
	root := testRoot()
	seen := 0
	for page, text := range pages(t) {
		for _, line := range shown(text) {
			w := words(line)
			switch {
			case len(w) > 1 && w[0] == "peerprobe":
				seen++
				checkCommand(t, root, page, line, w[1:])
			case len(w) > 1 && w[0] == "make":
				seen++
				checkTarget(t, page, w[1])
			case len(w) > 0 && longFlag.MatchString(w[0]):
				seen++
				if name := longFlag.FindString(w[0])[2:]; !anyHasFlag(root, name) {
					t.Errorf("%s names --%s: no command has it", page, name)
				}
			}
		}
	}
	if seen == 0 {
		t.Fatal("the pages show no command at all")
	}
}

func checkCommand(t *testing.T, root *cobra.Command, page, line string, args []string) {
	t.Helper()
	c, rest, err := root.Find(args)
	if err != nil || c == root && !strings.HasPrefix(args[0], "-") {
		t.Errorf("%s shows %q: there is no such command", page, line)
		return
	}
	for _, a := range rest {
		name, _, _ := strings.Cut(a, "=")
		var f *pflag.Flag
		switch {
		case name == "--help" || name == "-h":
			continue
		case strings.HasPrefix(name, "--"):
			f = c.Flags().Lookup(name[2:])
		case len(name) == 2 && name[0] == '-':
			f = c.Flags().ShorthandLookup(name[1:])
		default:
			continue
		}
		if f == nil {
			t.Errorf("%s shows %q: %s has no %s", page, line, c.CommandPath(), name)
		}
	}
}

func anyHasFlag(c *cobra.Command, name string) bool {
	return c.Flags().Lookup(name) != nil || slices.ContainsFunc(c.Commands(), func(sub *cobra.Command) bool { return anyHasFlag(sub, name) })
}

func checkTarget(t *testing.T, page, target string) {
	t.Helper()
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(target) + `:`).Match(makefile) {
		t.Errorf("%s shows make %s: the Makefile has no such target", page, target)
	}
}

// TestPagesNameEveryFlag: what a command can do stands in the pages, for those commands that are explained there.
func TestPagesNameEveryFlag(t *testing.T) {
	root := testRoot()
	for name, page := range map[string]string{"rs": "../docs/operating.md", "join": "../docs/operating.md", "measure": "../docs/measuring.md"} {
		text := pages(t)[page]
		c, _, err := root.Find([]string{name})
		if err != nil || c == root {
			t.Errorf("there is no command %s", name)
			continue
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if !strings.Contains(text, "--"+f.Name) && (f.Shorthand == "" || !strings.Contains(text, "`-"+f.Shorthand+"`")) {
				t.Errorf("%s does not say what %s --%s does", page, name, f.Name)
			}
		})
	}
}

func TestLinksResolve(t *testing.T) {
	seen := 0
	for page, text := range pages(t) {
		for _, m := range slices.Concat(link.FindAllStringSubmatch(text, -1), image.FindAllStringSubmatch(text, -1)) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") {
				continue // the wide world is not asked from here
			}
			seen++
			path := filepath.Join(filepath.Dir(page), target)
			if target == "" {
				path = page
			}
			b, err := os.ReadFile(path)
			if info, statErr := os.Stat(path); statErr == nil && info.IsDir() && anchor == "" {
				continue
			}
			if err != nil {
				t.Errorf("%s links to %s: %v", page, m[1], err)
				continue
			}
			if anchor != "" && !hasHeading(string(b), anchor) {
				t.Errorf("%s links to %s: no heading there is called that", page, m[1])
			}
		}
	}
	if seen == 0 {
		t.Fatal("the pages link to nothing")
	}
}

var notInAnchor = regexp.MustCompile(`[^\p{L}\p{N} -]`)

func hasHeading(text, anchor string) bool {
	for line := range strings.Lines(text) {
		if h := strings.TrimLeft(line, "#"); h != line {
			h = strings.ToLower(notInAnchor.ReplaceAllString(strings.TrimSpace(h), ""))
			if strings.ReplaceAll(h, " ", "-") == anchor {
				return true
			}
		}
	}
	return false
}
