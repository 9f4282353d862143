package schedule

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/policy/calendar"
)

// Schedule is one file that is sent at fixed times.
type Schedule struct {
	// Name is unique in the fleet; 1 to 64 of a-z, 0-9, _ and -.
	Name string
	// Calendar tells the ticks.
	Calendar *calendar.Calendar
	// File is the path of the file of calls, one JSON object a line. It is read
	// anew at each tick.
	File string
}

// Batch is the name of the batch of a tick.
func (s Schedule) Batch(tick time.Time) string {
	return s.Name + "-" + tick.UTC().Format("20060102T150405Z")
}

// ByHand is the command that sends the batch of a tick.
func (s Schedule) ByHand(tick time.Time) string {
	file := s.File
	if strings.Trim(file, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") != "" {
		file = "'" + strings.ReplaceAll(file, "'", `'\''`) + "'"
	}
	return fmt.Sprintf("callq send %s --batch %s", file, s.Batch(tick))
}

// State is what the fleet remembers of a schedule. The zero value is a schedule
// that no worker has seen yet.
type State struct {
	// Until is the instant up to which ticks were sent or reported. It belongs to
	// the cron expression with its time zone: under another one a schedule begins
	// afresh, from the moment at which a worker first sees it.
	Until time.Time
	// Sending is the tick whose batch is being sent, or was sent in part by a
	// worker that stopped; zero for none.
	Sending time.Time
	// Sent is the last batch that was sent, nil before the first.
	Sent *Sent
	// Missed are the ticks that were reported last, nil where none ever were.
	Missed *Missed
}

// Sent is how the sending of a batch ended.
type Sent struct {
	Tick  time.Time `json:"tick"`
	Batch string    `json:"batch"`
	// The lines of the file, by what became of them. Duplicate ones were there
	// already: a worker that stopped had sent them.
	Accepted  int `json:"accepted"`
	Duplicate int `json:"duplicate"`
	Refused   int `json:"refused"`
	// Refusal is the first of the refusals; empty for none.
	Refusal string `json:"refusal,omitempty"`
	// Error is why the file could not be read to its end; empty if it was.
	Error string `json:"error,omitempty"`
	// At is when it ended, by Redis's clock; Who ended it.
	At  time.Time `json:"at"`
	Who string    `json:"who"`
}

// Missed are ticks in a row that were not sent.
type Missed struct {
	Count int       `json:"count"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
}

// Read reads the state of a schedule.
func Read(ctx context.Context, rdb redis.UniversalClient, s Schedule) (State, error) {
	fields, err := rdb.HGetAll(ctx, stateKey(s.Name)).Result()
	if err != nil {
		return State{}, err
	}
	return parseState(fields, s.Calendar)
}

// Overdue are the ticks that neither were sent nor reported, though their time to
// be sent has passed: no worker has seen to the schedule since. Nil for none.
func (st State) Overdue(c *calendar.Calendar, now time.Time) *Missed {
	missed, _ := st.due(c, now)
	return missed
}

// shared tells whether the last batch was that of this calendar's next tick, and
// was sent under another calendar which has the tick as well.
func (st State) shared(c *calendar.Calendar) bool {
	return !st.Until.IsZero() && st.Sent != nil && c.Next(st.Until).Equal(st.Sent.Tick)
}

// grace is how old a tick may be that is still sent by itself.
const grace = time.Minute

// due are the ticks up to now that nobody has seen to: those that are missed, and
// the one that is to be sent, zero for none.
func (st State) due(c *calendar.Calendar, now time.Time) (*Missed, time.Time) {
	if st.Until.IsZero() {
		return nil, time.Time{}
	}
	var missed Missed
	for tick := c.Next(st.Until); !tick.IsZero() && !tick.After(now); {
		next := c.Next(tick)
		if st.Sent != nil && st.Sent.Tick.Equal(tick) {
			// Under another calendar, which has the tick as well.
			tick = next
			continue
		}
		// Only the latest is sent late: one batch makes up for those before it.
		if now.Sub(tick) <= grace && (next.IsZero() || next.After(now)) {
			return missed.orNil(), tick
		}
		if missed.Count == 0 {
			missed.First = tick
		}
		missed.Count++
		missed.Last = tick
		tick = next
	}
	return missed.orNil(), time.Time{}
}

func (m Missed) orNil() *Missed {
	if m.Count == 0 {
		return nil
	}
	return &m
}

// The keys of one schedule share a slot.
func stateKey(name string) string { return "callq:{schedule:" + name + "}" }
func seenKey(name string) string  { return stateKey(name) + ":seen" }
func lockKey(name string) string  { return stateKey(name) + ":lock" }

// The fields of the state's hash. That of Until has the calendar in its name, so
// that workers of an old configuration and of a new one do not undo each other's
// while a new one is rolled out.
const (
	fieldSending = "sending"
	fieldSent    = "sent"
	fieldMissed  = "missed"
)

func fieldUntil(c *calendar.Calendar) string { return "until " + c.String() }

func parseState(fields map[string]string, c *calendar.Calendar) (State, error) {
	var st State
	var err error
	if st.Until, err = parseTime(fields[fieldUntil(c)]); err != nil {
		return State{}, err
	}
	if st.Sending, err = parseTime(fields[fieldSending]); err != nil {
		return State{}, err
	}
	if text := fields[fieldSent]; text != "" {
		if err := json.Unmarshal([]byte(text), &st.Sent); err != nil {
			return State{}, fmt.Errorf("what Redis has of the last batch: %w", err)
		}
	}
	if text := fields[fieldMissed]; text != "" {
		if err := json.Unmarshal([]byte(text), &st.Missed); err != nil {
			return State{}, fmt.Errorf("what Redis has of missed ticks: %w", err)
		}
	}
	return st, nil
}

// Times are milliseconds.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("what Redis has as a time is none: %w", err)
	}
	at := time.UnixMilli(ms).UTC()
	if at.Before(earliest) || at.Year() > 9999 {
		return time.Time{}, fmt.Errorf("what Redis has as a time, %s, no worker has written", text)
	}
	return at, nil
}

// earliest is before any worker looked after a schedule. The ticks since a time
// are counted one by one, so that a forged one must not lie any further back.
var earliest = time.Unix(0, 0)

func timeText(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
