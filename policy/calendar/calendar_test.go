package calendar_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/seed-2903acc3/callq/policy/calendar"
)

func must(t *testing.T, expression, timezone string) *calendar.Calendar {
	t.Helper()
	c, err := calendar.New(expression, timezone)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func at(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// ticks returns the times of c from one instant, included, to another, excluded.
func ticks(t *testing.T, c *calendar.Calendar, from, to string) string {
	t.Helper()
	var list []string
	for tick := c.Next(at(t, from).Add(-time.Second)); tick.Before(at(t, to)); tick = c.Next(tick) {
		if tick.Location() != time.UTC {
			t.Fatalf("%s is not in UTC", tick)
		}
		list = append(list, tick.Format("02T15:04"))
	}
	return strings.Join(list, " ")
}

func TestTicksFollowTheTimezone(t *testing.T) {
	for _, tc := range []struct{ cron, timezone, from, to, want string }{
		{"0 6 * * *", "", "2026-06-01T00:00:00Z", "2026-06-03T00:00:00Z", "01T06:00 02T06:00"},
		{"0 6 * * *", "Asia/Shanghai", "2026-06-01T00:00:00Z", "2026-06-03T00:00:00Z", "01T22:00 02T22:00"},
		{"@daily", "Asia/Kathmandu", "2026-06-01T00:00:00Z", "2026-06-02T00:00:00Z", "01T18:15"},
		{"*/20 12 * * 1-5", "UTC", "2026-06-05T00:00:00Z", "2026-06-09T00:00:00Z", "05T12:00 05T12:20 05T12:40 08T12:00 08T12:20 08T12:40"},
		{"0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", "2029-01-01T00:00:00Z", "29T00:00"},
	} {
		if got := ticks(t, must(t, tc.cron, tc.timezone), tc.from, tc.to); got != tc.want {
			t.Errorf("%s %s: got %s, want %s", tc.cron, tc.timezone, got, tc.want)
		}
	}
}

func TestANamedHourOccursOnceADayAcrossClockChanges(t *testing.T) {
	for name, tc := range map[string]struct{ cron, timezone, from, to, want string }{
		// New York: 02:00 to 03:00 is skipped on March 8, 01:00 to 02:00 occurs twice on November 1.
		"skipped":                {"30 2 * * *", "America/New_York", "2026-03-07T05:00:00Z", "2026-03-10T04:00:00Z", "07T07:30 08T07:00 09T06:30"},
		"skipped in Berlin":      {"30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", "2026-03-31T00:00:00Z", "28T01:30 29T01:00 30T00:30"},
		"several are skipped":    {"0,30 2-3 * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-09T04:00:00Z", "08T07:00 08T07:30"},
		"twice":                  {"30 1 * * *", "America/New_York", "2026-10-31T04:00:00Z", "2026-11-03T05:00:00Z", "31T05:30 01T05:30 02T06:30"},
		"twice, from in between": {"30 1 * * *", "America/New_York", "2026-11-01T06:10:00Z", "2026-11-03T05:00:00Z", "02T06:30"},
		"midnight is skipped":    {"0 0 * * *", "America/Sao_Paulo", "2018-11-03T00:00:00Z", "2018-11-06T00:00:00Z", "03T03:00 04T03:00 05T02:00"},
		"half an hour":           {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T00:00:00Z", "2026-10-05T00:00:00Z", "03T15:30 04T15:15"},
	} {
		if got := ticks(t, must(t, tc.cron, tc.timezone), tc.from, tc.to); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestAnHourlyExpressionContinuesAcrossClockChanges(t *testing.T) {
	for name, tc := range map[string]struct{ cron, timezone, from, to, want string }{
		"skipped":             {"0 * * * *", "America/New_York", "2026-03-08T05:00:00Z", "2026-03-08T10:00:00Z", "08T05:00 08T06:00 08T07:00 08T08:00 08T09:00"},
		"twice":               {"30 * * * *", "America/New_York", "2026-11-01T04:00:00Z", "2026-11-01T08:00:00Z", "01T04:30 01T05:30 01T06:30 01T07:30"},
		"midnight is skipped": {"0 * 4 11 *", "America/Sao_Paulo", "2018-11-04T00:00:00Z", "2018-11-04T06:00:00Z", "04T03:00 04T04:00 04T05:00"},
		"half an hour":        {"0 * * * *", "Australia/Lord_Howe", "2026-10-03T13:00:00Z", "2026-10-03T18:00:00Z", "03T13:30 03T14:30 03T16:00 03T17:00"},
	} {
		if got := ticks(t, must(t, tc.cron, tc.timezone), tc.from, tc.to); got != tc.want {
			t.Errorf("%s: got %s, want %s", name, got, tc.want)
		}
	}
}

func TestExpressionsWithoutFixedTimesAreRefused(t *testing.T) {
	for expression, want := range map[string]string{
		"@every 1h":              "no fixed times",
		"0 0 6 * * *":            "6 fields instead of 5",
		"":                       "0 fields instead of 5",
		"61 * * * *":             "above maximum",
		"@fortnightly":           "unrecognized descriptor",
		"TZ=UTC 0 6 * * *":       "in the key timezone",
		"CRON_TZ=UTC 0 6 * * *":  "in the key timezone",
		"0 0 31 2 *":             "does not exist",
		"*/0 * * * *":            "is not a cron expression",
		"99999999999999 * * * *": "is not a cron expression",
	} {
		if _, err := calendar.ParseCron(expression); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", expression, err, want)
		}
	}
	for _, timezone := range []string{"Local", "Mars/Olympus", "../UTC"} {
		if _, err := calendar.New("@daily", timezone); err == nil || !strings.Contains(err.Error(), "not a known time zone") {
			t.Errorf("%s: got %v", timezone, err)
		}
	}
}

func TestEqualExpressionsHaveTheSameText(t *testing.T) {
	if got := must(t, " 0  6 *\t* * ", "").String(); got != "0 6 * * * UTC" {
		t.Errorf("got %q", got)
	}
}

// A tick must not depend on when it is computed: workers do so at different times.
func TestEveryInstantBeforeATickHasTheSameNextTick(t *testing.T) {
	zones := []string{"UTC", "America/New_York", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca"}
	crons := []string{"* * * * *", "*/7 * * * *", "30 2 * * *", "0,30 0-3 * * *", "0 */6 * * *", "15 1 * * 0", "@hourly", "0 0 1 * *", "59 * 4 11 *"}
	rapid.Check(t, func(r *rapid.T) {
		c := must(t, rapid.SampledFrom(crons).Draw(r, "cron"), rapid.SampledFrom(zones).Draw(r, "timezone"))
		from := time.Unix(rapid.Int64Range(1514764800, 1830297600).Draw(r, "from"), 0)
		tick := c.Next(from)
		if !tick.After(from) {
			r.Fatalf("%s: %s is not after %s", c, tick, from)
		}
		between := from.Add(time.Duration(rapid.Int64Range(0, int64(tick.Sub(from))-1).Draw(r, "between")))
		if got := c.Next(between); !got.Equal(tick) {
			r.Fatalf("%s: from %s it is %s, from %s it is %s", c, from.UTC(), tick, between.UTC(), got)
		}
	})
}

func FuzzNew(f *testing.F) {
	for _, text := range []string{"0 6 * * *", "@daily", "@every 1s", "*/5 1-3,7 ? JAN MON", "0 0 31 2 *"} {
		f.Add(text, "Europe/Berlin")
	}
	now := time.Date(2026, 3, 8, 6, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, expression, timezone string) {
		c, err := calendar.New(expression, timezone)
		if err != nil {
			return
		}
		if next := c.Next(now); !next.IsZero() && !next.After(now) {
			t.Errorf("%s: %s is not after %s", c, next, now)
		}
	})
}
