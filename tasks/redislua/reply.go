package redislua

import (
	"strconv"
	"time"
)

// MaxMilli is the last millisecond of the year 9999: JSON has no form for a later time,
// so that a record with one could not be written again.
const MaxMilli = 253402300799999

// Number reads a number in a script's reply: an integer, or text if it was too large
// for one. Anything else is 0.
func Number(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		return Integer(v)
	}
	return 0
}

// Text reads text in a script's reply, or an integer in its digits. Anything else is
// "".
func Text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return strconv.FormatInt(v, 10)
	}
	return ""
}

// Hash reads the reply of HGETALL in a script's reply: alternating fields and values.
func Hash(v any) map[string]string {
	flat, _ := v.([]any)
	h := make(map[string]string, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		h[Text(flat[i])] = Text(flat[i+1])
	}
	return h
}

// Integer reads a whole number in decimal digits. Anything else is 0; a number out of
// range becomes the nearest int64.
func Integer(text string) int64 {
	if text == "" {
		return 0 // most fields of most records; an error would be allocated
	}
	n, _ := strconv.ParseInt(text, 10, 64)
	return n
}

// Milli reads a point in time, in milliseconds since 1970; zero, or a number out of
// range, is the zero time.
func Milli(text string) time.Time {
	ms := Integer(text)
	if ms <= 0 || ms > MaxMilli {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Whole reports whether text is a whole number from least to most, in the form in which
// callq writes it.
func Whole(text string, least, most int64) bool {
	v, err := strconv.ParseInt(text, 10, 64)
	return err == nil && v >= least && v <= most && strconv.FormatInt(v, 10) == text
}

// Flag returns a bool as scripts read it.
func Flag(b bool) int {
	if b {
		return 1
	}
	return 0
}
