package page

import (
	"fmt"
	"html/template"
	"net/url"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/seed-2903acc3/callq/worker/limit"
)

// functions are those of the templates.
var functions = template.FuncMap{
	"asset": assetURL, "grouped": grouped, "at": at, "iso": iso, "span": span, "amount": amount,
	"path": url.PathEscape, "words": words, "ms": milliseconds, "plural": plural, "stack": stackOf,
	"dec": func(n int) int { return n - 1 },
}

// grouped writes an int or an int64 with narrow spaces between the thousands, as in
// 1 234 567.
func grouped(n any) string {
	digits := strconv.FormatInt(reflect.ValueOf(n).Int(), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// plural writes a number and a noun.
func plural(n any, one, many string) string {
	if reflect.ValueOf(n).Int() == 1 {
		return "1 " + one
	}
	return grouped(n) + " " + many
}

// at writes a time for people. The script replaces it by the browser's local time.
func at(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// iso writes a time for the script.
func iso(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// span writes a duration with at most two units, as in 3h 05m.
func span(d time.Duration) string {
	d = d.Round(time.Second)
	switch {
	case d < 0:
		return "0s"
	case d < time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < time.Hour:
		return fmt.Sprintf("%dm %02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd %dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

func milliseconds(d time.Duration) string {
	if d >= 10*time.Second {
		return span(d)
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "\u202fms"
}

// amount writes how much of a limit is used.
func amount(u limit.Usage) string {
	number := func(f float64) string {
		if u.Unit == "calls" {
			return grouped(int64(f))
		}
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	if u.Kind == limit.KindRate {
		return fmt.Sprintf("%.0f\u202f%%", u.Ratio()*100)
	}
	return number(u.Used) + " of " + number(u.Of) + " " + u.Unit
}

// words writes an identifier as words: dead_letter becomes "dead letter".
func words(s string) string { return strings.ReplaceAll(s, "_", " ") }
