package page

import (
	"fmt"
	"slices"

	"github.com/seed-2903acc3/callq/internal/pagetext"
	"github.com/seed-2903acc3/callq/worker/history"
	"github.com/seed-2903acc3/callq/worker/overview"
)

// chart is a bar chart of the last hour: one bar a minute, stacked by outcome.
type chart struct {
	Width, Height int
	// Bars are the rectangles.
	Bars []bar
	// Most is the highest sum of a minute.
	Most int64
	// Totals are the sums over the hour, in the order of the stack.
	Totals []total
	// Text says the same in words.
	Text string
}

type bar struct {
	X, Y, Width, Height float64
	Outcome             history.Outcome
	Title               string
}

type total struct {
	Outcome history.Outcome
	Count   int64
}

// chartOf draws the sum of several upstreams' minutes.
func chartOf(width, height int, lists ...[]history.Minute) chart {
	c := chart{Width: width, Height: height}
	n := 0
	for _, list := range lists {
		n = max(n, len(list))
	}
	minutes := make([]history.Minute, n)
	for i := range minutes {
		minutes[i].Counts = map[history.Outcome]int64{}
	}
	totals := map[history.Outcome]int64{}
	for _, list := range lists {
		for i, m := range list {
			minutes[i].Start = m.Start
			for o, count := range m.Counts {
				minutes[i].Counts[o] += count
				totals[o] += count
			}
		}
	}
	for _, m := range minutes {
		c.Most = max(c.Most, sumOf(m))
	}
	for _, o := range history.Outcomes {
		c.Totals = append(c.Totals, total{o, totals[o]})
	}
	c.Text = textOf(c.Totals)
	if c.Most == 0 {
		return c
	}
	step := float64(width) / float64(n)
	for i, m := range minutes {
		y := float64(height)
		for _, o := range history.Outcomes {
			count := m.Counts[o]
			if count == 0 {
				continue
			}
			tall := float64(count) / float64(c.Most) * float64(height)
			y -= tall
			c.Bars = append(c.Bars, bar{
				X: step * float64(i), Y: y, Width: step * 0.84, Height: max(tall, 0.5), Outcome: o,
				Title: fmt.Sprintf("%s UTC: %s %s", m.Start.Format("15:04"), pagetext.Grouped(count), o),
			})
		}
	}
	return c
}

// textOf writes totals for people who do not see the chart.
func textOf(totals []total) string {
	text := "In the last hour:"
	for _, t := range totals {
		text += fmt.Sprintf(" %d %s,", t.Count, t.Outcome)
	}
	return text[:len(text)-1]
}

// chartOfAll draws all APIs together.
func chartOfAll(o *overview.Overview) chart {
	var lists [][]history.Minute
	for _, u := range o.Upstreams {
		if !u.Notifications() {
			lists = append(lists, u.Minutes)
		}
	}
	return chartOf(720, 140, lists...)
}

// busiest returns the upstreams with those first whose calls wait or whose account is
// paused.
func busiest(list []overview.Upstream) []overview.Upstream {
	return slices.SortedStableFunc(slices.Values(list), func(a, b overview.Upstream) int {
		return rank(b) - rank(a)
	})
}

func rank(u overview.Upstream) int {
	switch {
	case u.Circuit.State != overview.Flowing:
		return 3
	case u.Inflight > 0 || u.Waiting > 0:
		return 2
	case u.Configured:
		return 1
	}
	return 0
}

func sumOf(m history.Minute) (n int64) {
	for _, count := range m.Counts {
		n += count
	}
	return n
}

// stack is a bar with the outcomes of a batch, 100 wide.
type stack struct {
	overview.Batch
	Parts []part
}

type part struct {
	Outcome  string
	X, Width float64
}

func stackOf(b overview.Batch) stack {
	s := stack{Batch: b}
	x := 0.0
	for _, one := range []struct {
		outcome string
		n       int64
	}{{"done", b.Done}, {"dropped", b.Dropped}, {"dead", b.Dead}, {"cancelled", b.Cancelled}, {"open", b.Open}} {
		if one.n > 0 && b.Accepted > 0 {
			width := float64(one.n) / float64(b.Accepted) * 100
			s.Parts = append(s.Parts, part{one.outcome, x, width})
			x += width
		}
	}
	return s
}
