package policy

import (
	"math"
	"net/http"
	"testing"
	"time"
)

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	for value, want := range map[string]time.Duration{
		"0":                              0,
		"120":                            2 * time.Minute,
		" 120 ":                          2 * time.Minute,
		"1.5":                            1500 * time.Millisecond,
		"-5":                             0,
		"99999999999999999999999":        math.MaxInt64,
		"9223372036854775807":            math.MaxInt64,
		"Sun, 01 Mar 2026 12:01:00 GMT":  time.Minute,
		"Sunday, 01-Mar-26 12:01:00 GMT": time.Minute,
		"Sun Mar  1 12:01:00 2026":       time.Minute,
		"Sun, 01 Mar 2026 11:59:00 GMT":  -time.Minute,
	} {
		if got, ok := RetryAfter(headers("Retry-After", value), noon); !ok || got != want {
			t.Errorf("%q: got %s %v, want %s", value, got, ok, want)
		}
	}
	for _, value := range []string{"", " ", "soon", "1e3", "0x10", "Sun, 01 Mar 2026", "Sun, 31 Feb 2026 12:01:00 GMT",
		"Sun, 01 Mar 2026 12:01:00 XYZ", "Sun, 01 Mar 2026 25:01:00 GMT", "01 01 Mar 2026 12:01:00 GMT", "2026-13-01T12:01:00Z", "5 parsecs", "1h2", "٣"} {
		if got, ok := RetryAfter(headers("Retry-After", value), noon); ok {
			t.Errorf("%q gives a wait of %s, want none", value, got)
		}
	}
}

func TestADateIsComparedWithTheServersOwnClock(t *testing.T) {
	// The server's clock is an hour slow; the server still means a minute.
	h := headers("Date", "Sun, 01 Mar 2026 11:00:00 GMT", "Retry-After", "Sun, 01 Mar 2026 11:01:00 GMT")
	if got, ok := RetryAfter(h, noon); !ok || got != time.Minute {
		t.Errorf("got %s %v", got, ok)
	}
	h.Set("Date", "yesterday")
	if got, _ := RetryAfter(h, noon); got != -59*time.Minute {
		t.Errorf("with a Date that cannot be read: got %s", got)
	}
	reset := headers("Date", "Sun, 01 Mar 2026 11:00:00 GMT", "X-RateLimit-Reset", "1772362860")
	if got, ok := resetOf(reset); !ok || got != time.Minute {
		t.Errorf("a reset: got %s %v", got, ok)
	}
}

func TestYearsOfTwoDigitsAreReadAsTheRFCSays(t *testing.T) {
	for value, want := range map[string]int{
		"Sunday, 06-Nov-94 08:49:37 GMT": 1994,
		"Sunday, 06-Nov-26 08:49:37 GMT": 2026,
		"Sunday, 06-Nov-70 08:49:37 GMT": 2070,
		"Sunday, 06-Nov-75 08:49:37 GMT": 2075,
		"Sunday, 06-Nov-77 08:49:37 GMT": 1977,
	} {
		if got, ok := readDate(value, noon); !ok || got.Year() != want {
			t.Errorf("%s: got %s, want %d", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, value := range []string{"0", "120", "1.5", "-1", "99999999999999999999", "Sun, 06 Nov 1994 08:49:37 GMT",
		"Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "1e9", "\x00", "Sunday, 06-Nov-00 08:49:37 PST"} {
		f.Add(value, "Sun, 06 Nov 1994 08:49:07 GMT")
		f.Add(value, value)
	}
	h := Hold{Sources: []Source{SourceRetryAfter}, Max: 25 * time.Hour}
	f.Fuzz(func(t *testing.T, value, date string) {
		o := Outcome{Header: http.Header{"Retry-After": {value}, "Date": {date}}, ReceivedAt: noon}
		checkUntil(t, h, o)
	})
}

// checkUntil checks what must be true of every answer's hold.
func checkUntil(t *testing.T, h Hold, o Outcome) {
	t.Helper()
	plain, _ := h.Until(o, noon, 0, nil)
	late, _ := h.Until(o, noon, 0, longest)
	if !plain.After(noon) || plain.Sub(noon) > h.Max || late.Before(plain) || late.Sub(plain) > mostJitter || late.Sub(noon) > h.Max {
		t.Fatalf("got holds of %s and %s", plain.Sub(noon), late.Sub(noon))
	}
}
