package policy

import (
	"net/http"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// longest is a jitter that always returns the highest number.
func longest(n int64) int64 { return n - 1 }

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestTheFirstSourceThatGivesATimeEndsTheHold(t *testing.T) {
	midnight, err := NewCalendar("0 0 * * *", "Asia/Shanghai")
	if err != nil {
		t.Fatal(err)
	}
	hold := Hold{
		Sources: []Source{SourceRetryAfter, SourceRateLimitReset, SourceCalendar, SourceLadder},
		Max:     25 * time.Hour, Calendar: midnight, Ladder: []time.Duration{time.Minute, time.Hour},
	}
	plain, rungs := hold, hold
	plain.Calendar = nil
	rungs.Sources = []Source{SourceLadder}
	for name, c := range map[string]struct {
		hold   Hold
		header http.Header
		rung   int
		wait   time.Duration
		source Source
	}{
		"retry-after comes first":     {hold, headers("Retry-After", "30", "RateLimit-Reset", "60"), 0, 30 * time.Second, SourceRetryAfter},
		"then the rate limit's reset": {hold, headers("Retry-After", "soon", "X-RateLimit-Reset", "60"), 0, time.Minute, SourceRateLimitReset},
		"then the calendar":           {hold, nil, 0, 4 * time.Hour, SourceCalendar},
		"a hold without a calendar":   {plain, nil, 0, time.Minute, SourceLadder},
		"the second rung":             {plain, nil, 1, time.Hour, SourceLadder},
		"the last rung repeats":       {plain, nil, 99, time.Hour, SourceLadder},
		"and goes on repeating":       {plain, nil, 98, time.Hour, SourceLadder},
		"a rung below the first":      {plain, nil, -1, time.Minute, SourceLadder},
		"sources that are not listed": {rungs, headers("Retry-After", "30"), 0, time.Minute, SourceLadder},
		"the zero hold has a ladder":  {Hold{}, nil, 7, time.Minute, SourceLadder},
		"Retry-After 0 is a second":   {hold, headers("Retry-After", "0"), 0, time.Second, SourceRetryAfter},
		"a past date is a second too": {hold, headers("Retry-After", "Sun, 01 Mar 2026 11:00:00 GMT"), 0, time.Second, SourceRetryAfter},
		"above max is max":            {hold, headers("Retry-After", "999999999999999999999"), 0, 25 * time.Hour, SourceRetryAfter},
		"a reset above max is max":    {hold, headers("X-RateLimit-Reset", "99999999999999999999"), 0, 25 * time.Hour, SourceRateLimitReset},
		"the zero hold has a max":     {Hold{Sources: []Source{SourceRetryAfter}}, headers("Retry-After", "9999999"), 0, 25 * time.Hour, SourceRetryAfter},
	} {
		until, source := c.hold.Until(Outcome{Header: c.header, ReceivedAt: noon}, noon, c.rung, nil)
		if until.Sub(noon) != c.wait || source != c.source {
			t.Errorf("%s: got %s by %s, want %s by %s", name, until.Sub(noon), source, c.wait, c.source)
		}
	}
}

func TestTheServersWaitCountsFromTheAnswersArrival(t *testing.T) {
	h := Hold{Sources: []Source{SourceRetryAfter}}
	o := Outcome{Header: headers("Retry-After", "30"), ReceivedAt: noon}
	if until, _ := h.Until(o, noon.Add(10*time.Second), 0, nil); !until.Equal(noon.Add(30 * time.Second)) {
		t.Errorf("got an end at %s", until)
	}
	o.ReceivedAt = time.Time{}
	if until, _ := h.Until(o, noon, 0, nil); !until.Equal(noon.Add(30 * time.Second)) {
		t.Errorf("without ReceivedAt: got an end at %s", until)
	}
}

func TestACalendarsTimeDoesNotDependOnWhenTheAnswerArrived(t *testing.T) {
	midnight, err := NewCalendar("0 0 * * *", "UTC")
	if err != nil {
		t.Fatal(err)
	}
	h := Hold{Sources: []Source{SourceCalendar}, Calendar: midnight}
	for _, ago := range []time.Duration{0, time.Second, time.Minute} {
		until, _ := h.Until(Outcome{ReceivedAt: noon.Add(-ago)}, noon, 0, nil)
		if want := noon.Add(12 * time.Hour); !until.Equal(want) {
			t.Errorf("an answer %s ago holds until %s, want %s", ago, until, want)
		}
	}
}

func TestJitterAddsATenthAndAtMostHalfASecond(t *testing.T) {
	for after, want := range map[string]time.Duration{
		"1": 1100 * time.Millisecond, "60": 60500 * time.Millisecond, "90000": 25 * time.Hour, "0": 1100 * time.Millisecond,
	} {
		h := Hold{Sources: []Source{SourceRetryAfter}}
		until, _ := h.Until(Outcome{Header: headers("Retry-After", after), ReceivedAt: noon}, noon, 0, longest)
		if until.Sub(noon) != want {
			t.Errorf("Retry-After %s: %s, want %s", after, until.Sub(noon), want)
		}
	}
}

func TestJitterNeverShortensAWait(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hold{
			Sources: []Source{rapid.SampledFrom(holdSources).Draw(t, "source")},
			Max:     time.Duration(rapid.Int64Range(1, int64(100*time.Hour)).Draw(t, "max")),
			Ladder:  []time.Duration{time.Duration(rapid.Int64Range(1, int64(100*time.Hour)).Draw(t, "rung"))},
		}
		value := rapid.OneOf(rapid.StringMatching(`[0-9]{1,25}(\.[0-9]{0,12})?`), rapid.String()).Draw(t, "value")
		o := Outcome{Header: headers("Retry-After", value, "X-RateLimit-Reset", value), ReceivedAt: noon}
		drawn := rapid.Int64().Draw(t, "drawn")
		plain, source := h.Until(o, noon, 0, nil)
		jittered, same := h.Until(o, noon, 0, func(int64) int64 { return drawn })
		if source != same || jittered.Before(plain) || jittered.Sub(plain) > 500*time.Millisecond {
			t.Fatalf("got %s by %s, with jitter %s by %s", plain, source, jittered, same)
		}
		if !plain.After(noon) || jittered.Sub(noon) > h.Max {
			t.Fatalf("a hold of %s became %s with jitter, max is %s", plain.Sub(noon), jittered.Sub(noon), h.Max)
		}
	})
}

