package policy

import (
	"net/http"
	"strings"
	"time"
)

// What the size of a reset's number tells. A wait of more than a month in
// seconds is one in milliseconds; numbers from a thousand million on are points
// in time: 1e9 seconds after 1970 is 2001, and so is 1e12 milliseconds.
const (
	monthOfSeconds   = 31 * 24 * 60 * 60
	leastEpoch       = 1_000_000_000
	leastEpochMillis = 100_000_000_000
)

// rateLimitReset reads how long after the answer arrived the rate limit starts
// afresh: from RateLimit (a structured field, IETF draft), else RateLimit-Reset,
// else X-RateLimit-Reset. The number is a wait or a point in time, in seconds or
// milliseconds, told apart by its size; where a field names several, the longest
// counts. The wait may be zero or negative.
func rateLimitReset(h http.Header, received time.Time) (time.Duration, bool) {
	server := serverNow(h, received)
	if lines := h.Values("RateLimit"); len(lines) > 0 {
		if wait, ok := rateLimitField(strings.Join(lines, ", "), server); ok {
			return wait, true
		}
	}
	for _, name := range []string{"RateLimit-Reset", "X-RateLimit-Reset"} {
		if wait, ok := resetNumbers(h.Values(name), server); ok {
			return wait, true
		}
	}
	return 0, false
}

// rateLimitField reads `"name";r=0;t=36400` and lists of it: r is what is left of
// the limit, t when it starts afresh. The refusal comes from a limit that has
// nothing left, and the longest of those decides. Where every limit has some
// left, the soonest reset is the earliest moment at which anything changes.
func rateLimitField(field string, server time.Time) (time.Duration, bool) {
	items, ok := parseStructuredList(field)
	if !ok {
		return 0, false
	}
	var used, left time.Duration
	var anyUsed, anyLeft bool
	for _, item := range items {
		t, ok := readDecimal(item["t"])
		if !ok {
			continue
		}
		wait := resetWait(t, server)
		if r, ok := readDecimal(item["r"]); ok && r != (decimal{}) {
			if !anyLeft || wait < left {
				left = wait
			}
			anyLeft = true
			continue
		}
		if !anyUsed || wait > used {
			used = wait
		}
		anyUsed = true
	}
	if anyUsed {
		return used, true
	}
	return left, anyLeft
}

// resetNumbers reads a field that is a number, or several with commas between.
// What follows a semicolon is not the number's.
func resetNumbers(lines []string, server time.Time) (time.Duration, bool) {
	var longest time.Duration
	var found bool
	for _, line := range lines {
		for part := range strings.SplitSeq(line, ",") {
			part, _, _ = strings.Cut(part, ";")
			n, ok := readDecimal(strings.TrimSpace(part))
			if !ok {
				continue
			}
			if wait := resetWait(n, server); !found || wait > longest {
				longest, found = wait, true
			}
		}
	}
	return longest, found
}

func resetWait(n decimal, server time.Time) time.Duration {
	switch {
	case n.whole >= leastEpochMillis:
		return time.UnixMilli(n.whole).Sub(server)
	case n.whole >= leastEpoch:
		return time.Unix(n.whole, n.fraction).Sub(server)
	case n.whole > monthOfSeconds:
		return n.milliseconds()
	default:
		return n.seconds()
	}
}
