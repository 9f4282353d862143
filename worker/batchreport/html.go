package batchreport

import (
	"embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
	"time"

	"github.com/seed-2903acc3/callq/internal/pagetext"
)

// shownKinds, shownHolds and shownAsked bound the tables of the HTML file, as shownCauses
// does.
const shownKinds, shownHolds, shownAsked = 30, 40, 30

//go:embed report.html report.css
var files embed.FS

var page = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"grouped": pagetext.Grouped, "plural": pagetext.Plural, "at": pagetext.At, "iso": pagetext.ISO, "words": pagetext.Words,
	"span": spanText,
	"use":  func(u Use) string { return useTexts[u] },
	"x":    func(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) },
}).ParseFS(files, "report.html"))

// spanText writes a duration; one under ten seconds with a digit after the point.
func spanText(seconds float64) string {
	if seconds < 10 {
		return strconv.FormatFloat(seconds, 'f', 1, 64) + "s"
	}
	return pagetext.Span(time.Duration(seconds * float64(time.Second)))
}

// useTexts explain the uses.
var useTexts = map[Use]string{
	UseResult:   "Its answer is the result of a call",
	UseRefused:  "Refused because of the account; the call waited",
	UseRetried:  "Failed, and the call was sent again",
	UseReplayed: "Sent again at once with a fresh credential",
	UseFailed:   "Its answer ended the call as dead or dropped",
	UseRepeated: "A result, but the call was made again later",
	UseUnclear:  "Not known whether it took effect; the API was asked",
	UseAsked:    "Asked the API whether a call took effect",
	UseRedirect: "Answered by a redirect, which was followed",
}

// view is a report with what only the HTML file has.
type view struct {
	*Report
	Style template.CSS
	// Ended are the bars of calls that ended, Failed those of requests that failed.
	Ended, Failed plot
	// Bands are the holds on the time axis of the plots, one line for each circuit.
	Bands []band
	Ticks []string
	State []part
	Used  []part
	// PerCall are the bars of calls by requests.
	PerCall []perCall
	// Kinds, Holds, Asked and Causes are the first ones of the report; More... is how many
	// more there are.
	Kinds      []Kind
	MoreKinds  int
	Holds      []Hold
	MoreHolds  int
	Asked      []Asked
	MoreAsked  int
	Causes     []Cause
	MoreCauses int
}

// WriteHTML writes the report as one HTML file that needs no other file, no script and no
// network.
func WriteHTML(w io.Writer, r *Report) error {
	style, err := files.ReadFile("report.css")
	if err != nil {
		return fmt.Errorf("read the style of the report: %w", err) // cannot happen: it is embedded
	}
	v := view{Report: r, Style: template.CSS(style), Ticks: r.Timeline.ticks()}
	v.Ended = plotOf(r.Timeline, []string{"done", "dropped", "dead", "cancelled"}, func(s Step) []int64 { return []int64{s.Done, s.Dropped, s.Dead, s.Cancelled} })
	v.Failed = plotOf(r.Timeline, []string{"refused", "retried"}, func(s Step) []int64 { return []int64{s.Refused, s.Retried} })
	v.Bands = bandsOf(r)
	c := r.Calls
	v.State = partsOf([]string{"done", "dropped", "dead", "cancelled", "open"}, []int64{c.Done, c.Dropped, c.Dead, c.Cancelled, c.Open})
	var names []string
	var counts []int64
	for _, u := range r.Requests.ByUse {
		names, counts = append(names, string(u.Use)), append(counts, u.Requests)
	}
	v.Used = partsOf(names, counts)
	v.PerCall = perCallOf(r.Requests.PerCall)
	v.Kinds, v.MoreKinds = first(r.Requests.Kinds, shownKinds)
	v.Holds, v.MoreHolds = first(r.Time.Holds, shownHolds)
	v.MoreHolds += r.Time.LeftOut
	v.Asked, v.MoreAsked = first(r.Asked, shownAsked)
	v.Causes, v.MoreCauses = first(r.Causes, shownCauses)
	if err := page.Execute(w, v); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// first returns at most n of the list, and how many more there are.
func first[T any](list []T, n int) ([]T, int) {
	if len(list) <= n {
		return list, 0
	}
	return list[:n], len(list) - n
}

// Share is a part of the whole in percent.
func (v view) Share(n, of int64) string {
	switch {
	case of == 0:
		return "0\u202f%"
	case n > 0 && n*1000 < of:
		return "under 0.1\u202f%"
	}
	return strconv.FormatFloat(100*float64(n)/float64(of), 'f', 1, 64) + "\u202f%"
}

// Ratio is a number with two digits after the point.
func (v view) Ratio(f float64) string { return strconv.FormatFloat(f, 'f', 2, 64) }
