package policy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// Calendar is when an API's quota starts afresh.
type Calendar struct {
	cron     string
	timezone string
	schedule cron.Schedule
}

// NewCalendar reads a cron expression of five fields (or @daily and its like)
// whose times are those of timezone, a name of the IANA database; "" is UTC. An
// expression that never comes true is an error.
func NewCalendar(expression, timezone string) (*Calendar, error) {
	if timezone == "" {
		timezone = "UTC"
	}
	if timezone == "Local" {
		return nil, errors.New(`timezone "Local" differs from machine to machine; name one, such as Asia/Shanghai`)
	}
	location, err := time.LoadLocation(timezone)
	if err != nil {
		return nil, fmt.Errorf("timezone %q: %w", timezone, err)
	}
	if strings.Contains(expression, "TZ=") {
		return nil, errors.New("the timezone has a key of its own: calendar: {cron: …, timezone: …}")
	}
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		return nil, fmt.Errorf("cron %q: %w", expression, err)
	}
	if spec, ok := schedule.(*cron.SpecSchedule); ok {
		spec.Location = location
	}
	// Any instant will do; the library looks five years ahead.
	if schedule.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("cron %q never comes true", expression)
	}
	return &Calendar{cron: expression, timezone: timezone, schedule: schedule}, nil
}

// Cron is the expression.
func (c *Calendar) Cron() string { return c.cron }

// Timezone is the name of the expression's time zone.
func (c *Calendar) Timezone() string { return c.timezone }

// next is the first tick after now; a nil or zero Calendar has none.
func (c *Calendar) next(now time.Time) (time.Time, bool) {
	if c == nil || c.schedule == nil {
		return time.Time{}, false
	}
	tick := c.schedule.Next(now)
	return tick, !tick.IsZero()
}