func TestACalendarTicksInItsOwnTimeZone(t *testing.T) {
	for _, c := range []struct {
		cron, zone, now, want string
	}{
		{"0 0 * * *", "", "2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z"},
		{"0 0 * * *", "UTC", "2026-03-02T00:00:00Z", "2026-03-03T00:00:00Z"},
		{"0 8 * * *", "Asia/Shanghai", "2026-03-01T12:00:00Z", "2026-03-02T00:00:00Z"},
		{"@monthly", "UTC", "2026-03-01T12:00:00Z", "2026-04-01T00:00:00Z"},
		{"0 0 29 2 *", "UTC", "2026-03-01T12:00:00Z", "2028-02-29T00:00:00Z"},
		// In Berlin the clocks went from 02:00 to 03:00 that night.
		{"0 0 * * *", "Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29T22:00:00Z"},
		// A time within the skipped hour occurs at 03:00.
		{"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:00:00Z"},
	} {
		calendar, err := NewCalendar(c.cron, c.zone)
		if err != nil {
			t.Fatal(err)
		}
		now, err := time.Parse(time.RFC3339, c.now)
		if err != nil {
			t.Fatal(err)
		}
		if tick, ok := calendar.next(now); !ok || tick.UTC().Format(time.RFC3339) != c.want {
			t.Errorf("%s %s after %s: got %s, want %s", c.cron, c.zone, c.now, tick, c.want)
		}
		if calendar.Cron() != c.cron || calendar.Timezone() == "" {
			t.Errorf("got %q and %q", calendar.Cron(), calendar.Timezone())
		}
	}
	if _, ok := (&Calendar{}).next(noon); ok {
		t.Error("the zero calendar has a time")
	}
}
