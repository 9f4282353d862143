package ledger

import (
	"fmt"
	"strconv"
	"time"
)

// Number reads a number in a script's reply: an integer, or a text where it was
// too large for one. Anything else is 0.
func Number(v any) int64 {
	switch v := v.(type) {
	case int64:
		return v
	case string:
		return atoi64(v)
	}
	return 0
}

// Hash reads the reply of HGETALL in a script's reply: fields and values in turn.
func Hash(v any) map[string]string {
	flat, _ := v.([]any)
	h := make(map[string]string, len(flat)/2)
	for i := 0; i+1 < len(flat); i += 2 {
		h[str(flat[i])] = str(flat[i+1])
	}
	return h
}

// Milli reads a point in time, in milliseconds since 1970; zero, or out of range,
// is none.
func Milli(s string) time.Time {
	ms := atoi64(s)
	if ms <= 0 || ms > maxMilli {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// Whole tells whether a text is a whole number from least to most, in the digits
// with which callq writes it.
func Whole(text string, least, most int64) bool {
	v, err := strconv.ParseInt(text, 10, 64)
	return err == nil && v >= least && v <= most && strconv.FormatInt(v, 10) == text
}

func str(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case int64:
		return fmt.Sprint(v)
	}
	return ""
}
