package policy

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// The size of a number decides what it means. Numbers of at least one billion are
// points in time: 1e9 seconds after 1970 is in 2001, and 1e11 milliseconds after 1970 is
// in 1973. In a reset, a number of more than a month in seconds means milliseconds.
const (
	monthOfSeconds   = 31 * 24 * 60 * 60
	leastEpoch       = 1_000_000_000
	leastEpochMillis = 100_000_000_000
)

// ServerTime is what one field of an answer's header says about when to call again.
type ServerTime struct {
	// Source is its name among the sources of a hold or a backoff:
	// [SourceRetryAfter] or [SourceRateLimitReset].
	Source Source
	// Header and Value are the field as it arrived. Several lines are joined by
	// commas.
	Header, Value string
	// Wait counts from when the answer arrived. It may be zero or negative, as the
	// server said.
	Wait time.Duration
	// Unspent reports that the field is about a limit that is not used up. Then it
	// is not a reason to wait.
	Unspent bool
}

// ServerTimes returns what an answer's header says about when to call again, as far
// as it can be read: the longest wait of Retry-After and similar fields, and the reset
// of every limit.
func ServerTimes(o Outcome) []ServerTime {
	var times []ServerTime
	if given, ok := retryAfter(o.Header, o.ReceivedAt); ok {
		times = append(times, given)
	}
	for _, l := range readLimits(o.Header, o.ReceivedAt) {
		if l.reset.Header != "" {
			l.reset.Unspent = l.left == allowanceLeft
			times = append(times, l.reset)
		}
	}
	return times
}

// numberReader returns the wait that a number without a unit means. server is the time
// by the server's clock.
type numberReader func(n decimal, server time.Time) time.Duration

// secondsOrEpoch reads the number of a Retry-After: seconds (RFC 9110, 10.2.3), or a
// point in time in seconds or milliseconds, which is too large to be a wait.
func secondsOrEpoch(n decimal, server time.Time) time.Duration {
	if n.whole >= leastEpoch {
		return waitOrEpoch(n, server)
	}
	return n.seconds()
}

// waitOrEpoch reads the number of a reset: a wait or a point in time, in seconds or
// milliseconds, depending on its size.
func waitOrEpoch(n decimal, server time.Time) time.Duration {
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

// readWait parses one value that says when to call again: a number, a duration such as
// 6m0s, or a date. The wait may be zero or negative, as the server said.
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

// longestWait reads the lines of a field, each of which may have several values with
// commas between them, and returns the longest wait. Values that cannot be read are
// ignored.
func longestWait(lines []string, server time.Time, number numberReader) (longest time.Duration, found bool) {
	for _, line := range lines {
		eachValue(line, func(value string) {
			// Text after a semicolon describes the value (draft-polli-ratelimit-headers).
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

// serverNow returns the time of the answer by the server's own clock. The server's
// dates are compared with it, so that the wait is right even if that clock is wrong (RFC
// 9110, 6.6.1 and 10.2.3).
func serverNow(h http.Header, received time.Time) time.Time {
	if date, ok := readDate(h.Get("Date"), received); ok {
		return date
	}
	return received
}

// decimal is a number of seconds or milliseconds in a header: the whole part, and the
// fraction in billionths.
type decimal struct {
	whole    int64
	fraction int64
}

// readDecimal parses digits with an optional sign and fraction. A number that is too
// large becomes the largest one. A negative number becomes 0: a wait that has passed
// needs no wait.
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

// times returns the number times the unit, at most the longest duration.
func (d decimal) times(unit time.Duration) time.Duration {
	if d.whole >= math.MaxInt64/int64(unit)-1 {
		return math.MaxInt64
	}
	if unit >= time.Second {
		return time.Duration(d.whole)*unit + time.Duration(d.fraction)*(unit/time.Second)
	}
	return time.Duration(d.whole)*unit + time.Duration(d.fraction)/(time.Second/unit)
}

// durationUnits are the units of a duration, in Go's notation and with days. Of two
// that begin with the same letter, the longer one is first.
var durationUnits = []struct {
	name string
	unit time.Duration
}{
	{"ms", time.Millisecond}, {"us", time.Microsecond}, {"µs", time.Microsecond}, {"ns", time.Nanosecond},
	{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second},
}

// readDuration parses 6m0s, 12ms, 1h30m, 1d2h or 2m59.56s. A negative one becomes 0,
// one that is too long becomes the longest duration.
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
