package console

import (
	"strconv"
	"strings"
	"time"
	"unicode"
)

// Printable makes text from outside safe for a terminal: characters that could move the
// cursor or reorder the line become spaces.
func Printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// Plural returns a number with its noun: "1 call", "12,000 calls", "2 batches".
func Plural[N int | int64](n N, one string) string {
	many := one + "s"
	if strings.HasSuffix(one, "ch") || strings.HasSuffix(one, "s") {
		many = one + "es"
	}
	return Count(n, one, many)
}

// Count is [Plural] for words with an irregular plural: Count(2, "child", "children").
func Count[N int | int64](n N, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return Grouped(int64(n)) + " " + many
}

// Subject returns a number with its noun and verb: Subject(2, "call", "is", "are") is "2
// calls are".
func Subject[N int | int64](n N, noun, one, many string) string {
	verb := many
	if n == 1 {
		verb = one
	}
	return Plural(n, noun) + " " + verb
}

// Grouped formats a number with commas between its thousands: "12,000".
func Grouped(n int64) string {
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

// Duration formats a duration in its two largest units: "450ms", "12.3s", "3m 20s",
// "2h 5m", "3d 4h".
func Duration(d time.Duration) string {
	if d < 0 {
		return "-" + Duration(-max(d, -1<<62))
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
