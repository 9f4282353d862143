package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
)

// printJSON writes v as one line of JSON.
func (a *app) printJSON(v any) error {
	encoder := json.NewEncoder(a.stdout)
	encoder.SetEscapeHTML(false)
	return encoder.Encode(v)
}

// progressf writes a line of progress, unless --quiet was given.
func (a *app) progressf(format string, args ...any) {
	if !a.quiet {
		fmt.Fprintf(a.stderr, format+"\n", args...)
	}
}

// table lines up columns.
type table struct{ w *tabwriter.Writer }

// newTable begins a table with a head.
func newTable(w io.Writer, head ...string) *table {
	t := &table{tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)}
	t.row(head...)
	return t
}

// row adds a row. Cells come out on one line and without control characters,
// whoever wrote them.
func (t *table) row(cells ...string) {
	safe := make([]string, len(cells))
	for i, cell := range cells {
		safe[i] = printable(cell)
	}
	fmt.Fprintln(t.w, strings.Join(safe, "\t"))
}

// flush writes the table.
func (t *table) flush() error { return t.w.Flush() }

// printable makes text that came from outside safe for a terminal: what could
// move the cursor or reorder the line reads as a space.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// plural counts things: "1 call", "12,000 calls".
func plural[N int | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	many := one + "s"
	if strings.HasSuffix(one, "ch") || strings.HasSuffix(one, "s") {
		many = one + "es"
	}
	return grouped(int64(n)) + " " + many
}

// grouped writes a number with its thousands apart.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits
}

// humanDuration writes a duration as one would say it, in its two largest
// units: "450ms", "12.3s", "3m 20s", "2h 5m", "3d 4h".
func humanDuration(d time.Duration) string {
	if d < 0 {
		return "-" + humanDuration(-max(d, -1<<62))
	}
	switch {
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < time.Minute:
		return strconv.FormatFloat(d.Truncate(100*time.Millisecond).Seconds(), 'f', -1, 64) + "s"
	}
	units := []struct {
		size time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	var parts []string
	for _, u := range units {
		n := d / u.size
		d -= n * u.size
		if n > 0 {
			parts = append(parts, strconv.FormatInt(int64(n), 10)+u.name)
		}
		if n == 0 && len(parts) > 0 || len(parts) == 2 {
			break
		}
	}
	return strings.Join(parts, " ")
}

// isTerminal tells whether a person sits at the other end of f, an *os.File.
func isTerminal(f any) bool {
	if w, ok := f.(io.Writer); ok {
		f = beneath(w)
	}
	file, ok := f.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	// The null device is a character device too.
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}
