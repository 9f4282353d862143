package batchreport

import (
	"fmt"
	"slices"
	"time"

	"github.com/seed-2903acc3/callq/internal/pagetext"
)

const (
	// plotWidth and plotHeight are the size of a plot in its own units: it is stretched to
	// the width of the page.
	plotWidth, plotHeight = 960.0, 140.0
	// maxBands is how many circuits have a line of holds.
	maxBands = 12
)

// plot is a chart of bars over time, stacked by series.
type plot struct {
	Bars   []bar
	Totals []total
	// Most is the highest bar.
	Most int64
	// Text says the same in words.
	Text string
}

type bar struct {
	Series              string
	X, Y, Width, Height float64
	Title               string
}

type total struct {
	Series string
	Count  int64
}

// plotOf draws one bar for each step.
func plotOf(t Timeline, series []string, of func(Step) []int64) plot {
	p := plot{}
	totals := make([]int64, len(series))
	for _, s := range t.Steps {
		sum := int64(0)
		for i, n := range of(s) {
			totals[i] += n
			sum += n
		}
		p.Most = max(p.Most, sum)
	}
	for i, name := range series {
		p.Totals = append(p.Totals, total{name, totals[i]})
		p.Text += fmt.Sprintf("%d %s, ", totals[i], name)
	}
	p.Text += "over time"
	if p.Most == 0 {
		return p
	}
	width := plotWidth / float64(len(t.Steps))
	for i, s := range t.Steps {
		y := plotHeight
		for j, n := range of(s) {
			if n == 0 {
				continue
			}
			height := max(float64(n)/float64(p.Most)*plotHeight, 0.8)
			y = max(y-height, 0)
			p.Bars = append(p.Bars, bar{
				Series: series[j], X: width * float64(i), Y: y, Width: width * 0.84, Height: height,
				Title: fmt.Sprintf("%s: %s %s", pagetext.At(t.at(i)), pagetext.Grouped(n), series[j]),
			})
		}
	}
	return p
}

// at returns when a step begins.
func (t Timeline) at(step int) time.Time {
	return t.From.Add(time.Duration(float64(step) * t.Step * float64(time.Second)))
}

// ticks are the times at the ends and in the middle of the axis. Where the day is the same,
// it is written once.
func (t Timeline) ticks() []string {
	first, middle, last := t.at(0), t.at(len(t.Steps)/2), t.at(len(t.Steps))
	layout := "2006-01-02 15:04 UTC"
	if first.UTC().Format(time.DateOnly) == last.UTC().Format(time.DateOnly) {
		layout = "15:04:05"
	}
	return []string{pagetext.At(first), middle.UTC().Format(layout), last.UTC().Format(layout)}
}

// band is the line of one circuit with its holds.
type band struct {
	Circuit string
	Parts   []bar
}

// bandsOf draws the holds on the time axis of the plots.
func bandsOf(r *Report) (list []band) {
	length := r.Timeline.Step * float64(len(r.Timeline.Steps))
	if length <= 0 {
		return nil
	}
	place := func(at time.Time) float64 {
		return min(max(at.Sub(r.Timeline.From).Seconds()/length, 0), 1) * plotWidth
	}
	for _, h := range r.Time.Holds {
		i := slices.IndexFunc(list, func(b band) bool { return b.Circuit == h.Circuit })
		if i < 0 {
			if len(list) == maxBands {
				continue
			}
			i, list = len(list), append(list, band{Circuit: h.Circuit})
		}
		to, until := h.To, "goes on"
		if to.IsZero() {
			to = r.MadeAt
		} else {
			until = "until " + pagetext.At(to)
		}
		from, end := place(h.From), place(to)
		list[i].Parts = append(list[i].Parts, bar{
			Series: h.Reason, X: min(from, plotWidth-1.5), Width: max(end-from, 1.5), Height: 10,
			Title: fmt.Sprintf("%s, held for %s from %s, %s", h.Reason, spanText(h.Seconds), pagetext.At(h.From), until),
		})
	}
	return list
}

// part is a part of a stacked line that is 100 wide.
type part struct {
	Series   string
	Count    int64
	X, Width float64
}

func partsOf(series []string, counts []int64) (list []part) {
	sum, x := int64(0), 0.0
	for _, n := range counts {
		sum += n
	}
	for i, n := range counts {
		if n > 0 {
			width := float64(n) / float64(sum) * 100
			list = append(list, part{series[i], n, x, width})
			x += width
		}
	}
	return list
}

// perCall is a bar of calls that took as many requests.
type perCall struct {
	PerCall
	Width float64
}

func perCallOf(counts []PerCall) (list []perCall) {
	most := int64(1)
	for _, c := range counts {
		most = max(most, c.Calls)
	}
	for _, c := range counts {
		list = append(list, perCall{c, max(float64(c.Calls)/float64(most)*100, 0.4)})
	}
	return list
}
