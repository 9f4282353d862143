package limit

import (
	"context"
	"embed"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/seed-2903acc3/callq/tasks/redislua"
)

//go:embed lua/*.lua
var sources embed.FS

// Source returns the Lua function limits, for the script that dequeues a call;
// lua/limits.lua describes it.
func Source() string { return redislua.Read(sources, "adaptive", "pace", "limits") }

// AdaptiveSource returns the Lua functions of the adaptive rate.
func AdaptiveSource() string { return redislua.Read(sources, "adaptive") }

var scriptChange = redislua.Script(redislua.HoldLog(), redislua.Limited(), Source(), redislua.Read(sources, "change"))

// Slot is a call's permission under its account's limits. The zero value is no slot.
type Slot struct {
	// At is the slot's time by Redis's clock, in microseconds since 1970; 0 for
	// an account without limits.
	At int64
	// Wait is how long after Redis's reply the slot begins.
	Wait time.Duration
	// Money is what was reserved, in millionths of the budget's currency.
	Money int64
}

// Refusal says why there is no slot now.
type Refusal struct {
	// Wait is how long there is none.
	Wait time.Duration
	// Reason is limit or budget; Key and Text name the rule.
	Reason, Key, Text string
	// Began reports that this refusal begins to hold the account.
	Began bool
}

// Keys returns the Redis keys of an account's limits: their state, the slots that were
// returned, and those whose calls' answers were not reported yet.
func Keys(upstream string) []string {
	return []string{redislua.Own(upstream, "limits"), redislua.Own(upstream, "slots"), redislua.Own(upstream, "unanswered")}
}

// scriptKeys returns the keys of the package's own scripts.
func scriptKeys(upstream string) []string {
	return append(Keys(upstream), redislua.CircuitKey(upstream, ""))
}

// Store takes and returns slots without the script that dequeues calls. It is safe for
// concurrent use.
type Store struct{ rdb redis.UniversalClient }

// NewStore returns a Store.
func NewStore(rdb redis.UniversalClient) *Store { return &Store{rdb: rdb} }

// Take takes a slot, or returns the refusal. With a nil plan it returns the zero Slot.
func (s *Store) Take(ctx context.Context, upstream string, p *Plan) (Slot, *Refusal, error) {
	if p == nil {
		return Slot{}, nil, nil
	}
	reply, err := scriptChange.Run(ctx, s.rdb, scriptKeys(upstream), append([]any{"take", 0, 0, 0}, p.Args(time.Now())...)...).Slice()
	if err != nil {
		return Slot{}, nil, fmt.Errorf("take a slot of %s: %w", upstream, err)
	}
	if redislua.Number(reply[0]) == 1 {
		return Slot{At: redislua.Number(reply[1]), Wait: time.Duration(redislua.Number(reply[2])) * time.Microsecond, Money: redislua.Number(reply[3])}, nil, nil
	}
	return Slot{}, &Refusal{
		Wait: time.Duration(redislua.Number(reply[1])) * time.Millisecond, Reason: redislua.Text(reply[2]), Key: redislua.Text(reply[3]), Text: redislua.Text(reply[4]),
		Began: redislua.Number(reply[5]) == 1,
	}, nil
}

// GiveBack returns the slot, and the money, of a call that was not sent.
func (s *Store) GiveBack(ctx context.Context, upstream string, p *Plan, slot Slot) error {
	if p == nil || slot.At == 0 {
		return nil
	}
	args := append([]any{"back", slot.At, slot.Money, 0}, p.Args(time.Now())...)
	if err := scriptChange.Run(ctx, s.rdb, scriptKeys(upstream), args...).Err(); err != nil {
		return fmt.Errorf("return a slot of %s: %w", upstream, err)
	}
	return nil
}

// Reconcile replaces the cost that was reserved for a call by the cost that was billed, in
// millionths.
func (s *Store) Reconcile(ctx context.Context, upstream string, p *Plan, slot Slot, billed int64) error {
	if !p.Money() || slot.At == 0 || billed == slot.Money {
		return nil
	}
	args := append([]any{"reconcile", slot.At, slot.Money, billed}, p.Args(time.Now())...)
	if err := scriptChange.Run(ctx, s.rdb, scriptKeys(upstream), args...).Err(); err != nil {
		return fmt.Errorf("reconcile the cost of a call of %s: %w", upstream, err)
	}
	return nil
}

// ParseBilled reads the cost of a call from its answer, and returns it in millionths. It
// rounds up after the sixth decimal.
func ParseBilled(text string) (micros int64, ok bool) {
	f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil || !(f >= 0) || f > 1e9 {
		return 0, false
	}
	if exact, err := ParseMicros(strings.TrimSpace(text)); err == nil {
		return exact, true
	}
	micros = int64(f * 1e6)
	if float64(micros) < f*1e6 {
		micros++
	}
	return micros, true
}
