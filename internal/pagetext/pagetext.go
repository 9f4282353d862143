// Package pagetext writes numbers, times and names for people who read an HTML page.
//
//	pagetext.Grouped(1234567)             // 1 234 567
//	pagetext.Span(3*time.Hour + time.Minute) // 3h 01m
package pagetext

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// Grouped writes an int or an int64 with narrow spaces between the thousands, as in
// 1 234 567.
func Grouped(n any) string {
	digits := strconv.FormatInt(reflect.ValueOf(n).Int(), 10)
	for i := len(digits) - 3; i > 0 && digits[i-1] != '-'; i -= 3 {
		digits = digits[:i] + "\u202f" + digits[i:]
	}
	return digits
}

// Plural writes a number and a noun.
func Plural(n any, one, many string) string {
	if reflect.ValueOf(n).Int() == 1 {
		return "1 " + one
	}
	return Grouped(n) + " " + many
}

// At writes a time in UTC; a dash for the zero time.
func At(t time.Time) string {
	if t.IsZero() {
		return "–"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// ISO writes a time for programs; "" for the zero time.
func ISO(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Span writes a duration with at most two units, as in 3h 05m.
func Span(d time.Duration) string {
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

// Words writes an identifier as words: dead_letter becomes "dead letter".
func Words(s string) string { return strings.ReplaceAll(s, "_", " ") }
