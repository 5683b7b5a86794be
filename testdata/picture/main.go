// Command picture runs a command and draws what it printed as an SVG, the way a terminal shows it. The picture in the
// README is made by it (`make picture`), from a real run and from nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"html"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"
)

// Geometry of the picture, in pixels: a monospaced font of 13 px advances by 7.8.
const (
	advance, lineHeight = 7.8, 17.0
	margin, bar         = 16.0, 30.0
)

// patience is how long the command may take.
const patience = 2 * time.Minute

func main() {
	out := flag.String("o", "", "file to write")
	flag.Parse()
	if err := run(*out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "picture:", err)
		os.Exit(1)
	}
}

func run(file string, args []string) error {
	if file == "" || len(args) == 0 {
		return fmt.Errorf("usage: picture -o FILE COMMAND [ARGUMENT ...]")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	lines := append([]string{"$ " + strings.Join(args, " ")}, strings.Split(strings.TrimRight(string(text), "\n"), "\n")...)
	return os.WriteFile(file, []byte(draw(wrap(lines))), 0o644)
}

// columns of the terminal: longer lines go on in the next row, as they do there.
const columns = 110

func wrap(lines []string) (rows []string) {
	for _, l := range lines {
		r := []rune(l)
		for len(r) > columns {
			rows, r = append(rows, string(r[:columns])), r[columns:]
		}
		rows = append(rows, string(r))
	}
	return rows
}

func draw(lines []string) string {
	widest := 0
	for _, l := range lines {
		widest = max(widest, utf8.RuneCountInString(l))
	}
	width, height := 2*margin+advance*float64(widest), bar+2*margin+lineHeight*float64(len(lines))
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%.0f" height="%.0f" viewBox="0 0 %.0f %.0f" role="img">`+"\n", width, height, width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(lines[0]))
	fmt.Fprintf(&b, `<rect width="%.0f" height="%.0f" rx="8" fill="#10161d"/>`+"\n", width, height)
	for i, colour := range []string{"#ff5f57", "#febc2e", "#28c840"} {
		fmt.Fprintf(&b, `<circle cx="%.0f" cy="18" r="5.5" fill="%s"/>`+"\n", margin+6+18*float64(i), colour)
	}
	b.WriteString(`<g font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="13" fill="#d7dee7" xml:space="preserve" style="white-space:pre">` + "\n")
	for i, l := range lines {
		if strings.TrimSpace(l) == "" {
			continue
		}
		fmt.Fprintf(&b, `<text x="%.0f" y="%.1f" textLength="%.1f" lengthAdjust="spacingAndGlyphs"%s>%s</text>`+"\n", margin, bar+margin+lineHeight*(float64(i)+0.75),
			advance*float64(utf8.RuneCountInString(l)), style(l, i), html.EscapeString(l))
	}
	b.WriteString("</g>\n</svg>\n")
	return b.String()
}

// style sets off what a reader looks for first; the words are the program's.
func style(line string, i int) string {
	switch {
	case i == 0:
		return ` fill="#7ee787" font-weight="bold"`
	case strings.HasPrefix(line, "Killing") || strings.Contains(line, "took over"):
		return ` fill="#ffb86b"`
	case strings.HasPrefix(line, "measure "):
		return ` fill="#7ee787"`
	case strings.ContainsAny(line, "╭╮╯╰┤┼"):
		return ` fill="#79c0ff"`
	}
	return ""
}
