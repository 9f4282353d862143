package limit

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // a reset names a time zone, and small images have no time zone database
)

// Unit is the unit of a [Period].
type Unit string

// The units. A month is a calendar month, so a Period is not a time.Duration.
const (
	Second Unit = "second"
	Minute Unit = "minute"
	Hour   Unit = "hour"
	Day    Unit = "day"
	Week   Unit = "week"
	Month  Unit = "month"
)

var units = map[string]Unit{
	"s": Second, "sec": Second, "second": Second,
	"m": Minute, "min": Minute, "minute": Minute,
	"h": Hour, "hour": Hour,
	"d": Day, "day": Day,
	"w": Week, "week": Week,
	"month": Month,
}

// Period is a length of time in which calls or money are counted.
type Period struct {
	// N is how many units; at least 1.
	N int
	// Unit is the unit of N.
	Unit Unit
}

// Reset is the time of day at which a new window begins.
type Reset struct {
	Hour, Minute int
	// Location is never nil; it is UTC unless the text names another.
	Location *time.Location
}

// Limit is one entry of an upstream's limits: either Adaptive, or a number of calls
// in a period.
type Limit struct {
	// Text is the limit as it was written.
	Text string
	// Adaptive means a rate that follows the API's own rate errors; the
	// fields below are then zero.
	Adaptive bool
	// Count is how many calls Per allows; at least 1.
	Count int64
	// Per is the period.
	Per Period
	// Burst is how many calls may be made at once; 0 where it was not given.
	Burst int64
	// Reset is when a new window begins; nil where it was not given.
	Reset *Reset
}

// Budget is one entry of an upstream's budget: a number of calls, or an amount of money,
// in a period.
type Budget struct {
	// Text is the budget as it was written.
	Text string
	// Calls is the number of calls; 0 for a budget of money.
	Calls int64
	// Micros is the amount in millionths of Currency; 0 for a budget of calls.
	Micros int64
	// Currency is three capital letters; empty for a budget of calls.
	Currency string
	// Per is the period.
	Per Period
}

// maxCount is so small that sums of counts and amounts cannot overflow an int64.
const maxCount = 1_000_000_000_000

const (
	periodPattern = `/\s*(\d{1,4})?\s*([a-z]+)`
	amountPattern = `(\d{1,13}(?:\.\d{1,6})?)`
)

var (
	limitPattern  = regexp.MustCompile(`^(\d{1,13})\s*` + periodPattern + `(?:\s+burst\s+(\d{1,13}))?(?:\s+reset\s+(\d{1,2}):(\d{2})(?:\s+(\S+))?)?$`)
	budgetPattern = regexp.MustCompile(`^` + amountPattern + `\s+([A-Za-z]+)\s*` + periodPattern + `$`)
)

var (
	errLimit  = errors.New(`is not a limit; write one as in "10/s burst 20", "5000/day", "1000/h reset 08:00 Asia/Shanghai" or "adaptive"`)
	errBudget = errors.New(`is not a budget; write one as in "100 USD/month" or "20000 calls/day"`)
)

// Parse reads one limit: COUNT/PERIOD, optionally followed by "burst N" or "reset HH:MM
// ZONE"; or "adaptive". A period is a unit (s, m, h, day, week, month), optionally with a
// number before it, as in 100/15m.
func Parse(text string) (Limit, error) {
	limit := Limit{Text: text}
	if text == "adaptive" {
		limit.Adaptive = true
		return limit, nil
	}
	m := limitPattern.FindStringSubmatch(text)
	if m == nil {
		return Limit{}, errLimit
	}
	var err error
	if limit.Count, err = parseCount(m[1]); err != nil {
		return Limit{}, err
	}
	if limit.Per, err = parsePeriod(m[2], m[3]); err != nil {
		return Limit{}, err
	}
	if m[4] != "" {
		if limit.Burst, err = parseCount(m[4]); err != nil {
			return Limit{}, err
		}
	}
	if m[5] == "" {
		return limit, nil
	}
	if limit.Burst != 0 {
		return Limit{}, errors.New("has both a burst and a reset; a burst belongs to a steady rate, a reset to a window, so write two limits")
	}
	if limit.Per.Unit == Second || limit.Per.Unit == Minute {
		return Limit{}, errors.New("has a reset, which needs a window of an hour or longer")
	}
	limit.Reset, err = parseReset(m[5], m[6], m[7])
	return limit, err
}

