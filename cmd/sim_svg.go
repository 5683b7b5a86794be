package cmd

import (
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// Plain SVG by hand: lines, bars, axes, a legend and notes, readable without a script or a font of our own.

// Layout of a figure, in pixels.
const (
	figWidth  = 860
	figLeft   = 70.0  // where the y axis stands
	figRight  = 620.0 // where the plot ends and the legend begins
	figTop    = 56.0
	figBottom = 330.0 // where the x axis lies
	figNote   = 386.0 // the first line of the notes
	noteLine  = 18.0
)

// svgChart is one figure.
type svgChart struct {
	title, xName, yName string
	ticks               []string // of the x axis, evenly spaced
	series              []svgSeries
	bars                bool
	notes               []string
}

type svgSeries struct {
	name   string
	values []float64 // one a tick; NaN: not measured
	color  string
	dashed bool
}

// The svgPalette of Okabe and Ito: distinct for people who see colours differently, and in grey.
var svgPalette = []string{"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"}

func (c *svgChart) height() float64 { return figNote + noteLine*float64(len(c.noteLines())) + 14 }

// noteColumns is what fits below a figure at the size of the notes.
const noteColumns = 118

// noteLines breaks the notes between words.
func (c *svgChart) noteLines() (lines []string) {
	for _, n := range c.notes {
		line := ""
		for word := range strings.FieldsSeq(n) {
			if len(line)+1+len(word) > noteColumns && line != "" {
				lines = append(lines, line)
				line = ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		lines = append(lines, line)
	}
	return lines
}

// svgDocument puts figures one below the other.
func svgDocument(charts []svgChart) string {
	total := 0.0
	for i := range charts {
		total += charts[i].height()
	}
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%.0f" viewBox="0 0 %d %.0f" font-family="Helvetica, Arial, 'Liberation Sans', 'DejaVu Sans', sans-serif" font-size="13">`+"\n", figWidth, total, figWidth, total)
	fmt.Fprintf(&b, `<rect width="%d" height="%.0f" fill="#ffffff"/>`+"\n", figWidth, total)
	y := 0.0
	for i := range charts {
		fmt.Fprintf(&b, `<g transform="translate(0 %.0f)">`+"\n", y)
		charts[i].draw(&b)
		b.WriteString("</g>\n")
		y += charts[i].height()
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func svgText(b *strings.Builder, x, y float64, anchor, attrs, s string) {
	fmt.Fprintf(b, `<text x="%.1f" y="%.1f" text-anchor="%s" %s>%s</text>`+"\n", x, y, anchor, attrs, html.EscapeString(s))
}

func (c *svgChart) draw(b *strings.Builder) {
	svgText(b, figLeft, 26, "start", `font-size="16" font-weight="bold"`, c.title)
	top := c.axes(b)
	for i, s := range c.series {
		if c.bars {
			c.drawBars(b, i, s, top)
		} else {
			c.drawLine(b, s, top)
		}
		y := figTop + 14 + 20*float64(i)
		if c.bars {
			fmt.Fprintf(b, `<rect x="%.0f" y="%.0f" width="22" height="11" fill="%s"/>`+"\n", figRight+20, y-9, s.color)
		} else {
			fmt.Fprintf(b, `<path d="M%.0f %.0fh22" stroke="%s" stroke-width="2"%s/>`+"\n", figRight+20, y-4, s.color, s.dash())
		}
		svgText(b, figRight+48, y, "start", "", s.name)
	}
	for i, n := range c.noteLines() {
		svgText(b, figLeft, figNote+noteLine*float64(i), "start", `font-size="12" fill="#333333" xml:space="preserve"`, n)
	}
}

func (s svgSeries) dash() string {
	if s.dashed {
		return ` stroke-dasharray="6 4"`
	}
	return ""
}

// axes draws the frame and returns the value at its top.
func (c *svgChart) axes(b *strings.Builder) float64 {
	most := 0.0
	for _, s := range c.series {
		for _, v := range s.values {
			if v > most {
				most = v
			}
		}
	}
	step := niceStep(most)
	top := step * math.Max(1, math.Ceil(most/step))
	for v := 0.0; v <= top+step/2; v += step {
		y := c.y(v, top)
		fmt.Fprintf(b, `<path d="M%.0f %.1fH%.0f" stroke="#dddddd"/>`+"\n", figLeft, y, figRight)
		svgText(b, figLeft-8, y+4, "end", "", strconv.FormatFloat(v, 'g', 6, 64))
	}
	fmt.Fprintf(b, `<path d="M%.0f %.0fV%.0fH%.0f" fill="none" stroke="#000000"/>`+"\n", figLeft, figTop, figBottom, figRight)
	for i, t := range c.ticks {
		fmt.Fprintf(b, `<path d="M%.1f %.0fv5" stroke="#000000"/>`+"\n", c.x(i), figBottom)
		svgText(b, c.x(i), figBottom+19, "middle", "", t)
	}
	svgText(b, (figLeft+figRight)/2, figBottom+38, "middle", "", c.xName)
	fmt.Fprintf(b, `<text transform="translate(18 %.0f) rotate(-90)" text-anchor="middle">%s</text>`+"\n", (figTop+figBottom)/2, html.EscapeString(c.yName))
	return top
}

// niceStep divides an axis into four to ten parts of a round size.
func niceStep(most float64) float64 {
	if most <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(most)))
	for _, f := range []float64{0.1, 0.2, 0.5, 1} {
		if most/(unit*f) <= 10 {
			return unit * f
		}
	}
	return 2 * unit
}

// x is the middle of tick i.
func (c *svgChart) x(i int) float64 {
	return figLeft + (figRight-figLeft)*(float64(i)+0.5)/float64(len(c.ticks))
}

func (c *svgChart) y(v, top float64) float64 { return figBottom - (figBottom-figTop)*v/top }

func (c *svgChart) drawLine(b *strings.Builder, s svgSeries, top float64) {
	var points []string
	for i, v := range s.values {
		if math.IsNaN(v) {
			continue
		}
		points = append(points, fmt.Sprintf("%.1f,%.1f", c.x(i), c.y(v, top)))
		fmt.Fprintf(b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"><title>%s, %s: %s</title></circle>`+"\n",
			c.x(i), c.y(v, top), s.color, html.EscapeString(s.name), html.EscapeString(c.ticks[i]), strconv.FormatFloat(v, 'g', 5, 64))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"%s/>`+"\n", strings.Join(points, " "), s.color, s.dash())
}

func (c *svgChart) drawBars(b *strings.Builder, nth int, s svgSeries, top float64) {
	slot := (figRight - figLeft) / float64(len(c.ticks))
	width := slot * 0.8 / float64(len(c.series))
	for i, v := range s.values {
		if math.IsNaN(v) || v <= 0 {
			continue
		}
		x := c.x(i) - slot*0.4 + width*float64(nth)
		fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s, %s: %s</title></rect>`+"\n",
			x, c.y(v, top), width-1, figBottom-c.y(v, top), s.color, html.EscapeString(s.name), html.EscapeString(c.ticks[i]), strconv.FormatFloat(v, 'g', 4, 64))
	}
}
