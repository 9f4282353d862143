package tasks

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/seed-2903acc3/callq/tasks/ledger"
)

func TestARedriveKeepsItsPaceAfterADelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		var at []time.Duration
		letters := func(yield func(ledger.Record, error) bool) {
			for i := range 5 {
				if !yield(ledger.Record{ID: fmt.Sprint(i), State: ledger.Dead}, nil) {
					return
				}
			}
		}
		n, err := changeAll(t.Context(), letters, Pace{Every: 20 * time.Millisecond}, func(context.Context, ledger.Record) error {
			at = append(at, time.Since(began))
			if len(at) == 3 {
				time.Sleep(100 * time.Millisecond) // by the bubble's clock: Redis is slow once
			}
			return nil
		})
		if err != nil || n != (Changed{Selected: 5, Applied: 5}) {
			t.Fatalf("got %+v, %v", n, err)
		}
		if want := []time.Duration{0, 20 * time.Millisecond, 40 * time.Millisecond, 140 * time.Millisecond, 160 * time.Millisecond}; fmt.Sprint(at) != fmt.Sprint(want) {
			t.Errorf("got redrives at %v, want %v", at, want)
		}
	})
}
