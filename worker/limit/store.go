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

// Source is the Lua function limits, for the script that takes a call from its
// queue; lua/limits.lua describes it.
func Source() string { return redislua.Read(sources, "adaptive", "limits") }

// AdaptiveSource is the Lua by which a rate error lowers an adaptive rate.
func AdaptiveSource() string { return redislua.Read(sources, "adaptive") }

var scriptChange = redislua.Script(redislua.Limited(), Source(), redislua.Read(sources, "change"))

// Slot is a call's place under its account's limits. The zero value is none.
type Slot struct {
	// At is the slot's time by Redis's clock, in microseconds since 1970; 0 for
	// an account without limits.
	At int64
	// Wait is how long after Redis's answer the slot comes.
	Wait time.Duration
	// Money is what was reserved, in millionths of the budget's currency.
	Money int64
}

// Refusal says why there is no slot within a second.
type Refusal struct {
	// Wait is for how long there is none.
	Wait time.Duration
	// Reason is limit or budget; Key and Text name the rule.
	Reason, Key, Text string
}

// Keys are where an account's limits are kept: its state, and the slots that
// were given back.
func Keys(upstream string) []string {
	return []string{redislua.Own(upstream, "limits"), redislua.Own(upstream, "slots")}
}

// Store takes and gives back slots outside of the queue's own script. It is safe
// for concurrent use.
type Store struct{ rdb redis.UniversalClient }

// NewStore makes a Store.
func NewStore(rdb redis.UniversalClient) *Store { return &Store{rdb: rdb} }

// Take takes a slot, or returns the refusal. A nil plan always has a slot.
func (s *Store) Take(ctx context.Context, upstream string, p *Plan) (Slot, *Refusal, error) {
	if p == nil {
		return Slot{}, nil, nil
	}
	reply, err := scriptChange.Run(ctx, s.rdb, append(Keys(upstream), redislua.CircuitKey(upstream, "")), append([]any{"take", 0, 0, 0}, p.Args(time.Now())...)...).Slice()
	if err != nil {
		return Slot{}, nil, fmt.Errorf("take a slot of %s: %w", upstream, err)
	}
	if redislua.Number(reply[0]) == 1 {
		return Slot{At: redislua.Number(reply[1]), Wait: time.Duration(redislua.Number(reply[2])) * time.Microsecond, Money: redislua.Number(reply[3])}, nil, nil
	}
	return Slot{}, &Refusal{
		Wait: time.Duration(redislua.Number(reply[1])) * time.Millisecond, Reason: redislua.Text(reply[2]), Key: redislua.Text(reply[3]), Text: redislua.Text(reply[4]),
	}, nil
}

// GiveBack returns the slot, and the money, of a call that was not sent.
func (s *Store) GiveBack(ctx context.Context, upstream string, p *Plan, slot Slot) error {
	if p == nil || slot.At == 0 {
		return nil
	}
	args := append([]any{"back", slot.At, slot.Money, 0}, p.Args(time.Now())...)
	if err := scriptChange.Run(ctx, s.rdb, append(Keys(upstream), redislua.CircuitKey(upstream, "")), args...).Err(); err != nil {
		return fmt.Errorf("give a slot of %s back: %w", upstream, err)
	}
	return nil
}

// Reconcile replaces the cost that was reserved for a call by the billed one, in
// millionths.
func (s *Store) Reconcile(ctx context.Context, upstream string, p *Plan, slot Slot, billed int64) error {
	if !p.Money() || slot.At == 0 || billed == slot.Money {
		return nil
	}
	args := append([]any{"reconcile", slot.At, slot.Money, billed}, p.Args(time.Now())...)
	if err := scriptChange.Run(ctx, s.rdb, append(Keys(upstream), redislua.CircuitKey(upstream, "")), args...).Err(); err != nil {
		return fmt.Errorf("reconcile what a call of %s was billed: %w", upstream, err)
	}
	return nil
}

// ParseBilled reads what an answer says that its call was billed, in millionths.
// Digits past the sixth decimal are rounded up.
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
