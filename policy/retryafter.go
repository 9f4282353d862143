package policy

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// retryAfter reads the Retry-After header: how long after the answer arrived
// the server wants to be left alone. RFC 9110, 10.2.3: a number of seconds or a
// date. A date is measured against the server's own clock. The wait may be zero
// or negative, as the server said.
func retryAfter(h http.Header, received time.Time) (time.Duration, bool) {
	value := strings.TrimSpace(h.Get("Retry-After"))
	if value == "" {
		return 0, false
	}
	if n, ok := readDecimal(value); ok {
		return n.seconds(), true
	}
	server := serverNow(h, received)
	if date, ok := httpDate(value, server); ok {
		return date.Sub(server), true
	}
	return 0, false
}

// httpDate reads a date in any of the three forms of RFC 9110, 5.6.7. The
// obsolete RFC 850 form has years of two digits: one that would be more than 50
// years after about is the latest past year with those digits.
func httpDate(s string, about time.Time) (time.Time, bool) {
	t, err := http.ParseTime(strings.TrimSpace(s))
	if err != nil {
		return time.Time{}, false
	}
	if _, err := time.Parse(time.RFC850, strings.TrimSpace(s)); err == nil {
		for t.AddDate(50, 0, 0).Before(about) {
			t = t.AddDate(100, 0, 0)
		}
		for t.After(about.AddDate(50, 0, 0)) {
			t = t.AddDate(-100, 0, 0)
		}
	}
	return t, true
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

func (d decimal) seconds() time.Duration {
	if d.whole >= math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(d.whole)*time.Second + time.Duration(d.fraction)
}

func (d decimal) milliseconds() time.Duration {
	if d.whole >= math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(d.whole)*time.Millisecond + time.Duration(d.fraction/1000)
}
