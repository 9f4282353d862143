package policy

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// What the size of a number tells. Numbers from a thousand million on are points
// in time: 1e9 seconds after 1970 is 2001, and 1e11 milliseconds after it is 1973.
// In a reset, more than a month of seconds is taken for milliseconds.
const (
	monthOfSeconds   = 31 * 24 * 60 * 60
	leastEpoch       = 1_000_000_000
	leastEpochMillis = 100_000_000_000
)

// ServerTime is what one field of an answer's header says about when to call again.
type ServerTime struct {
	// Source is the name by which a hold's or a backoff's sources name it,
	// [SourceRetryAfter] or [SourceRateLimitReset].
	Source Source
	// Header and Value are the field as it came; several lines are joined by
	// commas.
	Header, Value string
	// Wait counts from when the answer arrived. It may be zero or negative, as the
	// server said.
	Wait time.Duration
	// Unspent reports that the field is about a limit that is not used up: then it
	// is no reason to wait.
	Unspent bool
}

// ServerTimes lists what an answer's header says about when to call again, as far
// as it was understood: of Retry-After and its kin the longest wait, and every
// limit's reset.
func ServerTimes(o Outcome) []ServerTime {
	var times []ServerTime
	if told, ok := retryAfter(o.Header, o.ReceivedAt); ok {
		times = append(times, told)
	}
	for _, l := range readLimits(o.Header, o.ReceivedAt) {
		if l.told.Header != "" {
			l.told.Unspent = l.left == allowanceLeft
			times = append(times, l.told)
		}
	}
	return times
}

// numberReader gives the wait that a bare number stands for. server is the
// server's clock.
type numberReader func(n decimal, server time.Time) time.Duration

// secondsOrEpoch reads the number of a Retry-After: seconds (RFC 9110, 10.2.3), or
// a point in time in seconds or milliseconds, which no API means as a wait.
func secondsOrEpoch(n decimal, server time.Time) time.Duration {
	if n.whole >= leastEpoch {
		return toldApart(n, server)
	}
	return n.seconds()
}

// toldApart reads the number of a reset: a wait or a point in time, in seconds or
// milliseconds, told apart by its size.
func toldApart(n decimal, server time.Time) time.Duration {
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

// millisOrEpoch reads the number of a field whose name says milliseconds.
func millisOrEpoch(n decimal, server time.Time) time.Duration {
	if n.whole >= leastEpochMillis {
		return time.UnixMilli(n.whole).Sub(server)
	}
	return n.milliseconds()
}

// readWait reads one value that says when to call again: a number, a duration
// such as 6m0s, or a date. The wait may be zero or negative, as the server said.
func readWait(s string, server time.Time, number numberReader) (time.Duration, bool) {
	s = strings.Trim(s, "\" \t")
	if len(s) > maxField {
		return 0, false
	}
	if n, ok := readDecimal(s); ok {
		return number(n, server), true
	}
	if d, ok := readDuration(s); ok {
		return d, true
	}
	if date, ok := readDate(s, server); ok {
		return date.Sub(server), true
	}
	return 0, false
}

// longestWait reads the lines of a field, each of which may hold several values
// with commas between, and gives the longest wait. Values that cannot be read are
// left out.
func longestWait(lines []string, server time.Time, number numberReader) (longest time.Duration, found bool) {
	for _, line := range lines {
		eachValue(line, func(value string) {
			// What follows a semicolon describes the value (draft-polli-ratelimit-headers).
			value, _, _ = strings.Cut(value, ";")
			if wait, ok := readWait(value, server, number); ok && (!found || wait > longest) {
				longest, found = wait, true
			}
		})
	}
	return longest, found
}

// eachValue splits a line at its commas, except for the comma after the day of
// the week, which belongs to a date.
func eachValue(line string, do func(value string)) {
	start := 0
	for i := 0; i <= len(line); i++ {
		if i < len(line) && line[i] != ',' {
			continue
		}
		if value := strings.Trim(line[start:i], "\" \t"); i == len(line) || !isWeekday(value) {
			do(line[start:i])
			start = i + 1
		}
	}
}

// serverNow is the server's own clock when it answered, which its dates are
// measured against: a server whose clock is wrong still means the wait it means
// (RFC 9110, 6.6.1 and 10.2.3).
func serverNow(h http.Header, received time.Time) time.Time {
	if date, ok := readDate(h.Get("Date"), received); ok {
		return date
	}
	return received
}

// decimal is a number of seconds or milliseconds as a header gives it: whole,
// and what follows the point in billionths.
type decimal struct {
	whole    int64
	fraction int64
}

// readDecimal reads digits with an optional sign and fraction. A number beyond
// what fits is held to the largest that does; a negative one reads as 0, since
// a wait that is over is over.
func readDecimal(s string) (decimal, bool) {
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	whole, fraction, _ := strings.Cut(s, ".")
	if whole == "" || !onlyDigits(whole) || !onlyDigits(fraction) {
		return decimal{}, false
	}
	if negative {
		return decimal{}, true
	}
	n, err := strconv.ParseInt(whole, 10, 64)
	if err != nil {
		return decimal{whole: math.MaxInt64}, true
	}
	billionths := (fraction + "000000000")[:9]
	f, _ := strconv.ParseInt(billionths, 10, 64)
	return decimal{whole: n, fraction: f}, true
}

func (d decimal) seconds() time.Duration { return d.times(time.Second) }

func (d decimal) milliseconds() time.Duration { return d.times(time.Millisecond) }

// times is so many of the unit, held to the longest duration there is.
func (d decimal) times(unit time.Duration) time.Duration {
	if d.whole >= math.MaxInt64/int64(unit)-1 {
		return math.MaxInt64
	}
	if unit >= time.Second {
		return time.Duration(d.whole)*unit + time.Duration(d.fraction)*(unit/time.Second)
	}
	return time.Duration(d.whole)*unit + time.Duration(d.fraction)/(time.Second/unit)
}

// durationUnits are the units of a duration, in Go's notation and with days. The
// longer of two that begin alike comes first.
var durationUnits = []struct {
	name string
	unit time.Duration
}{
	{"ms", time.Millisecond}, {"us", time.Microsecond}, {"µs", time.Microsecond}, {"ns", time.Nanosecond},
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
}

// readDuration reads 6m0s, 12ms, 1h30m, 1d2h or 2m59.56s. A negative one reads as
// 0, one that is too long as the longest there is.
func readDuration(s string) (time.Duration, bool) {
	negative := strings.HasPrefix(s, "-")
	s = strings.TrimPrefix(strings.TrimPrefix(s, "-"), "+")
	var total time.Duration
	for begun := false; s != "" || !begun; begun = true {
		end := strings.IndexFunc(s, func(r rune) bool { return r != '.' && (r < '0' || r > '9') })
		if end <= 0 {
			return 0, false
		}
		n, ok := readDecimal(s[:end])
		if !ok {
			return 0, false
		}
		s = s[end:]
		known := false
		for _, u := range durationUnits {
			if rest, is := strings.CutPrefix(s, u.name); is {
				total, s, known = saturatingAdd(total, n.times(u.unit)), rest, true
				break
			}
		}
		if !known {
			return 0, false
		}
		s = strings.TrimLeft(s, " ")
	}
	if negative {
		return 0, true
	}
	return total, true
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isAlpha(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }
