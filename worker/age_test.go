package worker

import (
	"testing"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestTheTimeForWhichACallWasHeldIsNotPartOfItsAge(t *testing.T) {
	now := time.Now()
	for name, c := range map[string]struct {
		before, heldBase, held, own time.Duration
		want                        time.Duration
	}{
		"never held":           {before: time.Hour, want: time.Hour},
		"its account was held": {before: time.Hour, held: 20 * time.Minute, want: 40 * time.Minute},
		"its account was held before the first send": {before: time.Hour, heldBase: 20 * time.Minute, held: 20 * time.Minute, want: time.Hour},
		"its endpoint was held":                      {before: time.Hour, own: 50 * time.Minute, want: 10 * time.Minute},
		"both":                                       {before: time.Hour, heldBase: time.Hour, held: 70 * time.Minute, own: 20 * time.Minute, want: 30 * time.Minute},
		"held for longer than it is old by this process's clock": {before: time.Minute, own: time.Hour, want: 0},
	} {
		delivery := &ledger.Delivery{Record: ledger.Record{FirstAt: now.Add(-c.before), HeldBase: c.heldBase, HeldOwn: c.own}}
		delivery.Circuit.Held = c.held
		if got := ageOf(delivery, now); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
