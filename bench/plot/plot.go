// Package plot draws line charts as SVG, for the documentation: series over a logarithmic or linear x axis, with the range of
// several runs. It is small on purpose: no dependency, and the same input gives the same bytes, so that a chart in the
// repository changes only with its figures.
package plot

import (
	"fmt"
	"html"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Point is one figure with its range; Low and High may equal Y.
type Point struct {
	X, Y, Low, High float64
}

// Series is one line.
type Series struct {
	Name   string
	Points []Point
}

// Chart is a chart to be drawn. X and Y are the axes' titles. LogX makes the x axis logarithmic: all x are above 0 then. The y
// axis begins at 0.
type Chart struct {
	Title, X, Y string
	LogX        bool
	Series      []Series
}

// The drawing's measures, in pixels, and its colours, which differ in brightness too.
const (
	width, height            = 640, 360
	left, right, top, bottom = 64, 16, 40, 56
)

var colours = []string{"#1b5e9c", "#d9722e", "#4b9b52", "#8a4fa3", "#6b6b6b"}

// SVG returns the chart as an SVG document. A chart without points is an empty frame.
func (c Chart) SVG() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" role="img">`+"\n", width, height)
	fmt.Fprintf(&b, "<title>%s</title>\n", html.EscapeString(c.Title))
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#ffffff"/>`+"\n", width, height)
	c.text(&b, left, 22, "start", "#222222", `font-size="14" font-weight="bold"`, c.Title)
	s := c.scale()
	c.axes(&b, s)
	for i, series := range c.Series {
		colour := colours[i%len(colours)]
		series.draw(&b, s, colour)
		x, y := left+12+(i%2)*260, top+14+i/2*16
		fmt.Fprintf(&b, `<rect x="%d" y="%d" width="14" height="3" fill="%s"/>`+"\n", x, y-5, colour)
		c.text(&b, float64(x+20), float64(y), "start", "#222222", "", series.Name)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c Chart) text(b *strings.Builder, x, y float64, anchor, colour, more, text string) {
	if more != "" {
		more = " " + more
	}
	fmt.Fprintf(b, `<text x="%s" y="%s" text-anchor="%s" fill="%s"%s>%s</text>`+"\n", pixel(x), pixel(y), anchor, colour, more, html.EscapeString(text))
}

// scale turns figures into pixels.
type scale struct {
	log        bool
	low, high  float64 // of x, as logarithms where log
	most, step float64 // of y
}

func (c Chart) scale() scale {
	s := scale{log: c.LogX, low: math.Inf(1), high: math.Inf(-1)}
	for _, series := range c.Series {
		for _, p := range series.Points {
			s.low, s.high = min(s.low, s.transform(p.X)), max(s.high, s.transform(p.X))
			s.most = max(s.most, p.Y, p.High)
		}
	}
	if s.low > s.high {
		s.low, s.high = 0, 1
	}
	if s.low == s.high {
		s.high++
	}
	s.step = step(max(s.most, 1e-9) * 1.25 / 5)
	s.most = s.step * math.Ceil(max(s.most, 1e-9)*1.25/s.step)
	return s
}

// step is the next round number: 1, 2 or 5 times a power of ten.
func step(rough float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	for _, factor := range []float64{1, 2, 5} {
		if rough <= factor*power {
			return factor * power
		}
	}
	return 10 * power
}

func (s scale) transform(x float64) float64 {
	if s.log {
		return math.Log10(x)
	}
	return x
}

func (s scale) x(x float64) float64 {
	return left + (s.transform(x)-s.low)/(s.high-s.low)*(width-left-right)
}
func (s scale) y(y float64) float64 { return top + (1-y/s.most)*(height-top-bottom) }

func (c Chart) axes(b *strings.Builder, s scale) {
	for i := 0; float64(i)*s.step <= s.most*1.0001; i++ {
		value := float64(i) * s.step
		fmt.Fprintf(b, `<line x1="%d" x2="%d" y1="%s" y2="%s" stroke="#dddddd"/>`+"\n", left, width-right, pixel(s.y(value)), pixel(s.y(value)))
		c.text(b, left-6, s.y(value)+4, "end", "#444444", "", number(value))
	}
	for _, x := range c.ticks() {
		fmt.Fprintf(b, `<line x1="%s" x2="%s" y1="%d" y2="%d" stroke="#888888"/>`+"\n", pixel(s.x(x)), pixel(s.x(x)), height-bottom, height-bottom+5)
		c.text(b, s.x(x), height-bottom+19, "middle", "#444444", "", number(x))
	}
	fmt.Fprintf(b, `<path d="M%d %dV%dH%d" fill="none" stroke="#444444"/>`+"\n", left, top, height-bottom, width-right)
	c.text(b, (left+width-right)/2, height-14, "middle", "#222222", "", c.X)
	c.text(b, 0, 0, "middle", "#222222", fmt.Sprintf(`transform="translate(16 %d) rotate(-90)"`, (top+height-bottom)/2), c.Y)
}

// ticks are where there are figures: measured points are few.
func (c Chart) ticks() []float64 {
	var list []float64
	for _, series := range c.Series {
		for _, p := range series.Points {
			list = append(list, p.X)
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (series Series) draw(b *strings.Builder, s scale, colour string) {
	points := slices.SortedFunc(slices.Values(series.Points), func(a, b Point) int {
		if a.X < b.X {
			return -1
		}
		return 1
	})
	var line []string
	for _, p := range points {
		line = append(line, pixel(s.x(p.X))+","+pixel(s.y(p.Y)))
		if p.High > p.Low {
			fmt.Fprintf(b, `<line x1="%s" x2="%s" y1="%s" y2="%s" stroke="%s" stroke-opacity="0.5" stroke-width="2"/>`+"\n",
				pixel(s.x(p.X)), pixel(s.x(p.X)), pixel(s.y(p.Low)), pixel(s.y(p.High)), colour)
		}
		fmt.Fprintf(b, `<circle cx="%s" cy="%s" r="3.5" fill="%s"><title>%s: %s</title></circle>`+"\n",
			pixel(s.x(p.X)), pixel(s.y(p.Y)), colour, html.EscapeString(series.Name), strconv.FormatFloat(p.Y, 'g', 4, 64))
	}
	fmt.Fprintf(b, `<polyline points="%s" fill="none" stroke="%s" stroke-width="2"/>`+"\n", strings.Join(line, " "), colour)
}

func pixel(value float64) string {
	return strconv.FormatFloat(math.Round(value*10)/10, 'f', -1, 64)
}

// number writes 0.5, 20, 10k, 1M.
func number(value float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{1e6, "M"}, {1e3, "k"}} {
		if value >= 10*unit.size || value == unit.size {
			return strconv.FormatFloat(value/unit.size, 'g', 3, 64) + unit.name
		}
	}
	return strconv.FormatFloat(value, 'g', 4, 64)
}
