// Package calendar computes the instants that a cron expression names in a time
// zone, for holds and schedules. It may change. It reads no clock and runs nothing at
// those instants.
//
//	c, err := calendar.New("30 2 * * *", "Europe/Berlin")
//	if err != nil {
//		return err
//	}
//	next := c.Next(now)
//
// When clocks change for daylight saving, an expression that names its hours (such as
// 30 2 * * * or 0 */6 * * *) still occurs once for each time of day that it names. A
// time within the hour that is skipped occurs at the end of that hour; a time within
// the hour that occurs twice occurs the first time only. An expression for every hour
// follows the local clock: it does not occur in the hour that is skipped, and occurs
// twice in the hour that occurs twice.
package calendar

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // small images have no database of time zones

	"github.com/robfig/cron/v3"
)

// Calendar is a cron expression in a time zone. It never changes, and is safe for
// concurrent use.
type Calendar struct {
	cron, timezone string
	spec           cron.SpecSchedule
	location       *time.Location
}

// everyHour is cron's mark on a field that was written as a star.
const everyHour = 1 << 63

// New returns a Calendar; see [ParseCron] and [ParseTimezone]. An empty timezone is
// UTC.
func New(expression, timezone string) (*Calendar, error) {
	if timezone == "" {
		timezone = "UTC"
	}
	c, err := ParseCron(expression)
	if err != nil {
		return nil, fmt.Errorf("%q %w", expression, err)
	}
	zone, err := ParseTimezone(timezone)
	if err != nil {
		return nil, fmt.Errorf("%q %w", timezone, err)
	}
	return c.In(zone), nil
}

// Cron is a cron expression without a time zone. The zero value is not one: make it
// with [ParseCron].
type Cron struct {
	text string
	spec cron.SpecSchedule
}

// ParseCron parses a cron expression. It has five fields (minute, hour, day of month,
// month, day of week), or is one of @hourly, @daily, @weekly, @monthly, @yearly and
// their other names. It must name at least one time. The error says what is wrong and
// does not repeat the expression.
func ParseCron(expression string) (Cron, error) {
	spec, err := parse(expression)
	return Cron{strings.Join(strings.Fields(expression), " "), spec}, err
}

// In returns the calendar of the expression in a time zone.
func (c Cron) In(zone *time.Location) *Calendar {
	return &Calendar{c.text, zone.String(), c.spec, zone}
}

// ParseTimezone looks up a name of the IANA database. The error does not repeat the
// name.
func ParseTimezone(name string) (*time.Location, error) {
	zone, err := time.LoadLocation(name)
	// "Local" would mean something else on every machine of the fleet.
	if err != nil || name == "Local" || name == "" {
		return nil, errors.New("is not a known time zone; write one as in Asia/Shanghai or UTC")
	}
	return zone, nil
}

const write = `write minute, hour, day of month, month and day of week, as in "30 6 * * 1-5", or @hourly, @daily, @weekly, @monthly`

func parse(expression string) (cron.SpecSchedule, error) {
	none := cron.SpecSchedule{}
	switch fields := strings.Fields(expression); {
	case strings.Contains(expression, "TZ="):
		return none, errors.New("names a time zone; write it in the key timezone")
	case strings.HasPrefix(expression, "@every"):
		return none, errors.New("has no fixed times, so workers cannot agree on them; " + write)
	case strings.HasPrefix(expression, "@"):
	case len(fields) != 5:
		return none, fmt.Errorf("has %d fields instead of 5; %s", len(fields), write)
	}
	schedule, err := cron.ParseStandard(expression)
	spec, ok := schedule.(*cron.SpecSchedule)
	if err != nil || !ok {
		return none, fmt.Errorf("is not a cron expression (%w); %s", err, write)
	}
	spec.Location = time.UTC
	// Any start will do: the library searches five years ahead.
	if spec.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return none, errors.New("names a date that does not exist; correct the day or the month")
	}
	return *spec, nil
}

// Cron returns the expression, with single spaces.
func (c *Calendar) Cron() string { return c.cron }

// Timezone returns the name of the time zone, "UTC" if none was given.
func (c *Calendar) Timezone() string { return c.timezone }

// String returns the expression with its time zone. Equal calendars have equal
// strings.
func (c *Calendar) String() string { return c.cron + " " + c.timezone }

// MarshalText returns [Calendar.String].
func (c *Calendar) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// Next returns the first instant after t that the expression names, in UTC, or the
// zero time if there is none within five years.
func (c *Calendar) Next(t time.Time) time.Time {
	if c.spec.Hour&everyHour != 0 {
		return c.byClock(t)
	}
	return c.byDay(t)
}

// byDay is Next for expressions that name their hours.
func (c *Calendar) byDay(t time.Time) time.Time {
	for wall := wallOf(t.In(c.location)); ; {
		wall = c.spec.Next(wall)
		if wall.IsZero() {
			return time.Time{}
		}
		if at := c.instant(wall); at.After(t) {
			return at.UTC()
		}
	}
}

// byClock is Next for expressions of every hour. Between two clock changes a zone has
// a fixed offset from UTC, so cron's own Next is right there.
func (c *Calendar) byClock(t time.Time) time.Time {
	for limit := t.AddDate(5, 0, 0); !t.After(limit); {
		local := t.In(c.location)
		_, offset := local.Zone()
		_, end := local.ZoneBounds()
		shift := time.Duration(offset) * time.Second
		wall := c.spec.Next(t.UTC().Add(shift))
		at := wall.Add(-shift)
		if !wall.IsZero() && (end.IsZero() || at.Before(end)) {
			return at
		}
		if end.IsZero() {
			return time.Time{}
		}
		// Next returns only later instants, but the expression may name the very
		// moment of the change.
		if wall := wallOf(end.In(c.location)); c.spec.Next(wall.Add(-time.Second)).Equal(wall) {
			return end.UTC()
		}
		t = end
	}
	return time.Time{}
}

// wallOf returns what a clock in t's zone shows at t, as a time in UTC.
func wallOf(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

// instant returns when clocks first show wall. If they skip it, instant returns the
// moment of the skip.
func (c *Calendar) instant(wall time.Time) time.Time {
	at := time.Date(wall.Year(), wall.Month(), wall.Day(), wall.Hour(), wall.Minute(), wall.Second(), 0, c.location)
	start, end := at.ZoneBounds()
	switch shown := wallOf(at); {
	case shown.After(wall):
		return start
	case shown.Before(wall):
		return end
	case start.IsZero():
		return at
	}
	_, offset := start.Add(-time.Second).Zone()
	if earlier := wall.Add(-time.Duration(offset) * time.Second); earlier.Before(start) {
		return earlier
	}
	return at
}
