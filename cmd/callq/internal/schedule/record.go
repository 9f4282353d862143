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
	// Name is unique in the fleet: 1 to 64 of a-z, 0-9, _ and -.
	Name string
	// Calendar has the ticks.
	Calendar *calendar.Calendar
	// File is the path of the file of calls, one JSON object a line. It is read again
	// at each tick.
	File string
}

// Batch returns the name of the batch of a tick.
func (s Schedule) Batch(tick time.Time) string {
	return s.Name + "-" + tick.UTC().Format("20060102T150405Z")
}

// ByHand returns the command that sends the batch of a tick.
func (s Schedule) ByHand(tick time.Time) string {
	file := s.File
	if strings.Trim(file, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-") != "" {
		file = "'" + strings.ReplaceAll(file, "'", `'\''`) + "'"
	}
	return fmt.Sprintf("callq send %s --batch %s", file, s.Batch(tick))
}

// State is the state of a schedule in Redis. The zero value is a schedule that no worker
// has run yet.
type State struct {
	// Until is the time up to which all ticks were sent or reported. It belongs to the
	// cron expression and its time zone. If these change, the schedule starts again at
	// the time when a worker first runs it.
	Until time.Time
	// Sending is the tick whose batch is being sent, or was sent in part by a worker
	// that stopped. It is zero if there is none.
	Sending time.Time
	// Sent is the last batch that was sent, nil before the first.
	Sent *Sent
	// Missed are the missed ticks that were reported last, nil if there were none.
	Missed *Missed
}

// Sent is how the sending of a batch ended.
type Sent struct {
	Tick  time.Time `json:"tick"`
	Batch string    `json:"batch"`
	// The numbers of lines that were accepted, were in the queue already because a
	// worker that stopped had sent them, and were refused.
	Accepted  int `json:"accepted"`
	Duplicate int `json:"duplicate"`
	Refused   int `json:"refused"`
	// Refusal is the first reason of a refusal, empty if there is none.
	Refusal string `json:"refusal,omitempty"`
	// Error says why the file could not be read to its end. It is empty if it could.
	Error string `json:"error,omitempty"`
	// At is when the sending ended, by Redis's clock. Who is the worker that ended it.
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

// Overdue returns the ticks that are too old to be sent and have not been reported yet: no
// worker has run the schedule since. It returns nil if there are none.
func (st State) Overdue(c *calendar.Calendar, now time.Time) *Missed {
	missed, _ := st.due(c, now)
	return missed
}

// sentByOtherCalendar reports whether the batch of this calendar's next tick has been sent
// already, under another calendar that has the same tick.
func (st State) sentByOtherCalendar(c *calendar.Calendar) bool {
	return !st.Until.IsZero() && st.Sent != nil && c.Next(st.Until).Equal(st.Sent.Tick)
}

// grace is how old a tick may be that a worker still sends.
const grace = time.Minute

// due returns the ticks up to now that are neither sent nor reported: those that are
// missed, and the one that must be sent, zero if there is none.
func (st State) due(c *calendar.Calendar, now time.Time) (*Missed, time.Time) {
	if st.Until.IsZero() {
		return nil, time.Time{}
	}
	var missed Missed
	for tick := c.Next(st.Until); !tick.IsZero() && !tick.After(now); {
		next := c.Next(tick)
		if st.Sent != nil && st.Sent.Tick.Equal(tick) {
			// It was sent under another calendar that has the same tick.
			tick = next
			continue
		}
		// Only the latest tick is sent late: one batch is enough for those before it.
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

// The keys of one schedule are in the same slot of a cluster.
func stateKey(name string) string { return "callq:{schedule:" + name + "}" }
func seenKey(name string) string  { return stateKey(name) + ":seen" }
func lockKey(name string) string  { return stateKey(name) + ":lock" }

// The fields of the state's hash. The name of the field of Until contains the calendar, so
// that workers with an old and a new configuration do not overwrite each other's during a
// roll-out.
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
			return State{}, fmt.Errorf("the record of the last batch in Redis is not valid: %w", err)
		}
	}
	if text := fields[fieldMissed]; text != "" {
		if err := json.Unmarshal([]byte(text), &st.Missed); err != nil {
			return State{}, fmt.Errorf("the record of missed ticks in Redis is not valid: %w", err)
		}
	}
	return st, nil
}

// parseTime parses a time in milliseconds since 1970.
func parseTime(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("a time in Redis is not valid: %w", err)
	}
	at := time.UnixMilli(ms).UTC()
	if at.Before(earliest) || at.Year() > 9999 {
		return time.Time{}, fmt.Errorf("a time in Redis is not valid: %s is out of range", text)
	}
	return at, nil
}

// earliest is the earliest valid time in a record. The ticks since a time are counted one
// by one, so a corrupt time must not be further back.
var earliest = time.Unix(0, 0)

func timeText(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }
