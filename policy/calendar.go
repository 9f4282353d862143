package policy

import (
	"time"

	"github.com/seed-2903acc3/callq/policy/calendar"
)

// Calendar is when an API's quota is reset. The zero value has no such times.
type Calendar struct{ of *calendar.Calendar }

// NewCalendar parses a cron expression of five fields, or one such as @daily. Its
// times are in timezone, a name of the IANA database; "" is UTC. An expression that
// has no times is an error. When clocks change for daylight saving, each time of day
// that the expression names still occurs once.
func NewCalendar(cron, timezone string) (*Calendar, error) {
	of, err := calendar.New(cron, timezone)
	if err != nil {
		return nil, err
	}
	return &Calendar{of}, nil
}

// Cron returns the expression.
func (c *Calendar) Cron() string { return c.of.Cron() }

// Timezone returns the name of the time zone.
func (c *Calendar) Timezone() string { return c.of.Timezone() }

// next returns the first time after now. A nil or zero Calendar has none.
func (c *Calendar) next(now time.Time) (time.Time, bool) {
	if c == nil || c.of == nil {
		return time.Time{}, false
	}
	tick := c.of.Next(now)
	return tick, !tick.IsZero()
}