func parseReset(hour, minute, zone string) (*Reset, error) {
	h, _ := strconv.Atoi(hour)
	m, _ := strconv.Atoi(minute)
	if h > 23 || m > 59 {
		return nil, fmt.Errorf("resets at %s:%s, which is not a time of day; write 00:00 to 23:59", hour, minute)
	}
	reset := &Reset{Hour: h, Minute: m, Location: time.UTC}
	if zone == "" {
		return reset, nil
	}
	location, err := time.LoadLocation(zone)
	// "Local" could be a different zone on each machine of the fleet.
	if err != nil || zone == "Local" {
		return nil, fmt.Errorf("names the time zone %q, which is not known; write one as in Asia/Shanghai or UTC", zone)
	}
	reset.Location = location
	return reset, nil
}

// ParseBudget reads one budget: AMOUNT CURRENCY/PERIOD or COUNT calls/PERIOD.
func ParseBudget(text string) (Budget, error) {
	m := budgetPattern.FindStringSubmatch(text)
	if m == nil {
		return Budget{}, errBudget
	}
	budget := Budget{Text: text}
	var err error
	if budget.Per, err = parsePeriod(m[3], m[4]); err != nil {
		return Budget{}, err
	}
	switch what := m[2]; {
	case what == "calls" || what == "call":
		if strings.Contains(m[1], ".") {
			return Budget{}, errors.New("counts calls and so must be a whole number")
		}
		budget.Calls, err = parseCount(m[1])
	case len(what) == 3 && strings.ToUpper(what) == what:
		budget.Currency = what
		budget.Micros, err = ParseMicros(m[1])
		if err == nil && budget.Micros == 0 {
			err = errors.New("allows nothing; write an amount above 0")
		}
	default:
		err = fmt.Errorf("is in %q; write calls, or a currency as three capital letters", what)
	}
	if err != nil {
		return Budget{}, err
	}
	return budget, nil
}

func parseCount(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 1 || n > maxCount {
		return 0, fmt.Errorf("has %s in it, which is out of range; write 1 to %d", text, int64(maxCount))
	}
	return n, nil
}

func parsePeriod(n, unit string) (Period, error) {
	u, ok := units[unit]
	if !ok {
		return Period{}, fmt.Errorf("is per %q; write s, m, h, day, week or month", unit)
	}
	period := Period{N: 1, Unit: u}
	if n == "" {
		return period, nil
	}
	var err error
	if period.N, err = strconv.Atoi(n); err != nil || period.N < 1 {
		return Period{}, fmt.Errorf("is per %s %s; a period is at least 1 long", n, unit)
	}
	return period, nil
}

// ParseMicros reads an amount of money exactly: a decimal number, returned in
// millionths.
func ParseMicros(text string) (int64, error) {
	// big.Rat also reads fractions, and exponents of any size.
	if !regexp.MustCompile(`^` + amountPattern + `$`).MatchString(text) {
		return 0, errors.New("is not an amount; write a number as in 0.01, with six decimals at most")
	}
	amount, ok := new(big.Rat).SetString(text)
	if !ok {
		return 0, errors.New("is not an amount; write a number as in 0.01")
	}
	amount.Mul(amount, big.NewRat(1_000_000, 1))
	if amount.Num().BitLen() > 60 || amount.Num().Int64() > maxCount*1_000 {
		return 0, errors.New("is out of range; write at most 1000000000")
	}
	return amount.Num().Int64(), nil
}

// FormatMicros writes an amount as [ParseMicros] reads it.
func FormatMicros(micros int64) string {
	return fmt.Sprintf("%d.%06d", micros/1_000_000, micros%1_000_000)
}
