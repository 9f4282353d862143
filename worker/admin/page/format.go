package page

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"time"

	"github.com/seed-2903acc3/callq/internal/pagetext"
	"github.com/seed-2903acc3/callq/worker/limit"
)

// functions are those of the templates.
var functions = template.FuncMap{
	"asset": assetURL, "grouped": pagetext.Grouped, "at": pagetext.At, "iso": pagetext.ISO, "span": pagetext.Span, "amount": amount,
	"path": url.PathEscape, "words": pagetext.Words, "ms": milliseconds, "plural": pagetext.Plural, "stack": stackOf,
	"dec": func(n int) int { return n - 1 },
}

func milliseconds(d time.Duration) string {
	if d >= 10*time.Second {
		return pagetext.Span(d)
	}
	return strconv.FormatInt(d.Milliseconds(), 10) + "\u202fms"
}

// amount writes how much of a limit is used.
func amount(u limit.Usage) string {
	number := func(f float64) string {
		if u.Unit == "calls" {
			return pagetext.Grouped(int64(f))
		}
		return strconv.FormatFloat(f, 'f', 2, 64)
	}
	if u.Kind == limit.KindRate {
		return fmt.Sprintf("%.0f\u202f%%", u.Ratio()*100)
	}
	return number(u.Used) + " of " + number(u.Of) + " " + u.Unit
}
