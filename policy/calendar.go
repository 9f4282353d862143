package policy

import (
	"time"

	"github.com/seed-2903acc3/callq/policy/calendar"
)

// Calendar is when an API's quota starts afresh. The zero value never comes true.
type Calendar struct{ of *calendar.Calendar }

// NewCalendar reads a cron expression of five fields (or @daily and its like)
// whose times are those of timezone, a name of the IANA database; "" is UTC. An
// expression that never comes true is an error. Where clocks are put forward or back,
// each time of day that the expression names still comes once.
func NewCalendar(cron, timezone string) (*Calendar, error) {
	of, err := calendar.New(cron, timezone)
	if err != nil {
		return nil, err
	}
	return &Calendar{of}, nil
}

// Cron is the expression.
func (c *Calendar) Cron() string { return c.of.Cron() }

// Timezone is the name of the expression's time zone.
func (c *Calendar) Timezone() string { return c.of.Timezone() }

// next is the first tick after now; a nil or zero Calendar has none.
func (c *Calendar) next(now time.Time) (time.Time, bool) {
	if c == nil || c.of == nil {
		return time.Time{}, false
	}
	tick := c.of.Next(now)
	return tick, !tick.IsZero()
}
