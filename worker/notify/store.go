package notify

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

const (
	// MostWaiting is how many events wait for a receiver at most. Of more, the oldest are
	// dropped.
	MostWaiting = 10_000
	// forgetAfter is how long events are kept for a receiver that no worker has in its
	// configuration.
	forgetAfter = 7 * 24 * time.Hour
	// leaseFor is how long a process keeps a task of the fleet without renewing its lease.
	leaseFor = 5 * time.Second
)

// Listener is the name under which events wait for the programs that listen to them. No
// receiver can have it.
const Listener = "*"

// The tasks of which each is done by one process at a time.
const (
	Collecting = "collecting"
	Listening  = "listening"
)

// All keys are in one slot. No queue can have a name with a colon in the middle but those that
// end with :high and :low.
const keyPrefix = "callq:{n:events}:"

//go:embed lua/*.lua
var sources embed.FS

var (
	scriptLead   = redislua.Script(redislua.Read(sources, "lead"))
	scriptLeave  = redislua.Script(redislua.Read(sources, "leave"))
	scriptAppend = redislua.Script(redislua.Read(sources, "append"))
)

func outboxKey(receiver string) string { return keyPrefix + "out:" + receiver }

const (
	keyReceivers = keyPrefix + "receivers"
	keyTold      = keyPrefix + "told"
	keyOpen      = keyPrefix + "open"
	keyLost      = keyPrefix + "lost"
)

// Store has the events that wait for receivers. It is safe for concurrent use.
type Store struct {
	rdb  redis.UniversalClient
	name string
}

// NewStore returns a Store; name identifies this process among all that use the same Redis.
func NewStore(rdb redis.UniversalClient, name string) *Store { return &Store{rdb, name} }

// Register records that receivers are configured, with the types of events that they get.
// Events that happen from now on wait for them, for as long as a process registers them at
// least every seven days.
func (s *Store) Register(ctx context.Context, now time.Time, receivers map[string][]Type) error {
	var fields []any
	for name, types := range receivers {
		text := strconv.FormatInt(now.UnixMilli(), 10)
		for _, t := range types {
			text += " " + string(t)
		}
		fields = append(fields, name, text)
	}
	if len(fields) == 0 {
		return nil
	}
	if err := s.rdb.HSet(ctx, keyReceivers, fields...).Err(); err != nil {
		return fmt.Errorf("register the receivers of notifications: %w", err)
	}
	return nil
}

// Lead reports whether this process is the one of the fleet that does a task now, and returns
// Redis's clock. It must be called again within five seconds; else another process takes over.
func (s *Store) Lead(ctx context.Context, task string) (leads bool, now time.Time, err error) {
	reply, err := scriptLead.Run(ctx, s.rdb, []string{keyPrefix + task}, s.name, leaseFor.Milliseconds()).Slice()
	if err != nil {
		return false, now, fmt.Errorf("find out which worker sends notifications: %w", err)
	}
	return redislua.Number(reply[0]) == 1, time.UnixMicro(redislua.Integer(redislua.Text(reply[1]))), nil
}

// Leave lets another process do a task at once.
func (s *Store) Leave(ctx context.Context, task string) error {
	if err := scriptLeave.Run(ctx, s.rdb, []string{keyPrefix + task}, s.name).Err(); err != nil {
		return fmt.Errorf("let another worker send notifications: %w", err)
	}
	return nil
}

// News is an event with what identifies it.
type News struct {
	Message Message
	// Name identifies it: news of the same name are not told again for the time Quiet.
	Name  string
	Quiet time.Duration
	// Circuit is the circuit that it is about, or empty; Since is since when that is open, or
	// zero if it has closed.
	Circuit string
	Since   time.Time
}

// Append adds news to the outboxes of the receivers that want them, and returns how many
// events each receiver has lost because too many waited. Appending news again changes
// nothing.
func (s *Store) Append(ctx context.Context, now time.Time, news []News) (lost map[string]int64, err error) {
	args := []any{outboxKey(""), now.UnixMilli(), now.Add(-forgetAfter).UnixMilli(), MostWaiting}
	for _, n := range news {
		text, err := json.Marshal(n.Message)
		if err != nil {
			return nil, fmt.Errorf("encode a %s event: %w", n.Message.Type, err)
		}
		since := int64(0)
		if !n.Since.IsZero() {
			since = n.Since.UnixMilli()
		}
		args = append(args, n.Name, n.Quiet.Milliseconds(), string(n.Message.Type), text, n.Circuit, since)
	}
	reply, err := scriptAppend.Run(ctx, s.rdb, []string{keyReceivers, keyTold, keyOpen, keyLost}, args...).Slice()
	if err != nil {
		return nil, fmt.Errorf("store %d events: %w", len(news), err)
	}
	for ; len(reply) > 1; reply = reply[2:] {
		if lost == nil {
			lost = map[string]int64{}
		}
		lost[redislua.Text(reply[0])] = redislua.Number(reply[1])
	}
	return lost, nil
}

// Told returns the open circuits that were told, with since when each is open.
func (s *Store) Told(ctx context.Context) (map[string]time.Time, error) {
	fields, err := s.rdb.HGetAll(ctx, keyOpen).Result()
	if err != nil {
		return nil, fmt.Errorf("read which circuits were told to be open: %w", err)
	}
	told := make(map[string]time.Time, len(fields))
	for name, since := range fields {
		told[name] = redislua.Milli(since)
	}
	return told, nil
}

// Waiting is the first event of an outbox.
type Waiting struct {
	Message Message
	text    string
}

// First returns the event that has waited the longest for a receiver; ok is false if there is
// none. Text that is not an event is removed.
func (s *Store) First(ctx context.Context, receiver string) (first Waiting, ok bool, err error) {
	for {
		text, err := s.rdb.LIndex(ctx, outboxKey(receiver), 0).Result()
		switch {
		case errors.Is(err, redis.Nil):
			return Waiting{}, false, nil
		case err != nil:
			return Waiting{}, false, fmt.Errorf("read the events of receiver %s: %w", receiver, err)
		}
		first = Waiting{text: text}
		if err := json.Unmarshal([]byte(text), &first.Message); err == nil && strings.HasPrefix(first.Message.ID, "msg_") {
			return first, true, nil
		}
		if err := s.Remove(ctx, receiver, first); err != nil {
			return Waiting{}, false, err
		}
	}
}

// Remove removes an event from a receiver's outbox.
func (s *Store) Remove(ctx context.Context, receiver string, w Waiting) error {
	if err := s.rdb.LRem(ctx, outboxKey(receiver), 1, w.text).Err(); err != nil {
		return fmt.Errorf("remove an event of receiver %s: %w", receiver, err)
	}
	return nil
}

// Backlog is what waits for a receiver.
type Backlog struct {
	// Waiting is how many events wait, Lost how many were dropped because too many waited.
	Waiting, Lost int64
}

// Backlog returns what waits for a receiver.
func (s *Store) Backlog(ctx context.Context, receiver string) (Backlog, error) {
	waiting, err := s.rdb.LLen(ctx, outboxKey(receiver)).Result()
	if err != nil {
		return Backlog{}, fmt.Errorf("count the events of receiver %s: %w", receiver, err)
	}
	lost, err := s.rdb.HGet(ctx, keyLost, receiver).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return Backlog{}, fmt.Errorf("count the lost events of receiver %s: %w", receiver, err)
	}
	return Backlog{Waiting: waiting, Lost: redislua.Integer(lost)}, nil
}
