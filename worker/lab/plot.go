package lab

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	plotWidth, plotHeight  = 900, 380
	plotLeft, plotRight    = 70, 20
	plotTop, plotBottom    = 60, 60
	plotBuckets, plotTicks = 120, 6
)

// Plot writes the report as an SVG: calls that ended well or not, refused requests and
// retries over time, as stacked bars, over the holds as bands.
func (r Report) Plot(w io.Writer, title string) error {
	var b strings.Builder
	span := max(r.Took, time.Second)
	width, height := float64(plotWidth-plotLeft-plotRight), float64(plotHeight-plotTop-plotBottom)
	x := func(at time.Duration) float64 {
		return plotLeft + width*float64(min(max(at, 0), span))/float64(span)
	}
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12" fill="#333">`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" fill="#fff"/>`+"\n", plotWidth, plotHeight)
	fmt.Fprintf(&b, `<text x="%d" y="22" font-size="15">%s</text>`+"\n", plotLeft, escapeXML(title))
	for _, h := range r.Holds {
		fmt.Fprintf(&b, `<rect x="%.1f" y="%d" width="%.1f" height="%.0f" fill="#fde8c8"><title>held: %s, from %s to %s</title></rect>`+"\n",
			x(h.From), plotTop, max(x(h.To)-x(h.From), 0.5), height, escapeXML(h.Name), h.From.Round(time.Millisecond), h.To.Round(time.Millisecond))
	}
	bars, most := r.bars(span)
	for i, bar := range bars {
		y := plotTop + height
		for kind, n := range bar {
			part := height * float64(n) / float64(most)
			y -= part
			if n > 0 {
				fmt.Fprintf(&b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n",
					plotLeft+width*float64(i)/plotBuckets, y, width/plotBuckets-0.5, part, plotKinds[kind].colour)
			}
		}
	}
	axes(&b, span, most, width, height)
	_, err := io.WriteString(w, b.String()+"</svg>\n")
	return err
}

// plotKinds are the parts of a bar, from the bottom.
var plotKinds = []struct{ name, colour string }{
	{"calls that ended", "#2f7d5b"}, {"retried", "#d9a404"}, {"refused, call waits", "#c0392b"},
}

// bars counts the events of each slice of time.
func (r Report) bars(span time.Duration) (bars [plotBuckets][3]int, most int) {
	for _, e := range r.Events {
		kind := 1
		switch {
		case e.Ended:
			kind = 0
		case e.Refused:
			kind = 2
		}
		bars[min(int(int64(e.At)*plotBuckets/int64(span)), plotBuckets-1)][kind]++
	}
	most = 1
	for _, bar := range bars {
		most = max(most, bar[0]+bar[1]+bar[2])
	}
	return bars, most
}

func axes(b *strings.Builder, span time.Duration, most int, width, height float64) {
	bottom := plotTop + height
	fmt.Fprintf(b, `<path d="M%d %d V%.0f H%.0f" fill="none" stroke="#888"/>`+"\n", plotLeft, plotTop, bottom, plotLeft+width)
	fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%d</text><text x="%d" y="%.0f" text-anchor="end">0</text>`+"\n", plotLeft-6, plotTop+4, most, plotLeft-6, bottom)
	step := tick(span / plotTicks)
	for at := time.Duration(0); at <= span; at += step {
		px := plotLeft + width*float64(at)/float64(span)
		fmt.Fprintf(b, `<path d="M%.1f %.0f v4" stroke="#888"/><text x="%.1f" y="%.0f" text-anchor="middle">%s</text>`+"\n", px, bottom, px, bottom+18, tickText(at))
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="#777">requests in %s</text>`+"\n", plotLeft, plotTop-10, (span / plotBuckets).Round(time.Millisecond))
	px := plotLeft + 170
	for _, kind := range append(slices.Clone(plotKinds), struct{ name, colour string }{"account held", "#fde8c8"}) {
		fmt.Fprintf(b, `<rect x="%d" y="%d" width="11" height="11" fill="%s"/><text x="%d" y="%d">%s</text>`+"\n", px, plotTop-20, kind.colour, px+16, plotTop-10, kind.name)
		px += 40 + 7*len(kind.name)
	}
}

// tick rounds a step up to one that people read easily.
func tick(step time.Duration) time.Duration {
	for _, nice := range []time.Duration{
		100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute, time.Hour, 2 * time.Hour, 4 * time.Hour, 12 * time.Hour,
	} {
		if step <= nice {
			return nice
		}
	}
	return (step + 24*time.Hour - 1).Truncate(24 * time.Hour)
}

// tickText is a duration without its empty parts: 2h, 30m, 1.5s.
func tickText(d time.Duration) string {
	text := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(text, zero) {
			text = text[:len(text)-len(zero)+1]
		}
	}
	return text
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func escapeXML(s string) string { return escaper.Replace(s) }
